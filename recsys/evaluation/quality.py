"""Is a model still as good as when it was judged, and still better than what it was judged beside?"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from recsys.evaluation.drift import one_row_a_unit
from recsys.modeling.offline_evaluation import reliability
from recsys.statistics.bootstrap import Interval

Standing = Literal["good", "bad", "unclear"]

LEAST: Final = 5
"""Positives, and others, that a bin of probabilities is to expect at least for chi-square to hold."""


@dataclass(frozen=True)
class Calibration:
    """Probabilities beside what came of them."""

    error: float
    """Expected calibration error of all rows."""
    p_value: float
    """How likely so much is by chance where the probabilities are right; NaN where it cannot be told."""


@dataclass(frozen=True)
class Quality:
    """The gate's metric then, on the test weeks of the weights, and now, on matured labels since."""

    metric: str
    against: str
    """The ranker that it is paired with, on the same requests."""
    then: Interval
    now: Interval
    ratio: Interval
    """Now over then; of different weeks, so not paired."""
    over_baseline_then: Interval | None
    """The paired ratio to the other ranker, where it was judged beside it."""
    over_baseline: Interval
    """The same now."""
    calibration: Calibration | None = None
    """Now, where scores are probabilities."""
    total: Interval | None = None
    """All that was predicted now, over all that came of it, where scores are amounts or counts."""

    def standing(self, minimum_ratio: float) -> Standing:
        """Say whether the model is good now.

        Args:
            minimum_ratio: of the metric now over then, below which it is surely worse.

        Returns:
            bad where it surely fell below that, or surely below the other ranker; good where it is surely above the
            other ranker; else unclear.
        """
        if self.ratio.upper < minimum_ratio or self.over_baseline.upper < 1:
            return "bad"
        return "good" if self.over_baseline.lower > 1 else "unclear"


def calibration(
    probabilities: NDArray[np.float64], labels: NDArray[np.float32], units: NDArray[np.object_], *, seed: int = 0
) -> Calibration:
    """Say how far probabilities are off, and whether that can be chance.

    The test is Hosmer and Lemeshow's (Goodness of fit tests for the multiple logistic regression model, Communications
    in Statistics, 1980) on one row a unit, for rows of one unit are alike: over bins the sum of
    (positives - expected)^2 / (n p (1 - p)), which is chi-square with as many degrees as bins where the model was not
    fitted to these rows. Neighbouring bins are put together until each expects five positives and five others.

    Args:
        probabilities: [rows] in [0, 1].
        labels: [rows] above 0 is a positive.
        units: [rows] whose row it is.
        seed: draws the row of each unit.

    Raises:
        ModelError: if there is no row, or a probability is not a number from 0 to 1.
    """
    drawn = one_row_a_unit(units, seed)
    counts: list[tuple[float, float, int]] = []
    waiting = (0.0, 0.0, 0)
    for each in reliability(probabilities[drawn], labels[drawn]).bins:
        positives, expected, count = each.observed.estimate * each.count, each.predicted * each.count, each.count
        waiting = (waiting[0] + positives, waiting[1] + expected, waiting[2] + count)
        if min(waiting[1], waiting[2] - waiting[1]) >= LEAST:
            counts.append(waiting)
            waiting = (0.0, 0.0, 0)
    if counts and waiting[2]:  # the last ones are too few for themselves
        last = counts.pop()
        counts.append((last[0] + waiting[0], last[1] + waiting[1], last[2] + waiting[2]))
    statistic = sum((positives - mean) ** 2 / (mean * (1 - mean / count)) for positives, mean, count in counts)
    p_value = float(scipy.stats.chi2.sf(statistic, len(counts))) if counts else math.nan
    return Calibration(reliability(probabilities, labels).error, p_value)


def ratio_of_independent(first: Interval, second: Interval, confidence: float) -> Interval:
    """Return first over second with bounds, where the two were measured on different requests.

    By the log method (Katz et al., Obtaining confidence intervals for the risk ratio in cohort studies, Biometrics
    1978): the logarithms of both are taken as normal with the spread of their intervals, and as independent. Where the
    same units are behind both, as a shop's users are, that makes the bounds too wide rather than too narrow.

    Args:
        first: above 0.
        second: above 0.
        confidence: two-sided, of both intervals and of the result.
    """
    if not (first.estimate > 0 and second.estimate > 0):
        return Interval(math.nan, math.nan, math.nan)
    estimate = first.estimate / second.estimate
    if not (first.lower > 0 and second.lower > 0):
        return Interval(estimate, math.nan, math.nan)
    wide = 2 * NormalDist().inv_cdf(0.5 + confidence / 2)
    spread = math.hypot(*(math.log(each.upper / each.lower) / wide for each in (first, second)))
    reach = math.exp(spread * wide / 2)
    return Interval(estimate, estimate / reach, estimate * reach)
