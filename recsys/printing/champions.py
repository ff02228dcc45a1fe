"""How do the champion's moves and their record read?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from recsys.printing.overrides import refusals
from recsys.printing.width import table

if TYPE_CHECKING:
    from recsys.decision.promotion import Promotion
    from recsys.ports import LedgerEntry

_CHAMPION: Final = "champion"
_DIGESTS: Final = {
    "experiment_digest": "experiment",
    "logic_digest": "logic",
    "data_digest": "data",
    "digest": "report",
}
"""What a digest in the record is of."""


def promotion(done: "Promotion") -> str:
    """Show how the champion moved."""
    before = done.before.model_version if done.before else "none"
    after = done.after.model_version if done.after else "none"
    if not done.changed:
        return (
            f"  {done.model}: nothing to do, the champion is {after} (weights"
            f" {done.after.number if done.after else '-'})"
        )
    number = f" (weights {done.after.number})" if done.after else ""
    moved = f"  {done.model}: champion {before} -> {after}{number}; recorded as {done.action} {done.transaction}"
    return "\n".join([moved, *([f"  OVERRIDE: {done.override}"] if done.override else [])])


def promotion_document(done: "Promotion") -> dict[str, Any]:
    """Return a promotion as JSON values."""
    return {
        "action": done.action,
        "model": done.model,
        "before": done.before.model_version if done.before else None,
        "after": done.after.model_version if done.after else None,
        "weights": done.after.number if done.after else None,
        "changed": done.changed,
        "transaction": done.transaction,
        "override": done.override,
    }


def history(model: str, entries: "Sequence[LedgerEntry]") -> str:
    """Show a model's record: who, when, what, from which to which, on what evidence, and what was overridden."""
    if not entries:
        return f"  {model}: nothing recorded"
    versions = {
        move["after"]: str(entry.payload.get("model_version", "unknown"))
        for entry in entries
        for move in entry.payload["aliases"].values()
    }
    rows = [
        [
            f"{entry.event_timestamp:%Y-%m-%d %H:%M}",
            entry.action,
            entry.state,
            *_moved(entry.payload["aliases"], versions),
            str(entry.payload.get("experiment", "")),
            entry.author,
        ]
        for entry in entries
    ]
    header = ["clock", "action", "state", "alias", "from", "to", "experiment", "author"]
    return table(header, rows, below=[tuple(_details(entry.payload)) for entry in entries])


def _moved(aliases: Mapping[str, Mapping[str, int | None]], versions: Mapping[int | None, str]) -> tuple[str, str, str]:
    """Return which aliases moved, from which model version and weights to which; the champion's where it moved too."""
    first = _CHAMPION if _CHAMPION in aliases else next(iter(aliases))
    before, after = (
        "none" if number is None else f"{versions.get(number, 'unknown')} ({number})"
        for number in (aliases[first]["before"], aliases[first]["after"])
    )
    return ", ".join(sorted(aliases)), before, after


def _details(payload: Mapping[str, Any]) -> Iterator[str]:
    digests = [f"{what} {payload[key]}" for key, what in _DIGESTS.items() if payload.get(key)]
    if digests:
        yield f"    digests: {', '.join(digests)}"
    if payload.get("override"):
        yield f"    OVERRIDE: {payload['override']}"
        yield from refusals(payload.get("overridden", ()))
    elif payload.get("reason"):
        yield f"    {payload['reason']}"


def history_document(entries: "Sequence[LedgerEntry]") -> list[dict[str, Any]]:
    """Return a model's record as JSON values."""
    return [
        {
            "sequence": entry.sequence,
            "transaction": entry.transaction,
            "state": entry.state,
            "action": entry.action,
            "payload": dict(entry.payload),
            "author": entry.author,
            "at": entry.event_timestamp.isoformat(),
        }
        for entry in entries
    ]
