"""Does nobody have to close the event log for its connections to be closed?"""

import gc
import sqlite3
from pathlib import Path

import pytest

from recsys.adapters.sql_event_log import SqlEventLog, SqlLedger
from recsys.errors import StoreError


def connection_of(store: SqlEventLog | SqlLedger) -> sqlite3.Connection:
    """Return the driver's connection that the pool keeps."""
    pooled = store._database.engine.raw_connection()
    connection = pooled.driver_connection
    pooled.close()
    assert isinstance(connection, sqlite3.Connection)
    return connection


def is_closed(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("select 1")
    except sqlite3.ProgrammingError:
        return True
    return False


@pytest.mark.parametrize("kind", [SqlEventLog, SqlLedger])
def test_a_store_that_is_dropped_closes_its_connections(kind: type[SqlEventLog | SqlLedger], tmp_path: Path) -> None:
    store = kind(f"sqlite:///{tmp_path}/event_log.db")
    connection = connection_of(store)
    assert not is_closed(connection)
    del store
    gc.collect()
    assert is_closed(connection)


def test_a_store_in_a_cycle_closes_its_connections(tmp_path: Path) -> None:
    store = SqlLedger(f"sqlite:///{tmp_path}/event_log.db")
    connection = connection_of(store)
    cycle = [store]
    cycle.append(cycle)  # type: ignore[arg-type]
    del store, cycle
    gc.collect()
    assert is_closed(connection)


def test_the_log_outlives_the_one_who_opened_it_while_its_ledger_is_held(tmp_path: Path) -> None:
    log = SqlEventLog(f"sqlite:///{tmp_path}/event_log.db")
    ledger = log.ledger
    connection = connection_of(ledger)
    del log
    gc.collect()
    assert not is_closed(connection)
    assert list(ledger.entries()) == []


def test_a_closed_store_may_be_used_again(tmp_path: Path) -> None:
    store = SqlLedger(f"sqlite:///{tmp_path}/event_log.db")
    for _ in range(2):
        connection = connection_of(store)
        store.close()
        assert is_closed(connection)
    store.close()
    assert list(store.entries()) == []


def test_a_file_that_is_no_database_is_not_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "event_log.db"
    path.write_text("no database " * 1000)
    made: list[sqlite3.Connection] = []

    def connect(*arguments: object, **options: object) -> sqlite3.Connection:
        made.append(real(*arguments, **options))  # type: ignore[call-overload]
        return made[-1]

    real = sqlite3.dbapi2.connect
    monkeypatch.setattr(sqlite3.dbapi2, "connect", connect)
    store = SqlLedger(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="damaged or of another kind"):
        store.entries()
    assert made
    assert all(is_closed(connection) for connection in made)
