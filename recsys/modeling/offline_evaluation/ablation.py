"""What is a block of features worth beside the others?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.judged import Judged, JudgedLists
from recsys.modeling.offline_evaluation.figures import Figure, Resampling, UnitSums, unit_codes
from recsys.modeling.offline_evaluation.lists import rank, request_metrics
from recsys.modeling.offline_evaluation.reach import reach
from recsys.modeling.offline_evaluation.report import MODEL
from recsys.modeling.offline_evaluation.request_groups import activity
from recsys.modeling.offline_evaluation.units import figure
from recsys.specs.metric import Metric
from recsys.statistics.bootstrap import Interval


@dataclass(frozen=True)
class Ablated:
    """A fit without one block of features."""

    metric: Interval
    """Of the fit without the block."""
    ratio: Interval
    """Paired, without the block over the whole model: below 1 where the block is worth something."""


def ablation(
    judged: Judged,
    scores: Mapping[str, NDArray[np.float64]],
    metric: Metric,
    *,
    resamples: int,
    confidence: float,
) -> dict[str, Ablated]:
    """Compare fits without a block of features with the whole model, on the decision times that all of them scored.

    Args:
        judged: the requests, their candidates and what was taken.
        scores: [rows] of `MODEL` and of each block's fit; a decision time with a score that is not a number is left
            out, such as those of older splits.
        metric: what is compared.
        resamples: bootstrap resamples of units.
        confidence: two-sided, of the intervals.

    Raises:
        ModelError: if the model has no scores, or no decision time was scored by all.
    """
    if MODEL not in scores:
        message = f"ablation: the {MODEL} has no scores; scored were {', '.join(sorted(scores)) or 'none'}"
        raise ModelError(message)
    unscored = np.zeros(len(judged.rows), dtype=bool)
    for values in scores.values():
        unscored |= np.isnan(values)
    kept = ~np.isin(judged.moments, judged.moments[judged.rows.request[unscored]])
    if not (kept & (judged.relevant > 0)).any():
        message = "ablation: no decision time has anything relevant and was scored by every fit"
        raise ModelError(message)
    resampling = Resampling(resamples, confidence)
    if isinstance(judged, JudgedLists):
        figures = _of_lists(judged, scores, metric, resampling, kept)
    else:
        parts, _ = activity(judged.history)
        reached = reach(judged, scores, (metric,), parts, resampling)
        figures = {name: figure(reached, name, metric, np.flatnonzero(kept)) for name in scores}
    return {
        name: Ablated(each.interval(confidence), each.over(figures[MODEL]).interval(confidence))
        for name, each in figures.items()
        if name != MODEL
    }


def _of_lists(
    judged: JudgedLists,
    scores: Mapping[str, NDArray[np.float64]],
    metric: Metric,
    resampling: Resampling,
    kept: NDArray[np.bool_],
) -> dict[str, Figure]:
    codes, units = unit_codes(judged.users)
    sums = UnitSums(codes, units, resampling.resamples)
    counted = kept & (judged.relevant > 0)
    sums.add("requests", counted.astype(np.float64))
    for name, values in scores.items():
        each = request_metrics(judged, rank(judged, values, metric.size), (metric,))[str(metric)]
        sums.add(name, np.where(counted, each, 0.0))
    return {name: sums.mean(name, "requests") for name in scores}
