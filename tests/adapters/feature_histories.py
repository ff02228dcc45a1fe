"""Which small histories of a shop show every way in which it can come to know something late?"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from recsys.adapters.declared_logic import declared_tables
from recsys.data.steps import due_steps, last_period
from recsys.errors import DataError
from recsys.ports import Engine, FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEMS, USERS
from tests.events import write_events

ROOT: Final = Path(__file__).parents[2]
TRANSFORMS: Final = ROOT / "feature_repo" / "transforms.py"
_ALL: Final = declared_tables(TRANSFORMS)
TABLES: Final = {name: table for name, table in _ALL.items() if not table.is_stream}
"""The shipped tables of periods."""
STREAMS: Final = {name: table for name, table in _ALL.items() if table.is_stream}
"""The shipped stream tables."""
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday."""
WEEK: Final = timedelta(days=7)

Row = dict[str, Any]

_CATALOGUE: Final = pa.Table.from_pylist(
    [{"item_id": "i0", "line_id": "l0", "brand": "b"}, {"item_id": "i1", "line_id": "l0"}, {"item_id": "i2"}], ITEMS
)
_USERS: Final = pa.Table.from_pylist([{"user_id": "u0", "age": "35-44"}, {"user_id": "u1"}], USERS)
_MINUTES: Final = 7 * 24 * 60


@st.composite
def _moments(draw: st.DrawFn, weeks: int) -> datetime:
    """Draw a time: within a week, exactly at its end, or an instant before."""
    week = START + draw(st.integers(0, weeks - 1)) * WEEK
    within = st.integers(0, _MINUTES - 1).map(lambda minutes: timedelta(minutes=minutes))
    instants = st.sampled_from([timedelta(0), timedelta(microseconds=1), WEEK - timedelta(microseconds=1)])
    return week + draw(instants | within)


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Draw all versions of some events over 6 to 10 weeks, as rows of `schema.EVENTS`."""
    weeks = draw(st.integers(6, 10))
    rows = []
    for number in range(draw(st.integers(2, 7))):
        event = {
            "event_id": f"e{number}",
            "event_type": draw(st.sampled_from(["purchase"] * 3 + ["mailed", "redeemed"])),
            "user_id": draw(st.sampled_from(["u0", "u1"])),
            "item_id": draw(st.sampled_from(["i0", "i0", "i1", "i2", "not in the catalogue", None])),
            "session_id": draw(st.sampled_from(["s0", "s1", "s2", None])),
            EVENT_TIMESTAMP: draw(_moments(weeks)),
        }
        known = event[EVENT_TIMESTAMP]
        # Restated: cancelled, or of another size, or as it was before.
        quantities = draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 0.3]), min_size=1, max_size=3))
        for quantity in quantities:
            known += draw(st.sampled_from([timedelta(0), timedelta(hours=1), WEEK, 2 * WEEK, 5 * WEEK]))
            if draw(st.booleans()):
                known = START + -((START - known) // WEEK) * WEEK  # exactly at a week's end
            if rows and rows[-1]["event_id"] == event["event_id"] and rows[-1][CREATED_TIMESTAMP] >= known:
                known = rows[-1][CREATED_TIMESTAMP] + timedelta(minutes=1)
            rows.append(event | {"quantity": quantity, "value": quantity * 1.99, CREATED_TIMESTAMP: known})
    return rows


def long_history(weeks: int, late_every: int) -> list[Row]:
    """Return households' purchases of fractions and campaigns, some of which become known or other much later."""
    rows = []
    for week in range(weeks):
        for user in range(3):
            at = START + week * WEEK + timedelta(hours=5 * user + 7, microseconds=week)
            late = timedelta(weeks=3) if (week + user) % late_every == 0 else timedelta(0)
            row = {
                "event_id": f"{user}-{week}",
                "event_type": "purchase",
                "user_id": f"u{user}",
                "item_id": "i0",
                "session_id": f"s{week}",
                "quantity": 0.1 * (1 + (week * 7 + user) % 9),
                "value": 1.1,
                EVENT_TIMESTAMP: at,
                CREATED_TIMESTAMP: at + late,
            }
            campaign = {"item_id": None, "session_id": f"c{week // 2}", "quantity": 1.0, "value": 0.0}
            kind = {"event_id": f"c{user}-{week}", "event_type": "redeemed" if week % 2 else "mailed"}
            for each in (row, row | campaign | kind):
                rows.append(each)
                if late:
                    rows.append(each | {"quantity": 0.0, CREATED_TIMESTAMP: at + 2 * late})
    return rows


def write_sources(folder: Path, rows: Iterable[Row]) -> dict[str, Path]:
    """Write events, catalogue and users as a transform reads them."""
    items, users = folder / "items.parquet", folder / "users.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(_CATALOGUE, items)
    pq.write_table(_USERS, users)
    return {"events": write_events(folder / "events.parquet", rows), "items": items, "users": users}


def grow(
    engine: Engine, table: FeatureTable, folder: Path, rows: Sequence[Row], after: datetime | None
) -> datetime | None:
    """Build a table from its present end to the last period that is over in `rows`; returns the new end."""
    sources = write_sources(folder / "sources", rows)
    try:
        until = last_period(engine, sources["events"], table.period)
    except DataError:
        return after  # no week is over yet
    for step in due_steps(engine, sources["events"], table.period, after, until):
        run(engine, table, step, sources, folder / "table")
    return until


def run(engine: Engine, table: FeatureTable, step: Step, sources: dict[str, Path], existing: Path) -> int:
    """Run one step of a shipped table."""
    output = existing / f"until-{step.until:%Y%m%d}.parquet"
    return engine.transform(TRANSFORMS, table, step, sources, existing, output)


def rows_of(folder: Path, table: FeatureTable, files: str = "*.parquet") -> list[Row]:
    """Return all rows of a built table, in an order of their own."""
    rows = [row for path in sorted(folder.glob(files)) for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: [str(row[name]) for name in (*table.keys, EVENT_TIMESTAMP, CREATED_TIMESTAMP)])


def assert_same(found: Sequence[Row], wanted: Sequence[Row]) -> None:
    """Compare two tables: the same rows, floats to 1e-9."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, float) and isinstance(other[name], float):
                assert abs(value - other[name]) <= 1e-9 * max(1.0, abs(value)), (name, one, other)
            else:
                assert value == other[name], (name, one, other)
