"""Where do features live online, so that a request reads a user's rows in one step?

A Feast online store on SQLite. Each feature view is one table; a view of one join key holds a packed row per
key, a view of several (user x item) holds all rows of its first entity's key as one value. Feast's own tools
read and write it through Feast's interface; the batch engine and the resolver use the Arrow methods.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from feast.base_feature_view import BaseFeatureView
from feast.entity import Entity
from feast.feature_view import FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from recsys.adapters._packed_layout import (
    UNKNOWN_CREATED,
    Key,
    Layout,
    ProtoRow,
    plain_key,
)
from recsys.adapters._packing import Codec, plain, schema_id
from recsys.errors import FeatureError

TYPE: Final = "recsys.adapters.packed_online_store.PackedSqliteOnlineStore"
BUSY_TIMEOUT_SECONDS: Final = 60.0
KEYS_A_QUERY: Final = 500

OnlineRow = tuple[datetime | None, dict[str, ValueProto] | None]

_SCHEMAS: Final = """CREATE TABLE IF NOT EXISTS recsys_schemas (
    schema_id BLOB PRIMARY KEY, schema BLOB NOT NULL)"""
_VIEWS: Final = """CREATE TABLE IF NOT EXISTS recsys_views (
    name TEXT PRIMARY KEY, group_key TEXT, schema_id BLOB, watermark INTEGER)"""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class PackedSqliteOnlineStoreConfig(FeastConfigBaseModel):
    """`online_store:` of feature_store.yaml."""

    type: Literal["recsys.adapters.packed_online_store.PackedSqliteOnlineStore"] = TYPE
    """Selects this store."""

    path: StrictStr = "data/online.db"
    """SQLite file, relative to the feature repository."""


@dataclass
class _Connection:
    """One thread's connection to one file."""

    path: str
    process: int
    sqlite: sqlite3.Connection
    codecs: dict[bytes, Codec] = field(default_factory=dict)

    def __del__(self) -> None:
        """Close with the thread or store that it served, except in a process that merely inherited it."""
        if os.getpid() == self.process:
            self.sqlite.close()


class PackedSqliteOnlineStore(OnlineStore):
    """Rows packed per key in SQLite; the newest event of each entity wins."""

    _versioned_read_supported = True

    def __init__(self) -> None:
        """Open nothing yet: each thread connects at its first call."""
        self._local = threading.local()

    # -- Arrow ------------------------------------------------------------------------------------------

    def write_arrow(self, config: RepoConfig, view: FeatureView, table: pa.Table) -> int:
        """Write rows, all or none.

        An entity keeps its newest event; at equal events the newer created timestamp wins, at equal clocks the
        row written last. Rows of a view with several keys are merged into their group.

        Args:
            config: the feature store's configuration.
            view: the feature view.
            table: join keys, features, event timestamp and (if the source names one) created timestamp, under
                the view's names; other columns are ignored.

        Returns:
            How many entities got a new row.

        Raises:
            FeatureError: a column is missing, or its type contradicts the stored one.
        """
        with self._transaction(config) as connection:
            layout = _layout(connection, config, view)
            rows = plain(layout.normalise(table))
            if not rows.num_rows:
                return 0
            _create(connection, layout)
            if layout.grouped:
                written, stored = _merge_groups(connection, layout, rows)
            else:
                written, stored = _upsert(connection, layout, rows), rows.schema
            _remember(connection, layout, stored, int(layout.clocks(rows)[0].max()))
        return written

    def read_group(self, config: RepoConfig, view: FeatureView, key: str | int) -> pa.Table | None:
        """All rows under one key: join keys, features, event timestamp, created timestamp; None if there are none.

        Args:
            config: the feature store's configuration.
            view: the feature view.
            key: the only join key, or that of the view's first entity.
        """
        rows = self.read_groups(config, view, [key])
        return rows if rows.num_rows else None

    def read_groups(
        self, config: RepoConfig, view: FeatureView, keys: Sequence[str | int]
    ) -> pa.Table:
        """All rows under several keys, in the order of `keys`; a key without rows adds none."""
        connection = self._connect(config)
        layout = _layout(connection, config, view)
        wanted = list(dict.fromkeys(plain_key(key) for key in keys))
        found = _payloads(connection, layout, wanted)
        return _decode(connection, layout, [found[key] for key in wanted if key in found])

    def read_all(self, config: RepoConfig, view: FeatureView) -> pa.Table:
        """All rows of the view, of one moment."""
        connection = self._connect(config)
        layout = _layout(connection, config, view)
        query = f"SELECT payload FROM {_quoted(layout.table)} ORDER BY rowid"
        return _decode(connection, layout, [row[0] for row in _select(connection, query)])

    def watermark(self, config: RepoConfig, view: FeatureView) -> datetime | None:
        """Newest event timestamp ever written to the view; None before the first write."""
        connection = self._connect(config)
        table = _layout(connection, config, view).table
        rows = _select(connection, "SELECT watermark FROM recsys_views WHERE name = ?", (table,))
        if not rows or rows[0][0] is None:
            return None
        return _time(rows[0][0])

    # -- Feast's interface ------------------------------------------------------------------------------

    def online_write_batch(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        data: list[ProtoRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of Feast's values (pushes), by the rules of `write_arrow`; naive times are UTC."""
        if not data:
            return
        with self._transaction(config) as connection:
            layout = _layout(connection, config, table)
            _create(connection, layout)
            stored = _stored_schema(connection, layout)
            rows = plain(layout.from_protos(data, stored))
            if layout.grouped:
                _, schema = _merge_groups(connection, layout, rows)
            else:
                keys = [layout.key_of(row[0], _version(config))[0] for row in data]
                _upsert(connection, layout, rows, keys)
                schema = rows.schema
            _remember(connection, layout, schema, int(layout.clocks(rows)[0].max()))
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> list[OnlineRow]:
        """The row of each entity key, in order; (None, None) for an unknown key.

        Args:
            config: the feature store's configuration.
            table: the feature view.
            entity_keys: one a wanted row.
            requested_features: features wanted; all if None. Names the view lacks are left out.
        """
        connection = self._connect(config)
        layout = _layout(connection, config, table)
        wanted = layout.features if requested_features is None else requested_features
        names = [name for name in dict.fromkeys(wanted) if name in layout.features]
        keys = [layout.key_of(key, _version(config)) for key in entity_keys]
        found = _payloads(connection, layout, list(dict.fromkeys(key[0] for key in keys)))
        rows: dict[tuple[Key, ...], OnlineRow] = {}
        if layout.grouped:
            columns = [*layout.keys, *names, layout.event]
            stored = _decode(connection, layout, list(found.values()), columns)
            rows = _matching(layout, stored, names, set(keys))
        else:
            stored = _decode(connection, layout, list(found.values()), [*names, layout.event])
            rows = dict(zip(((key,) for key in found), _online_rows(layout, stored, names), strict=True))
        return [rows.get(key, (None, None)) for key in keys]

    def update(  # noqa: PLR0913 -- Feast's interface
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,  # noqa: FBT001 -- Feast's interface
    ) -> None:
        """Create the tables of kept views and drop those of deleted ones."""
        del entities_to_delete, partial
        join_keys = {entity.name: entity.join_key for entity in entities_to_keep}
        with self._transaction(config) as connection:
            for view in tables_to_keep:
                first = next(iter(getattr(view, "entities", None) or []), "")
                layout = _layout(connection, config, view, join_keys.get(first))
                _create(connection, layout)
            for view in tables_to_delete:
                _drop(connection, _layout(connection, config, view))

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        """Drop the tables of `tables`; the file and other projects' tables stay."""
        del entities
        with self._transaction(config) as connection:
            for view in tables:
                _drop(connection, _layout(connection, config, view))

    # -- Connections ------------------------------------------------------------------------------------

    def _connect(self, config: RepoConfig) -> _Connection:
        """This thread's connection to the configured file."""
        path, process = _path(config), os.getpid()
        current: _Connection | None = getattr(self._local, "connection", None)
        if current and current.path == path and current.process == process:
            return current
        self._local.connection = _Connection(path, process, _open(path))
        connection: _Connection = self._local.connection
        return connection

    @contextmanager
    def _transaction(self, config: RepoConfig) -> Iterator[_Connection]:
        """All that is written inside becomes visible at once, or not at all."""
        connection = self._connect(config)
        try:
            connection.sqlite.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.sqlite.execute("ROLLBACK")
                raise
            connection.sqlite.execute("COMMIT")
        except sqlite3.Error as error:
            message = (
                f"online store {connection.path} cannot be written: {error}: nothing of this write was kept; check "
                "the disk and that no other writer holds the file, then run it again"
            )
            raise FeatureError(message) from error


def _path(config: RepoConfig) -> str:
    path = Path(config.online_store.path)
    if config.repo_path and not path.is_absolute():
        path = Path(config.repo_path) / path
    return str(path)


def _open(path: str) -> sqlite3.Connection:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        sqlite = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
        sqlite.execute("PRAGMA journal_mode = WAL")
        sqlite.execute("PRAGMA synchronous = NORMAL")
        sqlite.execute(_SCHEMAS)
        sqlite.execute(_VIEWS)
    except sqlite3.Error as error:
        message = f"online store {path}: {error}: it must be a writable SQLite file; correct online_store.path"
        raise FeatureError(message) from error
    return sqlite


def _layout(
    connection: _Connection,
    config: RepoConfig,
    view: BaseFeatureView,
    group_key: str | None = None,
) -> Layout:
    """The view's layout; a grouping key chosen at the table's creation holds for its life."""
    layout = Layout.of(config, view, group_key)
    if layout.grouped:
        query = "SELECT group_key FROM recsys_views WHERE name = ?"
        rows = _select(connection, query, (layout.table,))
        if rows and rows[0][0] in layout.keys and rows[0][0] != layout.keys[0]:
            return Layout.of(config, view, rows[0][0])
    return layout


def _create(connection: _Connection, layout: Layout) -> None:
    connection.sqlite.execute(
        f"CREATE TABLE IF NOT EXISTS {_quoted(layout.table)} ("
        "group_key PRIMARY KEY, payload BLOB NOT NULL, event_ts INTEGER NOT NULL, created_ts INTEGER)"
    )
    connection.sqlite.execute(
        "INSERT OR IGNORE INTO recsys_views (name, group_key) VALUES (?, ?)",
        (layout.table, layout.keys[0] if layout.keys else None),
    )


def _drop(connection: _Connection, layout: Layout) -> None:
    connection.sqlite.execute(f"DROP TABLE IF EXISTS {_quoted(layout.table)}")
    connection.sqlite.execute("DELETE FROM recsys_views WHERE name = ?", (layout.table,))


def _remember(
    connection: _Connection, layout: Layout, schema: pa.Schema, newest: int
) -> None:
    codec = _codec(connection, schema)
    connection.sqlite.execute(
        "UPDATE recsys_views SET schema_id = ?, watermark = max(coalesce(watermark, ?), ?) WHERE name = ?",
        (codec.schema_id, newest, newest, layout.table),
    )


def _codec(connection: _Connection, schema: pa.Schema) -> Codec:
    """The codec to write `schema` by; its schema is on file before any payload names it."""
    codec = Codec(schema)
    connection.sqlite.execute(
        "INSERT OR IGNORE INTO recsys_schemas VALUES (?, ?)",
        (codec.schema_id, schema.serialize().to_pybytes()),
    )
    return codec


def _stored_schema(connection: _Connection, layout: Layout) -> pa.Schema | None:
    query = "SELECT schema_id FROM recsys_views WHERE name = ?"
    rows = _select(connection, query, (layout.table,))
    if not rows or rows[0][0] is None:
        return None
    return _codec_by_id(connection, rows[0][0]).schema


def _codec_by_id(connection: _Connection, identity: bytes) -> Codec:
    codec = connection.codecs.get(identity)
    if codec is None:
        query = "SELECT schema FROM recsys_schemas WHERE schema_id = ?"
        rows = _select(connection, query, (identity,))
        if not rows:
            message = (
                f"online store {connection.path}: a value names schema {identity.hex()}, which is not on file: the "
                "store is damaged; delete it and materialize again"
            )
            raise FeatureError(message)
        codec = Codec(pa.ipc.read_schema(pa.py_buffer(rows[0][0])))
        connection.codecs[identity] = codec
    return codec


def _upsert(
    connection: _Connection, layout: Layout, rows: pa.Table, keys: list[Key] | None = None
) -> int:
    """Write one row a key; the newest stays."""
    payloads = _codec(connection, rows.schema).encode(rows, range(rows.num_rows + 1))
    event, created = (clock.tolist() for clock in layout.clocks(rows))
    table = _quoted(layout.table)
    before = connection.sqlite.total_changes
    connection.sqlite.executemany(
        f"INSERT INTO {table} VALUES (?, ?, ?, ?) ON CONFLICT (group_key) DO UPDATE SET "
        "payload = excluded.payload, event_ts = excluded.event_ts, created_ts = excluded.created_ts "
        f"WHERE excluded.event_ts > {table}.event_ts OR (excluded.event_ts = {table}.event_ts "
        f"AND excluded.created_ts >= {table}.created_ts)",
        zip(keys or layout.group_keys(rows), payloads, event, created, strict=True),
    )
    return connection.sqlite.total_changes - before


def _merge_groups(
    connection: _Connection, layout: Layout, rows: pa.Table
) -> tuple[int, pa.Schema]:
    """Merge rows into the groups of their first key; the newest row of each entity stays."""
    touched = list(dict.fromkeys(layout.group_keys(rows)))
    old = _decode(connection, layout, list(_payloads(connection, layout, touched).values()))
    merged = _concat(layout, [old, rows]) if old.num_rows else rows
    order, starts = _newest(layout, merged)
    kept = merged.take(pa.array(order))
    bounds = [*starts.tolist(), len(order)]
    payloads = _codec(connection, kept.schema).encode(kept, bounds)
    event, created = layout.clocks(kept)
    groups = kept.take(pa.array(starts)).column(layout.keys[0]).to_pylist()
    connection.sqlite.executemany(
        f"INSERT OR REPLACE INTO {_quoted(layout.table)} VALUES (?, ?, ?, ?)",
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
    """Row numbers of the newest row of each entity, ordered by group, and where each group starts there."""
    codes = [
        rows.column(key).combine_chunks().dictionary_encode().indices.to_numpy()
        if rows.column(key).num_chunks <= 1
        else pa.concat_arrays(rows.column(key).chunks).dictionary_encode().indices.to_numpy()
        for key in layout.keys
    ]
    event, created = layout.clocks(rows)
    # lexsort is stable and its last key leads: at equal clocks the row written last comes last and wins.
    order = np.lexsort((created, event, *reversed(codes)))
    sorted_codes = [code[order] for code in codes]
    changes = np.zeros(len(order), dtype=bool)
    for code in sorted_codes:
        changes[1:] |= code[1:] != code[:-1]
    last = np.append(changes[1:], [True])
    groups = sorted_codes[0][last]
    starts = np.flatnonzero(np.append([True], groups[1:] != groups[:-1]))
    return order[last], starts


def _payloads(
    connection: _Connection, layout: Layout, keys: Sequence[Key]
) -> dict[Key, bytes]:
    """Stored values of those keys that have one."""
    found: dict[Key, bytes] = {}
    table = _quoted(layout.table)
    for start in range(0, len(keys), KEYS_A_QUERY):
        some = keys[start : start + KEYS_A_QUERY]
        marks = ", ".join("?" * len(some))
        query = f"SELECT group_key, payload FROM {table} WHERE group_key IN ({marks})"
        found.update(_select(connection, query, some))
    return found


def _decode(
    connection: _Connection,
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


def _concat(
    layout: Layout, parts: Sequence[pa.Table], names: Sequence[str] | None = None
) -> pa.Table:
    try:
        whole = pa.concat_tables(parts, promote_options="permissive") if parts[1:] else parts[0]
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        message = (
            f"feature view {layout.view!r}: stored and new rows disagree about a type: {error}: give the column one "
            "type, or drop the view with `feast teardown` and materialize again"
        )
        raise FeatureError(message) from error
    if names is None:
        return layout.align(whole)
    return whole


def _matching(
    layout: Layout, rows: pa.Table, names: Sequence[str], wanted: set[tuple[Key, ...]]
) -> dict[tuple[Key, ...], OnlineRow]:
    """The wanted entities among the rows of their groups."""
    keys = list(zip(*(rows.column(name).to_pylist() for name in layout.keys), strict=True))
    places = [i for i, key in enumerate(keys) if key in wanted]
    chosen = rows.take(pa.array(places, pa.int64()))
    return dict(
        zip((keys[i] for i in places), _online_rows(layout, chosen, names), strict=True)
    )


def _online_rows(layout: Layout, rows: pa.Table, names: Sequence[str]) -> list[OnlineRow]:
    for name in names:
        if name not in rows.column_names:  # added to the view since these rows were written
            rows = rows.append_column(name, pa.nulls(rows.num_rows, layout.declared_type(name)))
    times = (_time(value) for value in rows.column(layout.event).cast(pa.int64()).to_pylist())
    values = layout.to_protos(rows, names) if names else [{} for _ in range(rows.num_rows)]
    return list(zip(times, values, strict=True))


def _select(
    connection: _Connection, query: str, parameters: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """Rows of a query; none where the view's table does not exist yet."""
    try:
        return connection.sqlite.execute(query, parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        message = f"online store {connection.path} cannot be read: {error}"
        raise FeatureError(message) from error


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _version(config: RepoConfig) -> int:
    return int(config.entity_key_serialization_version)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


__all__ = ["UNKNOWN_CREATED", "PackedSqliteOnlineStore", "PackedSqliteOnlineStoreConfig"]
