"""Which weights are not served, why, and when are they looked at again?"""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from recsys.ports import Weights

LOGGER = logging.getLogger(__name__)

FIRST_WAIT: Final = 30.0
LONGEST_WAIT: Final = 600.0
"""Seconds until refused weights are loaded again, for the case that their artefact was repaired; it doubles from the
first to the longest. A load is a download, and one at each poll would burden the registry for nothing."""

Key = tuple[str, int]


@dataclass(frozen=True)
class _Refusal:
    reason: str
    until: float
    wait: float


class Refusals:
    """The weights that one placement does not serve."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Refuse nothing yet."""
        self._now = now
        self._known: dict[Key, _Refusal] = {}

    def holds(self, weights: Weights) -> bool:
        """Tell whether these weights were refused and are not to be looked at again yet."""
        known = self._known.get(_key(weights))
        return known is not None and self._now() < known.until

    def refuse(self, placement: str, weights: Weights, error: Exception) -> None:
        """Note a refusal; it is logged once for the same weights and reason."""
        before = self._known.get(_key(weights))
        wait = FIRST_WAIT if before is None else min(2 * before.wait, LONGEST_WAIT)
        reason = f"{type(error).__name__}: {error}"
        self._known[_key(weights)] = _Refusal(reason, self._now() + wait, wait)
        if before is None or before.reason != reason:
            LOGGER.error(
                "%s: weights %s/%d are not served, those before them go on: %s",
                placement,
                weights.model,
                weights.number,
                reason,
            )

    def accept(self, weights: Weights) -> None:
        """Forget a refusal."""
        if self._known.pop(_key(weights), None) is not None:
            LOGGER.warning("weights %s/%d are served after all", weights.model, weights.number)

    def among(self, wanted: Collection[Key]) -> dict[str, str]:
        """Return those of the wanted weights that are refused, with the reason; others are forgotten."""
        self._known = {key: refusal for key, refusal in self._known.items() if key in wanted}
        return {f"{model}/{number}": refusal.reason for (model, number), refusal in sorted(self._known.items())}


def _key(weights: Weights) -> Key:
    return weights.model, weights.number
