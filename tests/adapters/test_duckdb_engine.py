"""What does the engine promise beyond its port: threads, memory, odd files, and nothing of one query in the next?"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.errors import DataError
from recsys.specs.environment import Limits

EVENTS = pa.table({"user_id": ["a", "b", "a"], "value": [1.0, 2.0, 4.0]})


@pytest.fixture
def engine(tmp_path: Path) -> DuckDBEngine:
    """Give an engine with little of everything."""
    return DuckDBEngine(Limits(threads=2, memory="200MB"), tmp_path / "spill")


def test_what_is_registered_is_gone_after_the_query(engine: DuckDBEngine) -> None:
    engine.query("create table kept as from events", {"events": EVENTS})
    for name in ("events", "kept"):
        with pytest.raises(DataError, match=name):
            engine.query(f"from {name}")


def test_threads_may_share_it(engine: DuckDBEngine) -> None:
    """One table name means another table in each."""

    def count(rows: int) -> int:
        (answer,) = engine.query("select count(*) as n from t", {"t": EVENTS.slice(0, rows)}).to_pylist()
        return int(answer["n"])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, [1, 2, 3] * 5)) == [1, 2, 3] * 5


def test_a_value_that_does_not_fit_is_an_error_of_data(engine: DuckDBEngine) -> None:
    with pytest.raises(DataError, match="query over events:"):
        engine.query("select user_id::int from events", {"events": EVENTS})


def test_an_empty_folder_is_an_error_of_data(engine: DuckDBEngine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        engine.query("from t", {"t": tmp_path / "empty"})


def test_a_file_of_another_kind_is_an_error_of_data(engine: DuckDBEngine, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("not parquet " * 10)
    with pytest.raises(DataError, match=r"t\.parquet|query over t"):
        engine.query("from t", {"t": tmp_path / "t.parquet"})


def test_a_folder_may_carry_any_name(engine: DuckDBEngine, tmp_path: Path) -> None:
    """An apostrophe is no end of a string, for reading and for writing."""
    path = tmp_path / "o'neill" / "t.parquet"
    path.parent.mkdir()
    pq.write_table(EVENTS, path)
    assert len(engine.query("from t", {"t": path})) == 3
    assert engine.write("from t", {"t": path}, path.with_name("u.parquet")) == 3


def test_memory_is_bounded(engine: DuckDBEngine) -> None:
    sql = "select current_setting('threads') as n, current_setting('memory_limit') as m"
    (row,) = engine.query(sql).to_pylist()
    assert row["n"] == 2
    assert row["m"].startswith("190")  # MiB
    assert duckdb.sql("select 1").fetchall() == [(1,)]  # the process's own database is another


def test_what_was_spilled_is_gone_after_the_query(tmp_path: Path) -> None:
    """The folder goes too, and the next query that needs one has one."""
    engine = DuckDBEngine(Limits(threads=1, memory="60MB"), tmp_path / "spill")
    sql = "select count(*) as n from (select range as a, hash(range) as b from range(4_000_000) order by b offset 1)"
    for _ in range(2):
        assert engine.query(sql).to_pylist() == [{"n": 3_999_999}]
        assert list(tmp_path.iterdir()) == []


FORKED = """
import os, sys
from pathlib import Path
from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.specs.environment import Limits

engine = DuckDBEngine(Limits(threads=2, memory="200MB"), Path(sys.argv[1]) / "spill")
sql = "select count(*) as n from range(2_000_000) t(a), range(3) u(b) where (a + b) % 7 = 0"
first = engine.query(sql)
child = os.fork()
if child == 0:
    os._exit(0 if engine.query(sql).equals(first) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_has_a_database_of_its_own(tmp_path: Path) -> None:
    """The threads of its parent's are not there, and a query over it would wait for them for ever."""
    subprocess.run([sys.executable, "-c", FORKED, str(tmp_path)], check=True, timeout=60)
