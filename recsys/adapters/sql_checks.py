"""Is a SQL database there, new enough, of the same time as this machine, and may this role write to it?

What `recsys doctor` asks of every database of an environment. Nothing is written: what a write would need is tried by
statements that touch no row, in a transaction that is rolled back.
"""

import os
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from recsys.ports import Finding

_WAIT_SECONDS: Final = 5
_POSTGRESQL: Final = (13, 0)
"""The oldest version that its makers still mended when this was written was this one."""
_SQLITE: Final = (3, 35)
"""RETURNING, which the event log uses, came with it."""
_CLOCK_WARNING_SECONDS: Final = 2.0
_CLOCK_FAILED_SECONDS: Final = 60.0


def sql_findings(name: str, url: str, tables: Collection[str], made_by: str) -> Iterator[Finding]:
    """Ask a database; ends early where the next question needs what the last did not find.

    Args:
        name: what the database is to this environment, such as `event log`.
        url: of SQLAlchemy; its password is not told.
        tables: those that it should hold.
        made_by: the command that makes them where they are missing.
    """
    parsed = sa.make_url(url)
    shown = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        yield _future_file(name, Path(str(parsed.database)), made_by)
        return
    with _connected(parsed) as opened:
        if isinstance(opened, Finding):
            yield Finding(f"{name}: connection", opened.status, f"{shown}: {opened.found}", opened.advice)
            return
        yield Finding(f"{name}: connection", "ok", shown)
        yield _version(name, opened)
        if parsed.get_backend_name() == "postgresql":
            yield _clock(name, opened)
        yield _permission(name, opened, tables, made_by)


def _future_file(name: str, path: Path, made_by: str) -> Finding:
    """Judge a SQLite file that the first use makes."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if os.access(folder, os.W_OK):
        return Finding(f"{name}: connection", "ok", f"{path.name} is not there yet: {made_by} makes it")
    return Finding(
        f"{name}: connection",
        "failed",
        f"{path} is not there, and {folder} may not be written",
        "let this user write there, or name another file",
    )


@contextmanager
def _connected(url: sa.URL) -> Iterator[sa.Connection | Finding]:
    """Give a connection that is closed afterwards, or the finding that there is none."""
    bounds = {"timeout" if url.get_backend_name() == "sqlite" else "connect_timeout": _WAIT_SECONDS}
    try:
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True, connect_args=bounds)
        connection = engine.connect()
        if url.get_backend_name() == "sqlite":
            connection.execute(sa.text("select count(*) from sqlite_master"))  # opening alone reads nothing
    except ModuleNotFoundError as error:
        extra = "'recsys[postgres]'" if url.get_backend_name() == "postgresql" else str(error.name)
        yield Finding("", "failed", f"the package {error.name} is not installed", f"pip install {extra}")
        return
    except sa.exc.SQLAlchemyError as error:
        yield Finding("", "failed", _words(error), _advice(url, error))
        return
    try:
        yield connection
    finally:
        connection.close()
        engine.dispose()


def _version(name: str, connection: sa.Connection) -> Finding:
    found = connection.dialect.server_version_info or (0,)
    known, oldest = ("SQLite", _SQLITE) if connection.dialect.name == "sqlite" else ("PostgreSQL", _POSTGRESQL)
    text = f"{known} {'.'.join(map(str, found))}"
    if found < oldest:
        wanted = ".".join(map(str, oldest))
        return Finding(f"{name}: version", "failed", text, f"it is not supported: install {wanted} or newer")
    return Finding(f"{name}: version", "ok", text)


def _clock(name: str, connection: sa.Connection) -> Finding:
    """Compare the server's clock with this machine's, at the middle of the question."""
    begun, before = time.monotonic(), datetime.now(UTC)
    theirs: datetime = connection.execute(sa.text("select clock_timestamp()")).scalar_one()
    half = (time.monotonic() - begun) / 2
    ahead = (theirs - before).total_seconds() - half
    connection.rollback()
    seconds = abs(ahead)
    text = f"{'ahead of' if ahead > 0 else 'behind'} this machine's by {seconds:.2f} s (give or take {half:.2f})"
    if seconds - half <= _CLOCK_WARNING_SECONDS:
        return Finding(f"{name}: clock", "ok", text)
    advice = "let NTP set both clocks: exposures, maturity and the ledger are read by them"
    return Finding(f"{name}: clock", "failed" if seconds > _CLOCK_FAILED_SECONDS else "warning", text, advice)


def _permission(name: str, connection: sa.Connection, tables: Collection[str], made_by: str) -> Finding:
    """Try what writing needs, on no row."""
    quoted = connection.dialect.identifier_preparer.quote
    present = set(sa.inspect(connection).get_table_names())
    missing = [table for table in tables if table not in present]
    transaction = connection.get_transaction() or connection.begin()
    step = ""
    try:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        if missing:
            step = "make tables"
            connection.exec_driver_sql(f"CREATE TABLE recsys_doctor_{uuid.uuid4().hex} (probe integer)")
        for table in sorted(present.intersection(tables)):
            step = f"write {table}"
            column = quoted(sa.inspect(connection).get_columns(table)[0]["name"])
            connection.exec_driver_sql(f"INSERT INTO {quoted(table)} SELECT * FROM {quoted(table)} WHERE 1 = 0")
            connection.exec_driver_sql(f"UPDATE {quoted(table)} SET {column} = {column} WHERE 1 = 0")
            connection.exec_driver_sql(f"DELETE FROM {quoted(table)} WHERE 1 = 0")
    except sa.exc.SQLAlchemyError as error:
        role = connection.engine.url.username or "this user"
        return Finding(
            f"{name}: permission",
            "failed",
            f"{role} may not {step or 'write'}: {_words(error)}",
            "give it the right to make tables, and to select, insert, update and delete, on a server that takes writes",
        )
    finally:
        transaction.rollback()
    if len(missing) == len(tables):
        return Finding(f"{name}: permission", "ok", f"may make its tables; {made_by} does")
    return Finding(f"{name}: permission", "ok", f"may read and write {len(tables) - len(missing)} tables")


def _words(error: Exception) -> str:
    """Return what the driver says, on one line; of several attempts, what the last one met."""
    lines = [line.strip() for line in str(getattr(error, "orig", None) or error).strip().splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Multiple connection attempts", "Is the server"))]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _advice(url: sa.URL, error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error).lower()
    if url.get_backend_name() == "sqlite":
        return "check that it is a SQLite file that this user may read and write; restore a copy if it is damaged"
    if "password" in text or "authentication" in text or "role" in text:
        return "correct user and password in the address, or let the server's pg_hba.conf admit this role"
    if "database" in text and "does not exist" in text:
        return f"create it: createdb {url.database}"
    if "too many" in text or "remaining connection slots" in text:
        return "end other clients, or raise the server's max_connections"
    return "start the server, or correct host and port in the address"
