"""Is what counts as taken exactly what happened within the horizon, as known then?"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys import schema
from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.errors import ModelError
from recsys.modeling.labels import attributed, count_after, positives, unit_labels
from recsys.ports import Engine
from recsys.specs.environment import Limits
from recsys.specs.problem import Target
from tests.events import write_events
from tests.fakes.engine import FakeEngine

MONDAY = datetime(2017, 11, 20, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
TICK = timedelta(microseconds=1)
KNOWN_AT = MONDAY + 3 * WEEK
TARGET = Target(event="purchase", horizon=WEEK)


@pytest.fixture(params=["fake", "duckdb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Give each engine."""
    return FakeEngine() if request.param == "fake" else DuckDBEngine(Limits(), tmp_path / "spill")


def event(item: str | None, after: timedelta, **changes: Any) -> dict[str, Any]:
    """Return a purchase of one, some time after Monday."""
    at = MONDAY + after
    plain = {
        schema.EVENT_TYPE: schema.PURCHASE,
        schema.USER: "u1",
        schema.ITEM: item,
        schema.QUANTITY: 1.0,
        schema.EVENT_TIMESTAMP: at,
        schema.CREATED_TIMESTAMP: at,
    }
    return plain | changes


def taken(
    engine: Engine,
    folder: Path,
    events: Sequence[dict[str, Any]],
    decision_times: Sequence[datetime] = (MONDAY,),
    target: Target = TARGET,
) -> list[tuple[datetime, str, str, float]]:
    """Return the positives as tuples, in their order."""
    numbered = [{schema.EVENT_ID: str(number), **row} for number, row in enumerate(events)]
    path = write_events(folder / "events.parquet", numbered)
    table = positives(engine, path, target, decision_times, KNOWN_AT)
    columns = [schema.EVENT_TIMESTAMP, schema.USER, schema.ITEM, schema.QUANTITY]
    assert table.column_names == [*columns, schema.LABEL]
    return [tuple(row.values()) for row in table.select(columns).to_pylist()]


def items(engine: Engine, folder: Path, *events: dict[str, Any], target: Target = TARGET) -> list[str]:
    """Return the items that were taken after Monday."""
    return [item for _, _, item, _ in taken(engine, folder, events, target=target)]


def test_the_decision_time_is_outside_and_the_horizon_inside(engine: Engine, tmp_path: Path) -> None:
    rows = [event("at", 0 * DAY), event("after", TICK), event("end", WEEK), event("late", WEEK + TICK)]
    assert items(engine, tmp_path, *rows) == ["after", "end"]


def test_an_item_counts_once_with_all_its_units(engine: Engine, tmp_path: Path) -> None:
    rows = [event("a", DAY, quantity=2.0), event("a", 2 * DAY, quantity=3.0), event("a", 2 * DAY, user_id="u0")]
    assert taken(engine, tmp_path, rows) == [(MONDAY, "u0", "a", 1.0), (MONDAY, "u1", "a", 5.0)]


def test_every_decision_time_has_its_own_window(engine: Engine, tmp_path: Path) -> None:
    moments = [MONDAY, MONDAY + DAY, MONDAY + WEEK]
    found = taken(engine, tmp_path, [event("a", DAY), event("b", WEEK + DAY)], moments)
    assert [(at, item) for at, _, item, _ in found] == [
        (MONDAY, "a"),
        (MONDAY + DAY, "b"),
        (MONDAY + WEEK, "b"),
    ]


def test_other_events_and_events_of_nothing_do_not_count(engine: Engine, tmp_path: Path) -> None:
    assert items(engine, tmp_path, event("a", DAY, event_type="click"), event(None, DAY)) == []
    clicks = Target(event="click", horizon=WEEK)
    assert items(engine, tmp_path, event("a", DAY, event_type="click"), event("b", DAY), target=clicks) == ["a"]


def test_a_quote_in_an_events_name_is_only_a_letter(engine: Engine, tmp_path: Path) -> None:
    quoted = Target(event="o'clock", horizon=WEEK)
    assert items(engine, tmp_path, event("a", DAY, event_type="o'clock"), target=quoted) == ["a"]


def test_what_became_known_later_is_ignored(engine: Engine, tmp_path: Path) -> None:
    rows = [
        event("known", DAY, created_timestamp=KNOWN_AT),
        event("unknown", DAY, created_timestamp=KNOWN_AT + TICK),
    ]
    assert items(engine, tmp_path, *rows) == ["known"]


def test_a_cancellation_takes_back_what_was_taken(engine: Engine, tmp_path: Path) -> None:
    rows = [event("a", DAY, quantity=2.0), event("a", 2 * DAY, quantity=-2.0), event("b", DAY, quantity=0.0)]
    assert items(engine, tmp_path, *rows, event("c", DAY, quantity=2.0), event("c", DAY, quantity=-1.0)) == ["c"]


@pytest.mark.parametrize("settle_delay", [timedelta(0), DAY])
def test_immature_decision_times_are_refused(engine: Engine, tmp_path: Path, settle_delay: timedelta) -> None:
    target = Target(event="purchase", horizon=WEEK, settle_delay=settle_delay)
    newest = KNOWN_AT - WEEK - settle_delay
    assert taken(engine, tmp_path, [event("a", DAY)], [MONDAY, newest], target)
    with pytest.raises(ModelError, match=r"immature until .* choose earlier decision times"):
        taken(engine, tmp_path, [event("a", DAY)], [MONDAY, newest + TICK], target)


def test_a_cancellation_counts_from_when_it_is_known(engine: Engine, tmp_path: Path) -> None:
    bought = event("a", DAY, event_id="one", quantity=2.0)
    rest = [event("b", DAY, event_id="two"), event("b", DAY, event_id="three", quantity=3.0)]
    path = write_events(
        tmp_path / "events.parquet",
        [bought, bought | {schema.QUANTITY: 0.0, schema.CREATED_TIMESTAMP: MONDAY + 2 * WEEK}, *rest],
    )
    for known_at, wanted in ((MONDAY + 2 * WEEK - TICK, ["a", "b"]), (MONDAY + 2 * WEEK, ["b"])):
        found = positives(engine, path, TARGET, [MONDAY], known_at)
        assert found[schema.ITEM].to_pylist() == wanted
    assert count_after(engine, path, TARGET, MONDAY, MONDAY + 2 * WEEK) == 2
    assert count_after(engine, path, TARGET, MONDAY + DAY, MONDAY + 2 * WEEK) == 0


def test_an_event_is_credited_to_the_last_exposure_of_its_item_before_it(engine: Engine, tmp_path: Path) -> None:
    path = write_events(
        tmp_path / "events.parquet",
        [
            event("a", 3 * DAY, event_id="1"),
            event("b", DAY, event_id="2"),
            event("c", WEEK + DAY + TICK, event_id="3"),
            event("a", 3 * DAY, event_id="4", user_id="u2"),
            event("d", 3 * DAY, event_id="5", quantity=0.0),
            event("e", 4 * DAY, event_id="6"),
            event("e", 5 * DAY, event_id="7", quantity=2.0),
        ],
    )
    shown = pa.table(
        {
            schema.REQUEST_ID: ["r1", "r2", "r3", "r1", "r1", "r2", "r2", "r1"],
            schema.USER: ["u1"] * 8,
            schema.ITEM: ["a", "a", "a", "b", "c", "d", "e", "e"],
            schema.EVENT_TIMESTAMP: pa.array([MONDAY + n * DAY for n in (1, 2, 4, 1, 1, 2, 2, 1)], schema.TIMESTAMP),
        }
    )
    found = attributed(engine, path, TARGET, shown, KNOWN_AT).to_pylist()
    # r3 showed `a` after it was bought, `b` was bought at the moment of r1, `c` after its horizon, `d` was cancelled.
    assert [tuple(row.values()) for row in found] == [("r2", "a", 1.0), ("r2", "e", 3.0)]


def test_a_label_is_what_the_target_measures(engine: Engine, tmp_path: Path) -> None:
    """Whether, how many, how much; of one item, and of everything a unit did."""
    rows = [
        event("a", DAY, event_id="1", quantity=2.0, value=3.1),
        event("a", 2 * DAY, event_id="2", quantity=0.5, value=0.2),
        event("b", 2 * DAY, event_id="3", value=None),
        event(None, 3 * DAY, event_id="4", quantity=4.0, value=10.0),
        event("c", DAY, event_id="5", quantity=0.0, user_id="u2"),
        event("a", 8 * DAY, event_id="6", user_id="u3"),
    ]
    path = write_events(tmp_path / "events.parquet", rows)
    wanted = {"event": ([1.0, 1.0], [1.0]), "count": ([2.5, 1.0], [7.5]), "amount": ([3.3, 0.0], [13.3])}
    for measure, (of_items, of_units) in wanted.items():
        target = TARGET.model_copy(update={"measure": measure})
        assert positives(engine, path, target, [MONDAY], KNOWN_AT)[schema.LABEL].to_pylist() == of_items
        found = unit_labels(engine, path, target, [MONDAY], KNOWN_AT)
        assert found.column_names == [schema.EVENT_TIMESTAMP, schema.USER, schema.LABEL]
        assert found[schema.USER].to_pylist() == ["u1"]
        assert found[schema.LABEL].to_pylist() == of_units


def test_units_have_the_horizon_and_the_knowledge_of_items(engine: Engine, tmp_path: Path) -> None:
    """The decision time is outside and the horizon inside; what was cancelled or known later is not there."""
    rows = [
        event(None, 0 * DAY, user_id="at"),
        event(None, TICK, user_id="after"),
        event(None, WEEK, user_id="end"),
        event(None, WEEK + TICK, user_id="late"),
        event(None, DAY, user_id="unknown", created_timestamp=KNOWN_AT + TICK),
        event(None, DAY, user_id="other", event_type="mailed"),
        event(None, DAY, user_id="cancelled", quantity=0.0),
    ]
    path = write_events(tmp_path / "events.parquet", [{schema.EVENT_ID: str(n), **row} for n, row in enumerate(rows)])
    found = unit_labels(engine, path, TARGET, [MONDAY, MONDAY + DAY], KNOWN_AT).to_pylist()
    told = [(row[schema.EVENT_TIMESTAMP] - MONDAY, row[schema.USER]) for row in found]
    assert told == [(0 * DAY, "after"), (0 * DAY, "end"), (DAY, "end"), (DAY, "late")]
    with pytest.raises(ModelError, match=r"immature until .* choose earlier decision times"):
        unit_labels(engine, path, TARGET, [KNOWN_AT - WEEK + TICK], KNOWN_AT)


def test_no_decision_times_no_labels(engine: Engine, tmp_path: Path) -> None:
    assert taken(engine, tmp_path, [event("a", DAY)], []) == []
