"""How many of some units will act, and which share of all who act is that, if their probabilities are right?

Units act independently of one another, each with its own probability, so that the number of those who act is
Poisson-binomial. What probabilities that are wrong would change is not in these intervals.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from recsys.statistics.bootstrap import Interval

_EXACT: Final = 1_000
"""Units up to which the distribution is computed, which takes their number squared; more are as good as normal."""


@dataclass(frozen=True)
class Chances:
    """Sums over independent units."""

    mean: float = 0.0
    """Of their probabilities p: how many should act."""
    variance: float = 0.0
    """Of p (1 - p): of the number of those who do."""

    @classmethod
    def of(cls, probabilities: NDArray[np.float64]) -> "Chances":
        """Return the sums of [units] probabilities."""
        return cls(float(probabilities.sum()), float((probabilities * (1 - probabilities)).sum()))

    def __add__(self, other: "Chances") -> "Chances":
        """Return the sums over both."""
        return Chances(self.mean + other.mean, self.variance + other.variance)


def share_acting(probabilities: NDArray[np.float64], *, confidence: float = 0.95) -> Interval | None:
    """Return the share of units that should act, and what it will lie between.

    The bounds are quantiles of the Poisson-binomial distribution (Hong, On computing the distribution function for the
    Poisson binomial distribution, 2013), by convolution up to 1,000 units and by the normal one beyond.

    Args:
        probabilities: [units] in [0, 1].
        confidence: of the interval.

    Returns:
        None where there are no units.
    """
    count = len(probabilities)
    if not count:
        return None
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    all_of_them = Chances.of(probabilities)
    if count <= _EXACT:
        lower, upper = np.searchsorted(np.cumsum(_distribution(probabilities)), tails)
    else:
        lower, upper = all_of_them.mean + scipy.stats.norm.ppf(tails) * np.sqrt(all_of_them.variance)
    return _clipped(all_of_them.mean / count, float(lower) / count, float(upper) / count)


def share_reached(reached: Chances, others: Chances, *, confidence: float = 0.95) -> Interval | None:
    """Return the share of all who act that are among those reached, and what it will lie between.

    The estimate is the ratio of the expected numbers. Its bounds are of A / (A + B) by the delta method, with A who act
    among those reached and B among the others, independent of each other.

    Args:
        reached: of those reached.
        others: of all other units.
        confidence: of the interval.

    Returns:
        None where nobody is expected to act.
    """
    total = reached.mean + others.mean
    if total <= 0:
        return None
    estimate = reached.mean / total
    spread = np.sqrt((1 - estimate) ** 2 * reached.variance + estimate**2 * others.variance) / total
    half = float(scipy.stats.norm.ppf((1 + confidence) / 2) * spread)
    return _clipped(estimate, estimate - half, estimate + half)


def _distribution(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each number of units that act, [units + 1]."""
    found = np.zeros(len(probabilities) + 1)
    found[0] = 1.0
    for number, chance in enumerate(probabilities.tolist(), start=1):
        found[1 : number + 1] = found[1 : number + 1] * (1 - chance) + found[:number] * chance
        found[0] *= 1 - chance
    return found


def _clipped(estimate: float, lower: float, upper: float) -> Interval:
    return Interval(estimate, max(lower, 0.0), min(upper, 1.0))
