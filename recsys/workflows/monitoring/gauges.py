"""How does Prometheus learn of a nightly check? A text file for node_exporter's textfile collector.

A check is a process that ends, and nobody could scrape it; the file stays, with the time of the run in it, so that a
check that no longer runs can be told too. It is written beside its place and renamed.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from recsys.decision.alerts import Alert
from recsys.decision.diagnosis import Trouble
from recsys.errors import StoreError
from recsys.workflows.monitoring.diagnose import Diagnosed
from recsys.workflows.monitoring.drift import Drifted, TooYoung
from recsys.workflows.monitoring.skew import Skewed

_BOUNDS: Final = ("estimate", "lower", "upper")


def write_skew(path: Path, done: Skewed, at: datetime) -> None:
    """Write the shares of rows that differ, and rows by cause and view.

    Args:
        path: the file; it has to end in .prom for the collector.
        done: what was found.
        at: the wall clock's time.

    Raises:
        StoreError: if the file cannot be written.
    """
    gauges = _Gauges()
    of = {"of": done.of.name}
    gauges.set("recsys_skew_rows", "Shown rows that were compared.", done.skew.rows, of)
    gauges.set("recsys_skew_share", "Share of rows that serving got wrong.", done.skew.skewed_share, of)
    gauges.set("recsys_skew_restated_share", "Share of rows restated since.", done.skew.restated_share, of)
    by_cause: dict[tuple[str, str], int] = {}
    for each in done.skew.findings:  # of a view the feature with most rows speaks
        key = str(each.cause), each.view
        by_cause[key] = max(by_cause.get(key, 0), each.rows)
    for (cause, view), rows in by_cause.items():
        gauges.set("recsys_skew_cause_rows", "Rows that differ, by cause.", rows, of | {"cause": cause, "view": view})
    gauges.write(path, "skew", done.of.name, done.alerts, at)


def write_drift(path: Path, done: Drifted | TooYoung, at: datetime) -> None:
    """Write stability indices and unknown shares by column, and the metric then and now; of young weights neither."""
    gauges, version = _Gauges(), {"model_version": done.weights.model_version}
    if isinstance(done, Drifted):
        _set_drift(gauges, version, done)
    gauges.write(path, "drift", done.weights.model_version, done.alerts, at)


def _set_drift(gauges: "_Gauges", version: Mapping[str, str], done: Drifted) -> None:
    for each in done.columns:
        column = {**version, "column": each.column}
        gauges.set("recsys_drift_psi", "Population stability index against the training set.", each.psi, column)
        gauges.set("recsys_drift_p_value", "Adjusted p-value of the two-sample test.", each.adjusted_p_value, column)
        gauges.set("recsys_drift_unknown_share", "Share of unknown values.", each.missing_now, column)
    quality = done.quality
    for when, interval in (("then", quality.then), ("now", quality.now)):
        for bound in _BOUNDS:
            labels = {**version, "metric": quality.metric, "when": when, "bound": bound}
            gauges.set("recsys_quality", "The gate's metric on matured labels.", getattr(interval, bound), labels)
    for bound in _BOUNDS:
        labels = {**version, "metric": quality.metric, "against": quality.against, "bound": bound}
        ratio = getattr(quality.over_baseline, bound)
        gauges.set("recsys_quality_over_baseline", "The paired ratio to the baseline.", ratio, labels)


def write_diagnoses(path: Path, found: Iterable[Diagnosed], at: datetime) -> None:
    """Write where the trouble is: 1 for that part of each diagnosed version, 0 for the others."""
    gauges, name = _Gauges(), ""
    alerts: list[Alert] = []
    for each in found:
        name = each.name
        alerts += each.alerts
        for trouble in Trouble:
            labels = {"of": each.name, "model_version": each.version, "trouble": str(trouble)}
            here = float(each.diagnosis.trouble == trouble)
            gauges.set("recsys_trouble", "Where the trouble is.", here, labels)
    gauges.write(path, "diagnose", name, alerts, at)


class _Gauges:
    """Gauges of one file, each made at its first value."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

    def set(self, name: str, help_text: str, value: float, labels: Mapping[str, str]) -> None:
        """Set one sample."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, help_text, list(labels), registry=self._registry)
        self._gauges[name].labels(**labels).set(value)

    def write(self, path: Path, check: str, of: str, alerts: Iterable[Alert], at: datetime) -> None:
        """Add how many alerts there are and when they were looked for, and write the file."""
        labels = {"check": check, "of": of}
        self.set("recsys_monitor_alerts", "Limits of the monitor that were passed.", len(list(alerts)), labels)
        self.set("recsys_monitor_run_timestamp_seconds", "When the check ran, Unix time.", at.timestamp(), labels)
        try:
            write_to_textfile(str(path), self._registry)
        except OSError as error:
            message = f"{path}: gauges cannot be written: {error.strerror or error}; name a folder that is there"
            raise StoreError(message) from error
