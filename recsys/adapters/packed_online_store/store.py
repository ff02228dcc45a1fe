"""Where do features live online, so that a request reads a user's rows in one step?

A Feast online store on SQLite. Each feature view is one table; a view of one join key holds a
packed row per key, a view of several (user x item) holds all rows of its first entity's key as one
value. Feast's own tools read and write it through Feast's interface; the batch engine and the
resolver use the Arrow methods.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Literal

import pyarrow as pa
from feast.base_feature_view import BaseFeatureView
from feast.entity import Entity
from feast.feature_view import FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from recsys.adapters.packed_online_store.layout import Key, Layout, ProtoRow, plain_key
from recsys.adapters.packed_online_store.packing import plain
from recsys.adapters.packed_online_store.sqlite import (
    Connection,
    advice,
    create_table,
    decode_rows,
    drop_table,
    layout_of,
    merge_groups,
    open_file,
    path_of,
    quoted,
    remember,
    select,
    stored_payloads,
    stored_schema,
    time_of,
    upsert,
)
from recsys.errors import FeatureError

TYPE: Final = "recsys.adapters.packed_online_store.PackedSqliteOnlineStore"

OnlineRow = tuple[datetime | None, dict[str, ValueProto] | None]


class PackedSqliteOnlineStoreConfig(FeastConfigBaseModel):
    """`online_store:` of feature_store.yaml."""

    type: Literal["recsys.adapters.packed_online_store.PackedSqliteOnlineStore"] = TYPE
    """Selects this store."""

    path: StrictStr = "data/online.db"
    """SQLite file, relative to the feature repository."""


class PackedSqliteOnlineStore(OnlineStore):
    """Rows packed per key in SQLite; the newest event of each entity wins."""

    _versioned_read_supported = True

    def __init__(self) -> None:
        """Open nothing yet: each thread connects at its first call."""
        self._local = threading.local()

    # -- Arrow

    def write_arrow(self, config: RepoConfig, view: FeatureView, table: pa.Table) -> int:
        """Write rows, all or none.

        An entity keeps its newest event; at equal events the newer created timestamp wins, at
        equal clocks the row written last. Rows of a view with several keys are merged into their
        group.

        Args:
            config: the feature store's configuration.
            view: the feature view.
            table: join keys, features, event timestamp and (if the source names one) created
                timestamp, under the view's names; other columns are ignored.

        Returns:
            How many entities got a new row.

        Raises:
            FeatureError: a column is missing, or its type contradicts the stored one.
        """
        with self._transaction(config) as connection:
            layout = layout_of(connection, config, view)
            rows = plain(layout.normalise(table))
            if not rows.num_rows:
                return 0
            create_table(connection, layout)
            if layout.grouped:
                written, stored = merge_groups(connection, layout, rows)
            else:
                written, stored = upsert(connection, layout, rows), rows.schema
            remember(connection, layout, stored, int(layout.clocks(rows)[0].max()))
        return written

    def read_group(self, config: RepoConfig, view: FeatureView, key: str | int) -> pa.Table | None:
        """All rows under one key: join keys, features, both timestamps; None if there are none.

        Args:
            config: the feature store's configuration.
            view: the feature view.
            key: the only join key, or that of the view's first entity.
        """
        rows = self.read_groups(config, view, [key])
        return rows if rows.num_rows else None

    def read_groups(self, config: RepoConfig, view: FeatureView, keys: Sequence[str | int]) -> pa.Table:
        """All rows under several keys, in the order of `keys`; a key without rows adds none."""
        connection = self._connect(config)
        layout = layout_of(connection, config, view)
        wanted = list(dict.fromkeys(plain_key(key) for key in keys))
        found = stored_payloads(connection, layout, wanted)
        return decode_rows(connection, layout, [found[key] for key in wanted if key in found])

    def read_all(self, config: RepoConfig, view: FeatureView) -> pa.Table:
        """All rows of the view, of one moment."""
        connection = self._connect(config)
        layout = layout_of(connection, config, view)
        query = f"SELECT payload FROM {quoted(layout.table)} ORDER BY rowid"
        return decode_rows(connection, layout, [row[0] for row in select(connection, query)])

    def watermark(self, config: RepoConfig, view: FeatureView) -> datetime | None:
        """Newest event timestamp ever written to the view; None before the first write."""
        connection = self._connect(config)
        table = layout_of(connection, config, view).table
        rows = select(connection, "SELECT watermark FROM recsys_views WHERE name = ?", (table,))
        if not rows or rows[0][0] is None:
            return None
        return time_of(rows[0][0])

    def generation(self, config: RepoConfig, view: FeatureView) -> int:
        """How often the view was written: equal numbers, equal rows; 0 before the first write."""
        connection = self._connect(config)
        table = layout_of(connection, config, view).table
        rows = select(connection, "SELECT generation FROM recsys_views WHERE name = ?", (table,))
        return int(rows[0][0]) if rows else 0

    # -- Feast's interface

    def online_write_batch(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        data: list[ProtoRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of Feast's values (pushes) by the rules of `write_arrow`; naive is UTC."""
        if not data:
            return
        with self._transaction(config) as connection:
            layout = layout_of(connection, config, table)
            create_table(connection, layout)
            stored = stored_schema(connection, layout)
            rows = plain(layout.from_protos(data, stored))
            if layout.grouped:
                _, schema = merge_groups(connection, layout, rows)
            else:
                keys = [layout.key_of(row[0], _version(config))[0] for row in data]
                upsert(connection, layout, rows, keys)
                schema = rows.schema
            remember(connection, layout, schema, int(layout.clocks(rows)[0].max()))
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
        layout = layout_of(connection, config, table)
        wanted = layout.features if requested_features is None else requested_features
        names = [name for name in dict.fromkeys(wanted) if name in layout.features]
        keys = [layout.key_of(key, _version(config)) for key in entity_keys]
        found = stored_payloads(connection, layout, list(dict.fromkeys(key[0] for key in keys)))
        rows: dict[tuple[Key, ...], OnlineRow] = {}
        if layout.grouped:
            columns = [*layout.keys, *names, layout.event]
            stored = decode_rows(connection, layout, list(found.values()), columns)
            rows = _matching(layout, stored, names, set(keys))
        else:
            stored = decode_rows(connection, layout, list(found.values()), [*names, layout.event])
            rows = dict(zip(((key,) for key in found), _online_rows(layout, stored, names), strict=True))
        return [rows.get(key, (None, None)) for key in keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create the tables of kept views and drop those of deleted ones."""
        del entities_to_delete, partial
        join_keys = {entity.name: entity.join_key for entity in entities_to_keep}
        with self._transaction(config) as connection:
            for view in tables_to_keep:
                first = next(iter(getattr(view, "entities", None) or []), "")
                layout = layout_of(connection, config, view, join_keys.get(first))
                create_table(connection, layout)
            for view in tables_to_delete:
                drop_table(connection, layout_of(connection, config, view))

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Drop the tables of `tables`; the file and other projects' tables stay."""
        del entities
        with self._transaction(config) as connection:
            for view in tables:
                drop_table(connection, layout_of(connection, config, view))

    # -- Connections

    def _connect(self, config: RepoConfig) -> Connection:
        """This thread's connection to the configured file."""
        path, process = path_of(config), os.getpid()
        current: Connection | None = getattr(self._local, "connection", None)
        if current and current.path == path and current.process == process:
            return current
        self._local.connection = Connection(path, process, open_file(path))
        connection: Connection = self._local.connection
        return connection

    @contextmanager
    def _transaction(self, config: RepoConfig) -> Iterator[Connection]:
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
                f"online store {connection.path} cannot be written: {error}: nothing of this write was kept;"
                f" {advice(error)}"
            )
            raise FeatureError(message) from error


def _matching(
    layout: Layout, rows: pa.Table, names: Sequence[str], wanted: set[tuple[Key, ...]]
) -> dict[tuple[Key, ...], OnlineRow]:
    """The wanted entities among the rows of their groups."""
    keys = list(zip(*(rows.column(name).to_pylist() for name in layout.keys), strict=True))
    places = [i for i, key in enumerate(keys) if key in wanted]
    chosen = rows.take(pa.array(places, pa.int64()))
    return dict(zip((keys[i] for i in places), _online_rows(layout, chosen, names), strict=True))


def _online_rows(layout: Layout, rows: pa.Table, names: Sequence[str]) -> list[OnlineRow]:
    for name in names:
        if name not in rows.column_names:  # added to the view since these rows were written
            rows = rows.append_column(name, pa.nulls(rows.num_rows, layout.declared_type(name)))
    times = (time_of(value) for value in rows.column(layout.event).cast(pa.int64()).to_pylist())
    values = layout.to_protos(rows, names) if names else [{} for _ in range(rows.num_rows)]
    return list(zip(times, values, strict=True))


def _version(config: RepoConfig) -> int:
    return int(config.entity_key_serialization_version)
