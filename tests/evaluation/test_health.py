"""Each check of an experiment's machinery fails on what it is for, and only on that."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys import schema
from recsys.evaluation.health import Health, check_health
from recsys.experiment.routing import Router
from recsys.specs.experiment import Experiment, LayerRange
from recsys.specs.layer import Layer
from tests.fakes.engine import FakeEngine

START = datetime(2017, 12, 4, tzinfo=UTC)
NOW = START + timedelta(weeks=1)
EXPERIMENT = Experiment.model_validate(
    {
        "hypothesis": "better",
        "placement": "home",
        "seed": "home:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.25},
            "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.5},
        },
        "overrides": {"tester": "treatment"},
        "metrics": {"primary": {"name": "precision@4", "minimum_effect": 0.08}},
        "plan": {"units": 2, "start": "2017-12-04", "weeks": 4},
    }
)
UNITS = [f"u{number}" for number in range(3_000)]
ARMS = dict(zip(UNITS, Router("e", EXPERIMENT).route_many(UNITS).to_pylist(), strict=True))


def rows_of(units: list[str], **fields: object) -> list[dict[str, Any]]:
    """Return one exposure of each unit that has an arm."""
    return [
        {
            "user_id": unit,
            "experiment": "e",
            "arm": ARMS.get(unit),
            "overridden": False,
            "fallback": None,
            "event_timestamp": START,
        }
        | fields
        for unit in units
        if ARMS.get(unit) or "arm" in fields
    ]


def check(rows: list[dict[str, Any]], now: datetime = NOW) -> Health:
    """Run the checks over these exposures."""
    return check_health(FakeEngine(), "e", EXPERIMENT, table_of(rows), now=now)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Return exposures as the event log gives them."""
    columns = pa.schema(
        [
            ("request_id", pa.string()),
            ("user_id", pa.string()),
            ("model_version", pa.string()),
            ("experiment", pa.string()),
            ("arm", pa.string()),
            ("overridden", pa.bool_()),
            ("fallback", pa.string()),
            ("event_timestamp", schema.TIMESTAMP),
        ]
    )
    return pa.Table.from_pylist([{"request_id": str(number)} | row for number, row in enumerate(rows)], columns)


def test_a_sound_experiment_is_healthy() -> None:
    health = check(rows_of(UNITS) + rows_of(UNITS[:10], event_timestamp=START + timedelta(days=1)))
    assert health.healthy
    assert health.failures == ()
    assert health.units == {arm: sum(found == arm for found in ARMS.values()) for arm in ("control", "treatment")}
    assert health.expected_shares == {"control": 1 / 3, "treatment": 2 / 3}
    assert health.sample_ratio_p_value > 0.001
    assert (health.multiple_units, health.mismatched_units) == (0, 0)


def test_nobody_yet_is_not_a_failure() -> None:
    health = check([])
    assert health.healthy
    assert health.units == {"control": 0, "treatment": 0}
    assert health.fallback_share == {"control": 0.0, "treatment": 0.0}


def test_lost_units_are_a_sample_ratio_mismatch() -> None:
    kept = [unit for number, unit in enumerate(UNITS) if ARMS[unit] == "control" or number % 4]
    health = check(rows_of(kept))
    assert len(health.failures) == 1
    assert health.failures[0].startswith("The split is not the declared one: control ")


def test_units_in_two_arms_and_not_where_they_belong() -> None:
    twice = [unit for unit in UNITS if ARMS[unit] == "control"][:40]
    health = check(rows_of(UNITS) + rows_of(twice, arm="treatment"))
    assert health.multiple_units == health.mismatched_units == 40
    assert sum(health.units.values()) + 40 == sum(arm is not None for arm in ARMS.values())
    assert len(health.failures) == 2
    assert health.failures[0].startswith("40 of ")
    assert "another arm than their id gives" in health.failures[1]


def test_few_in_two_arms_are_within_the_limit() -> None:
    twice = [unit for unit in UNITS if ARMS[unit] == "control"][:3]
    health = check(rows_of(UNITS) + rows_of(twice, arm="treatment"))
    assert 0 < health.multiple_share < 0.01
    assert [failure.split(" ")[0] for failure in health.failures] == ["3"]


def test_unit_outside_every_arm_and_unknown_arm_are_mismatches() -> None:
    outside = next(unit for unit in UNITS if ARMS[unit] is None)
    assert check(rows_of([*UNITS], overridden=False) + rows_of([outside], arm="control")).mismatched_units == 1
    assert check(rows_of(UNITS[:1], arm="ghost")).mismatched_units == 1


def test_testers_and_other_times_do_not_count() -> None:
    rows = rows_of(["tester"], arm="control", overridden=True)
    rows += rows_of(UNITS, arm="control", event_timestamp=START - timedelta(seconds=1))
    rows += rows_of(UNITS, arm="control", event_timestamp=NOW)
    assert sum(check(rows).units.values()) == 0


def test_override_declared_later_does_not_break_what_was_logged() -> None:
    control = next(unit for unit in UNITS if ARMS[unit] == "control")
    later = EXPERIMENT.model_copy(update={"overrides": {control: "treatment"}})
    table = table_of(rows_of([control]))
    assert check_health(FakeEngine(), "e", later, table, now=NOW).mismatched_units == 0


def test_fallback_share_is_reported_by_arm() -> None:
    treated = [unit for unit in UNITS if ARMS[unit] == "treatment"]
    health = check(rows_of(UNITS) + rows_of(treated, fallback="popular"))
    assert health.fallback_share == {"control": 0.0, "treatment": 0.5}
    assert health.healthy


def test_an_arm_outside_the_layers_range_is_not_what_the_id_gives() -> None:
    layer = Layer(seed="page:")
    in_layer = EXPERIMENT.model_copy(update={"layer": LayerRange(name="page", range=(0.0, 0.5))})
    routed = Router("e", in_layer, layer).route_many(UNITS).to_pylist()
    inside = [unit for unit, arm in zip(UNITS, routed, strict=True) if arm is not None]
    assert 0 < len(inside) < len([unit for unit in UNITS if ARMS[unit]])
    table = table_of(rows_of(inside))
    sound = check_health(FakeEngine(), "e", in_layer, table, now=NOW, layer=layer)
    assert sound.healthy, sound.failures
    assert sum(sound.units.values()) == len(inside)
    outside = [unit for unit, arm in zip(UNITS, routed, strict=True) if arm is None and ARMS[unit] is not None][:7]
    table = table_of(rows_of([*inside, *outside]))
    assert check_health(FakeEngine(), "e", in_layer, table, now=NOW, layer=layer).mismatched_units == 7


def test_an_exposure_that_stands_twice_is_told_from_a_second_request() -> None:
    control = [unit for unit in UNITS if ARMS[unit] == "control"]
    again = rows_of(control[:2], request_id="r")
    health = check(rows_of(UNITS) + again)
    assert health.duplicated_exposures == {"control": 1, "treatment": 0}
    assert health.requests["control"] == health.exposures["control"] - 1
    (failure,) = health.failures
    assert failure.startswith("1 exposures of control stand twice under one request id")


def test_lists_that_were_lost_are_counted_by_arm() -> None:
    rows = table_of(rows_of(UNITS) + rows_of(UNITS[:50], fallback="empty list"))
    shown = pa.table({"request_id": rows["request_id"].slice(0, len(rows_of(UNITS)))})
    shown = shown.append_column("position", pa.array([1] * shown.num_rows))
    found = check_health(FakeEngine(), "e", EXPERIMENT, rows, now=NOW, impressions=shown)
    assert found.lost_lists == {"control": 0, "treatment": 0}  # an empty list by a fallback has no slot to lose
    few = shown.filter(pc.not_equal(pc.list_element(pc.split_pattern(shown["request_id"], "7"), 0), ""))
    lost = check_health(FakeEngine(), "e", EXPERIMENT, rows, now=NOW, impressions=few)
    assert sum(lost.lost_lists.values()) == shown.num_rows - few.num_rows > 0
    assert all("no slot was received" in failure for failure in lost.failures)
    assert len(lost.failures) == 2
    assert check(rows_of(UNITS)).lost_lists == {}


def test_a_logic_that_the_arm_does_not_declare_is_named() -> None:
    rows = rows_of(UNITS, model_version=None)
    rows += [row | {"model_version": "basket/v9"} for row in rows_of(UNITS[:30]) if row["arm"] == "treatment"]
    rows += [row | {"model_version": "basket/v1"} for row in rows_of(UNITS[:30]) if row["arm"] == "control"]
    rows += rows_of(UNITS[:30], model_version="basket/v3", fallback="last good model")
    health = check(rows)
    served = sum(ARMS[unit] == "treatment" for unit in UNITS[:30])
    assert health.other_logic == {"treatment": {"basket/v9": served}}
    (failure,) = health.failures
    assert failure.startswith(f"treatment declares basket/v2, and basket/v9 answered {served} of its")
