"""What do users do on a page, and how likely was it?"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.catalogue import Catalogue
from recsys.simulation.pages import Pages, examination, rates
from recsys.simulation.population import Users
from recsys.specs.simulated_trial import STAGES, Stage
from recsys.specs.simulation import Simulation


@dataclass(frozen=True)
class Steps:
    """What happened on some pages, each as (pages, slots); a purchase is a transfer is a click."""

    click: NDArray[np.bool_]
    transfer: NDArray[np.bool_]
    purchase: NDArray[np.bool_]


@dataclass
class Sums:
    """Pages, and what was to be expected of them; sums of probabilities, never of what was drawn."""

    pageviews: int = 0
    slots: int = 0
    expected: dict[Stage, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    """Expected clicks, transfers and purchases."""
    with_purchase: float = 0.0
    """Expected pages with a purchase at least."""

    def add(self, chances: dict[Stage, NDArray[np.float64]]) -> None:
        """Add pages by the probabilities that each slot reaches each stage, (pages, slots)."""
        pages, slots = chances["click"].shape
        self.pageviews += pages
        self.slots += pages * slots
        for stage in STAGES:
            self.expected[stage] += float(chances[stage].sum())
        self.with_purchase += float((1 - np.prod(1 - chances["purchase"], axis=1)).sum())

    def document(self) -> dict[str, Any]:
        """Return the rates, each null where nothing could happen."""
        expected = self.expected
        return {
            "pageviews": self.pageviews,
            "slots": self.slots,
            "rates": {
                "click_per_slot": _ratio(expected["click"], self.slots),
                "transfer_per_click": _ratio(expected["transfer"], expected["click"]),
                "purchase_per_transfer": _ratio(expected["purchase"], expected["transfer"]),
                **{f"{stage}_per_pageview": _ratio(expected[stage], self.pageviews) for stage in STAGES},
                "pageviews_with_purchase": _ratio(self.with_purchase, self.pageviews),
            },
        }


@dataclass(frozen=True)
class Effects:
    """What arms do: factors on the rates of the stages."""

    click: NDArray[np.float64]
    transfer: NDArray[np.float64]
    purchase: NDArray[np.float64]

    @classmethod
    def of(cls, simulation: Simulation) -> "Effects":
        """Return the factors of the trial's arms in their order, and 1 behind them: no arm, (arms + 1,)."""
        arms = simulation.trial.arms.values() if simulation.trial else ()
        return cls(**{stage: np.array([*(1 + arm.effects.get(stage, 0.0) for arm in arms), 1.0]) for stage in STAGES})


def base_rates(
    simulation: Simulation, catalogue: Catalogue, users: Users, pages: Pages
) -> dict[Stage, NDArray[np.float64]]:
    """Return each slot's rate of every stage, given the stage before it and outside every arm, (pages, slots)."""
    funnel, items = simulation.funnel, pages.items
    appeal = rates(funnel.click)[pages.relation] * examination(simulation.page)
    conversion = users.conversion[pages.user][:, None]
    return {
        "click": appeal * catalogue.quality["click"][items],
        "transfer": funnel.transfer * catalogue.quality["transfer"][items],
        "purchase": funnel.purchase * conversion * catalogue.quality["purchase"][items],
    }


def with_effects(
    base: dict[Stage, NDArray[np.float64]],
    effects: Effects,
    arm: Any,  # noqa: ANN401 - one arm or an array of them
) -> dict[Stage, NDArray[np.float64]]:
    """Return the rates in an arm, or in each page's own, (pages, slots)."""
    factors = {stage: getattr(effects, stage)[arm] for stage in STAGES}
    return {stage: base[stage] * np.reshape(factors[stage], (-1, 1)) for stage in STAGES}


def reached(rate: dict[Stage, NDArray[np.float64]]) -> dict[Stage, NDArray[np.float64]]:
    """Return the probability that a slot reaches each stage, (pages, slots)."""
    clicks = rate["click"]
    transfers = clicks * rate["transfer"]
    return {"click": clicks, "transfer": transfers, "purchase": transfers * rate["purchase"]}


def draw(rate: dict[Stage, NDArray[np.float64]], rng: np.random.Generator) -> Steps:
    """Let it happen."""
    chance = reached(rate)
    # One number a slot: it reaches a stage if the number lies below its probability, which falls from stage to stage.
    uniform = rng.random(chance["click"].shape)
    return Steps(**{stage: uniform < chance[stage] for stage in STAGES})


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
