"""Declared metrics count what they say: by hand, and by a slow count over requests and outcomes as they were logged."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given, settings

from recsys import schema
from recsys.errors import ExperimentError
from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.unit_metrics import LogTables, UnitMetrics, unit_metrics
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import EventCount, OnlineMetric
from tests.fakes.engine import FakeEngine

START = datetime(2017, 12, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)


def declare(*names: str, weeks: int = 2) -> Experiment:
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": "home:",
            "arms": {
                "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.5},
                "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.5},
            },
            "metrics": {
                "primary": {"name": names[0], "minimum_effect": 0.08},
                "secondary": names[1:],
                "covariate_weeks": 2,
            },
            "plan": {"units": 2, "start": "2017-12-04", "weeks": weeks},
        }
    )


def metric(numerator: Any, denominator: Any = "requests", **fields: Any) -> OnlineMetric:
    return OnlineMetric.model_validate(
        {"description": "what it says", "numerator": numerator, "denominator": denominator, **fields}
    )


def clicks(**fields: Any) -> dict[str, Any]:
    return {"event": "click", **fields}


def request(name: str, user: str, at: datetime, arm: str | None = "control", shown: str = "abcd") -> dict[str, Any]:
    return {"request_id": name, "user_id": user, "at": at, "arm": arm, "shown": shown}


def happened(kind: str, user: str, item: str | None, at: datetime, **amounts: float) -> dict[str, Any]:
    return {"event_type": kind, "user_id": user, "item_id": item, "event_timestamp": at, "quantity": 1.0, **amounts}


def log(requests: list[dict[str, Any]], outcomes: list[dict[str, Any]]) -> LogTables:
    exposures = [
        {
            "request_id": each["request_id"],
            "user_id": each["user_id"],
            "experiment": "e" if each["arm"] else None,
            "arm": each["arm"],
            "overridden": False,
            "model_version": "basket/v1",
            "weights": 1,
            "event_timestamp": each["at"],
        }
        for each in requests
    ]
    slots = [
        {"request_id": each["request_id"], "position": position, "item_id": item}
        for each in requests
        for position, item in enumerate(each["shown"], 1)
    ]
    numbered = [{"event_id": str(number), "value": 0.0} | each for number, each in enumerate(outcomes)]
    return LogTables(
        pa.Table.from_pylist(exposures, schema.EXPOSURES),
        pa.Table.from_pylist(slots, schema.IMPRESSIONS),
        pa.Table.from_pylist(numbered, schema.EVENTS),
    )


def measure(tables: LogTables, declared: dict[str, OnlineMetric], now: datetime = START + 3 * WEEK) -> UnitMetrics:
    return unit_metrics(FakeEngine(), "e", declare(*declared), tables, now=now, horizon=WEEK, declared=declared)


def sums(metrics: UnitMetrics, unit: str, name: str) -> tuple[float, float]:
    (row,) = (row for row in metrics.units.to_pylist() if row["unit"] == unit)
    return row[f"{name}:numerator"], row[f"{name}:denominator"]


def covariates(metrics: UnitMetrics, unit: str, name: str) -> tuple[float, float]:
    (row,) = (row for row in metrics.units.to_pylist() if row["unit"] == unit)
    return row[f"{name}:covariate_numerator"], row[f"{name}:covariate_denominator"]


TWO = [request("r1", "u", START), request("r2", "u", START + 2 * DAY)]


def test_every_count_by_hand() -> None:
    outcomes = [
        happened("click", "u", "b", START + HOUR),
        happened("click", "u", "b", START + 2 * HOUR),
        happened("click", "u", "z", START + 3 * HOUR),  # not shown
        happened("purchase", "u", "b", START + 3 * DAY, quantity=2.0, value=10.25),  # in both windows
        happened("purchase", "u", "z", START + 3 * DAY, quantity=3.0, value=5.5),
        happened("purchase", "u", "c", START + 3 * DAY, quantity=0.0, value=99.0),  # cancelled
        happened("purchase", "other", "b", START + 3 * DAY, value=99.0),
    ]
    bought = {"event": "purchase"}
    declared = {
        "ctr": metric(clicks(count="items"), "impressions"),
        "ctr_first": metric(clicks(count="items"), "impressions", slots=1),
        "clicks": metric(clicks()),
        "clicked": metric(clicks(count="requests")),
        "clicks_any": metric(clicks(of="any")),
        "quick": metric(clicks(of="any", within="90m")),
        "cvr": metric({**bought, "count": "items"}, clicks(count="items")),
        "pieces": metric({**bought, "count": "quantity", "of": "any"}, "units"),
        "revenue": metric({**bought, "count": "value", "of": "any"}, "units"),
        "revenue_once": metric({**bought, "count": "value", "of": "any"}, "units", attribution="last"),
        "shown_revenue": metric({**bought, "count": "value"}, "units"),
        "orders": metric({**bought, "count": "moments", "of": "any"}, "units", attribution="last"),
        "asked": metric("requests", "units"),
        "length": metric("impressions"),
    }
    measured = measure(log(TWO, outcomes), declared)
    assert {name: sums(measured, "u", name) for name in declared} == {
        "ctr": (1, 8),
        "ctr_first": (0, 2),
        "clicks": (2, 2),
        "clicked": (1, 2),
        "clicks_any": (3, 2),
        "quick": (1, 2),
        "cvr": (2, 1),
        "pieces": (10, 1),
        "revenue": (31.5, 1),
        "revenue_once": (15.75, 1),
        "shown_revenue": (20.5, 1),
        "orders": (1, 1),
        "asked": (2, 1),
        "length": (8, 2),
    }


def test_last_is_the_latest_request_that_showed_the_item() -> None:
    requests = [request("r1", "u", START), request("r2", "u", START + DAY, shown="xb"), request("r3", "u", START + DAY)]
    requests += [request("r4", "u", START + DAY + HOUR, shown="z")]
    outcomes = [happened("click", "u", "b", START + 2 * DAY)]
    declared = {
        "shown": metric(clicks(), "requests", attribution="last"),
        "first": metric(clicks(), "requests", attribution="last", slots=1),
        "two": metric(clicks(), "requests", attribution="last", slots=2),
        "every": metric(clicks()),
    }
    measured = measure(log(requests, outcomes), declared)
    assert [sums(measured, "u", name)[0] for name in declared] == [1, 0, 1, 3]
    by_request = {}
    for left_out in ("r1", "r2", "r3", "r4"):
        kept = [each | {"user_id": "v" if each["request_id"] == left_out else "u"} for each in requests]
        by_request[left_out] = sums(measure(log(kept, outcomes), declared), "u", "shown")[0]
    assert by_request == dict.fromkeys(by_request, 1)


def test_the_latest_request_takes_an_outcome_even_where_it_does_not_count_yet() -> None:
    requests = [request("r1", "u", START), request("r2", "u", START + 8 * DAY)]
    outcomes = [happened("click", "u", "a", START + 6 * DAY), happened("click", "u", "a", START + 9 * DAY)]
    declared = {"last": metric(clicks(), attribution="last")}
    assert sums(measure(log(requests, outcomes), declared, START + 10 * DAY), "u", "last") == (1, 1)
    late = [happened("click", "u", "a", START + 8 * DAY + HOUR)]
    requests[0]["at"] = START + 2 * DAY
    assert sums(measure(log(requests, late), declared, START + 10 * DAY), "u", "last") == (0, 1)


def test_the_longest_window_decides_which_requests_count_and_no_other_metric_reaches_into_it() -> None:
    declared = {
        "late": metric({"event": "purchase", "of": "any", "within": "10d"}),
        "precision@4": metric("requests"),
    }
    requests = [request("r1", "u", START), request("r2", "u", START + 5 * DAY)]
    outcomes = [happened("purchase", "u", "a", START + 9 * DAY)]
    experiment = declare("late", "precision@4")
    measured = unit_metrics(
        FakeEngine(), "e", experiment, log(requests, outcomes), now=START + 2 * WEEK, horizon=WEEK, declared=declared
    )
    assert measured.horizon == 10 * DAY
    assert sums(measured, "u", "late") == (1, 1)
    assert sums(measured, "u", "precision@4") == (0, 1)


def test_the_covariate_is_the_same_definition_before_the_start() -> None:
    requests = [*TWO, request("p1", "u", START - 2 * WEEK, None), request("p2", "u", START - WEEK, None)]
    outcomes = [
        happened("purchase", "u", "z", START - 6 * DAY, value=3.0),
        happened("purchase", "u", "z", START - 12 * DAY, value=4.0),
        happened("click", "u", "a", START - 6 * DAY),
    ]
    declared = {
        "ctr": metric(clicks(count="items"), "impressions"),
        "revenue": metric({"event": "purchase", "count": "value", "of": "any"}, "units", attribution="last"),
    }
    measured = measure(log(requests, outcomes), declared)
    assert covariates(measured, "u", "ctr") == (1, 8)
    assert covariates(measured, "u", "revenue") == (7, 1)
    assert sums(measured, "u", "revenue") == (0, 1)


def test_an_item_in_two_slots_counts_its_outcomes_once() -> None:
    declared = {"clicks": metric(clicks()), "items": metric(clicks(count="items"))}
    outcomes = [happened("click", "u", "a", START + HOUR)] * 2
    measured = measure(log([request("r1", "u", START, shown="aba")], outcomes), declared)
    assert sums(measured, "u", "clicks") == (2, 1)
    assert sums(measured, "u", "items") == (1, 1)


def test_days_have_their_own_units() -> None:
    declared = {"revenue": metric({"event": "purchase", "count": "value", "of": "any"}, "units", attribution="last")}
    requests = [*TWO, request("r3", "v", START)]
    outcomes = [happened("purchase", "u", "z", START + HOUR, value=3.0)]
    days = measure(log(requests, outcomes), declared).days.to_pylist()
    assert [(row["day"], row["revenue:numerator"], row["revenue:denominator"]) for row in days] == [
        (0, 3, 2),
        (2, 0, 1),
    ]


def test_an_amount_that_is_no_number_adds_nothing() -> None:
    declared = {"revenue": metric({"event": "purchase", "count": "value", "of": "any"}, "units")}
    outcomes = [happened("purchase", "u", "z", START + HOUR, value=value) for value in (float("nan"), 0.1, 0.2)]
    assert sums(measure(log(TWO[:1], outcomes), declared), "u", "revenue") == (0.3, 1)


counts = st.builds(
    EventCount,
    event=st.sampled_from(["click", "purchase"]),
    of=st.sampled_from(["shown", "any"]),
    count=st.sampled_from(["events", "items", "requests", "moments", "quantity", "value"]),
    within=st.sampled_from([None, 3 * HOUR]),
)
times = st.integers(0, 30).map(lambda hours: START + hours * HOUR)
seen = st.builds(
    lambda user, at, shown: request("", user, at, shown=shown),
    st.sampled_from("uv"),
    times,
    st.sampled_from(["ab", "ba", "c", "aca"]),
)
done = st.builds(
    lambda kind, user, item, at, amount: happened(kind, user, item, at, quantity=amount, value=amount / 4),
    st.sampled_from(["click", "purchase"]),
    st.sampled_from("uv"),
    st.sampled_from([*"abcd", None]),
    times,
    st.sampled_from([0.0, 1.0, 2.5]),
)


@settings(max_examples=60, deadline=None)
@given(
    count=counts,
    slots=st.sampled_from([None, 1, 2]),
    attribution=st.sampled_from(["every", "last"]),
    requests=st.lists(seen, min_size=1, max_size=5),
    outcomes=st.lists(done, max_size=8),
)
def test_any_count_is_that_of_a_slow_reading(
    count: EventCount,
    slots: int | None,
    attribution: str,
    requests: list[dict[str, Any]],
    outcomes: list[dict[str, Any]],
) -> None:
    requests = [each | {"request_id": f"r{number}"} for number, each in enumerate(requests)]
    cut = slots if count.of == "shown" else None
    declared = {"m": metric(count, "requests", slots=cut, attribution=attribution)}
    measured = measure(log(requests, outcomes), declared)
    for user in sorted({each["user_id"] for each in requests}):
        mine = [each for each in requests if each["user_id"] == user]
        numerator, denominator = sums(measured, user, "m")
        assert numerator == pytest.approx(slow(declared["m"], count, mine, outcomes))
        assert denominator == len(mine)


def slow(declared: OnlineMetric, count: EventCount, requests: list[dict[str, Any]], outcomes: list[Any]) -> float:
    """Read the definition as it is written, outcome by outcome."""
    found: dict[str, list[Any]] = {each["request_id"]: [] for each in requests}
    for outcome in outcomes:
        holding = [
            each
            for each in requests
            if outcome["user_id"] == each["user_id"]
            and outcome["event_type"] == count.event
            and outcome["quantity"] > 0
            and timedelta(0) < outcome["event_timestamp"] - each["at"] <= (count.within or WEEK)
            and (count.of == "any" or (outcome["item_id"] or "") in [*each["shown"]][: declared.slots])
        ]
        if declared.attribution == "last":
            holding = sorted(holding, key=lambda each: (each["at"], each["request_id"]))[-1:]
        for each in holding:
            found[each["request_id"]].append(outcome)
    return float(sum(map(partial(_counted, count.count), found.values())))


def _counted(count: str, mine: list[Any]) -> float:
    read: dict[str, float] = {
        "events": len(mine),
        "items": len({each["item_id"] for each in mine}),
        "requests": int(bool(mine)),
        "moments": len({each["event_timestamp"] for each in mine}),
        "quantity": sum(each["quantity"] for each in mine),
        "value": sum(each["value"] for each in mine),
    }
    return read[count]


def test_an_unknown_name_lists_what_is_declared() -> None:
    declared = {"ctr": metric(clicks(), "impressions")}
    assert MetricDefinition.parse("ctr", declared).declared == declared["ctr"]
    with pytest.raises(ExperimentError, match=r"order_rate, with k.*declared under registry/metrics/: ctr"):
        MetricDefinition.parse("cvr", declared)
