"""Does a delivery come in as the contract says: row by row, or not at all?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import schema
from recsys.errors import DataError
from recsys.workflows.data.ingest import ingest
from tests.workflows.files_project import START, WEEK, FilesProject, event, week_of


@pytest.fixture
def project(tmp_path: Path) -> FilesProject:
    """Give a project whose shop has delivered two weeks."""
    project = FilesProject(tmp_path)
    project.deliver(0, [*week_of(0), *week_of(1)])
    return project


def bad_rows() -> list[dict[str, object]]:
    """Return rows of three kinds that are refused."""
    return [
        event(900, 1, quantity=-1.0),
        event(901, 1, quantity=-2.0),
        event(902, 1, user_id=None),
        event(0, 1.9, item_id="another"),
    ]


def test_events_come_in_with_all_their_versions(project: FilesProject) -> None:
    """In order of time, with the house's columns, each with when the next became known."""
    late = START + 2 * WEEK
    project.deliver(1, [week_of(0)[0] | {"quantity": 0.0, "created_timestamp": late}])
    result = ingest(project.open())
    path = project.root / ".recsys/tables/events.parquet"
    assert [(field.name, field.type) for field in pq.read_schema(path)] == [
        (field.name, field.type) for field in schema.EVENT_TABLE
    ]
    events = project.read("events")
    assert len(events) == 13
    order = [(row["event_timestamp"], row["event_id"], row["created_timestamp"]) for row in events]
    assert order == sorted(order)
    assert [row["superseded_timestamp"] for row in events if row["event_id"] == "e0"] == [late, None]
    assert [(count.rows, count.read, count.dropped) for count in result.counts] == [
        ("events, by the contract", 13, 0),
        ("items, by the contract", 2, 0),
        ("users, by the contract", 3, 0),
    ]
    assert not result.reused


def test_what_is_refused_is_kept_aside_with_its_reason(project: FilesProject) -> None:
    """And counted, the most frequent reason first."""
    project.contract(maximum_refused_share=0.5)
    project.deliver(1, bad_rows())
    project.catalogue("items", [{"item_id": "i0"}, {"item_id": "i0", "brand": "b"}, {"item_id": None}])
    events, items, users = ingest(project.open()).counts
    assert (events.read, events.dropped) == (16, 4)
    assert events.why == (
        "quantity is missing or not in 0 to 100,000 (2); restates another time, user, item or type (1);"
        " user_id is missing (1)"
    )
    assert (items.read, items.dropped, users.dropped) == (3, 2, 0)
    assert items.why == "item_id is missing (1); item_id twice (1)"
    refused = project.read("refused/events")
    assert sorted(row["event_id"] for row in refused) == ["e0", "e900", "e901", "e902"]
    assert {row["event_id"]: row["reason"] for row in refused}["e902"] == "user_id is missing"
    assert len(project.read("events")) == 12
    assert sorted(row["reason"] for row in project.read("refused/items")) == ["item_id is missing", "item_id twice"]
    assert project.read("refused/users") == []


@pytest.mark.parametrize("known", ["nothing yet", "an earlier delivery"])
def test_too_large_a_share_changes_nothing(project: FilesProject, known: str) -> None:
    """The message says why, and the tables stay byte for byte."""
    if known == "an earlier delivery":
        ingest(project.open())
    before = project.bytes_below("tables")
    project.deliver(1, bad_rows())
    with pytest.raises(
        DataError,
        match=r"events: 4 of 16 rows refused \(25\.0%\): quantity .* at most 1\.0% refused.*nothing was changed",
    ):
        ingest(project.open())
    assert project.bytes_below("tables") == before


def test_a_delivery_without_an_event_is_refused(project: FilesProject) -> None:
    ingest(project.open())
    before = project.bytes_below("tables")
    for rows in ([], [event(0, 0, user_id=None)]):
        project.deliver(0, rows)
        with pytest.raises(DataError, match=r"events: (none|1 of 1 rows refused).*nothing was changed"):
            ingest(project.open())
    assert project.bytes_below("tables") == before


def test_an_old_delivery_is_refused(project: FilesProject) -> None:
    """By the environment's clock; at the limit it is fresh."""
    newest = max(row["event_timestamp"] for row in week_of(1))
    limit = timedelta(days=10)
    project.contract(fresh_within="10d")
    project.declare(clock={"replay_from": (newest + limit).isoformat()})
    ingest(project.open())
    before = project.bytes_below("tables")
    project.declare(clock={"replay_from": (newest + limit + timedelta(seconds=1)).isoformat()})
    project.deliver(1, [event(99, 0.5)])
    with pytest.raises(DataError, match=r"events: the newest is of 2024-01-12 .* within 10d; nothing was changed"):
        ingest(project.open())
    assert project.bytes_below("tables") == before


def test_under_the_system_clock_nothing_is_known_in_the_future(project: FilesProject) -> None:
    """Where past data is replayed, the clock does not judge."""
    project.contract(maximum_refused_share=0.5)
    ahead = datetime.now(UTC) + timedelta(days=1)
    project.deliver(1, [event(99, 0, created_timestamp=ahead)])
    assert ingest(project.open()).counts[0].dropped == 0
    project.declare(clock="system")
    project.deliver(1, [event(98, 0, created_timestamp=ahead)])
    assert ingest(project.open()).counts[0].why == "known in the future (1)"


def test_an_unchanged_source_is_reused(project: FilesProject) -> None:
    """With its counts; another contract, another file or a damaged table brings it in anew."""
    first = ingest(project.open())
    before = project.bytes_below("tables")
    again = ingest(project.open())
    assert again.reused
    assert (again.counts, again.events_digest) == (first.counts, first.events_digest)
    assert project.bytes_below("tables") == before
    project.contract(maximum_value=1_000)
    assert not ingest(project.open()).reused
    project.deliver(1, week_of(2))
    longer = ingest(project.open())
    assert not longer.reused
    assert longer.events_digest != first.events_digest
    (project.root / ".recsys/tables/events.parquet").write_bytes(b"damaged")
    mended = ingest(project.open())
    assert (mended.reused, mended.events_digest) == (False, longer.events_digest)


@pytest.mark.parametrize("name", ["events", "items", "users"])
def test_a_table_that_is_gone_comes_in_again(project: FilesProject, name: str) -> None:
    """Else the command that is said to bring it back would find nothing to do."""
    ingest(project.open())
    path = project.root / ".recsys" / "tables" / f"{name}.parquet"
    before = path.read_bytes()
    path.unlink()
    assert not ingest(project.open()).reused
    assert path.read_bytes() == before


def test_a_file_of_other_columns_changes_nothing(project: FilesProject) -> None:
    """A column that is missing, or of another type, is named."""
    ingest(project.open())
    before = project.bytes_below("tables")
    path = project.deliver(0, week_of(0))
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["created_timestamp"]), path)
    with pytest.raises(DataError, match=r"events: column created_timestamp \(time\) is missing"):
        ingest(project.open())
    pq.write_table(table.set_column(0, "event_id", pa.array(range(len(table)))), path)
    with pytest.raises(DataError, match="column event_id: int64; it has to be a text"):
        ingest(project.open())
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"part-0\.parquet: not a whole parquet file"):
        ingest(project.open())
    assert project.bytes_below("tables") == before


def test_what_a_killed_run_left_is_removed(project: FilesProject) -> None:
    tables = project.root / ".recsys" / "tables"
    for left in (".incoming/judged-events.parquet", ".events.1.partial", "refused/.events.1.partial"):
        (tables / left).parent.mkdir(parents=True, exist_ok=True)
        (tables / left).write_bytes(b"half")
    ingest(project.open())
    assert sorted(project.bytes_below("tables")) == [
        "events.parquet",
        "items.parquet",
        "manifest.json",
        "refused/events.parquet",
        "refused/items.parquet",
        "refused/users.parquet",
        "users.parquet",
    ]
