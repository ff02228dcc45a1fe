"""Is a model still as good as when it was judged, and still better than what it was judged beside?"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from recsys.statistics.bootstrap import Interval

Standing = Literal["good", "bad", "unclear"]


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
    calibration_error: float | None = None
    """Expected calibration error now, where scores are probabilities."""

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
