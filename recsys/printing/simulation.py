"""How does a made-up shop read?"""

from typing import TYPE_CHECKING, Any

from recsys.printing.width import table

if TYPE_CHECKING:
    from recsys.workflows.data.simulate import SimulatedShop


def simulated(shop: "SimulatedShop") -> str:
    """Show the tables, the funnel and the arms."""
    tables = [[name, f"{made.rows:,}", f"{made.size / 1e6:,.1f}"] for name, made in shop.tables.items()]
    parts = [table(["table", "rows", "MB"], tables, right=(1, 2)), _funnel(shop.truth["funnel"]["rates"])]
    if shop.truth["trial"] is not None:
        parts.append(_arms(shop.truth["trial"]["arms"]))
    rate = sum(made.rows for made in shop.tables.values()) / max(shop.seconds, 1e-9) / 1e6
    state = "already there" if shop.reused else f"written in {shop.seconds:.1f} s, {rate:.1f} million rows a second"
    parts.append(f"  {state}: {shop.out}/ (truth.json says what is true of it)")
    return "\n\n".join(parts)


def simulated_document(shop: "SimulatedShop") -> dict[str, Any]:
    """Return what was written as JSON values."""
    truth = shop.truth
    return {
        "out": str(shop.out),
        "reused": shop.reused,
        "seconds": shop.seconds,
        "tables": {name: vars(made) for name, made in shop.tables.items()},
        "rates": truth["funnel"]["rates"],
        "arms": {name: arm["effects"] for name, arm in (truth["trial"] or {"arms": {}})["arms"].items()},
    }


def _funnel(rates: dict[str, float | None]) -> str:
    return table(["true rate", ""], [[name, _number(rate, ".4f")] for name, rate in rates.items()], right=(1,))


def _arms(arms: dict[str, Any]) -> str:
    effects = ("click_per_pageview", "transfer_per_pageview", "purchase_per_pageview")
    rows = [
        [name, f"{arm['users']:,}", *(_number(arm["effects"][effect], "+.1%") for effect in effects)]
        for name, arm in arms.items()
    ]
    return table(["arm", "users", *(f"true effect: {effect}" for effect in effects)], rows, right=(1, 2, 3, 4))


def _number(value: float | None, form: str) -> str:
    return "not defined" if value is None else format(value, form)
