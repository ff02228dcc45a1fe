"""How good are rankers on past requests, how sure is that, and does a new one earn its place?

In the order of their use: `figures` (sums over units, drawn together, so that all ratios are paired), `lists` with
`request_groups`, `item_segments`, `beyond` and `candidates`, `units` with `reach`, `probabilities`, `gate`, `report`,
`evaluate`; beside them `point`, one metric alone, `totals` of amounts, and `ablation` and
`correlation` of features.
"""

from recsys.modeling.judged import Judged, JudgedLists, JudgedUnits
from recsys.modeling.offline_evaluation.ablation import Ablated, ablation
from recsys.modeling.offline_evaluation.correlation import Correlation, drawn_rows, feature_correlation
from recsys.modeling.offline_evaluation.evaluate import evaluate
from recsys.modeling.offline_evaluation.gate import not_a_selection
from recsys.modeling.offline_evaluation.point import metric_value
from recsys.modeling.offline_evaluation.probabilities import Reliability, reliability
from recsys.modeling.offline_evaluation.report import (
    MODEL,
    GateResult,
    OfflineReport,
    Segment,
    SourceRecall,
    plain_values,
    read_interval,
)
from recsys.modeling.offline_evaluation.totals import total_ratio

__all__ = [
    "MODEL",
    "Ablated",
    "Correlation",
    "GateResult",
    "Judged",
    "JudgedLists",
    "JudgedUnits",
    "OfflineReport",
    "Reliability",
    "Segment",
    "SourceRecall",
    "ablation",
    "drawn_rows",
    "evaluate",
    "feature_correlation",
    "metric_value",
    "not_a_selection",
    "plain_values",
    "read_interval",
    "reliability",
    "total_ratio",
]
