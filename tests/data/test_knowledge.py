"""Is what was known at a moment what a reader of all versions would say, and does a fingerprint tell its changes?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.knowledge import fingerprint, known, known_sql
from recsys.schema import CREATED_TIMESTAMP, EVENT_ID, EVENT_TIMESTAMP
from tests.events import event_table, write_events
from tests.fakes.engine import FakeEngine

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

Row = dict[str, Any]


@st.composite
def versions(draw: st.DrawFn) -> list[Row]:
    """Draw some events with their versions, times in whole hours."""
    rows = []
    for number in range(draw(st.integers(1, 4))):
        happened = START + draw(st.integers(0, 6)) * HOUR
        rows += [
            {
                EVENT_ID: f"e{number}",
                "quantity": draw(st.sampled_from([0.0, 1.0])),
                EVENT_TIMESTAMP: happened,
                CREATED_TIMESTAMP: happened + hours * HOUR,
            }
            for hours in sorted(draw(st.sets(st.integers(0, 6), min_size=1, max_size=3)))
        ]
    return rows


@given(versions(), st.integers(-1, 13))
def test_the_newest_version_of_then_is_known(rows: list[Row], hours: int) -> None:
    at = START + hours * HOUR
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row[CREATED_TIMESTAMP]):
        if row[CREATED_TIMESTAMP] <= at:
            newest[row[EVENT_ID]] = row
    table = event_table(rows)
    found = FakeEngine().query(known_sql("events", at), {"events": table}).to_pylist()
    assert {row[EVENT_ID]: (row[CREATED_TIMESTAMP], row["quantity"]) for row in found} == {
        name: (row[CREATED_TIMESTAMP], row["quantity"]) for name, row in newest.items()
    }
    assert len(found) == len(newest)


def test_a_feature_reads_what_happened_before_its_moment() -> None:
    """What happens at the very moment is not history yet, though it may be known."""
    rows = [
        {EVENT_ID: "before", EVENT_TIMESTAMP: START - HOUR, CREATED_TIMESTAMP: START},
        {EVENT_ID: "at", EVENT_TIMESTAMP: START, CREATED_TIMESTAMP: START},
        {EVENT_ID: "unknown", EVENT_TIMESTAMP: START - HOUR, CREATED_TIMESTAMP: START + HOUR},
    ]
    found = known(ibis.memtable(event_table(rows)), START)
    assert found.to_pyarrow()[EVENT_ID].to_pylist() == ["before"]


@settings(max_examples=25)
@given(versions(), st.data())
def test_a_fingerprint_covers_the_past_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], data: st.DataObject
) -> None:
    """In any order, with any number of later rows; one earlier row less or other is another."""
    folder = tmp_path_factory.mktemp("fingerprint")
    at = START + data.draw(st.integers(0, 12)) * HOUR
    past = [row for row in rows if row[CREATED_TIMESTAMP] <= at]

    def printed(some: list[Row]) -> str:
        return fingerprint(FakeEngine(), write_events(folder / "events.parquet", some), at)

    whole = printed(rows)
    assert printed(past) == whole
    assert printed(data.draw(st.permutations(rows))) == whole
    for place, row in enumerate(past):
        others = [*past[:place], *past[place + 1 :]]
        assert printed(others) != whole
        assert printed([*others, row | {"quantity": 7.0}]) != whole
        assert printed([*others, row | {"user_id": "somebody"}]) != whole


def test_a_fingerprint_of_nothing(tmp_path: Path) -> None:
    assert fingerprint(FakeEngine(), write_events(tmp_path / "events.parquet", []), START).startswith("0-")
