"""What did `recsys drift` find, in types and as JSON?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from recsys.decision.alerts import Alert
from recsys.evaluation.correlation_drift import Correlated
from recsys.evaluation.drift import ColumnDrift
from recsys.evaluation.quality import Quality
from recsys.modeling.offline_evaluation import OfflineReport, plain_values
from recsys.ports import Weights
from recsys.specs.monitor import Monitor


@dataclass(frozen=True)
class Drifted:
    """How recent rows differ from those of the training set, and how good the model is on them."""

    weights: Weights
    before: tuple[datetime, ...]
    """Decision times of the reference: those of the newest split."""
    now: tuple[datetime, ...]
    """Matured decision times since."""
    left_out: tuple[datetime, ...]
    """Decision times whose labels should be mature, and events ended before."""
    columns: tuple[ColumnDrift, ...]
    """Features, then score, what units did, candidate sources, taken items a request, as far as there are any."""
    correlated: tuple[Correlated, ...]
    """Largest change first."""
    profiles: Mapping[str, Sequence[Mapping[str, Any]]]
    """before and now: an entry a decision time, with shares of unknown values and ages by view."""
    report: OfflineReport
    """On the recent weeks."""
    quality: Quality
    limits: Monitor
    leaks: tuple[str, ...]
    """What the check of the recent rows found, which is nothing in a sound system."""
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class TooYoung:
    """Weights that nothing can be said of yet: no decision since their training has a mature label."""

    weights: Weights
    last: datetime
    """The newest decision time that they were judged on at their training."""
    first: datetime
    """When the label of the next one is mature."""
    alerts: tuple[Alert, ...] = ()
    """None: it is as it should be."""

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"{self.weights.model_version} (weights {self.weights.number}): judged on decisions up to"
            f" {self.last:%Y-%m-%d} when it was trained; the label of the next one is mature at {self.first:%Y-%m-%d}"
        )


def document(done: Drifted | TooYoung) -> dict[str, Any]:
    """Return a comparison as JSON values; of weights that are too young only when the first label is mature."""
    named = {"model_version": done.weights.model_version, "weights": done.weights.number}
    if isinstance(done, TooYoung):
        return named | {"now": [], "first_label_at": done.first.isoformat(), "alerts": []}
    return named | {
        "before": [time.isoformat() for time in done.before],
        "now": [time.isoformat() for time in done.now],
        "left_out": [time.isoformat() for time in done.left_out],
        "columns": plain_values(done.columns),
        "correlations": [plain_values(each) | {"change": plain_values(each.change)} for each in done.correlated],
        "profiles": {name: list(entries) for name, entries in done.profiles.items()},
        "quality": plain_values(done.quality) | {"standing": done.quality.standing(done.limits.quality.minimum_ratio)},
        "evaluation": done.report.to_dict(),
        "leaks": list(done.leaks),
        "alerts": [plain_values(asdict(alert)) for alert in done.alerts],
    }
