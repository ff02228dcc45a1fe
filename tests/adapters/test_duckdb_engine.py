"""Does the engine query Arrow and parquet alike, and write a feature table whole or not at all?"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.errors import DataError, FeatureError
from recsys.ports import Engine
from recsys.schema import TIMESTAMP
from recsys.specs.environment import Limits
from tests.fakes.engine import FakeEngine

MOMENT = datetime(2017, 12, 4, 23, 30, tzinfo=UTC)
EVENTS = pa.table(
    {
        "user_id": pa.array(["a", "b", "a"]),
        "value": pa.array([1.0, 2.0, 4.0]),
        "event_timestamp": pa.array([MOMENT, MOMENT, MOMENT], TIMESTAMP),
    }
)
TRANSFORMS = """
import ibis


def total(events, items):
    return events.group_by("user_id").aggregate(total=ibis._.value.sum()).order_by("user_id")


def hours(events, items):
    return events.select(hour=ibis._.event_timestamp.hour())


def missing_column(events, items):
    return events.select(ibis._.nothing)


def bad_cast(events, items):
    return events.mutate(number=ibis._.user_id.cast("int64"))


def wrong_parameters(events, clicks):
    return events


def plain_mistake(events, items):
    return events.select(ibis._.value / undefined)


TABLES = {
    name: function
    for name, function in list(globals().items())
    if getattr(function, "__module__", None) == __name__ and callable(function)
}
"""


def engine(folder: Path) -> DuckDBEngine:
    """Give an engine with little of everything."""
    return DuckDBEngine(Limits(threads=2, memory="200MB"), folder / "spill")


@pytest.fixture(params=["duckdb", "fake"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Give the real engine and the fake."""
    return engine(tmp_path) if request.param == "duckdb" else FakeEngine()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Write a transforms.py."""
    path = tmp_path / "transforms.py"
    path.write_text(TRANSFORMS)
    return path


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Write the transforms' sources."""
    return {name: parquet(tmp_path / f"{name}.parquet") for name in ("events", "items")}


def parquet(path: Path, table: pa.Table = EVENTS) -> Path:
    """Write a parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


class TestQuery:
    """SQL over tables by name."""

    def test_arrow_and_parquet_join(self, either: Engine, tmp_path: Path) -> None:
        """A table, a file, and a folder of files."""
        parquet(tmp_path / "parts" / "one.parquet")
        parquet(tmp_path / "parts" / "two.parquet", EVENTS.slice(0, 1))
        counts = either.query(
            "select (select count(*) from events) as arrow, (select count(*) from file) as file,"
            " (select count(*) from parts) as folder",
            {"events": EVENTS, "file": parquet(tmp_path / "file.parquet"), "parts": tmp_path / "parts"},
        )
        assert counts.to_pylist() == [{"arrow": 3, "file": 3, "folder": 4}]

    def test_no_table_is_needed(self, either: Engine) -> None:
        """SQL alone will do."""
        assert either.query("select 1 as one").to_pylist() == [{"one": 1}]

    def test_what_is_registered_is_gone_after_the_query(self, tmp_path: Path) -> None:
        """Each query has a connection of its own."""
        shared = engine(tmp_path)
        shared.query("create table kept as from events", {"events": EVENTS})
        for name in ("events", "kept"):
            with pytest.raises(DataError, match=name):
                shared.query(f"from {name}")

    def test_times_are_utc(self, tmp_path: Path) -> None:
        """Whatever the machine's zone, and with their zone on the way out."""
        table = engine(tmp_path).query(
            "select event_timestamp, hour(event_timestamp) as hour, timestamptz '2017-12-04 23:30:00' as literal"
            " from events",
            {"events": EVENTS.slice(0, 1)},
        )
        assert table.to_pylist() == [{"event_timestamp": MOMENT, "hour": 23, "literal": MOMENT}]
        assert table.schema.field("event_timestamp").type == TIMESTAMP

    def test_threads_may_share_it(self, tmp_path: Path) -> None:
        """One table name means another table in each."""
        shared = engine(tmp_path)

        def count(rows: int) -> int:
            (answer,) = shared.query("select count(*) as n from t", {"t": EVENTS.slice(0, rows)}).to_pylist()
            return int(answer["n"])

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(count, [1, 2, 3] * 5)) == [1, 2, 3] * 5

    @pytest.mark.parametrize(
        "sql", ["select nothing from events", "from nowhere", "selekt 1", "select user_id::int from events"]
    )
    def test_a_query_that_does_not_fit_is_an_error_of_data(self, tmp_path: Path, sql: str) -> None:
        """With the tables it ran over."""
        with pytest.raises(DataError, match="query over events:"):
            engine(tmp_path).query(sql, {"events": EVENTS})

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        """With what makes it."""
        with pytest.raises(DataError, match=r"gone\.parquet: no such file or folder; run `recsys"):
            engine(tmp_path).query("from t", {"t": tmp_path / "gone.parquet"})

    def test_an_empty_folder_is_an_error_of_data(self, tmp_path: Path) -> None:
        """Not of the database."""
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="empty"):
            engine(tmp_path).query("from t", {"t": tmp_path / "empty"})

    def test_a_file_of_another_kind_is_an_error_of_data(self, tmp_path: Path) -> None:
        """Not of the database."""
        (tmp_path / "t.parquet").write_text("not parquet " * 10)
        with pytest.raises(DataError, match=r"t\.parquet|query over t"):
            engine(tmp_path).query("from t", {"t": tmp_path / "t.parquet"})

    def test_a_folder_may_carry_any_name(self, tmp_path: Path) -> None:
        """An apostrophe is no end of a string."""
        path = parquet(tmp_path / "o'neill" / "t.parquet")
        assert len(engine(tmp_path).query("from t", {"t": path})) == 3


class TestTransform:
    """One feature table from the shop's tables."""

    def test_writes_the_table_and_counts_its_rows(self, tmp_path: Path, module: Path, sources: dict[str, Path]) -> None:
        """Into a folder that it makes."""
        output = tmp_path / "features" / "total" / "part-0.parquet"
        assert engine(tmp_path).transform(module, "total", sources, output) == 2
        assert pq.read_table(output).to_pylist() == [{"user_id": "a", "total": 5.0}, {"user_id": "b", "total": 2.0}]
        assert [path.name for path in output.parent.iterdir()] == ["part-0.parquet"]

    def test_times_are_utc(self, tmp_path: Path, module: Path, sources: dict[str, Path]) -> None:
        """In transforms as well."""
        engine(tmp_path).transform(module, "hours", sources, tmp_path / "out.parquet")
        assert set(pq.read_table(tmp_path / "out.parquet")["hour"].to_pylist()) == {23}

    @pytest.mark.parametrize("table", ["bad_cast", "missing_column", "wrong_parameters", "plain_mistake"])
    def test_a_transform_that_fails_leaves_what_was_there(
        self, tmp_path: Path, module: Path, sources: dict[str, Path], table: str
    ) -> None:
        """The old table stays whole, nothing half written stands beside it, and the table is named."""
        output = tmp_path / "features" / "part-0.parquet"
        before = parquet(output).read_bytes()
        with pytest.raises(FeatureError, match=f"feature table {table}"):
            engine(tmp_path).transform(module, table, sources, output)
        assert output.read_bytes() == before
        assert [path.name for path in output.parent.iterdir()] == ["part-0.parquet"]

    def test_an_unknown_table_is_named(self, tmp_path: Path, module: Path, sources: dict[str, Path]) -> None:
        """Beside those that are known."""
        with pytest.raises(FeatureError, match=r"'daily': transforms\.py has no such transform; it has .*total"):
            engine(tmp_path).transform(module, "daily", sources, tmp_path / "out.parquet")

    def test_a_missing_module_is_named(self, tmp_path: Path, sources: dict[str, Path]) -> None:
        """With what it is."""
        with pytest.raises(FeatureError, match=r"transforms\.py: missing"):
            engine(tmp_path).transform(tmp_path / "transforms.py", "total", sources, tmp_path / "out.parquet")

    def test_a_missing_source_is_named(self, tmp_path: Path, module: Path, sources: dict[str, Path]) -> None:
        """And nothing is written."""
        with pytest.raises(DataError, match=r"gone\.parquet"):
            engine(tmp_path).transform(
                module, "total", sources | {"items": tmp_path / "gone.parquet"}, tmp_path / "out" / "t.parquet"
            )
        assert not list((tmp_path / "out").glob("*"))


def test_memory_is_bounded(tmp_path: Path) -> None:
    (row,) = (
        engine(tmp_path)
        .query("select current_setting('threads') as n, current_setting('memory_limit') as m")
        .to_pylist()
    )
    assert row["n"] == 2
    assert row["m"].startswith("190")  # MiB
    assert duckdb.sql("select 1").fetchall() == [(1,)]  # the process's own database is another
