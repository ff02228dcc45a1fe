"""Do stream tables grow by what was delivered, and by nothing else?"""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pytest

from recsys.ports import Step
from recsys.workflows.data.ingest import ingest
from recsys.workflows.features.build import BuiltTable, build_tables
from recsys.workflows.features.table_records import declared_tables, manifest, sources, transforms_module
from tests.workflows.files_project import START, TRANSFORMS, WEEK, FilesProject, Row, event, week_of

STREAMS: Final = ("session_item", "session_category")
MINUTE: Final = timedelta(minutes=1)


def act(number: int, minute: float, session: str = "v1", item: str = "i0", **changes: Any) -> Row:
    """Return a click in a visit of the first week."""
    at = START + 3 * timedelta(days=1) + minute * MINUTE
    return event(number, 0, event_type="click", session_id=session, item_id=item) | {
        "event_timestamp": at,
        "created_timestamp": at,
        **changes,
    }


@pytest.fixture
def project(tmp_path: Path) -> FilesProject:
    """Give a shop of weekly tables as they are shipped, without most of them: streams are what is looked at."""
    project = FilesProject(tmp_path)
    path = tmp_path / TRANSFORMS
    text = path.read_text()
    for name in ("user_weekly", "item_weekly", "user_line", "user_category", "user_campaign", "user_profile"):
        text = text.replace(f'    "{name}": {name},\n', "")
    path.write_text(text)
    project.deliver(0, [*week_of(0), *week_of(1), act(100, 0), act(101, 1, item="i1"), act(102, 2)])
    return project


def build(project: FilesProject, *, rebuild: bool = False) -> dict[str, BuiltTable]:
    """Bring in what was delivered and build."""
    ingest(project.open())
    return {table.name: table for table in build_tables(project.open(), rebuild=rebuild)}


def rows(project: FilesProject, name: str) -> list[Row]:
    """Return all rows of a table, in the order in which they became known."""
    found = pq.read_table(project.root / ".recsys/features" / name).to_pylist()
    return sorted(found, key=lambda row: (row["created_timestamp"], str(row)))


def test_a_build_goes_on_where_the_last_one_ended(project: FilesProject) -> None:
    """Only rows of what is new are added, in a file of their own, and a build over everything gives the same."""
    first = build(project)
    assert (first["session_item"].rows, first["session_item"].added) == (3, 3)
    assert first["session_item"].until > START + WEEK, "up to the newest event, not to a week's end"
    before = {name: rows(project, name) for name in STREAMS}
    assert build(project)["session_item"].reused

    later = START + 2.5 * WEEK
    late = act(103, 1.5, created_timestamp=later)
    project.deliver(1, [late, act(104, 3, created_timestamp=later + MINUTE, event_type="transfer", item="i1")])
    second = build(project)
    assert (second["session_item"].rows, second["session_item"].added) == (5, 2)
    grown = {name: rows(project, name) for name in STREAMS}
    for name in STREAMS:
        assert grown[name][: len(before[name])] == before[name]
        assert len(list((project.root / ".recsys/features" / name).glob("*.parquet"))) == 2
    newest = grown["session_item"][-2]
    assert (newest["session_item_views"], newest["created_timestamp"]) == (3.0, later)
    assert newest["event_timestamp"] == START + timedelta(days=3) + 2 * MINUTE, "the late click is not the newest"

    rebuilt = build(project, rebuild=True)
    assert not rebuilt["session_item"].reused
    assert {name: rows(project, name) for name in STREAMS} == grown


def test_another_past_makes_it_from_the_beginning(project: FilesProject) -> None:
    """A delivery that says something else of what was known has no rows to go on from."""
    build(project)
    project.deliver(0, [*week_of(0), *week_of(1), act(100, 0), act(102, 2)])
    assert build(project)["session_item"].rows == 2


def test_events_that_it_is_not_made_of_do_not_touch_it(project: FilesProject) -> None:
    """Its past is that of its types of events."""
    build(project)
    before = manifest(project.open())["session_item"]["origin"]
    project.deliver(0, [*week_of(0)[:3], *week_of(1), act(100, 0), act(101, 1, item="i1"), act(102, 2)])
    assert build(project)["session_item"].rows == 3
    assert manifest(project.open())["session_item"]["origin"] == before


def test_without_such_events_it_costs_little(project: FilesProject) -> None:
    """An empty table is there, with its columns."""
    project.deliver(0, [*week_of(0), *week_of(1)])
    assert build(project)["session_item"].rows == 0
    assert "session_item_views" in pq.read_table(project.root / ".recsys/features/session_item").column_names


def test_the_engine_and_the_record_agree_on_what_was_known(project: FilesProject) -> None:
    """A step that is asked for again makes the same file."""
    build(project)
    workspace = project.open()
    table, output = declared_tables(workspace)["session_item"], project.root / "again.parquet"
    count = workspace.engine.transform(
        transforms_module(workspace), table, Step(None, START + 2 * WEEK), sources(workspace), project.root, output
    )
    assert count == 3
    assert sorted(map(str, pq.read_table(output).to_pylist())) == sorted(map(str, rows(project, "session_item")))
