"""Does a stream table say at every moment what the events known then say, however they came in?"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.data.streams import FIRST_EVENTS
from recsys.errors import FeatureError
from recsys.ports import Engine, FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_ID, EVENT_TIMESTAMP, EVENTS
from recsys.specs.environment import Limits
from tests.adapters.feature_histories import START, STREAMS, TRANSFORMS, rows_of, run, write_sources
from tests.fakes.engine import FakeEngine

Row = dict[str, Any]

SECOND: Final = timedelta(seconds=1)
ITEM: Final = STREAMS["session_item"]


def duckdb_engine(folder: Path) -> DuckDBEngine:
    """Give the real engine with little of everything."""
    return DuckDBEngine(Limits(threads=2, memory="500MB"), folder / "spill")


@pytest.fixture(params=["duckdb", "fake"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Give the real engine and the fake."""
    return duckdb_engine(tmp_path) if request.param == "duckdb" else FakeEngine()


def act(number: int, second: float, known: float | None = None, **changes: Any) -> Row:
    """Return a click of session s0 on i0, so many seconds after the start."""
    at = START + second * SECOND
    return {
        "event_id": f"e{number}",
        "event_type": "click",
        "user_id": "u0",
        "item_id": "i0",
        "session_id": "s0",
        "quantity": 1.0,
        "value": 0.0,
        EVENT_TIMESTAMP: at,
        CREATED_TIMESTAMP: at if known is None else START + known * SECOND,
    } | changes


@st.composite
def visits(draw: st.DrawFn) -> list[Row]:
    """Draw what some sessions did: in batches, late, told twice, of unknown things."""
    rows = []
    for number in range(draw(st.integers(1, 9))):
        second = draw(st.integers(0, 20))
        known = second + draw(st.sampled_from([0, 0, 0, 1, 15, -1]))
        event = act(
            number,
            second,
            known,
            event_type=draw(st.sampled_from(["click", "pageview", "transfer", "purchase"])),
            session_id=draw(st.sampled_from(["s0", "s0", "s1", None])),
            item_id=draw(st.sampled_from(["i0", "i0", "i1", "not in the catalogue", None])),
        )
        rows.append(event)
        if draw(st.booleans()):  # told again: the first version counts
            rows.append(event | {"item_id": "i2", CREATED_TIMESTAMP: START + (known + 5) * SECOND})
    return rows


def last(rows: Sequence[Row]) -> datetime:
    """Return when the last event was known."""
    return max(max(row[CREATED_TIMESTAMP], row[EVENT_TIMESTAMP]) for row in rows)


def as_known(table: FeatureTable, rows: Sequence[Row], at: datetime) -> dict[tuple[Any, ...], Row]:
    """Return what a join as of a moment finds for each key."""
    newest: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: (row[EVENT_TIMESTAMP], row[CREATED_TIMESTAMP])):
        if row[EVENT_TIMESTAMP] <= at and row[CREATED_TIMESTAMP] <= at:
            newest[tuple(row[key] for key in table.keys)] = row
    return newest


def by_key(table: FeatureTable, rows: pa.Table) -> dict[tuple[Any, ...], Row]:
    """Return rows by their keys, each once."""
    keyed = {tuple(row[key] for key in table.keys): row for row in rows.to_pylist()}
    assert len(keyed) == len(rows)
    return keyed


def logged(rows: Sequence[Row], at: datetime) -> pa.Table:
    """Return what an event log has at a moment: of each id what was told first."""
    kept: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row[CREATED_TIMESTAMP]):
        if max(row[CREATED_TIMESTAMP], row[EVENT_TIMESTAMP]) <= at:
            kept.setdefault(row[EVENT_ID], row)
    return pa.Table.from_pylist(list(kept.values()), EVENTS)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=visits(), deliveries=st.lists(st.integers(0, 40), max_size=2), name=st.sampled_from(sorted(STREAMS)))
def test_the_past_is_what_was_known_and_online_is_its_end(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], deliveries: list[int], name: str
) -> None:
    """A join at any moment, the transform on what was known then, and what is pushed then: the same rows."""
    folder, table, until = tmp_path_factory.mktemp("streams"), STREAMS[name], last(rows)
    real = duckdb_engine(folder)
    sources = write_sources(folder / "sources", rows)
    run(real, table, Step(None, until), sources, folder / "at once")
    after = None
    for moment in sorted({START + second * SECOND for second in deliveries} | {until}):
        if moment <= until:
            run(real, table, Step(after, moment), sources, folder / "by and by" / f"{moment:%H%M%S}")
            after = moment
    built = rows_of(folder / "at once", table)
    assert built == rows_of(folder / "by and by", table, "*/*.parquet")
    run(FakeEngine(), table, Step(None, until), sources, folder / "plain")
    assert built == rows_of(folder / "plain", table)

    units = pa.array(["s0", "s1"])
    streams = real.streams(TRANSFORMS, [table], sources)
    for moment in sorted({row[CREATED_TIMESTAMP] for row in rows} | {until}):
        known = as_known(table, built, moment)
        assert by_key(table, real.recompute(TRANSFORMS, table, moment, sources, units)) == known
        events = logged(rows, moment)
        assert by_key(table, streams.rows(table, events)) == known
        backwards = events.take(pa.array(range(len(events) - 1, -1, -1), pa.int64()))
        assert by_key(table, streams.rows(table, backwards)) == known


def test_a_row_counts_what_the_session_did_so_far(engine: Engine, tmp_path: Path) -> None:
    """A late event of before counts from when it is known, and leaves the newest time as it was."""
    rows = [
        act(1, 0),
        act(2, 10, event_type="transfer"),
        act(3, 5, known=20),
        act(4, 30, item_id="i1"),
        act(5, 40, event_type="purchase"),
    ]
    sources = write_sources(tmp_path / "sources", rows)
    assert run(engine, ITEM, Step(None, last(rows)), sources, tmp_path / "built") == 4
    found = [
        (
            row["item_id"],
            *((row[clock] - START) / SECOND for clock in (EVENT_TIMESTAMP, CREATED_TIMESTAMP)),
            row["session_item_views"],
            row["session_item_carts"],
        )
        for row in rows_of(tmp_path / "built", ITEM)
    ]
    assert found == [("i0", 0, 0, 1, 0), ("i0", 10, 10, 1, 1), ("i0", 10, 20, 2, 1), ("i1", 30, 30, 1, 0)]


def test_a_category_is_the_catalogues_of_now(engine: Engine, tmp_path: Path) -> None:
    """An item that it lacks is of no category; when the catalogue is another, streams read it again."""
    table = STREAMS["session_category"]
    sources = write_sources(tmp_path / "sources", [])
    streams = engine.streams(TRANSFORMS, [table], sources)
    events = pa.Table.from_pylist([act(1, 0), act(2, 1, item_id="nothing known")], EVENTS)
    assert set(by_key(table, streams.rows(table, events))) == {("s0", "unknown")}
    import pyarrow.parquet as pq

    items = pq.read_table(sources["items"]).to_pylist()
    changed = [item | {"category": "bread"} for item in items]
    pq.write_table(pa.Table.from_pylist(changed, pq.read_schema(sources["items"])), tmp_path / "items.new")
    (tmp_path / "items.new").replace(sources["items"])
    assert set(by_key(table, streams.rows(table, events))) == {("s0", "bread")}


def test_a_session_without_end_counts_to_the_thousandth_event(engine: Engine, tmp_path: Path) -> None:
    """Its row stays as it was then, online as offline."""
    rows = [act(number, second=number // 100) for number in range(FIRST_EVENTS + 300)]
    sources = write_sources(tmp_path / "sources", rows)
    run(engine, ITEM, Step(None, last(rows)), sources, tmp_path / "built")
    built = rows_of(tmp_path / "built", ITEM)
    assert [row["session_item_views"] for row in built] == [100.0 * count for count in range(1, 11)]
    found = by_key(ITEM, engine.streams(TRANSFORMS, [ITEM], sources).rows(ITEM, logged(rows, last(rows))))
    assert found == {("s0", "i0"): built[-1]}


def test_nothing_happened_makes_an_empty_table_with_its_columns(engine: Engine, tmp_path: Path) -> None:
    """So that a shop without such events can apply, build and read the view."""
    sources = write_sources(tmp_path / "sources", [act(1, 0, event_type="purchase")])
    assert run(engine, ITEM, Step(None, START), sources, tmp_path / "built") == 0
    names = [*ITEM.keys, EVENT_TIMESTAMP, CREATED_TIMESTAMP, *(f"session_item_{n}" for n in ("views", "carts", "last"))]
    import pyarrow.parquet as pq

    assert set(pq.read_schema(next((tmp_path / "built").glob("*.parquet"))).names) == set(names)


WRONG = """
def late(events):
    return events.group_by(["session_id"]).aggregate(event_timestamp=events.event_timestamp.max())


def broken(events):
    return events.select(events.nothing)


TABLES = {"late": late, "broken": broken}
"""


@pytest.mark.parametrize(("name", "said"), [("late", "have no created_timestamp"), ("broken", "nothing")])
def test_a_transform_that_does_not_fit_is_named_before_anything_is_served(
    engine: Engine, tmp_path: Path, name: str, said: str
) -> None:
    """With what its rows lack."""
    (tmp_path / "transforms.py").write_text(WRONG)
    table = FeatureTable(name, "", ("session_id",), timedelta(days=7), 1, ("click",))
    sources = write_sources(tmp_path / "sources", [act(1, 0)])
    with pytest.raises(FeatureError, match=said):
        engine.streams(tmp_path / "transforms.py", [table], sources)
