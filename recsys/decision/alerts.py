"""What is worth waking somebody for? What was found, against the limits of the model's monitor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from recsys.evaluation.correlation_drift import LABEL, Correlated
from recsys.evaluation.drift import ColumnDrift
from recsys.evaluation.quality import Quality
from recsys.evaluation.silence import Silence
from recsys.evaluation.skew.causes import BENIGN
from recsys.evaluation.skew.findings import Skew
from recsys.specs.monitor import DriftLimits, QualityLimits, SkewLimits

ALERT_EXIT: Final = 3
"""Exit code of a check that found something beyond a limit; 0 nothing, 1 refused or failed, 2 bad usage."""
SURELY: Final = 0.01
"""From this p-value down probabilities are said to be off."""


@dataclass(frozen=True)
class Alert:
    """One limit that was passed."""

    check: str
    """skew, drift, quality, events or diagnose."""
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


def drift_alerts(
    columns: Sequence[ColumnDrift], correlated: Sequence[Correlated], limits: DriftLimits
) -> tuple[Alert, ...]:
    """Compare how far columns moved with what the monitor allows.

    Args:
        columns: features, scores, labels and candidate sources.
        correlated: of columns with the label, and among each other; the latter are told and never alert.
        limits: of the monitor; what passes one alerts only where chance is no explanation.
    """
    alerts, rate = [], limits.false_discovery_rate
    for each in (column for column in columns if column.moved(rate)):
        if each.psi > limits.maximum_psi:
            message = (
                f"drift: {each.column}: population stability index {each.psi:.3f} (adjusted p"
                f" {each.adjusted_p_value:.2g}); drift.maximum_psi is {limits.maximum_psi:g}"
            )
            alerts.append(Alert("drift", each.column, each.psi, limits.maximum_psi, message))
        rise = each.missing_now - each.missing_before
        if rise > limits.maximum_missing_rise:
            message = (
                f"drift: {each.column}: unknown in {each.missing_now:.1%} of the rows, before in"
                f" {each.missing_before:.1%}; drift.maximum_missing_rise is {limits.maximum_missing_rise:.1%}"
            )
            alerts.append(Alert("drift", each.column, rise, limits.maximum_missing_rise, message))
    for pair in (pair for pair in correlated if pair.other == LABEL and pair.moved(rate)):
        if abs(pair.change) > limits.maximum_correlation_change:
            message = (
                f"drift: {pair.column}: rank correlation with the label {pair.now:+.3f}, before {pair.before:+.3f}"
                f" (adjusted p {pair.adjusted_p_value:.2g});"
                f" drift.maximum_correlation_change is {limits.maximum_correlation_change:g}"
            )
            alerts.append(Alert("drift", pair.column, abs(pair.change), limits.maximum_correlation_change, message))
    return tuple(alerts)


def quality_alerts(found: Quality, limits: QualityLimits) -> tuple[Alert, ...]:
    """Compare the offline metric on matured labels with what it was.

    Args:
        found: the metric then and now.
        limits: of the monitor.
    """
    alerts = []
    if found.ratio.upper < limits.minimum_ratio:
        message = (
            f"quality: {found.metric} is {found.now.estimate:.4f}, {found.ratio.estimate:.2f} of the"
            f" {found.then.estimate:.4f} that it was judged with, surely below quality.minimum_ratio"
            f" {limits.minimum_ratio:g} (upper bound {found.ratio.upper:.2f})"
        )
        alerts.append(Alert("quality", found.metric, found.ratio.estimate, limits.minimum_ratio, message))
    if found.over_baseline.upper < 1:
        message = (
            f"quality: {found.metric} is {found.over_baseline.estimate:.2f} of {found.against}'s, surely below it"
            f" (upper bound {found.over_baseline.upper:.2f})"
        )
        alerts.append(Alert("quality", found.metric, found.over_baseline.estimate, 1.0, message))
    off = found.calibration
    if off is not None and off.error > limits.maximum_calibration_error and off.p_value <= SURELY:
        message = (
            f"quality: probabilities are off by {off.error:.3f} on average (p {off.p_value:.2g});"
            f" quality.maximum_calibration_error is {limits.maximum_calibration_error:g}"
        )
        alerts.append(Alert("quality", "calibration", off.error, limits.maximum_calibration_error, message))
    return tuple(alerts)


def silence_alerts(left_out: Sequence[datetime], silences: Sequence[Silence]) -> tuple[Alert, ...]:
    """Tell of events that ended before the labels of the newest decisions were complete.

    Args:
        left_out: decision times whose labels should be mature, ascending.
        silences: of the events that ended; empty where none did.
    """
    return tuple(
        Alert(
            "events",
            each.of,
            each.days,
            each.longest_days,
            f"events: no {each.of} is known since {each.newest:%Y-%m-%d %H:%M}, {each.days:.1f} days, and in"
            f" the half year before no silence was longer than {each.longest_days:.1f}: decisions from"
            f" {left_out[0]:%Y-%m-%d} on are left out; run `recsys ingest`, or look why no more come",
        )
        for each in silences
    )
