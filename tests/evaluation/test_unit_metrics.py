"""Requests become unit rows: every figure here is counted by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import schema
from recsys.errors import ExperimentError
from recsys.evaluation.metric_definition import MetricDefinition, metric_definitions
from recsys.evaluation.unit_metrics import LogTables, UnitMetrics, unit_metrics
from recsys.specs.experiment import Experiment
from tests.fakes.engine import FakeEngine

START = datetime(2017, 12, 4, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
EXPERIMENT = Experiment.model_validate(
    {
        "hypothesis": "better",
        "placement": "home",
        "seed": "home:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.5},
            "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.5},
        },
        "metrics": {
            "primary": {"name": "precision@4", "minimum_effect": 0.08},
            "guardrails": [{"name": "mrr@4", "margin": 0.05}],
            "secondary": ["recall@4", "hit_rate@4", "precision@2"],
            "covariate_weeks": 2,
        },
        "plan": {"units": 2, "start": "2017-12-04", "weeks": 2},
    }
)
EXPOSURE_TYPES = {
    "request_id": pa.string(),
    "user_id": pa.string(),
    "session_id": pa.string(),
    "experiment": pa.string(),
    "arm": pa.string(),
    "overridden": pa.bool_(),
    "model_version": pa.string(),
    "weights": pa.int64(),
    "fallback": pa.string(),
    "event_timestamp": schema.TIMESTAMP,
}


def exposure(request: str, user: str, at: datetime, arm: str | None = "control", **fields: object) -> dict[str, Any]:
    """Return one row of the event log; without an arm it is default traffic."""
    return {
        "request_id": request,
        "user_id": user,
        "session_id": f"s-{request}",
        "experiment": "e" if arm else None,
        "arm": arm,
        "overridden": False,
        "model_version": "basket/v2" if arm == "treatment" else "basket/v1",
        "weights": 1,
        "fallback": None,
        "event_timestamp": at,
    } | fields


def purchase(user: str, item: str | None, at: datetime, quantity: float = 1.0, **fields: object) -> dict[str, Any]:
    """Return one outcome."""
    identity = f"{user}-{item}-{at.isoformat()}"
    return {
        "event_id": identity,
        "event_type": "purchase",
        "user_id": user,
        "item_id": item,
        "session_id": None,
        "quantity": quantity,
        "value": 1.0,
        "event_timestamp": at,
        "created_timestamp": at,
    } | fields


def log(exposures: list[dict[str, Any]], outcomes: list[dict[str, Any]], shown: str = "abcd") -> LogTables:
    """Return a log in which every request showed the same items."""
    slots = [
        {
            "request_id": row["request_id"],
            "position": position,
            "item_id": item,
            "score": 1.0,
            "propensity": 1.0,
        }
        for row in exposures
        for position, item in enumerate(shown, start=1)
    ]
    slot_schema = pa.schema(
        [
            ("request_id", pa.string()),
            ("position", pa.int64()),
            ("item_id", pa.string()),
            ("score", pa.float64()),
        ]
    )
    return LogTables(
        exposures=pa.Table.from_pylist(exposures, pa.schema(list(EXPOSURE_TYPES.items()))),
        impressions=pa.Table.from_pylist(slots, slot_schema),
        outcomes=pa.Table.from_pylist(outcomes, schema.EVENTS),
    )


def measure(tables: LogTables, *, now: datetime = START + 3 * WEEK, default_model: str | None = None) -> UnitMetrics:
    """Measure under the horizon of one week."""
    return unit_metrics(FakeEngine(), "e", EXPERIMENT, tables, now=now, horizon=WEEK, default_model=default_model)


def unit_row(metrics: UnitMetrics, unit: str) -> dict[str, Any]:
    """Return the row of one unit."""
    (row,) = (row for row in metrics.units.to_pylist() if row["unit"] == unit)
    return dict(row)


def test_every_metric_by_hand() -> None:
    exposures = [exposure("r1", "u", START), exposure("r2", "u", START + 2 * DAY)]
    outcomes = [
        purchase("u", "b", START + DAY),  # in the window of r1 only
        purchase("u", "d", START + 3 * DAY),  # of both
        purchase("u", "d", START + 4 * DAY),  # again: an item counts once a request
        purchase("u", "z", START + 3 * DAY),  # bought, not shown
        purchase("u", "a", START + 3 * DAY, quantity=0.0),  # nothing was taken
        purchase("u", "a", START + 3 * DAY, event_type="click"),
        purchase("other", "a", START + 3 * DAY),
    ]
    row = unit_row(measure(log(exposures, outcomes)), "u")
    assert row["requests"] == row["exposures"] == 2
    assert row["first_exposure"] == START
    assert row["arm"] == "control"
    expected = {
        "precision@4": (2 / 4 + 1 / 4, 2),
        "precision@2": (1 / 2 + 0, 2),
        "mrr@4": (1 / 2 + 1 / 4, 2),
        "recall@4": (2 / 3 + 1 / 2, 2),
        "hit_rate@4": (2, 2),
        "order_rate": (2, 2),
    }
    for name, (numerator, denominator) in expected.items():
        assert row[f"{name}:numerator"] == pytest.approx(numerator), name
        assert row[f"{name}:denominator"] == denominator, name
        assert row[f"{name}:covariate_denominator"] == 0


def test_request_without_purchase_counts_zero_except_in_recall() -> None:
    row = unit_row(measure(log([exposure("r1", "u", START)], [])), "u")
    for name in ("precision@4", "mrr@4", "hit_rate@4", "order_rate"):
        assert (row[f"{name}:numerator"], row[f"{name}:denominator"]) == (0.0, 1.0)
    assert row["recall@4:denominator"] == 0.0


def test_window_is_open_at_the_request_and_closed_at_the_horizon() -> None:
    exposures = [exposure("r1", "u", START), exposure("r2", "v", START)]
    outcomes = [purchase("u", "a", START), purchase("v", "a", START + WEEK)]
    metrics = measure(log(exposures, outcomes))
    assert unit_row(metrics, "u")["precision@4:numerator"] == 0.0
    assert unit_row(metrics, "v")["precision@4:numerator"] == 0.25
    late = measure(log(exposures, [purchase("v", "a", START + WEEK + timedelta(microseconds=1))]))
    assert unit_row(late, "v")["precision@4:numerator"] == 0.0


def test_open_windows_are_exposed_and_not_counted() -> None:
    exposures = [
        exposure("r1", "u", START),
        exposure("r2", "u", START + WEEK),
        exposure("r3", "u", START + WEEK + timedelta(microseconds=1)),
        exposure("r4", "v", START + WEEK + DAY),
    ]
    outcomes = [purchase("u", "a", START + WEEK + DAY)]
    metrics = measure(log(exposures, outcomes))
    assert metrics.until == START + 2 * WEEK
    row = unit_row(metrics, "u")
    assert (row["exposures"], row["requests"]) == (3, 2)
    assert row["precision@4:numerator"] == 0.25
    assert unit_row(metrics, "v")["requests"] == 0
    running = measure(log(exposures, outcomes), now=START + WEEK + DAY)
    assert (unit_row(running, "u")["exposures"], unit_row(running, "u")["requests"]) == (3, 1)
    assert [row["unit"] for row in running.units.to_pylist()] == ["u"]


def test_testers_other_experiments_and_other_times_are_left_out() -> None:
    exposures = [
        exposure("r1", "tester", START, overridden=True),
        exposure("r2", "x", START, experiment="other"),
        exposure("r3", "early", START - timedelta(microseconds=1)),
        exposure("r4", "late", START + 2 * WEEK),
        exposure("r5", "nobody", START, user_id=None),
        exposure("r6", "default", START, None),
    ]
    assert measure(log(exposures, [])).units.num_rows == 0


def test_covariate_takes_closed_windows_of_the_default_model_before_the_start() -> None:
    exposures = [
        exposure("r1", "u", START),
        exposure("p1", "u", START - 2 * WEEK, None),  # counts, bought a
        exposure("p2", "u", START - WEEK, None),  # counts: its window closes at the start
        exposure("p3", "u", START - WEEK + DAY, None),  # its window reaches into the experiment
        exposure("p4", "u", START - 2 * WEEK - DAY, None),  # before the pre-period
        exposure("p5", "u", START - WEEK, None, model_version="other/v1"),
        exposure("p6", "u", START - WEEK, None, model_version=None, fallback="popular"),
        exposure("p7", "u", START - WEEK, experiment="earlier"),
        exposure("p8", "u", START - WEEK, None, model_version="basketball/v1"),
    ]
    outcomes = [purchase("u", "a", START - 2 * WEEK + DAY), purchase("u", "b", START + DAY)]
    row = unit_row(measure(log(exposures, outcomes), default_model="basket"), "u")
    assert row["precision@4:covariate_numerator"] == 0.25
    assert row["precision@4:covariate_denominator"] == 2.0
    assert row["recall@4:covariate_denominator"] == 1.0
    assert row["precision@4:numerator"] == 0.25
    assert row["requests"] == row["exposures"] == 1
    exact = unit_row(measure(log(exposures, outcomes), default_model="basket/v1"), "u")
    assert exact["precision@4:covariate_denominator"] == 2.0
    everything = unit_row(measure(log(exposures, outcomes)), "u")
    assert everything["precision@4:covariate_denominator"] == 5.0


def test_unit_in_several_arms_keeps_the_first_and_is_marked() -> None:
    exposures = [exposure("r1", "u", START + DAY, "treatment"), exposure("r2", "u", START, "control")]
    row = unit_row(measure(log(exposures, [])), "u")
    assert row["arm"] == "control"
    assert row["several_arms"]


def test_sessions_as_units_join_outcomes_by_session() -> None:
    by_session = EXPERIMENT.model_copy(update={"unit": "session_id"})
    exposures = [exposure("r1", "u", START), exposure("r2", "u", START)]
    outcomes = [purchase("u", "a", START + DAY, session_id="s-r1")]
    metrics = unit_metrics(FakeEngine(), "e", by_session, log(exposures, outcomes), now=START + 3 * WEEK, horizon=WEEK)
    assert unit_row(metrics, "s-r1")["precision@4:numerator"] == 0.25
    assert unit_row(metrics, "s-r2")["precision@4:numerator"] == 0.0


def test_outcome_without_item_is_an_order_of_nothing_shown() -> None:
    row = unit_row(measure(log([exposure("r1", "u", START)], [purchase("u", None, START + DAY)])), "u")
    assert row["order_rate:numerator"] == 1.0
    assert row["hit_rate@4:numerator"] == 0.0


def test_days_and_weights() -> None:
    exposures = [
        exposure("r1", "u", START),
        exposure("r2", "v", START + 25 * timedelta(hours=1), "treatment", weights=7),
        exposure("r3", "w", START + 26 * timedelta(hours=1), "treatment", weights=8),
    ]
    metrics = measure(log(exposures, [purchase("v", "a", START + 2 * DAY)]))
    days = [(row["arm"], row["day"], row["requests"], row["precision@4:numerator"]) for row in metrics.days.to_pylist()]
    assert days == [("control", 0, 1, 0.0), ("treatment", 1, 2, 0.25)]
    assert [tuple(row.values()) for row in metrics.weights.to_pylist()] == [
        ("control", "basket/v1", 1, 1),
        ("treatment", "basket/v2", 7, 1),
        ("treatment", "basket/v2", 8, 1),
    ]


def test_parquet_gives_the_same(tmp_path: Path) -> None:
    tables = log([exposure("r1", "u", START)], [purchase("u", "a", START + DAY)])
    paths = {}
    for name in ("exposures", "impressions", "outcomes"):
        paths[name] = tmp_path / f"{name}.parquet"
        pq.write_table(getattr(tables, name), paths[name])
    assert measure(LogTables(**paths)).units.equals(measure(tables).units)


@pytest.mark.parametrize("name", ["ndcg@10", "precision", "precision@0", "order_rate@3", "Precision@10", "", "mrr@10 "])
def test_unknown_metric_lists_those_that_exist(name: str) -> None:
    with pytest.raises(ExperimentError, match=r"precision@k, recall@k, hit_rate@k, mrr@k, order_rate"):
        MetricDefinition.parse(name)


def test_definitions_are_distinct_and_end_in_the_check() -> None:
    names = [metric.name for metric in metric_definitions(EXPERIMENT)]
    assert names == ["precision@4", "mrr@4", "recall@4", "hit_rate@4", "precision@2", "order_rate"]
    assert MetricDefinition.parse("mrr@10") == MetricDefinition("mrr@10", "mrr", 10)
