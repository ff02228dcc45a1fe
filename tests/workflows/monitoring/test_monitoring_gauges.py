"""Does a nightly check leave gauges that Prometheus reads, and when it ran?"""

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recsys.decision.alerts import Alert
from recsys.decision.diagnosis import Evidence, diagnose
from recsys.errors import StoreError
from recsys.evaluation.skew.causes import Cause
from recsys.evaluation.skew.findings import Finding, Skew
from recsys.ports import Weights
from recsys.specs.monitor import Monitor
from recsys.workflows.monitoring.diagnose import Diagnosed
from recsys.workflows.monitoring.drift import TooYoung
from recsys.workflows.monitoring.gauges import write_diagnoses, write_drift, write_skew
from recsys.workflows.monitoring.monitored import Monitored
from recsys.workflows.monitoring.signals import Figure
from recsys.workflows.monitoring.skew import Skewed

NOW = datetime(2024, 1, 8, 2, 30, tzinfo=UTC)
OF = Monitored("basket", None, "basket", None, ("home",), (), NOW, NOW, Monitor())


def samples(path: Path) -> dict[tuple[str, frozenset[str]], float]:
    """Return every sample of a file: name and label values to its value."""
    families = text_string_to_metric_families(path.read_text())
    return {(each.name, frozenset(each.labels.values())): each.value for family in families for each in family.samples}


def test_skew_is_told_by_cause_and_view(tmp_path: Path) -> None:
    findings = tuple(
        Finding(Cause.LATE, "user_item", name, rows, 1, "a row") for name, rows in (("one", 3), ("two", 5))
    )
    alert = Alert("skew", "basket", 0.05, 0.0, "skew")
    path = tmp_path / "recsys_skew.prom"
    write_skew(path, Skewed(OF, 100, 0, (), Skew(10, 100, 5, 2, findings), (alert,)), NOW)
    told = samples(path)
    assert told["recsys_skew_share", frozenset({"basket"})] == pytest.approx(0.05)
    assert told["recsys_skew_restated_share", frozenset({"basket"})] == pytest.approx(0.02)
    assert told["recsys_skew_cause_rows", frozenset({"basket", "late materialize", "user_item"})] == 5
    assert told["recsys_monitor_alerts", frozenset({"skew", "basket"})] == 1
    assert told["recsys_monitor_run_timestamp_seconds", frozenset({"skew", "basket"})] == NOW.timestamp()
    assert list(tmp_path.iterdir()) == [path]


def test_the_part_where_the_trouble_is_stands_at_1(tmp_path: Path) -> None:
    figure = Figure("bad", "a metric")
    made = diagnose("bad", "bad", "bad", Evidence(), name="basket", version="basket/v2")
    path = tmp_path / "recsys_diagnose.prom"
    write_diagnoses(path, [Diagnosed("basket", None, "basket/v2", "now", figure, figure, figure, made, ())], NOW)
    told = {labels: value for (name, labels), value in samples(path).items() if name == "recsys_trouble"}
    assert sum(told.values()) == told[frozenset({"basket", "basket/v2", "model"})] == 1
    assert len(told) == 8


def test_weights_that_are_too_young_still_say_that_the_check_ran(tmp_path: Path) -> None:
    weights = Weights(model="basket", number=1, version="v2", tags={})
    path = tmp_path / "recsys_drift.prom"
    write_drift(path, TooYoung(weights, NOW, NOW), NOW)
    told = samples(path)
    assert told["recsys_monitor_alerts", frozenset({"drift", "basket/v2"})] == 0
    assert not math.isnan(told["recsys_monitor_run_timestamp_seconds", frozenset({"drift", "basket/v2"})])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = Skewed(OF, 100, 0, (), Skew(10, 100, 0, 0), ())
    with pytest.raises(StoreError, match="gauges cannot be written: No such file or directory"):
        write_skew(tmp_path / "nowhere" / "recsys_skew.prom", done, NOW)
