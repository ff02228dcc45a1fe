"""How does it read that a version is champion although something spoke against it?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.decision.champion import Override


def overridden(found: "Sequence[Override]") -> list[str]:
    """Return lines for below whatever shows these versions; none where nothing was overridden."""
    return [line for override in found for line in _lines(override)]


def with_overrides(document: Mapping[str, Any], said: str, found: "Sequence[Override]") -> tuple[dict[str, Any], str]:
    """Return a document and its text with the overrides of the versions that they name; as they are where none is."""
    more = {"champion_overrides": overrides_document(found)} if found else {}
    return {**document, **more}, "\n".join([said, *overridden(found)])


def overrides_document(found: "Sequence[Override]") -> list[dict[str, Any]]:
    """Return the same as JSON values."""
    return [
        {
            "model_version": override.model_version,
            "experiment": override.experiment,
            "reason": override.reason,
            "refused": list(override.refused),
            "author": override.author,
            "at": override.at.isoformat(),
        }
        for override in found
    ]


def refusals(refused: Sequence[str]) -> Iterator[str]:
    """Yield what was overridden, a line a refusal."""
    yield from (f"    was refused: {reason}" for reason in refused)


def _lines(override: "Override") -> Iterator[str]:
    yield (
        f"  OVERRIDE: {override.model_version} is champion by {override.author} at {override.at:%Y-%m-%d %H:%M}:"
        f" {override.reason}"
    )
    yield from refusals(override.refused)
