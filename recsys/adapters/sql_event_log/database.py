"""How is the event log's database reached in bounded time, durably, and with failures that say what to do?"""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url

from recsys.adapters.sql_event_log import postgresql, tables
from recsys.errors import DataError, StoreError

_WAIT_SECONDS: Final = 5
_LOCK_KEY: Final = 7_236_514_001
"""Any number that all processes of this package agree on: who holds it may create tables."""


class Database:
    """One engine over one URL, made on first use; its tables are created when they are missing.

    Its connections are closed by `close`, and when it is dropped: SQLAlchemy's pool would leave that to the driver,
    which warns of connections that nobody closed.
    """

    def __init__(self, url: str) -> None:
        """Check the URL; nothing is opened yet.

        Raises:
            StoreError: if the URL is not one of a SQLite file or of PostgreSQL by psycopg.
        """
        self._url = checked_url(url)
        self._engine: sa.Engine | None = None
        self._closing: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Return the URL without its password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def dialect(self) -> sa.Dialect:
        """Return which database this is."""
        return self.engine.dialect

    @property
    def engine(self) -> sa.Engine:
        """Return the engine, with all tables there.

        Raises:
            StoreError: if the database cannot be opened.
        """
        with self._lock:
            if self._engine is None:
                with self.failures("open"):
                    self._engine = self._opened()
            return self._engine

    @contextmanager
    def writing(self, what: str) -> Iterator[sa.Connection]:
        """Open a transaction that is on disk when the block ends."""
        engine = self.engine
        with self.failures(what), engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self, what: str) -> Iterator[sa.Connection]:
        """Open a consistent view of the database."""
        engine = self.engine
        with self.failures(what), engine.connect() as connection:
            yield connection

    @contextmanager
    def patient(self, connection: sa.Connection) -> Iterator[None]:
        """Let a server think about a statement as long as it wants: a query over a year of rows is no hung server."""
        driver: Any = connection.connection.driver_connection
        if not tables.is_postgresql(connection.dialect):
            yield
            return
        driver.silence_seconds = None
        try:
            yield
        finally:
            driver.silence_seconds = postgresql.SILENCE_SECONDS

    @contextmanager
    def failures(self, what: str) -> Iterator[None]:
        """Turn what the driver raises into this package's errors."""
        try:
            yield
        except (sa.exc.DataError, sa.exc.IntegrityError, UnicodeError) as error:
            rule = "ids are text without NUL characters, and only what may be unknown is null"
            message = f"event log {self.name}: cannot {what}: {_reason(error)}; {rule}"
            raise DataError(message) from error
        except (sa.exc.SQLAlchemyError, OSError) as error:
            message = f"event log {self.name}: cannot {what}: {_reason(error)}; {_advice(self._url, error)}"
            raise StoreError(message) from error

    def close(self) -> None:
        """Give all connections back."""
        with self._lock:
            self._closing()
            self._engine = None

    def _opened(self) -> sa.Engine:
        engine = _make_engine(self._url)
        self._closing = weakref.finalize(self, _dispose, engine, os.getpid())
        try:
            _create_tables(engine)
        except BaseException:
            self._closing()
            raise
        return engine


def checked_url(url: str) -> sa.URL:
    """Parse the URL of a SQLite file or of PostgreSQL by psycopg.

    Raises:
        StoreError: if it is of neither.
    """
    rule = "it is sqlite:///path/to/file.db or postgresql+psycopg://user@host:5432/database"
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        # The text itself may hold a password, so it is not repeated.
        message = f"event log: its URL cannot be read: {rule}"
        raise StoreError(message) from error
    shown = parsed.render_as_string(hide_password=True)
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        message = f"event log {shown}: {parsed.drivername} is not supported: {rule}"
        raise StoreError(message)
    if parsed.drivername == "sqlite" and parsed.database in {None, "", ":memory:"}:
        message = f"event log {shown}: a log in memory is lost with its process: name a file"
        raise StoreError(message)
    return parsed


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.drivername == "sqlite":
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": _WAIT_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        return engine
    try:
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            # A vanished server is noticed by the pre-ping and tcp_user_timeout, not by TCP's own minutes.
            pool_pre_ping=True,
            pool_timeout=_WAIT_SECONDS,
            connect_args={
                "connect_timeout": _WAIT_SECONDS,
                "tcp_user_timeout": _WAIT_SECONDS * 1000,
                # A read of a machine that vanished ends after these, not after the two hours of the kernel.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            },
        )
    except ModuleNotFoundError as error:
        shown = url.render_as_string(hide_password=True)
        message = f"event log {shown}: package {error.name} is missing: install recsys[postgres]"
        raise StoreError(message) from error
    event.listen(engine, "do_connect", _connect_postgresql)
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _connect_postgresql(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's event
    return postgresql.connect(*arguments, **options)


def _dispose(engine: sa.Engine, process: int) -> None:
    """Close the connections that are idle, except in a process that merely inherited them."""
    engine.dispose(close=os.getpid() == process)


def _prepare_sqlite(connection: Any, _record: Any) -> None:  # noqa: ANN401 - the DBAPI's own object
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_WAIT_SECONDS * 1000}")
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _write_ahead(cursor: Any) -> None:  # noqa: ANN401 - the DBAPI's own object
    """Switch to a write-ahead log; of several that open a new file at once SQLite refuses all but one, unasked."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _prepare_postgresql(connection: Any, _record: Any) -> None:  # noqa: ANN401 - the DBAPI's own object
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{_WAIT_SECONDS}s'")
        cursor.execute("SET timezone = 'UTC'")
        cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _create_tables(engine: sa.Engine) -> None:
    # Looked for first: a role that may only read and write has no right to CREATE, not even IF NOT EXISTS.
    with engine.connect() as connection:
        found = sa.inspect(connection)
        present = {name: {column["name"] for column in found.get_columns(name)} for name in found.get_table_names()}
        indexes = {str(index["name"]) for name in present for index in found.get_indexes(name)}
    wanted = {str(index.name) for table in tables.metadata.sorted_tables for index in table.indexes}
    complete = all(set(table.c.keys()) <= present.get(name, set()) for name, table in tables.metadata.tables.items())
    if complete and indexes >= wanted:
        return
    try:
        _create_missing(engine, present)
    except sa.exc.ProgrammingError:
        # A log of an earlier version, and a role that may not make its index: sessions are read slowly, and right.
        if not complete:
            raise


def _create_missing(engine: sa.Engine, present: Mapping[str, set[str]]) -> None:
    with engine.begin() as connection:
        if tables.is_postgresql(engine.dialect):
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
        for table in tables.metadata.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for name in sorted(set(table.columns.keys()) - present.get(table.name, set(table.columns.keys()))):
                _add_column(connection, table.columns[name])
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def _add_column(connection: sa.Connection, column: sa.Column[Any]) -> None:
    """Give a table of an earlier version a column that it lacks; where that is there already, nothing happens."""
    kind = column.type.compile(connection.dialect)
    if tables.is_postgresql(connection.dialect):
        connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN IF NOT EXISTS {column.name} {kind}")
        return
    try:
        connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {column.name} {kind}")
    except sa.exc.OperationalError as error:
        if "duplicate column" not in str(error):  # another process was faster
            raise


def _reason(error: Exception) -> str:
    """Return the driver's own words, on one line and without the statement and its values."""
    words = str(getattr(error, "orig", None) or error).strip().splitlines()
    return words[0].rstrip(".") if words else type(error).__name__


def _advice(url: sa.URL, error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error).lower()
    if url.drivername != "sqlite":
        return "check that the server runs, and that this role may connect, read and write there"
    if "locked" in text or "busy" in text:
        return f"another process held the file for {_WAIT_SECONDS} s: end it, or use PostgreSQL for many writers"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged or of another kind: move it away, and restore a copy if there is one"
    if "full" in text or "i/o error" in text:
        return "free disk space and run this again"
    return "check that the folder exists and that this user may write there"
