"""What is worth waking somebody for? What was found, against the limits of the model's monitor."""

from dataclasses import dataclass
from typing import Final

from recsys.evaluation.skew import BENIGN, Skew
from recsys.specs.monitor import SkewLimits

ALERT_EXIT: Final = 3
"""Exit code of a check that found something beyond a limit; 0 nothing, 1 refused or failed, 2 bad usage."""


@dataclass(frozen=True)
class Alert:
    """One limit that was passed."""

    check: str
    """skew, drift or quality."""
    subject: str
    """What it is about, such as a view, a column or a metric."""
    value: float
    limit: float
    message: str
    """One line: what, its value and the limit."""


def skew_alerts(name: str, found: Skew, limits: SkewLimits) -> tuple[Alert, ...]:
    """Compare the shares of rows that differ with what the monitor allows.

    Args:
        name: what was looked at.
        found: the comparison.
        limits: of the monitor.
    """
    alerts = []
    if found.skewed_share > limits.maximum_share:
        worst = next(each for each in found.findings if each.cause not in BENIGN)
        message = (
            f"skew: {found.skewed_rows:,} of {found.rows:,} rows ({found.skewed_share:.1%}) were answered with other"
            f" features than the offline tables give, most by {worst.cause} of {worst.view};"
            f" skew.maximum_share is {limits.maximum_share:.1%}"
        )
        alerts.append(Alert("skew", name, found.skewed_share, limits.maximum_share, message))
    if found.restated_share > limits.maximum_restated_share:
        message = (
            f"skew: {found.restated_rows:,} of {found.rows:,} rows ({found.restated_share:.1%}) were restated since;"
            f" skew.maximum_restated_share is {limits.maximum_restated_share:.1%}"
        )
        alerts.append(Alert("skew", name, found.restated_share, limits.maximum_restated_share, message))
    return tuple(alerts)
