"""Is a user who was forgotten gone from every file and database, once, for good, and without touching others?"""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from recsys import schema
from recsys.cli import app
from recsys.data.forgotten import forgotten_sql, tombstone
from recsys.errors import DataError, FeatureError
from recsys.modeling.training_set import read_training_set, tables_digest
from recsys.ports import Exposure, ShownItem
from recsys.workflows.data import forget as forgetting
from recsys.workflows.data.erasing import erase_users
from recsys.workflows.data.forget import SUBJECT, forget
from recsys.workflows.data.ingest import ingest
from recsys.workflows.features.build import build_tables
from recsys.workflows.features.table_records import require_built
from recsys.workflows.workspace import Workspace
from tests.workflows.files_project import FilesProject, event, week_of

AT = datetime(2024, 1, 10, tzinfo=UTC)


class Shop(FilesProject):
    """A project whose state holds rows of users in every place that is a file."""

    def __init__(self, root: Path) -> None:
        """Bring three users in, of whom u1 and u2 are known by their rows in a training set and a batch, too."""
        super().__init__(root)
        self.contract(maximum_refused_share=0.5)
        self.deliver(0, [*week_of(0), *week_of(1), event(99, 1.5, user_id="u1", quantity=-1.0)])
        ingest(self.open())
        build_tables(self.open())
        self.training_set()
        self.batch()
        self.logged()

    @property
    def state(self) -> Path:
        return self.root / ".recsys"

    @property
    def dataset(self) -> Path:
        return self.state / "datasets" / "basket" / "v1" / "20240110-abc"

    def training_set(self) -> None:
        """Write one of two requests a user: one learned from, one tested on."""
        self.dataset.mkdir(parents=True)
        rows = [{"request": n, "user_id": f"u{n}", "item_id": "i0", "label": 1.0} for n in range(3)]
        requests = [
            {"part": part, "request": n, "user_id": f"u{n}", "relevant": 1.0, "history": 0, "event_timestamp": AT}
            for part in ("train", "test")
            for n in range(3)
        ]
        tables = {
            "learn": rows,
            "test": rows,
            "requests": requests,
            "taken": [{"request": n, "item_id": "i0", "new": True} for n in range(3)],
            "items": [{"item_id": "i0"}],
        }
        for name, content in tables.items():
            pq.write_table(pa.Table.from_pylist(content), self.dataset / f"{name}.parquet")
        document = {"digest": tables_digest(self.dataset), "known_at": AT.isoformat()}
        (self.dataset / "dataset.json").write_text(json.dumps(document))

    def batch(self) -> None:
        """Write lists of two arms."""
        for arm, users in (("a", ["u0", "u1"]), ("b", ["u2"])):
            folder = self.state / "batch" / "home" / "date=2024-01-10" / f"arm={arm}"
            folder.mkdir(parents=True)
            pq.write_table(pa.table({"user_id": users, "item_id": ["i0"] * len(users)}), folder / "part-00000.parquet")

    def logged(self) -> None:
        """Log one request and one click a user."""
        workspace = self.open()
        slots = (ShownItem("i0", 1, 0.5), ShownItem("i1", 2, 0.5))
        workspace.event_log.write_exposures(
            Exposure(f"r{n}", "home", f"u{n}", None, None, None, False, None, None, None, AT, "", {}, slots)
            for n in range(3)
        )
        clicks = [event(100 + n, 1.2, user_id=f"u{n}", event_type="click") for n in range(3)]
        workspace.event_log.write_outcomes(pa.Table.from_pylist(clicks, schema=schema.EVENTS))
        closed(workspace)

    def users_by_file(self) -> dict[str, set[str]]:
        """Return whose rows are in each parquet file of the state that has a column of users."""
        found: dict[str, set[str]] = {}
        for path in self.state.rglob("*.parquet"):
            if "user_id" in pq.read_schema(path).names:
                ids = pq.ParquetFile(path).read(["user_id"])["user_id"].to_pylist()
                found[str(path.relative_to(self.state))] = set(ids)
        return found


def closed(workspace: Workspace) -> None:
    for store in (workspace.event_log, workspace.event_archive, workspace.ledger):
        store.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a shop once."""
    return Shop(tmp_path_factory.mktemp("shop")).root


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Shop:
    """Give a copy of it."""
    shutil.copytree(made, tmp_path / "shop")
    copy = Shop.__new__(Shop)
    copy.root = tmp_path / "shop"
    return copy


@pytest.fixture
def workspace(shop: Shop) -> Iterator[Workspace]:
    opened = shop.open()
    yield opened
    closed(opened)


EXPECTED = {
    "event log: exposures": 1,
    "event log: impressions": 2,
    "event log: outcomes": 1,
    "tables/events": 4,
    "tables/users": 1,
    "tables/refused/events": 1,
    "datasets/basket/v1/20240110-abc": 5,
    "batch/home/date=2024-01-10/arm=a": 1,
}


def test_a_user_is_gone_from_every_place_and_the_others_stay(shop: Shop, workspace: Workspace) -> None:
    before = shop.users_by_file()
    done = forget(workspace, ["u1"])
    features = {where: rows for where, rows in done.rows.items() if where.startswith("features/")}
    assert {where: rows for where, rows in done.rows.items() if where not in features} == EXPECTED
    assert {"features/user_weekly", "features/user_item", "features/user_profile"} <= set(features)
    assert shop.users_by_file() == {name: users - {"u1"} for name, users in before.items()}
    assert any("u1" in users for users in before.values())
    assert workspace.event_log.request("r1") is None
    assert workspace.event_log.request("r0") is not None
    assert not list(shop.state.rglob("*.partial"))


def test_a_second_run_finds_nothing_and_records_nothing(shop: Shop, workspace: Workspace) -> None:
    forget(workspace, ["u1"])
    entries, held = workspace.ledger.entries(), shop.bytes_below("datasets")
    again = forget(workspace, ["u1"])
    assert again.rows == {}
    assert workspace.ledger.entries() == entries
    assert shop.bytes_below("datasets") == held


def test_the_tombstone_has_counts_and_no_name(workspace: Workspace) -> None:
    done = forget(workspace, ["u1", "u2", "u1"])
    intent, end = workspace.ledger.entries(SUBJECT)
    assert (intent.state, end.state, intent.transaction) == ("intent", "done", end.transaction)
    assert end.payload == {"users": [tombstone("u1"), tombstone("u2")], "rows": dict(done.rows)}
    assert "u1" not in json.dumps(end.payload["rows"])
    assert done.tombstones == (tombstone("u1"), tombstone("u2"))


def test_somebody_unknown_is_kept_out_from_now_on(shop: Shop, workspace: Workspace) -> None:
    """Once on record; nothing else changes."""
    before = shop.bytes_below("tables")
    assert forget(workspace, ["nobody"]).rows == {}
    assert forget(workspace, ["nobody"]).rows == {}
    assert [entry.state for entry in workspace.ledger.entries(SUBJECT)] == ["intent", "done"]
    assert shop.bytes_below("tables") == before


def test_the_tables_pass_for_ingested_and_a_new_delivery_does_not_bring_the_user_back(
    shop: Shop, workspace: Workspace
) -> None:
    forget(workspace, ["u1"])
    assert ingest(shop.open()).reused
    shop.deliver(1, week_of(2))
    result = ingest(shop.open())
    assert not result.reused
    assert [(count.rows, count.read, count.dropped) for count in result.counts if count.dropped] == [
        ("events, of forgotten users", 19, 7),
        ("users, of forgotten users", 3, 1),
    ]
    assert {row["user_id"] for row in shop.read("events")} == {"u0", "u2"}
    assert [row["user_id"] for row in shop.read("users")] == ["u0", "u2"]
    assert shop.read("refused/events") == []


def test_features_are_made_anew_without_the_user(shop: Shop, workspace: Workspace) -> None:
    """Until then they pass for stale: sums over all users still have the user in them."""
    forget(workspace, ["u1"])
    with pytest.raises(FeatureError, match="recsys features build"):
        require_built(shop.open())
    rebuilt = build_tables(shop.open())
    assert not any(table.reused for table in rebuilt if table.name == "item_weekly")
    require_built(shop.open())
    assert all("u1" not in users for users in shop.users_by_file().values())
    never = FilesProject(shop.root.parent / "never")
    never.deliver(0, [row for row in (*week_of(0), *week_of(1)) if row["user_id"] != "u1"])
    never.catalogue("users", [{"user_id": "u0"}, {"user_id": "u2"}])
    ingest(never.open())
    build_tables(never.open())
    for name in ("item_weekly", "user_weekly", "user_item"):
        tables = [
            pq.read_table(root / ".recsys" / "features" / name).sort_by(
                [
                    (column, "ascending")
                    for column in ("event_timestamp", "created_timestamp", name.split("_")[0] + "_id")
                ]
            )
            for root in (shop.root, never.root)
        ]
        rows = [sorted(map(str, table.to_pylist())) for table in tables]
        assert rows[0] == rows[1]


def test_a_training_set_says_what_was_erased_and_is_intact(shop: Shop, workspace: Workspace) -> None:
    before = json.loads((shop.dataset / "dataset.json").read_text())
    forget(workspace, ["u1"])
    found = read_training_set(shop.dataset)
    assert found is not None
    assert found.digest == tables_digest(shop.dataset) != before["digest"]
    (erased,) = found.document["erased"]
    assert erased["digest_before"] == before["digest"]
    assert erased["rows"] == {"learn": 1, "test": 1, "requests": 2, "taken": 1}
    assert erased["users"] == 1
    assert found.rows("taken")["request"].to_pylist() == [0, 2]
    assert found.rows("items").num_rows == 1
    forget(workspace, ["u2"])
    again = read_training_set(shop.dataset)
    assert again is not None
    assert [one["digest_before"] for one in again.document["erased"]] == [before["digest"], found.digest]


@pytest.mark.parametrize("place", ["_online", "_tables", "_sets", "_batches"])
def test_a_run_that_ends_on_the_way_is_completed_by_another(
    shop: Shop, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The tombstone is there before the first row goes, and the transaction is ended by the second run."""

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(forgetting, place, stop)
    with pytest.raises(KeyboardInterrupt):
        forget(workspace, ["u1"])
    monkeypatch.undo()
    assert [entry.state for entry in workspace.ledger.entries(SUBJECT)] == ["intent"]
    shop.deliver(1, week_of(2))
    ingest(shop.open())
    assert {row["user_id"] for row in shop.read("events")} == {"u0", "u2"}
    forget(workspace, ["u1"])
    intent, end = workspace.ledger.entries(SUBJECT)
    assert (end.state, end.transaction) == ("done", intent.transaction)
    assert all("u1" not in users for users in shop.users_by_file().values())
    assert workspace.event_log.request("r1") is None


def test_what_a_killed_run_left_is_swept(shop: Shop, workspace: Workspace) -> None:
    """Copies beside their places have rows of users, too."""
    for left in (
        "tables/.events.parquet.1.partial",
        "datasets/basket/v1/.20240110-abc.partial",
        "batch/home/.x.partial",
    ):
        (shop.state / left).write_text("rows of u1")
    forget(workspace, ["u1"])
    assert not [path for path in shop.state.rglob("*.partial") if path.is_file()]


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("nothing of the kind")
    with pytest.raises(DataError, match=r"t\.parquet: cannot be read as parquet"):
        erase_users(tmp_path / "t.parquet", ["u"])


def test_the_command_asks_and_prints_where_how_much_was(
    shop: Shop, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop.root)
    run = CliRunner().invoke
    refused = run(app, ["forget", "u1"])
    assert refused.exit_code == 1
    assert "say --yes" in refused.stderr
    assert workspace.ledger.entries() == ()
    told = run(app, ["forget", "u1", "--yes", "--json"])
    document = json.loads(told.stdout)
    assert document["total"] == sum(document["rows"].values())
    assert {where: document["rows"].get(where) for where in EXPECTED} == EXPECTED
    assert "u1" not in json.dumps(document["tombstones"])
    again = run(app, ["forget", "u1", "--yes"]).stdout
    assert "nothing of them was found" in again
    assert "not reached" in again
    assert "next:" not in again
    assert "next: `recsys features build`" in run(app, ["forget", "u2", "--yes"]).stdout


@given(
    columns=st.lists(st.tuples(st.sampled_from(["a", "b", "ü", None]), st.integers(0, 9)), max_size=40),
    users=st.lists(st.sampled_from(["a", "b", "ü", "z"]), min_size=1, unique=True),
    compression=st.sampled_from(["zstd", "snappy", "none"]),
    group=st.integers(1, 7),
)
def test_a_file_without_some_users_is_the_filtered_file(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[tuple[str | None, int]],
    users: list[str],
    compression: str,
    group: int,
) -> None:
    """Rows that name nobody stay; the order and the schema too; nothing changes where nothing leaves."""
    path = tmp_path_factory.mktemp("file") / "t.parquet"
    names, numbers = zip(*columns, strict=True) if columns else ((), ())
    table = pa.table({"user_id": pa.array(names, pa.string()), "n": pa.array(numbers, pa.int64())})
    pq.write_table(table, path, compression=compression, row_group_size=group)
    before = path.read_bytes()
    kept = [row for row in table.to_pylist() if row["user_id"] not in users]
    assert erase_users(path, users) == table.num_rows - len(kept)
    assert pq.ParquetFile(path).read().to_pylist() == kept
    assert pq.read_schema(path).equals(table.schema)
    assert erase_users(path, users) == 0
    if len(kept) == table.num_rows:
        assert path.read_bytes() == before


@given(st.lists(st.text(min_size=1).filter(lambda text: "\x00" not in text and text.isprintable()), min_size=1))
def test_sql_finds_whom_python_forgot(users: list[str]) -> None:
    import duckdb

    gone = {tombstone(user) for user in users[::2]}
    table = pa.table({"user_id": [*users, None]})
    with duckdb.connect() as connection:
        connection.register("t", table)
        found = connection.execute(f"select user_id from t where {forgotten_sql('user_id', gone)}").fetchall()
        nobody = connection.execute(f"select user_id from t where {forgotten_sql('user_id', [])}").fetchall()
    assert {row[0] for row in found} == set(users[::2])
    assert nobody == []
