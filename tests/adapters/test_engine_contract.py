"""Do the engines query alike, and does a table that grew week by week equal the one of a plain, slow builder?"""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.adapters.spark_engine import SparkEngine
from recsys.errors import DataError, FeatureError
from recsys.ports import Engine, FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, TIMESTAMP
from recsys.specs.environment import Limits
from tests.adapters.feature_histories import (
    START,
    WEEK,
    write_sources,
)
from tests.events import event_table
from tests.fakes.engine import FakeEngine

MOMENT = datetime(2024, 1, 3, 23, 30, tzinfo=UTC)
ROWS = [
    {"event_id": f"e{number}", "user_id": user, "value": value, EVENT_TIMESTAMP: MOMENT, CREATED_TIMESTAMP: MOMENT}
    for number, (user, value) in enumerate([("a", 1.0), ("b", 2.0), ("a", 4.0)])
]
EVENTS = event_table(ROWS)
TOTAL = FeatureTable("total", "", ("user_id",), WEEK, 1)
ALL = Step(None, START + WEEK)
MODULE = """
import ibis


def total(events, items, until):
    at = ibis.literal(until).cast("timestamp('UTC')")
    return events.group_by("user_id").aggregate(
        total=ibis._.value.sum(), hour=ibis._.event_timestamp.hour().max(), event_timestamp=at)


def missing_column(events, items, until):
    return events.select(ibis._.nothing)


def bad_cast(events, items, until):
    return events.mutate(number=ibis._.user_id.cast("int64"))


def wrong_parameters(events, clicks, until):
    return events


def plain_mistake(events, items, until):
    return events.select(ibis._.value / undefined)


TABLES = {
    "total": total,
    "missing_column": missing_column,
    "bad_cast": bad_cast,
    "wrong_parameters": wrong_parameters,
    "plain_mistake": plain_mistake,
}
"""


@pytest.fixture(params=["duckdb", "fake", pytest.param("spark", marks=pytest.mark.spark)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Give the real engines and the fake."""
    if request.param == "spark":
        return SparkEngine(duckdb_engine(tmp_path), request.getfixturevalue("spark"))
    return duckdb_engine(tmp_path) if request.param == "duckdb" else FakeEngine()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Write a transforms.py."""
    path = tmp_path / "transforms.py"
    path.write_text(MODULE)
    return path


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Write the transforms' sources."""
    return write_sources(tmp_path / "sources", ROWS)


def duckdb_engine(folder: Path) -> DuckDBEngine:
    """Give the real engine with little of everything."""
    return DuckDBEngine(Limits(threads=2, memory="500MB"), folder / "spill")


class TestQuery:
    """SQL over tables by name."""

    def test_arrow_and_parquet_join(self, engine: Engine, tmp_path: Path) -> None:
        """A table, a file, and a folder of files."""
        (tmp_path / "parts" / "deep").mkdir(parents=True)
        for name, table in {"file": EVENTS, "parts/one": EVENTS, "parts/deep/two": EVENTS.slice(0, 1)}.items():
            pq.write_table(table, tmp_path / f"{name}.parquet")
        counts = engine.query(
            "select (select count(*) from events) as arrow, (select count(*) from file) as file,"
            " (select count(*) from parts) as folder",
            {"events": EVENTS, "file": tmp_path / "file.parquet", "parts": tmp_path / "parts"},
        )
        assert counts.to_pylist() == [{"arrow": 3, "file": 3, "folder": 4}]

    def test_no_table_is_needed(self, engine: Engine) -> None:
        """SQL alone will do."""
        assert engine.query("select 1 as one").to_pylist() == [{"one": 1}]

    def test_times_are_utc(self, engine: Engine) -> None:
        """Whatever the machine's zone, and with their zone on the way out."""
        sql = f"select hour({EVENT_TIMESTAMP}) as hour, {EVENT_TIMESTAMP}, timestamptz '2024-01-03 23:30' as literal"
        table = engine.query(f"{sql} from t", {"t": EVENTS.slice(0, 1)})
        assert table.to_pylist() == [{"hour": 23, EVENT_TIMESTAMP: MOMENT, "literal": MOMENT}]
        assert table.schema.field(EVENT_TIMESTAMP).type == TIMESTAMP

    @pytest.mark.parametrize("sql", ["select nothing from events", "from nowhere", "selekt 1"])
    def test_a_query_that_does_not_fit_is_an_error_of_data(self, engine: Engine, sql: str) -> None:
        """With the tables it ran over."""
        with pytest.raises(DataError, match="query over events:"):
            engine.query(sql, {"events": EVENTS})

    def test_a_folder_without_files_is_named(self, engine: Engine, tmp_path: Path) -> None:
        (tmp_path / "user_item").mkdir()
        with pytest.raises(DataError, match=r"user_item\b.*recsys features build"):
            engine.query("select * from user_item", {"user_item": tmp_path / "user_item"})

    def test_a_missing_file_is_named(self, engine: Engine, tmp_path: Path) -> None:
        """With what makes it."""
        with pytest.raises(DataError, match=r"gone\.parquet: no such file or folder; run `recsys"):
            engine.query("from t", {"t": tmp_path / "gone.parquet"})


class TestWrite:
    """SQL into a file."""

    def test_writes_and_counts(self, engine: Engine, tmp_path: Path) -> None:
        """Into a folder that it makes, in the order asked for, over what was there."""
        output = tmp_path / "new" / "out.parquet"
        for least in (0, 2):
            sql = f"select user_id, value from t where value >= {least} order by value desc"
            assert engine.write(sql, {"t": EVENTS}, output) == (3 if least == 0 else 2)
        assert pq.read_table(output)["value"].to_pylist() == [4.0, 2.0]
        assert [path.name for path in output.parent.iterdir()] == ["out.parquet"]

    def test_times_stay_utc_with_microseconds(self, engine: Engine, tmp_path: Path) -> None:
        """As the schema says."""
        engine.write("from t", {"t": EVENTS}, tmp_path / "out.parquet")
        assert pq.read_table(tmp_path / "out.parquet").equals(EVENTS)

    def test_a_query_that_fails_leaves_what_was_there(self, engine: Engine, tmp_path: Path) -> None:
        """Also one that fails half-way."""
        output = tmp_path / "new" / "out.parquet"
        engine.write("select 1 as one", {}, output)
        before = output.read_bytes()
        with pytest.raises(DataError):
            engine.write("select user_id::int as n from t", {"t": EVENTS}, output)
        assert output.read_bytes() == before
        assert [path.name for path in output.parent.iterdir()] == ["out.parquet"]


class TestTransform:
    """One step of a feature table."""

    def test_writes_the_rows_and_counts_them(
        self, engine: Engine, tmp_path: Path, module: Path, sources: dict[str, Path]
    ) -> None:
        """Into a folder that it makes; a row was known at its week's end; hours are UTC's."""
        output = tmp_path / "features" / "total" / "until-20240108.parquet"
        assert engine.transform(module, TOTAL, ALL, sources, output.parent, output) == 2
        week = {"hour": 23, EVENT_TIMESTAMP: START + WEEK, CREATED_TIMESTAMP: START + WEEK}
        rows = pq.read_table(output).to_pylist()
        assert sorted(rows, key=lambda row: row["user_id"]) == [
            {"user_id": "a", "total": 5.0} | week,
            {"user_id": "b", "total": 2.0} | week,
        ]
        for name in (EVENT_TIMESTAMP, CREATED_TIMESTAMP):
            assert pq.read_table(output).schema.field(name).type == TIMESTAMP
        assert [path.name for path in output.parent.iterdir()] == [output.name]

    @pytest.mark.parametrize("table", ["bad_cast", "missing_column", "wrong_parameters", "plain_mistake"])
    def test_a_transform_that_fails_leaves_what_was_there(
        self, engine: Engine, tmp_path: Path, module: Path, sources: dict[str, Path], table: str
    ) -> None:
        """The old file stays whole, nothing half written stands beside it, and the table is named."""
        output = tmp_path / "features" / "until-20240108.parquet"
        engine.write("select 1 as one", {}, output)
        before = output.read_bytes()
        broken = FeatureTable(table, "", ("user_id",), WEEK, 1)
        with pytest.raises(FeatureError, match=f"feature table {table}"):
            engine.transform(module, broken, ALL, sources, tmp_path / "none", output)
        with pytest.raises(FeatureError, match=f"feature table {table}"):
            engine.recompute(module, broken, ALL.until, sources, pa.array(["a"]))
        assert output.read_bytes() == before
        assert [path.name for path in output.parent.iterdir()] == [output.name]

    def test_an_unknown_table_is_named(
        self, engine: Engine, tmp_path: Path, module: Path, sources: dict[str, Path]
    ) -> None:
        """Beside those that are known."""
        daily = FeatureTable("daily", "", ("user_id",), WEEK, 1)
        with pytest.raises(FeatureError, match=r"'daily': transforms\.py has no such transform; it has .*total"):
            engine.transform(module, daily, ALL, sources, tmp_path / "none", tmp_path / "out.parquet")

    def test_a_missing_module_is_named(self, engine: Engine, tmp_path: Path, sources: dict[str, Path]) -> None:
        """With what it is."""
        with pytest.raises(FeatureError, match=r"transforms\.py: missing"):
            engine.transform(
                tmp_path / "transforms.py", TOTAL, ALL, sources, tmp_path / "none", tmp_path / "out.parquet"
            )

    def test_a_missing_source_is_named(
        self, engine: Engine, tmp_path: Path, module: Path, sources: dict[str, Path]
    ) -> None:
        """And nothing is written."""
        without = sources | {"items": tmp_path / "gone.parquet"}
        with pytest.raises(DataError, match=r"gone\.parquet"):
            engine.transform(module, TOTAL, ALL, without, tmp_path / "none", tmp_path / "out" / "t.parquet")
        assert not list((tmp_path / "out").glob("*"))
