"""How are packed rows kept in a SQLite file?

One table a feature view: (group_key, payload, event_ts, created_ts), times in microseconds.
`recsys_schemas` keeps each schema that a payload names; `recsys_views` keeps each view's grouping
key, last schema and watermark.
"""

import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from feast.base_feature_view import BaseFeatureView
from feast.repo_config import RepoConfig

from recsys.adapters.packed_online_store.layout import Key, Layout, plain_key
from recsys.adapters.packed_online_store.packing import Codec, schema_id
from recsys.errors import FeatureError

BUSY_TIMEOUT_SECONDS: Final = 10.0
KEYS_A_QUERY: Final = 500

_SCHEMAS: Final = """CREATE TABLE IF NOT EXISTS recsys_schemas (
    schema_id BLOB PRIMARY KEY, schema BLOB NOT NULL)"""
_VIEWS: Final = """CREATE TABLE IF NOT EXISTS recsys_views (
    name TEXT PRIMARY KEY, group_key TEXT, schema_id BLOB, watermark INTEGER,
    generation INTEGER NOT NULL DEFAULT 0)"""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Connection:
    """One thread's connection to one file."""

    path: str
    process: int
    sqlite: sqlite3.Connection
    codecs: dict[bytes, Codec] = field(default_factory=dict)

    def __del__(self) -> None:
        """Close with the thread that it served, except in a process that merely inherited it."""
        if os is not None and os.getpid() == self.process:  # None while the interpreter shuts down
            self.sqlite.close()


def path_of(config: RepoConfig) -> str:
    """Return the store's file; a relative path counts from the Feast repository."""
    path = Path(config.online_store.path)
    if config.repo_path and not path.is_absolute():
        path = Path(config.repo_path) / path
    return str(path)


def open_file(path: str) -> sqlite3.Connection:
    """Open the file for reading beside one writer, and make it if it is missing.

    Raises:
        FeatureError: if it cannot be opened or written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        sqlite = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
        _write_ahead(sqlite)
        sqlite.execute("PRAGMA synchronous = NORMAL")
        sqlite.execute(_SCHEMAS)
        sqlite.execute(_VIEWS)
    except (sqlite3.Error, OSError) as error:
        message = f"online store {path} cannot be opened: {error}; {advice(error)}"
        raise FeatureError(message) from error
    return sqlite


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


def layout_of(
    connection: Connection,
    config: RepoConfig,
    view: BaseFeatureView,
    group_key: str | None = None,
) -> Layout:
    """The view's layout; a grouping key chosen at the table's creation holds for its life."""
    layout = Layout.of(config, view, group_key)
    if layout.grouped:
        query = "SELECT group_key FROM recsys_views WHERE name = ?"
        rows = select(connection, query, (layout.table,))
        if rows and rows[0][0] in layout.keys and rows[0][0] != layout.keys[0]:
            return Layout.of(config, view, rows[0][0])
    return layout


def create_table(connection: Connection, layout: Layout) -> None:
    """Make a view's table and its line in the list of views, where they are missing."""
    connection.sqlite.execute(
        f"CREATE TABLE IF NOT EXISTS {quoted(layout.table)} ("
        "group_key PRIMARY KEY, payload BLOB NOT NULL, event_ts INTEGER NOT NULL, created_ts "
        "INTEGER)"
    )
    connection.sqlite.execute(
        "INSERT OR IGNORE INTO recsys_views (name, group_key) VALUES (?, ?)",
        (layout.table, layout.keys[0] if layout.keys else None),
    )


def drop_table(connection: Connection, layout: Layout) -> None:
    """Remove a view's table and its line in the list of views."""
    connection.sqlite.execute(f"DROP TABLE IF EXISTS {quoted(layout.table)}")
    connection.sqlite.execute("DELETE FROM recsys_views WHERE name = ?", (layout.table,))


def remember(connection: Connection, layout: Layout, schema: pa.Schema, newest: int) -> None:
    """Note the schema that new payloads have, and the newest event time among them."""
    codec = _codec(connection, schema)
    connection.sqlite.execute(
        "UPDATE recsys_views SET schema_id = ?, watermark = max(coalesce(watermark, ?), ?), generation = generation + 1"
        " WHERE name = ?",
        (codec.schema_id, newest, newest, layout.table),
    )


def _codec(connection: Connection, schema: pa.Schema) -> Codec:
    """The codec to write `schema` by; its schema is on file before any payload names it."""
    codec = Codec(schema)
    connection.sqlite.execute(
        "INSERT OR IGNORE INTO recsys_schemas VALUES (?, ?)",
        (codec.schema_id, schema.serialize().to_pybytes()),
    )
    return codec


def stored_schema(connection: Connection, layout: Layout) -> pa.Schema | None:
    """Return the schema that a view was last written with, or None before its first write."""
    query = "SELECT schema_id FROM recsys_views WHERE name = ?"
    rows = select(connection, query, (layout.table,))
    if not rows or rows[0][0] is None:
        return None
    return _codec_by_id(connection, rows[0][0]).schema


def _codec_by_id(connection: Connection, identity: bytes) -> Codec:
    codec = connection.codecs.get(identity)
    if codec is None:
        query = "SELECT schema FROM recsys_schemas WHERE schema_id = ?"
        rows = select(connection, query, (identity,))
        if not rows:
            message = (
                f"online store {connection.path}: a value names schema {identity.hex()}, which is "
                "not on file: the "
                "store is damaged; delete it and materialize again"
            )
            raise FeatureError(message)
        codec = Codec(pa.ipc.read_schema(pa.py_buffer(rows[0][0])))
        connection.codecs[identity] = codec
    return codec


def upsert(connection: Connection, layout: Layout, rows: pa.Table, keys: list[Key] | None = None) -> int:
    """Write one row a key; the newest stays."""
    payloads = _codec(connection, rows.schema).encode(rows, range(rows.num_rows + 1))
    event, created = (clock.tolist() for clock in layout.clocks(rows))
    table = quoted(layout.table)
    before = connection.sqlite.total_changes
    connection.sqlite.executemany(
        f"INSERT INTO {table} VALUES (?, ?, ?, ?) ON CONFLICT (group_key) DO UPDATE SET "
        "payload = excluded.payload, event_ts = excluded.event_ts, created_ts = "
        "excluded.created_ts "
        f"WHERE excluded.event_ts > {table}.event_ts OR (excluded.event_ts = {table}.event_ts "
        f"AND excluded.created_ts >= {table}.created_ts)",
        zip(keys or layout.group_keys(rows), payloads, event, created, strict=True),
    )
    return connection.sqlite.total_changes - before


def merge_groups(connection: Connection, layout: Layout, rows: pa.Table) -> tuple[int, pa.Schema]:
    """Merge rows into the groups of their first key; the newest row of each entity stays."""
    touched = list(dict.fromkeys(layout.group_keys(rows)))
    old = decode_rows(connection, layout, list(stored_payloads(connection, layout, touched).values()))
    merged = _concat(layout, [old, rows]) if old.num_rows else rows
    order, starts = _newest(layout, merged)
    kept = merged.take(pa.array(order))
    bounds = [*starts.tolist(), len(order)]
    payloads = _codec(connection, kept.schema).encode(kept, bounds)
    event, created = layout.clocks(kept)
    groups = kept.take(pa.array(starts)).column(layout.keys[0]).to_pylist()
    connection.sqlite.executemany(
        f"INSERT OR REPLACE INTO {quoted(layout.table)} VALUES (?, ?, ?, ?)",
        zip(
            (plain_key(group) for group in groups),
            payloads,
            np.maximum.reduceat(event, starts).tolist(),
            np.maximum.reduceat(created, starts).tolist(),
            strict=True,
        ),
    )
    return int((order >= old.num_rows).sum()), kept.schema


def _newest(layout: Layout, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the newest row of each entity by group, and where each group starts."""
    codes = [
        rows.column(key).combine_chunks().dictionary_encode().indices.to_numpy()
        if rows.column(key).num_chunks <= 1
        else pa.concat_arrays(rows.column(key).chunks).dictionary_encode().indices.to_numpy()
        for key in layout.keys
    ]
    event, created = layout.clocks(rows)
    # lexsort is stable and its last key leads: at equal clocks the row written last comes last and
    # wins.
    order = np.lexsort((created, event, *reversed(codes)))
    sorted_codes = [code[order] for code in codes]
    changes = np.zeros(len(order), dtype=bool)
    for code in sorted_codes:
        changes[1:] |= code[1:] != code[:-1]
    last = np.append(changes[1:], [True])
    groups = sorted_codes[0][last]
    starts = np.flatnonzero(np.append([True], groups[1:] != groups[:-1]))
    return order[last], starts


def stored_payloads(connection: Connection, layout: Layout, keys: Sequence[Key]) -> dict[Key, bytes]:
    """Stored values of those keys that have one."""
    found: dict[Key, bytes] = {}
    table = quoted(layout.table)
    for start in range(0, len(keys), KEYS_A_QUERY):
        some = keys[start : start + KEYS_A_QUERY]
        marks = ", ".join("?" * len(some))
        query = f"SELECT group_key, payload FROM {table} WHERE group_key IN ({marks})"
        found.update(select(connection, query, some))
    return found


def decode_rows(
    connection: Connection,
    layout: Layout,
    payloads: Sequence[bytes],
    names: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of the payloads in order, under the layout's columns (or those of `names`)."""
    parts = []
    ends = [i for i, (a, b) in enumerate(pairwise(payloads), 1) if schema_id(a) != schema_id(b)]
    for start, end in pairwise([0, *ends, len(payloads)]):
        if some := payloads[start:end]:
            parts.append(_codec_by_id(connection, schema_id(some[0])).decode(some, names))
    if not parts:
        columns = layout.names if names is None else names
        return pa.table({name: pa.nulls(0, layout.declared_type(name)) for name in columns})
    return _concat(layout, parts, names)


def _concat(layout: Layout, parts: Sequence[pa.Table], names: Sequence[str] | None = None) -> pa.Table:
    try:
        whole = pa.concat_tables(parts, promote_options="permissive") if parts[1:] else parts[0]
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        message = (
            f"feature view {layout.view!r}: stored and new rows disagree about a type: {error}: "
            "give the column one "
            "type, or drop the view with `feast teardown` and materialize again"
        )
        raise FeatureError(message) from error
    if names is None:
        return layout.align(whole)
    return whole


def select(connection: Connection, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows of a query; none where the view's table does not exist yet."""
    try:
        return connection.sqlite.execute(query, parameters).fetchall()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return []
        message = f"online store {connection.path} cannot be read: {error}; {advice(error)}"
        raise FeatureError(message) from error


def advice(error: Exception) -> str:
    """Return what a person can do about what SQLite or the file system says."""
    text = str(error).lower()
    if "locked" in text or "busy" in text:
        return f"another process held the file for {BUSY_TIMEOUT_SECONDS:.0f} s: end it and run this again"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged: delete it and the state's materialized.json, then `recsys features build`"
    if "full" in text or "no space left" in text or "i/o error" in text:
        return "free disk space and run this again"
    return "it must be a SQLite file that this user may write; check it and online_store.path"


def time_of(microseconds: int) -> datetime:
    """Return a stored time, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
