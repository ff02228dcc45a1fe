"""How are packed values kept in a SQLite file?

One table a feature view: (group_key, payload, event_ts, created_ts), times in microseconds.
`recsys_schemas` keeps each schema that a payload names; `recsys_views` keeps each view's join keys, last schema,
watermark and generation. A write is one transaction: it is seen as a whole or not at all.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from feast.repo_config import RepoConfig

from recsys.adapters.packed_online_store.backend import Backend, Kept, Key, Newest, Pack, Packed, Place
from recsys.adapters.packed_online_store.probe import SCHEMA, probed
from recsys.errors import FeatureError, OnlineStoreError
from recsys.ports import Finding

BUSY_TIMEOUT_SECONDS: Final = 10.0
KEYS_A_QUERY: Final = 500

_SCHEMAS: Final = """CREATE TABLE IF NOT EXISTS recsys_schemas (
    schema_id BLOB PRIMARY KEY, schema BLOB NOT NULL)"""
_VIEWS: Final = """CREATE TABLE IF NOT EXISTS recsys_views (
    name TEXT PRIMARY KEY, group_key TEXT, schema_id BLOB, watermark INTEGER,
    generation INTEGER NOT NULL DEFAULT 0, join_keys TEXT)"""


class SqliteBackend(Backend):
    """One thread's connection to one file."""

    def __init__(self, path: str) -> None:
        """Open the file for reading beside one writer, and make it if it is missing.

        Raises:
            FeatureError: if it cannot be opened or written.
        """
        self.path = path
        self.process = os.getpid()
        self.name = f"online store {path}"
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.sqlite = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            _write_ahead(self.sqlite)
            self.sqlite.execute("PRAGMA synchronous = NORMAL")
            self.sqlite.execute(_SCHEMAS)
            self.sqlite.execute(_VIEWS)
            _complete_columns(self.sqlite)
        except (sqlite3.Error, OSError) as error:
            message = f"{self.name} cannot be opened: {error}; {_advice(error)}"
            raise OnlineStoreError(message) from error

    def __del__(self) -> None:
        """Close with the thread that it served, except in a process that merely inherited it."""
        if os is not None and hasattr(self, "sqlite") and os.getpid() == self.process:  # None at the interpreter's end
            self.sqlite.close()

    # -- reading

    @contextmanager
    def patient(self, seconds: float | None) -> Iterator[None]:
        """Wait so many seconds in the block for a process that holds the file."""
        if seconds is None:
            yield
            return
        self._wait(seconds)
        try:
            yield
        finally:
            self._wait(BUSY_TIMEOUT_SECONDS)

    def _wait(self, seconds: float) -> None:
        try:
            self.sqlite.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
        except sqlite3.Error as error:
            message = f"{self.name} cannot be read: {error}; {_advice(error)}"
            raise OnlineStoreError(message) from error

    def kept(self, place: Place) -> Kept:
        """Return what is known of a view."""
        query = "SELECT join_keys, schema_id, watermark, generation FROM recsys_views WHERE name = ?"
        for join_keys, schema_id, watermark, generation in self._select(query, (_table(place),)):
            return Kept(_keys(join_keys), schema_id, watermark, int(generation))
        return Kept(None, None, None, 0)

    def schema(self, place: Place, schema_id: bytes) -> bytes | None:
        """Return a schema that a payload names, serialised."""
        del place
        rows = self._select("SELECT schema FROM recsys_schemas WHERE schema_id = ?", (schema_id,))
        return rows[0][0] if rows else None

    def read(self, place: Place, keys: Sequence[Key]) -> tuple[tuple[str, ...] | None, dict[Key, bytes]]:
        """Return what the view's values are kept under, and those of `keys` that are there."""
        found: dict[Key, bytes] = {}
        for start in range(0, len(keys), KEYS_A_QUERY):
            some = keys[start : start + KEYS_A_QUERY]
            marks = ", ".join("?" * len(some))
            query = f"SELECT group_key, payload FROM {_quoted(_table(place))} WHERE group_key IN ({marks})"
            found.update(self._select(query, some))
        return self._join_keys(place), found

    def read_each(self, wanted: Sequence[tuple[Place, Key]]) -> list[tuple[tuple[str, ...] | None, bytes | None]]:
        """Return what the values of each view are kept under, and that of one key of it: a statement a view."""
        found: list[tuple[tuple[str, ...] | None, bytes | None]] = []
        for place, key in wanted:
            query, table = _read_one(place)
            rows = self._select(query, (key, table))
            found.append((_keys(rows[0][0]), rows[0][1]) if rows else (self._join_keys(place), None))
        return found

    def read_all(self, place: Place) -> tuple[tuple[str, ...] | None, list[bytes]]:
        """Return what the view's values are kept under, and all of them of one moment."""
        rows = self._select(f"SELECT payload FROM {_quoted(_table(place))} ORDER BY rowid")
        return self._join_keys(place), [row[0] for row in rows]

    # -- writing

    def create(self, place: Place) -> None:
        """Make a view's table and its line in the list of views; values kept under other join keys are forgotten."""
        with self.transaction():
            known = self._join_keys(place)
            if known is not None and set(known) != set(place.join_keys):
                self._drop(_table(place))
            self._create(place)

    def write(self, place: Place, packed: Packed) -> int:
        """Write one row a key where it is not older than the stored one; return how many were."""
        table = _quoted(_table(place))
        with self.transaction():
            self._create(place)
            before = self.sqlite.total_changes
            self.sqlite.executemany(
                f"INSERT INTO {table} VALUES (?, ?, ?, ?) ON CONFLICT (group_key) DO UPDATE SET "
                "payload = excluded.payload, event_ts = excluded.event_ts, created_ts = excluded.created_ts "
                f"WHERE excluded.event_ts > {table}.event_ts OR (excluded.event_ts = {table}.event_ts "
                f"AND excluded.created_ts >= {table}.created_ts)",
                zip(packed.keys, packed.payloads, packed.event.tolist(), packed.created.tolist(), strict=True),
            )
            written = self.sqlite.total_changes - before
            self._remember(place, packed)
        return written

    def merge(self, place: Place, groups: Sequence[Key], pack: Pack) -> int:
        """Replace the values of groups by what `pack` makes of them; return how many entities got a new row."""
        with self.transaction():
            self._create(place)
            packed = pack(groups, self.read(place, groups)[1])
            self.sqlite.executemany(
                f"INSERT OR REPLACE INTO {_quoted(_table(place))} VALUES (?, ?, ?, ?)",
                zip(packed.keys, packed.payloads, packed.event.tolist(), packed.created.tolist(), strict=True),
            )
            self._remember(place, packed)
        return int(packed.fresh.sum())

    def expire(self, place: Place, before: int, newest: Newest) -> int:
        """Forget the values whose newest row is of before a time; return how many."""
        del newest  # the table says it
        table = _table(place)
        if not self._select("SELECT 1 FROM recsys_views WHERE name = ?", (table,)):
            return 0
        with self.transaction():
            self._create(place)
            gone = self.sqlite.execute(f"DELETE FROM {_quoted(table)} WHERE event_ts < ?", (before,)).rowcount
            if gone:
                self.sqlite.execute("UPDATE recsys_views SET generation = generation + 1 WHERE name = ?", (table,))
        return gone

    def erase(self, place: Place, keys: Sequence[Key]) -> None:
        """Delete the values of `keys`; their bytes are overwritten, in the file and in its write-ahead log."""
        table = _table(place)
        self.sqlite.execute("PRAGMA secure_delete = ON")
        with self.transaction():
            if self._join_keys(place) is None:
                return
            self.sqlite.executemany(f"DELETE FROM {_quoted(table)} WHERE group_key = ?", [(key,) for key in keys])
            self.sqlite.execute(
                "UPDATE recsys_views SET generation = generation + 1 WHERE name = ? AND generation > 0", (table,)
            )
        self._select("PRAGMA wal_checkpoint(TRUNCATE)")

    def drop(self, place: Place) -> None:
        """Remove a view's table and its line in the list of views."""
        with self.transaction():
            self._drop(_table(place))

    def forget(self) -> None:
        """Remove every view's table."""
        with self.transaction():
            for (table,) in self._select("SELECT name FROM recsys_views"):
                self._drop(table)

    def findings(self) -> Iterator[Finding]:
        """Say which file it is, and whether rows can be written to it, read and deleted."""
        yield Finding("online store: connection", "ok", f"{self.path}, SQLite {sqlite3.sqlite_version}")
        yield from probed(self)
        with self.transaction():
            self.sqlite.execute("DELETE FROM recsys_schemas WHERE schema_id = ?", (SCHEMA,))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside becomes visible at once, or not at all."""
        try:
            self.sqlite.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.sqlite.execute("ROLLBACK")
                raise
            self.sqlite.execute("COMMIT")
        except sqlite3.Error as error:
            message = f"{self.name} cannot be written: {error}: nothing of this write was kept; {_advice(error)}"
            raise OnlineStoreError(message) from error

    # -- inside a transaction

    def _create(self, place: Place) -> None:
        table = _table(place)
        self.sqlite.execute(
            f"CREATE TABLE IF NOT EXISTS {_quoted(table)} (group_key PRIMARY KEY, payload BLOB NOT NULL,"
            " event_ts INTEGER NOT NULL, created_ts INTEGER)"
        )
        self.sqlite.execute(
            "INSERT INTO recsys_views (name, group_key, join_keys) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " join_keys = coalesce(join_keys, excluded.join_keys)",
            (table, place.join_keys[0] if place.join_keys else None, json.dumps(place.join_keys)),
        )
        if (known := self._join_keys(place)) != place.join_keys:
            message = (
                f"{self.name}: feature view {place.view!r} was created meanwhile with join keys {known}, and this write"
                f" has {place.join_keys}: run `feast apply`, then write again"
            )
            raise FeatureError(message)

    def _drop(self, table: str) -> None:
        self.sqlite.execute(f"DROP TABLE IF EXISTS {_quoted(table)}")
        self.sqlite.execute("DELETE FROM recsys_views WHERE name = ?", (table,))

    def _remember(self, place: Place, packed: Packed) -> None:
        """Note the schema that new payloads have, the newest event time among them, and that rows changed."""
        self.sqlite.execute("INSERT OR IGNORE INTO recsys_schemas VALUES (?, ?)", (packed.schema_id, packed.schema))
        newest = int(packed.event.max())
        self.sqlite.execute(
            "UPDATE recsys_views SET schema_id = ?, watermark = max(coalesce(watermark, ?), ?),"
            " generation = CASE generation WHEN 0 THEN ? ELSE generation + 1 END WHERE name = ?",
            # A view that was dropped and made anew must not come by the numbers that it had before.
            (packed.schema_id, newest, newest, time.time_ns() // 1000, _table(place)),
        )

    def _join_keys(self, place: Place) -> tuple[str, ...] | None:
        rows = self._select("SELECT join_keys FROM recsys_views WHERE name = ?", (_table(place),))
        return _keys(rows[0][0]) if rows else None

    def _select(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query; none where the view's table does not exist yet."""
        try:
            return self.sqlite.execute(query, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error):
                return []
            message = f"{self.name} cannot be read: {error}; {_advice(error)}"
            raise OnlineStoreError(message) from error


def path_of(config: RepoConfig) -> str:
    """Return the store's file; a relative path counts from the Feast repository."""
    return os.path.join(config.repo_path or "", config.online_store.path)  # noqa: PTH118 - at every read; Path is slow


def _write_ahead(sqlite: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; of several that open a new file at once SQLite refuses all but one, unasked."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while sqlite.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            sqlite.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _complete_columns(sqlite: sqlite3.Connection) -> None:
    """Bring a file of an earlier version to this one: its views' join keys are noted at their next write."""
    if not any(row[1] == "join_keys" for row in sqlite.execute("PRAGMA table_info(recsys_views)")):
        try:
            sqlite.execute("ALTER TABLE recsys_views ADD COLUMN join_keys TEXT")
        except sqlite3.OperationalError as error:
            if "duplicate column" not in str(error):  # another process was faster
                raise


def _advice(error: Exception) -> str:
    """Return what a person can do about what SQLite or the file system says."""
    text = str(error).lower()
    if "locked" in text or "busy" in text:
        return f"another process held the file for {BUSY_TIMEOUT_SECONDS:.0f} s: end it and run this again"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged: delete it and the state's materialized.json, then `recsys features build`"
    if "full" in text or "no space left" in text or "i/o error" in text:
        return "free disk space and run this again"
    return "it must be a SQLite file that this user may write; check it and online_store.path"


@cache
def _read_one(place: Place) -> tuple[str, str]:
    """Return the query of one key's value, and the view's table, which it is told too."""
    table = _table(place)
    query = (
        f"SELECT v.join_keys, r.payload FROM recsys_views v LEFT JOIN {_quoted(table)} r"
        " ON r.group_key = ? WHERE v.name = ?"
    )
    return query, table


def _table(place: Place) -> str:
    return f"{place.project}_{place.view}"


@cache
def _keys(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))


def _quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
