"""Which of CatBoost's metrics watches a fit that stops by the gate's metric?

CatBoost's figures are of the validation rows, so they need not equal the report's: there the ideal list and the recall
count every item that was taken, candidate or not. What watches only has to rise where the gate's metric does.
"""

from typing import Final

from recsys.errors import ModelError
from recsys.specs.metric import Metric
from recsys.specs.model import CatBoostAlgorithm

_WATCHES: Final = {
    ("ndcg", "user"): "NDCG:top={size};type=Base;denominator=LogPosition",
    ("precision", "user"): "PrecisionAt:top={size}",
    ("recall", "user"): "RecallAt:top={size}",
    ("map", "user"): "MAP:top={size}",
    ("mrr", "user"): "MRR:top={size}",
    # A request of one list of units is a decision time: its first `size` units are the campaign.
    ("precision", "global"): "PrecisionAt:top={size}",
    ("recall", "global"): "RecallAt:top={size}",
}
_MEASURED: Final = frozenset({"MAE", "Poisson"})
"""Losses whose labels are counts or amounts; RMSE may have either."""


def watching_metric(algorithm: CatBoostAlgorithm, metric: Metric | None) -> str | None:
    """Return CatBoost's `eval_metric`, or None where the loss itself watches.

    It is not computed on the training rows, which would take as long again and tell nothing.

    Raises:
        ModelError: if there is no metric to stop by, or CatBoost has none like it.
    """
    if algorithm.stop_by == "loss":
        return None
    if metric is None:
        message = "algorithm.stop_by: metric: no metric was given; a fit outside a gate stops by loss"
        raise ModelError(message)
    pattern = _WATCHES.get((metric.name, metric.scope))
    if pattern is None or algorithm.loss in _MEASURED:
        known = ", ".join(sorted({f"{name}@k/{scope}" for name, scope in _WATCHES}))
        message = (
            f"algorithm.stop_by: metric: CatBoost has no metric like {metric} for loss {algorithm.loss};"
            f" it has {known}, of labels that are events; use `stop_by: loss`"
        )
        raise ModelError(message)
    return pattern.format(size=metric.size) + ";hints=skip_train~true"
