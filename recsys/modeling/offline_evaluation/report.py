"""What does an offline evaluation say, and how is it written as JSON?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, Literal

from recsys.statistics.bootstrap import Interval

MODEL: Final = "model"
"""The name of the ranker under evaluation, beside its baselines."""

_BOUNDS: Final = tuple(each.name for each in fields(Interval))

Metrics = Mapping[str, Mapping[str, Interval]]
"""Ranker to metric to its value."""


@dataclass(frozen=True)
class GateResult:
    """Whether a version may be served, and why."""

    passed: bool
    reason: str
    """One sentence with the figures."""
    ratio: Interval
    """The paired ratio of the gate's metric, model over baseline, at the gate's confidence."""
    metric: str = ""
    against: str = ""
    minimum_ratio: float = 1.0
    confidence: float = 0.95


@dataclass(frozen=True)
class Segment:
    """The rankers on a part of what was judged."""

    name: str
    """Such as 2017-11-13, new, or a category."""
    share: float
    """Of the requests, units or taken items of the whole."""
    sizes: Mapping[str, int]
    """How many requests and units, or taken items, it has."""
    metrics: Metrics


@dataclass(frozen=True)
class SourceRecall:
    """What one source of candidates, or all together, found."""

    source: str
    """Its name; `union` for all together."""
    recall: Interval
    """Mean over requests of the share of taken items that were candidates: no recall@k is larger than the union's."""
    share: Interval
    """Of all taken items together, those that were candidates."""
    only: Interval
    """Of all taken items together, those that no other source found."""
    candidates: Interval
    """Mean candidates a request."""


@dataclass(frozen=True)
class OfflineReport:
    """Every ranker's metrics on the same requests."""

    kind: Literal["lists", "units"]
    """lists: of items, one a unit and decision time; units: one list of units a decision time."""
    requests: int
    """With anything relevant; of units, the decision times."""
    units: int
    resamples: int
    confidence: float
    """Of all intervals but the gate's."""
    metrics: Metrics
    """Ranker to metric (`ndcg@10/user`) to its value with a unit-clustered interval."""
    ratios: Mapping[str, Interval]
    """Baseline to the paired ratio of the gate's metric, model over baseline."""
    metric_ratios: Metrics
    """Metric to baseline to the paired ratio, model over baseline."""
    coverage: Mapping[str, float]
    """Ranker to the share of the pool's items that stood in some list of the largest size; empty for units."""
    gate: GateResult
    segments: Mapping[str, tuple[Segment, ...]] = field(default_factory=dict)
    """split, decision_time, activity, item_age and category to their segments, as far as there are any."""
    beyond: Metrics = field(default_factory=dict)
    """Ranker to coverage@k (without bounds), novelty@k and diversity@k; empty for units."""
    candidates: tuple[SourceRecall, ...] = ()
    """The union first, then each source; empty for units."""
    probabilities: Metrics = field(default_factory=dict)
    """Ranker to auc, and where its scores are probabilities log_loss and brier, over all rows."""
    cuts: Mapping[str, float] = field(default_factory=dict)
    """activity: units with more earlier events than this are heavy; eligible: the smallest list of units."""
    remarks: tuple[str, ...] = ()
    """What a reader should know before believing a figure."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a number that is not finite is null."""
        plain: dict[str, Any] = plain_values(self)
        return plain


def read_interval(said: Mapping[str, float | None]) -> Interval:
    """Return the interval that `plain_values` wrote."""
    estimate, lower, upper = (math.nan if (value := said[name]) is None else value for name in _BOUNDS)
    return Interval(estimate, lower, upper)


def plain_values(value: Any) -> Any:  # noqa: ANN401
    """Turn results into what JSON holds: dataclasses into objects, tuples into lists, non-finite numbers into null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain_values(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain_values(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
