"""Between what does a number lie, as the past that it was read off is a sample?"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
"""So often the bounds by a past hold what all units that might have come would give."""


@dataclass(frozen=True)
class Bounds:
    """Two whole numbers. None is never: there is no number that large."""

    lower: int | None
    upper: int | None

    def __str__(self) -> str:
        """Return them as people read them: [71, 130]."""
        lower, upper = ("never" if each is None else f"{each:,}" for each in (self.lower, self.upper))
        return f"[{lower}, {upper}]"


def bounds_of(drawn: NDArray[np.float64]) -> Bounds | None:
    """Return the percentiles of what drawn pasts give, [pasts], infinite for never; None where there are no pasts.

    The percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
    """
    if not len(drawn):
        return None
    tail = (1 - CONFIDENCE) / 2
    lower, upper = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    return Bounds(whole(lower), whole(upper))


def whole(number: float) -> int | None:
    """Return the whole number that is enough, or None for infinity."""
    return math.ceil(number) if math.isfinite(number) else None
