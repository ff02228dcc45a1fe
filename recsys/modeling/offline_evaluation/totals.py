"""Do predicted amounts add up to what came?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.modeling.offline_evaluation.figures import UnitSums
from recsys.statistics.bootstrap import Interval


def total_ratio(
    predicted: NDArray[np.float64], labels: NDArray[Any], units: NDArray[Any], *, resamples: int, confidence: float
) -> Interval:
    """Return the sum of what was predicted over the sum of what came, with an interval that draws the units.

    Args:
        predicted: [rows] amounts or counts.
        labels: [rows] in the same unit.
        units: [rows] whose row it is.
        resamples: draws of the units.
        confidence: two-sided.

    Returns:
        1 where predictions are right in total; not a number where nothing came.
    """
    names, codes = np.unique(np.asarray(units).astype(str), return_inverse=True)
    sums = UnitSums(codes.astype(np.int64), len(names), resamples)
    sums.add("predicted", predicted)
    sums.add("observed", np.asarray(labels, dtype=np.float64))
    return sums.mean("predicted", "observed").interval(confidence)
