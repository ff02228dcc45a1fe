"""What is one metric of one ranker, without an interval?"""

import numpy as np
from numpy.typing import NDArray

from recsys.modeling.judged import Judged, JudgedLists
from recsys.modeling.offline_evaluation.figures import Resampling
from recsys.modeling.offline_evaluation.lists import rank, request_metrics
from recsys.modeling.offline_evaluation.reach import reach
from recsys.modeling.offline_evaluation.report import MODEL
from recsys.modeling.offline_evaluation.request_groups import activity
from recsys.modeling.offline_evaluation.units import figure
from recsys.specs.metric import Metric


def metric_value(judged: Judged, scores: NDArray[np.float64], metric: Metric) -> float:
    """Return a metric as `evaluate` estimates it.

    Args:
        judged: the requests, their candidates and what was taken.
        scores: [rows] larger is better; NaN stands last.
        metric: what is asked.
    """
    if isinstance(judged, JudgedLists):
        each = request_metrics(judged, rank(judged, scores, metric.size), (metric,))[str(metric)]
        return float(each[judged.relevant > 0].mean())
    parts, _ = activity(judged.history)
    found = reach(judged, {MODEL: scores}, (metric,), parts, Resampling(0, 0.95))
    return figure(found, MODEL, metric).estimate
