"""By how much do two shares differ, where one of them may be of a handful of units?

Wald's and Welch's intervals fail there: of 100 held-out units 5 should act, and where only 2 do, the spread that they
show is too small, and a difference is claimed that is none. Wilson's interval of one share does not shrink so (JASA,
1927); two of them give bounds of the difference by Newcombe's method 10 (Interval estimation for the difference between
independent proportions, Statistics in Medicine, 1998), and of the ratio by the same reasoning (Donner and Zou, Closed-
form confidence intervals for functions of the normal mean and standard deviation, Statistical Methods in Medical
Research, 2012). The bounds of the ratio exclude 1 exactly when those of the difference exclude 0.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError
from recsys.statistics.bootstrap import Interval


@dataclass(frozen=True)
class SharesCompared:
    """A share beside another one, the control's."""

    control: float
    treatment: float
    absolute: Interval
    """treatment - control."""
    relative: Interval
    """treatment / control - 1; without an upper bound (infinity) where the control's share may be 0. Not a number where
    nobody of the control acted."""


def compare_shares(
    control: tuple[float, float], treatment: tuple[float, float], *, confidence: float = 0.95
) -> SharesCompared | None:
    """Compare two independent shares.

    Args:
        control: its share, and of how many independent units it is: any number above 0, as an effective size is.
        treatment: likewise.
        confidence: of both intervals, in (0, 1).

    Returns:
        None where one of the two has no units.

    Raises:
        DataError: if a share lies outside of [0, 1].
    """
    if min(control[1], treatment[1]) <= 0:
        return None
    one, other = (wilson(*group, confidence=confidence) for group in (control, treatment))
    difference = other.estimate - one.estimate
    down = math.hypot(other.estimate - other.lower, one.upper - one.estimate)
    up = math.hypot(other.upper - other.estimate, one.estimate - one.lower)
    return SharesCompared(
        control=one.estimate,
        treatment=other.estimate,
        absolute=Interval(difference, difference - down, difference + up),
        relative=_relative(one, other),
    )


def wilson(share: float, units: float, *, confidence: float = 0.95) -> Interval:
    """Return a share with Wilson's bounds.

    Args:
        share: in [0, 1].
        units: above 0, not necessarily a whole number.
        confidence: of the interval.

    Raises:
        DataError: if the share lies outside of [0, 1].
    """
    if not 0 <= share <= 1:
        message = f"a share is {share}; it lies between 0 and 1: count each unit's acts in one of its contacts only"
        raise DataError(message)
    squared = float(scipy.stats.norm.ppf((1 + confidence) / 2)) ** 2
    middle = share + squared / (2 * units)
    half = math.sqrt(squared * (share * (1 - share) / units + squared / (4 * units**2)))
    lower, upper = ((middle + sign * half) / (1 + squared / units) for sign in (-1, 1))
    # At 0 and 1 the bound is the share itself, whatever rounding leaves.
    return Interval(share, 0.0 if share == 0 else max(lower, 0.0), 1.0 if share == 1 else min(upper, 1.0))


def calibration_p_value(probabilities: ArrayLike, acted: ArrayLike) -> float:
    """Return how likely so large a departure from what was predicted is, were the probabilities right.

    Spiegelhalter's test (Probabilistic prediction in patient management and clinical trials, Statistics in Medicine,
    1986) of independent units: no bins are chosen for it. Two-sided.

    Args:
        probabilities: [units] in [0, 1].
        acted: [units] 0 or 1.

    Returns:
        NaN where there is nothing to test: no units, or none with a probability other than 0, 1/2 and 1.
    """
    predicted, happened = np.asarray(probabilities, dtype=np.float64), np.asarray(acted, dtype=np.float64)
    weights: NDArray[np.float64] = 1 - 2 * predicted
    variance = float((weights**2 * predicted * (1 - predicted)).sum())
    if not variance > 0:
        return math.nan
    z = float(((happened - predicted) * weights).sum()) / math.sqrt(variance)
    return float(2 * scipy.stats.norm.sf(abs(z)))


def _relative(control: Interval, treatment: Interval) -> Interval:
    """Return the ratio less 1; its bounds are the q at which treatment - q control has a bound at 0."""
    if control.estimate == 0:
        return Interval(math.nan, math.nan, math.nan)
    product = control.estimate * treatment.estimate
    below, above = (_square(treatment.estimate, end) for end in (treatment.lower, treatment.upper))
    largest, smallest = (_square(control.estimate, end) for end in (control.upper, control.lower))
    least = below / (product + math.sqrt(max(product**2 - largest * below, 0.0))) if product > 0 else 0.0
    most = (product + math.sqrt(max(product**2 - smallest * above, 0.0))) / smallest if smallest > 0 else math.inf
    return Interval(treatment.estimate / control.estimate - 1, least - 1, most - 1)


def _square(share: float, bound: float) -> float:
    """Return the share's square less that of the bound's distance from it."""
    return bound * (2 * share - bound)
