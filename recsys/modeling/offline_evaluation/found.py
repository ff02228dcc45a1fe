"""What do both kinds of evaluation find, before a gate decides on it?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys.modeling.offline_evaluation.figures import Figure
from recsys.modeling.offline_evaluation.report import Metrics, Segment, SourceRecall


@dataclass(frozen=True)
class Found:
    """What an evaluation found; see `OfflineReport`."""

    requests: int
    units: int
    figures: Mapping[str, Mapping[str, Figure]]
    """Metric to ranker to its figure."""
    segments: Mapping[str, tuple[Segment, ...]]
    probabilities: Metrics
    cuts: Mapping[str, float]
    coverage: Mapping[str, float] = field(default_factory=dict)
    beyond: Metrics = field(default_factory=dict)
    candidates: tuple[SourceRecall, ...] = ()
    remarks: tuple[str, ...] = ()
