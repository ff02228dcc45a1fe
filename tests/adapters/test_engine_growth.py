"""Are the rows of a table that grew step by step, versions included, those of a plain, slow builder?"""

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.adapters.spark_engine import SparkEngine
from recsys.ports import Engine, FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, SUPERSEDED_TIMESTAMP, TIMESTAMP
from recsys.specs.environment import Limits
from tests.adapters.feature_histories import (
    START,
    STREAMS,
    TABLES,
    TRANSFORMS,
    WEEK,
    assert_same,
    grow,
    histories,
    long_history,
    rows_of,
    run,
    write_sources,
)
from tests.fakes.engine import FakeEngine


def duckdb_engine(folder: Path) -> DuckDBEngine:
    """Give the real engine with little of everything."""
    return DuckDBEngine(Limits(threads=2, memory="500MB"), folder / "spill")


@pytest.fixture(params=["duckdb", pytest.param("spark", marks=pytest.mark.spark)])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Give an engine that is no fake."""
    engine = duckdb_engine(tmp_path)
    return engine if request.param == "duckdb" else SparkEngine(engine, request.getfixturevalue("spark"))


def known_by(rows: Sequence[dict[str, Any]], moment: datetime) -> list[dict[str, Any]]:
    """Return what a source could deliver at a moment."""
    return [row for row in rows if row[CREATED_TIMESTAMP] <= moment]


def assert_built_alike(
    folder: Path, table: FeatureTable, rows: list[dict[str, Any]], deliveries: Sequence[datetime]
) -> None:
    """Compare one build over everything, a build after each delivery, and the plain builder."""
    real = duckdb_engine(folder)
    until = grow(real, table, folder / "at once", rows, None)
    after = None
    for moment in sorted(deliveries):
        if known := known_by(rows, moment):
            after = grow(real, table, folder / "by and by", known, after)
    assert grow(real, table, folder / "by and by", rows, after) == until
    if until is not None:
        run(FakeEngine(), table, Step(None, until), write_sources(folder / "all", rows), folder / "plain")
    wanted = rows_of(folder / "plain", table)
    assert_same(rows_of(folder / "at once" / "table", table), wanted)
    assert_same(rows_of(folder / "by and by" / "table", table), wanted)


class TestGrowth:
    """The rows of all steps together, versions included, are the same however they came about."""

    # What fails is small already, and an example takes a second: shrinking would take minutes.
    @settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.explicit, Phase.generate])
    @given(
        rows=histories(),
        name=st.sampled_from(sorted(TABLES)),
        deliveries=st.lists(st.integers(0, 12 * 7 * 24).map(lambda hours: START + timedelta(hours=hours)), max_size=3),
    )
    def test_small_histories(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[Any], name: str, deliveries: list[datetime]
    ) -> None:
        """Late events, cancellations, returns to an earlier value, times at the very end of a week."""
        assert_built_alike(tmp_path_factory.mktemp("growth"), TABLES[name], rows, deliveries)

    @pytest.mark.parametrize("name", sorted(TABLES))
    def test_a_long_history_of_fractions(self, tmp_path: Path, name: str) -> None:
        """Beyond the window of 13 weeks, and long enough that sums are made in different orders."""
        ends = [START + week * WEEK for week in (9, 10, 16)]
        assert_built_alike(tmp_path, TABLES[name], long_history(weeks=20, late_every=9), ends)

    @pytest.mark.parametrize("name", sorted(TABLES))
    def test_all_engines_take_the_same_step(self, real: Engine, tmp_path: Path, name: str) -> None:
        """One that restates, on the same rows of earlier steps; then each key's newest row, made anew."""
        rows, table = long_history(weeks=8, late_every=3), TABLES[name]
        sources = write_sources(tmp_path / "sources", rows)
        start, step = Step(None, START + 5 * WEEK), Step(START + 5 * WEEK, START + 6 * WEEK, restates=True)
        made = []
        for engine in (real, FakeEngine()):
            folder = tmp_path / type(engine).__name__
            run(FakeEngine(), table, start, sources, folder)
            assert run(engine, table, step, sources, folder) > 0 or name == "user_profile", "nobody is new"
            made.append(rows_of(folder, table))
        assert_same(*made)
        units = pa.array(["u0", "u2", "nobody"] if table.keys[0] == "user_id" else ["i0"])
        anew = [engine.recompute(TRANSFORMS, table, step.until, sources, units) for engine in (real, FakeEngine())]
        assert anew[0].schema.names == anew[1].schema.names
        first, second = (sorted(rows.to_pylist(), key=lambda row: [row[key] for key in table.keys]) for rows in anew)
        assert first
        assert_same(first, second)


@pytest.mark.spark
class TestSparkBesideDuckDB:
    """The files of both engines, not only the rows in them."""

    @pytest.mark.parametrize("name", ["item_weekly", "user_item"])
    def test_a_first_step_is_row_for_row_that_of_duckdb(self, tmp_path: Path, spark: Any, name: str) -> None:
        """In the same order, of the same types; floats to 1e-9. Times have fractions of a second, which count."""
        table, step = TABLES[name], Step(None, START + 17 * WEEK)
        rows = long_history(weeks=20, late_every=9)
        for row in rows:
            fraction = timedelta(milliseconds=zlib.crc32(row["event_id"].encode()) % 1_000)
            row.update({clock: row[clock] + fraction for clock in (EVENT_TIMESTAMP, CREATED_TIMESTAMP)})
        sources = write_sources(tmp_path / "sources", rows)
        tables = []
        for engine in (duckdb_engine(tmp_path), SparkEngine(duckdb_engine(tmp_path), spark)):
            run(engine, table, step, sources, folder := tmp_path / type(engine).__name__)
            tables.append(pq.read_table(folder))
        duckdb, other = tables
        assert types(other) == types(duckdb)
        assert_same(other.to_pylist(), duckdb.to_pylist())

    @pytest.mark.parametrize("name", sorted(STREAMS))
    def test_a_stream_is_row_for_row_that_of_duckdb(self, tmp_path: Path, spark: Any, name: str) -> None:
        """Its beginning, what follows it, and a session's rows made anew."""
        table, sources = STREAMS[name], write_sources(tmp_path / "sources", visits())
        until = [START + timedelta(minutes=minutes) for minutes in (10, 30)]
        tables = []
        for engine in (duckdb_engine(tmp_path), SparkEngine(duckdb_engine(tmp_path), spark)):
            folder = tmp_path / type(engine).__name__
            for step in (Step(None, until[0]), Step(until[0], until[1])):
                output = folder / f"until-{step.until:%H%M}.parquet"
                assert engine.transform(TRANSFORMS, table, step, sources, folder, output)
            anew = engine.recompute(TRANSFORMS, table, until[1], sources, pa.array(["s0"])).sort_by(table.keys[1])
            tables.append((pq.read_table(folder), anew))
        for duckdb, other in zip(*tables, strict=True):
            assert types(other) == types(duckdb)
            assert_same(other.to_pylist(), duckdb.to_pylist())

    def test_a_folder_of_parts_takes_the_place_of_what_was_there(self, tmp_path: Path, spark: Any) -> None:
        """Of a file, and of a folder."""
        local, table = duckdb_engine(tmp_path), TABLES["user_profile"]
        sources, step = write_sources(tmp_path / "sources", long_history(2, 9)), Step(None, START + WEEK)
        for engine in (local, SparkEngine(local, spark), SparkEngine(local, spark)):
            assert run(engine, table, step, sources, tmp_path / "table") == 2
            assert len(rows_of(tmp_path / "table", table)) == 2
        assert (tmp_path / "table" / "until-20240108.parquet").is_dir()
        assert [path.name for path in (tmp_path / "table").iterdir()] == ["until-20240108.parquet"]


def types(table: pa.Table) -> list[tuple[str, pa.DataType]]:
    """Return the columns; whether one may be null is said by neither engine of the same."""
    return [(field.name, field.type) for field in table.schema]


def visits() -> list[dict[str, Any]]:
    """Return what two sessions did within half an hour, some of it known late."""
    rows = []
    for number in range(24):
        at = START + timedelta(minutes=number)
        rows.append(
            {
                "event_id": f"e{number:02}",
                "event_type": ("pageview", "click", "transfer", "purchase")[number % 4],
                "user_id": "u0",
                "item_id": f"i{number % 3}",
                "session_id": f"s{number % 2}",
                "quantity": 1.0,
                "value": 0.0,
                EVENT_TIMESTAMP: at,
                CREATED_TIMESTAMP: at + timedelta(minutes=9 if number % 5 == 0 else 0),
            }
        )
    return rows


@pytest.mark.parametrize("name", ["item_weekly", "user_item"])
def test_the_order_of_a_sum_is_no_change(tmp_path: Path, name: str) -> None:
    """Two threads add fractions in another order each time; only what became known makes another version."""
    count, weeks = 120_000, 5
    number = np.arange(count)
    at = pa.array(np.datetime64(START.replace(tzinfo=None), "us") + number * (weeks * 7 * 86_400_000_000 // count))
    columns = {
        "event_id": pa.array(number.astype(str)),
        "event_type": pa.array(["purchase"] * count),
        "user_id": pa.array((number % 50).astype(str)),
        "item_id": pa.array([f"i{one}" for one in number % 3]),
        "session_id": pa.array((number // 50).astype(str)),
        "quantity": pa.array(number % 997 / 1_000),
        "value": pa.array(np.ones(count)),
        EVENT_TIMESTAMP: at.cast(TIMESTAMP),
        CREATED_TIMESTAMP: at.cast(TIMESTAMP),
        SUPERSEDED_TIMESTAMP: pa.nulls(count, TIMESTAMP),
    }
    events = pa.table(columns).slice(0, count - 1)
    # One of each item is said again in the last week, and is what it was.
    again = events.slice(0, 150)
    again = again.set_column(8, CREATED_TIMESTAMP, pa.array([START + 4.5 * WEEK] * len(again), TIMESTAMP))
    superseded = pa.concat_arrays([again[CREATED_TIMESTAMP].chunk(0), pa.nulls(count - 1 - len(again), TIMESTAMP)])
    sources = write_sources(tmp_path, [])
    pq.write_table(
        pa.concat_tables([events.set_column(9, SUPERSEDED_TIMESTAMP, superseded), again]),
        sources["events"],
        row_group_size=5_000,
    )
    real, table = duckdb_engine(tmp_path), TABLES[name]
    run(real, table, Step(None, START + 4 * WEEK), sources, tmp_path / "table")
    run(real, table, Step(START + 4 * WEEK, START + 5 * WEEK, restates=True), sources, tmp_path / "table")
    late = [row for row in rows_of(tmp_path / "table", table) if row[EVENT_TIMESTAMP] <= START + 4 * WEEK]
    assert late
    assert all(row[CREATED_TIMESTAMP] == row[EVENT_TIMESTAMP] for row in late)
