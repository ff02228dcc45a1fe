"""Is a SQLite file always before or after a write, whatever happens, and readable meanwhile?"""

import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureView, RepoConfig

from recsys.adapters.packed_online_store import PackedSqliteOnlineStore
from recsys.errors import FeatureError
from tests.adapters.packed_stores import PAIRS, USERS, Opened, hours, packed_stores, repo_config, rows, sqlite_settings


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    yield from packed_stores("sqlite", tmp_path)


class InterruptedWriteError(Exception):
    """What the test's interrupted write raises."""


@contextmanager
def transaction(opened: Opened) -> Iterator[sqlite3.Connection]:
    """Hold the connection of this thread inside a write."""
    backend: Any = opened.store._backend(opened.config)
    with backend.transaction():
        yield backend.sqlite


def interrupt_a_write(opened: Opened, of: FeatureView) -> None:
    with transaction(opened) as connection:
        connection.execute(f'DELETE FROM "test_{of.name}"')
        assert opened.store.read_group(opened.config, of, "a") is None
        raise InterruptedWriteError


@pytest.mark.parametrize("feature_view", [USERS, PAIRS], ids=["users", "pairs"])
def test_interrupted_write_leaves_the_state_before(opened: Opened, feature_view: FeatureView) -> None:
    packed, cfg = opened.store, opened.config
    packed.write_arrow(cfg, feature_view, rows(("a", 1, 1, 1, 1)))
    before = packed.read_all(cfg, feature_view)
    with pytest.raises(InterruptedWriteError):
        interrupt_a_write(opened, feature_view)
    assert packed.read_all(cfg, feature_view).equals(before)
    good, bad = rows(("a", 1, 9, 9, 9)), rows(("b", 1, 9, 9, 9))
    mixed = pa.concat_tables([good, bad.set_column(0, "user_id", pa.array([None], pa.string()))])
    with pytest.raises(FeatureError, match=r"'user_id' has 1 nulls"):
        packed.write_arrow(cfg, feature_view, mixed)
    assert packed.read_all(cfg, feature_view).equals(before)
    assert packed.watermark(cfg, feature_view) == hours(1)


def test_readers_go_on_while_a_write_is_open(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    packed.write_arrow(cfg, USERS, rows(("a", 1, 1, 1, 1)))
    seen: list[Any] = []

    def read() -> None:
        seen.append(opened.group(USERS, "a").column("value").to_pylist())

    with transaction(opened) as connection:
        connection.execute('DELETE FROM "test_users"')
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(timeout=10)
    assert seen == [[1]]
    assert packed.read_group(cfg, USERS, "a") is None


def _write_until_killed(folder: Path, written: Any) -> None:
    config = repo_config(folder, sqlite_settings())
    for step in range(1, 10_000):
        table = rows(*((f"u{n}", item, step, step, step) for n in range(100) for item in range(5)))
        PackedSqliteOnlineStore().write_arrow(config, PAIRS, table)
        written.value = step


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("pause", [0.05, 0.15, 0.3])
def test_a_killed_writer_leaves_one_moment_and_the_next_goes_on(opened: Opened, tmp_path: Path, pause: float) -> None:
    """Every read, also while it writes, sees rows of one write only; what was acknowledged is there."""
    context = multiprocessing.get_context("fork")
    written = context.Value("q", 0)
    writer = context.Process(target=_write_until_killed, args=(tmp_path, written))
    writer.start()
    try:
        while written.value == 0:
            assert writer.is_alive()
        ended = threading.Event()
        threading.Timer(pause, ended.set).start()
        while not ended.is_set():
            assert len(set(opened.store.read_all(opened.config, PAIRS).column("value").to_pylist())) == 1
    finally:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    acknowledged = written.value
    (left,) = set(opened.store.read_all(opened.config, PAIRS).column("value").to_pylist())
    assert left in (acknowledged, acknowledged + 1)
    again = rows(*((f"u{n}", item, left + 1, left + 1, left + 1) for n in range(100) for item in range(5)))
    assert opened.store.write_arrow(opened.config, PAIRS, again) == 500


def test_one_store_serves_several_paths(tmp_path: Path) -> None:
    packed = PackedSqliteOnlineStore()
    first, second = (repo_config(tmp_path / name, sqlite_settings()) for name in ("first", "second"))
    packed.write_arrow(first, USERS, rows(("a", 1, 1, 1, 1)))
    assert packed.read_group(second, USERS, "a") is None
    assert packed.read_group(first, USERS, "a") is not None
    mode = sqlite3.connect(tmp_path / "first" / "data" / "online.db")
    assert mode.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    mode.close()


def test_a_file_of_an_earlier_version_is_read_and_completed(opened: Opened) -> None:
    """Before join keys were noted."""
    opened.store.write_arrow(opened.config, PAIRS, rows(("a", 1, 1, 1, 1)))
    with transaction(opened) as connection:
        connection.execute("ALTER TABLE recsys_views DROP COLUMN join_keys")
    later = Opened("sqlite", PackedSqliteOnlineStore(), opened.config)
    assert later.group(PAIRS, "a").num_rows == 1
    later.store.write_arrow(opened.config, PAIRS, rows(("a", 2, 1, 1, 2)))
    assert later.group(PAIRS, "a").num_rows == 2
    with transaction(later) as connection:
        assert connection.execute("SELECT join_keys FROM recsys_views").fetchall() == [('["user_id", "item_id"]',)]


def _broken(folder: Path) -> RepoConfig:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "online.db").write_bytes(b"not a database" * 100)
    return repo_config(folder, sqlite_settings())


def test_faults_of_the_file_are_named(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="cannot be opened: file is not a database; the file is damaged"):
        opened.store.read_all(_broken(tmp_path / "broken"), USERS)
    opened.store.write_arrow(opened.config, USERS, rows(("a", 1, 1, 1, 1)))
    with transaction(opened) as connection:
        connection.execute("DELETE FROM recsys_schemas")
    with pytest.raises(FeatureError, match=r"'users' names schema .* materialize again"):
        opened.again().read_all(opened.config, USERS)
