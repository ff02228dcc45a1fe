"""Do feature tables grow by what is new, and are they made anew where what they were made from is another?"""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recsys.errors import DataError, FeatureError
from recsys.workflows.data.ingest import ingest
from recsys.workflows.features.build import BuiltTable, build_tables
from recsys.workflows.features.table_records import manifest, require_built
from tests.workflows.files_project import START, TRANSFORMS, WEEK, FilesProject, event, week_of

TABLES = [
    "user_weekly",
    "item_weekly",
    "user_item",
    "user_line",
    "user_category",
    "user_campaign",
    "user_profile",
]

STREAMS = ["session_item", "session_category"]
"""Nothing happens in this shop that they are made of; see test_stream_tables."""

GROWING = TABLES[:4]
"""Those that every delivery adds to: nobody is mailed in this shop, nobody is new, and nothing has a category."""


@pytest.fixture
def project(tmp_path: Path) -> FilesProject:
    """Give a project with tables of two weeks, the third not over."""
    project = FilesProject(tmp_path)
    project.deliver(0, [*week_of(0), *week_of(1), event(20, 2.1)])
    build(project)
    return project


def build(project: FilesProject, *, rebuild: bool = False) -> dict[str, BuiltTable]:
    """Bring in what was delivered and build."""
    ingest(project.open())
    return {table.name: table for table in build_tables(project.open(), rebuild=rebuild)}


def rows(project: FilesProject) -> dict[str, list[str]]:
    """Return all rows of all tables, sorted."""
    return {
        name: sorted(
            str(row)
            for path in (project.root / ".recsys/features" / name).glob("*.parquet")
            for row in pq.read_table(path).to_pylist()
        )
        for name in TABLES
    }


def files(project: FilesProject) -> dict[str, bytes]:
    """Return the parquet files of the feature tables."""
    held = project.bytes_below("features")
    return {name: held[name] for name in held if name.endswith(".parquet") and name.partition("/")[0] in TABLES}


def test_a_first_build_is_one_file_a_table(project: FilesProject) -> None:
    """Up to the last week that is over."""
    assert sorted(files(project)) == sorted(f"{name}/until-20240115.parquet" for name in TABLES)
    manifest = json.loads((project.root / ".recsys/features/manifest.json").read_text())
    assert list(manifest) == [*TABLES, *STREAMS]
    for name, listed in rows(project).items():
        assert manifest[name]["rows"] == len(listed)
        assert bool(listed) == (name != "user_campaign"), "nobody was mailed in this shop"
        assert manifest[name]["until"] == (START + 2 * WEEK).isoformat()
    require_built(project.open())


def test_what_is_up_to_date_is_left_alone(project: FilesProject) -> None:
    before = project.bytes_below("features")
    built = build(project)
    assert [(table.name, table.added, table.reused) for table in built.values()] == [
        (name, 0, True) for name in [*TABLES, *STREAMS]
    ]
    assert project.bytes_below("features") == before


def test_a_delivery_appends(project: FilesProject) -> None:
    """Old files stay byte for byte; late knowledge is another version of earlier rows, in the new file."""
    before = files(project)
    cancelled = week_of(0)[0] | {"quantity": 0.0, "created_timestamp": START + 3.5 * WEEK}
    project.deliver(1, [*week_of(3), *week_of(4), cancelled])
    with pytest.raises(FeatureError, match=f"{', '.join([*TABLES, *STREAMS])}: not built from the pres"):
        require_built(_ingested(project))
    built = build(project)
    after = files(project)
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == sorted(
        f"{name}/until-{day}.parquet" for name in TABLES for day in ("20240122", "20240129")
    )
    table = pq.read_table(project.root / ".recsys/features/user_item").to_pylist()
    first = [row for row in table if row["user_id"] == "u0" and row["item_id"] == "i0"]
    first = [row for row in first if row["event_timestamp"] == START + WEEK]
    assert [(row["created_timestamp"], row["pair_baskets"]) for row in first] == [
        (START + WEEK, 1.0),
        (START + 4 * WEEK, None),
    ]
    assert all(built[name].until == START + 4 * WEEK for name in TABLES)
    assert all(built[name].added > 0 and not built[name].reused for name in GROWING)
    assert {name: built[name].rows for name in TABLES} == {name: len(of) for name, of in rows(project).items()}


def test_by_and_by_is_as_at_once(project: FilesProject, tmp_path: Path) -> None:
    """Three deliveries and three builds, or one."""
    at_once = FilesProject(tmp_path / "at once")
    at_once.deliver(0, [*week_of(0), *week_of(1), event(20, 2.1)])
    late = event(7, 0.8, created_timestamp=START + 3.2 * WEEK)
    for part, more in enumerate([[*week_of(3), late], [*week_of(4), *week_of(7)]], start=1):
        at_once.deliver(part, more)
        project.deliver(part, more)
        build(project)
    build(at_once)
    assert rows(at_once) == rows(project)


def test_a_week_that_is_not_over_adds_nothing(project: FilesProject) -> None:
    """The tables count as built from the new events all the same."""
    before = files(project)
    project.deliver(1, [event(21, 2.5)])
    assert [(table.added, table.reused) for table in build(project).values()] == [(0, True)] * len([*TABLES, *STREAMS])
    assert files(project) == before
    require_built(project.open())


@pytest.mark.parametrize(
    "history",
    [
        [*week_of(0)[1:], *week_of(1), event(20, 2.1)],
        [week_of(0)[0] | {"quantity": 5.0}, *week_of(0)[1:], *week_of(1), event(20, 2.1)],
        [*week_of(0), *week_of(1), event(20, 2.1), event(99, 0.95)],
        [*week_of(0), event(16, 1.7)],
    ],
    ids=["an event less", "another event", "one more, known then", "its end is gone"],
)
def test_a_changed_past_is_made_from_the_beginning(
    project: FilesProject, tmp_path: Path, history: list[dict[str, Any]]
) -> None:
    """The rows are those of a project that never knew the other one."""
    project.deliver(0, history)
    built = build(project)
    other = FilesProject(tmp_path / "other")
    other.deliver(0, history)
    build(other)
    assert rows(other) == rows(project)
    assert [table.added for table in built.values()] == [table.rows for table in built.values()]


def test_a_past_without_its_newest_week_is_made_from_the_beginning(project: FilesProject) -> None:
    """Nothing that the tables were made from has gone, but their end has: what comes next is right again."""
    project.deliver(1, [event(30, 3.1)])
    build(project)
    (project.root / "shop/events/part-1.parquet").unlink()
    built = build(project)
    assert {built[name].until for name in TABLES} == {START + 2 * WEEK}
    project.deliver(1, week_of(4))
    build(project)
    wanted = rows(project)
    build(project, rebuild=True)
    assert rows(project) == wanted


def test_a_changed_transform_makes_its_table_anew_and_no_other(project: FilesProject) -> None:
    before = files(project)
    path = project.root / TRANSFORMS
    text = path.read_text()
    changed = text.replace("user_value_91d=_.cents.sum() / 100.0", "user_value_91d=_.cents.sum() / 50.0")
    assert changed != text
    path.write_text(changed + "\n# a remark changes nothing\n")
    with pytest.raises(FeatureError, match="feature tables user_weekly: not built"):
        require_built(project.open())
    built = build(project)
    assert [name for name, table in built.items() if not table.reused] == ["user_weekly"]
    after = files(project)
    assert [name for name in before if after[name] != before[name]] == ["user_weekly/until-20240115.parquet"]


def test_a_changed_catalogue_counts_for_new_rows(project: FilesProject) -> None:
    """It has no time; --rebuild carries it back."""
    before = files(project)
    project.catalogue("items", [{"item_id": "i0", "line_id": "l", "brand": "new"}, {"item_id": "i1"}])
    build(project)
    assert files(project) == before
    built = build(project, rebuild=True)
    assert all(table.added == table.rows for table in built.values())
    assert not any(built[name].reused for name in GROWING)
    assert files(project)["item_weekly/until-20240115.parquet"] != before["item_weekly/until-20240115.parquet"]


def test_a_rebuild_of_the_same_gives_the_same(project: FilesProject) -> None:
    project.deliver(1, [*week_of(3), event(7, 0.8, created_timestamp=START + 3.2 * WEEK)])
    build(project)
    wanted = rows(project)
    build(project, rebuild=True)
    assert rows(project) == wanted


def test_what_a_killed_build_left_is_removed(project: FilesProject) -> None:
    """A file that was not noted yet, and half of one; spill too."""
    wanted = rows(project)
    folder = project.root / ".recsys/features/user_item"
    whole = (folder / "until-20240115.parquet").read_bytes()
    (folder / "until-20240122.parquet").write_bytes(whole)
    (folder / ".until-20240129.1.partial").write_bytes(b"half")
    spill = project.root / ".recsys/spill-1-a"
    spill.mkdir()
    project.deliver(1, [event(22, 2.9)])
    build(project)
    assert rows(project) == wanted
    assert sorted(path.name for path in folder.iterdir()) == ["until-20240115.parquet"]
    assert not spill.exists()


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_killed_build_goes_on_where_it_was(project: FilesProject, killed_at: int) -> None:
    """Steps that were noted are not made again, and the rows are those of an undisturbed build."""
    late = event(7, 0.8, created_timestamp=START + 4.2 * WEEK)
    project.deliver(1, [*week_of(3), *week_of(4), *week_of(6), late])
    workspace = _ingested(project)
    told: list[str] = []

    def tell(step: str) -> None:
        if len(told) == killed_at:
            raise KeyboardInterrupt
        told.append(step)

    with pytest.raises(KeyboardInterrupt):
        build_tables(workspace, tell)
    with pytest.raises(FeatureError, match="not built from the present"):
        require_built(workspace)
    again: list[str] = []
    build_tables(project.open(), again.append)
    assert told[0] == "user_weekly up to 2024-01-29"
    assert not set(told) & set(again)
    require_built(project.open())
    wanted = rows(project)
    build(project, rebuild=True)
    assert rows(project) == wanted


def test_a_rebuild_that_fails_leaves_the_old_table(project: FilesProject) -> None:
    """It is made beside it, and what was left of it does not matter to the next one."""
    before, path = files(project), project.root / TRANSFORMS
    text = path.read_text()
    path.write_text(text.replace("user_value_91d=_.cents.sum()", "user_value_91d=_.nothing.sum()"))
    with pytest.raises(FeatureError, match=r"feature table user_weekly: its transform .* does not run"):
        build(project, rebuild=True)
    assert files(project) == before
    path.write_text(text)
    require_built(project.open())
    wanted = rows(project)
    build(project, rebuild=True)
    assert rows(project) == wanted
    assert sorted(files(project)) == sorted(before)


def test_a_file_that_is_gone_is_made_again(project: FilesProject) -> None:
    wanted = rows(project)
    (project.root / ".recsys/features/user_line/until-20240115.parquet").unlink()
    with pytest.raises(FeatureError, match="feature tables user_line: not built"):
        require_built(project.open())
    built = build(project)
    assert [name for name, table in built.items() if not table.reused] == ["user_line"]
    assert rows(project) == wanted


def test_without_events_there_is_nothing_to_build(tmp_path: Path) -> None:
    project = FilesProject(tmp_path)
    with pytest.raises(DataError, match=r"events: \.recsys/tables/events\.parquet is missing; run `recsys ingest`"):
        build_tables(project.open())
    project.deliver(0, [event(0, 0.1)])
    with pytest.raises(DataError, match="no period of 7 days is over yet"):
        build(project)
    assert manifest(project.open()) == {}


def _ingested(project: FilesProject) -> Any:
    workspace = project.open()
    ingest(workspace)
    return workspace
