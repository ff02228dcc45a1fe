"""Where do features live online, so that a request reads a user's rows in one step?

A Feast online store whose values are packed: a view of one join key has a value a key, a view of several (user x item)
has all rows of its first entity's key as one value. Feast's own tools read and write it through Feast's interface; the
batch engine and the resolver use the Arrow methods. Where the values are kept is the backend's matter.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
from feast.base_feature_view import BaseFeatureView
from feast.entity import Entity
from feast.feature_view import FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import RepoConfig

from recsys.adapters.packed_online_store.backend import Backend, Key
from recsys.adapters.packed_online_store.clock import present
from recsys.adapters.packed_online_store.layout import Layout, ProtoRow, plain_key
from recsys.adapters.packed_online_store.packing import plain, row_count
from recsys.adapters.packed_online_store.rows import Codecs, Rows
from recsys.ports import Finding

OnlineRow = tuple[datetime | None, dict[str, ValueProto] | None]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAYOUTS: Final = 256
"""So many are remembered: Feast makes new objects of its views for every read of its own."""


class PackedOnlineStore(OnlineStore):
    """Rows packed per key; the newest event of each entity wins."""

    _versioned_read_supported = True

    def __init__(self) -> None:
        """Open nothing yet."""
        self._codecs = Codecs()
        self._layouts: dict[int, tuple[BaseFeatureView, RepoConfig, Layout]] = {}

    @abstractmethod
    def _backend(self, config: RepoConfig) -> Backend:
        """Return where the configured store keeps its values, opened for this thread."""

    # -- Arrow

    def write_arrow(self, config: RepoConfig, view: FeatureView, table: pa.Table) -> int:
        """Write rows.

        An entity keeps its newest event; at equal events the newer created timestamp wins, at
        equal clocks the row written last. Rows of a view with several keys are merged into their
        group. SQLite shows all rows or none; Redis shows each value as a whole.

        Args:
            config: the feature store's configuration.
            view: the feature view.
            table: join keys, features, event timestamp and (if the source names one) created
                timestamp, under the view's names; other columns are ignored.

        Returns:
            How many entities got a new row.

        Raises:
            FeatureError: a column is missing, its type contradicts the stored one, or the store cannot be written.
        """
        backend = self._backend(config)
        layout = _declared(backend, config, view)
        rows = plain(layout.normalise(table))
        return self._write(backend, layout, rows, None) if rows.num_rows else 0

    def read_group(
        self, config: RepoConfig, view: FeatureView, key: str | int, within: float | None = None
    ) -> pa.Table | None:
        """All rows under one key: join keys, features, both timestamps; None if there are none. TTL is the caller's.

        Args:
            config: the feature store's configuration.
            view: the feature view.
            key: the only join key, or that of the view's first entity.
            within: seconds that the read may take; the store's own time-outs by default.
        """
        with self._backend(config).patient(within):
            rows = self.read_groups(config, view, [key])
        return rows if rows.num_rows else None

    def read_columns(
        self, config: RepoConfig, wanted: Sequence[tuple[FeatureView, str | int]], within: float | None = None
    ) -> dict[str, Mapping[str, np.ndarray]]:
        """Return all rows under one key of each view, as a request reads them, in one read. TTL is the caller's.

        Args:
            config: the feature store's configuration.
            wanted: feature views, and the only join key of each, or that of its first entity; the objects of the views
                are remembered, so let them be the same ones at every read.
            within: seconds that the read may take; the store's own time-outs by default.

        Returns:
            View to join keys, features and both timestamps by name, each unpacked when it is asked for: numbers as
            float64 with NaN, times as datetime64[us] in UTC with NaT, texts as objects with 'unknown'. A view without
            rows under its key is left out.
        """
        backend = self._backend(config)
        layouts = [self._layout(config, view) for view, _ in wanted]
        keys = [plain_key(key) for _, key in wanted]
        columns: dict[str, Mapping[str, np.ndarray]] = {}
        with backend.patient(within):
            read = backend.read_each([(layout.place, key) for layout, key in zip(layouts, keys, strict=True)])
            for declared, (join_keys, payload) in zip(layouts, read, strict=True):
                layout = declared.kept_under(join_keys)
                if payload is not None:
                    columns[layout.view] = Rows(backend, self._codecs, layout).columns(payload)
        return columns

    def read_many(
        self, config: RepoConfig, view: FeatureView, keys: Sequence[str | int]
    ) -> tuple[pa.Table, np.ndarray]:
        """Return all rows under many keys of a view, in one read. TTL is the caller's.

        Args:
            config: the feature store's configuration.
            view: the feature view; let it be the same object at every read.
            keys: of the only join key, or of the view's first entity.

        Returns:
            The rows, key after key; and [keys + 1] from where to where those of each are.
        """
        wanted = [plain_key(key) for key in keys]
        rows, found = self._found(config, view, lambda _: list(dict.fromkeys(wanted)))
        payloads = [found.get(key) for key in wanted]
        counts = [0 if payload is None else row_count(payload) for payload in payloads]
        there = [payload for payload in payloads if payload is not None]
        return rows.decode(there), np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def read_groups(self, config: RepoConfig, view: FeatureView, keys: Sequence[str | int]) -> pa.Table:
        """All rows under several keys, in the order of `keys`; a key without rows adds none."""
        wanted = list(dict.fromkeys(plain_key(key) for key in keys))
        rows, found = self._found(config, view, lambda _: wanted)
        return rows.decode([found[key] for key in wanted if key in found])

    def read_all(self, config: RepoConfig, view: FeatureView) -> pa.Table:
        """All rows of the view, in an order that stays between writes."""
        backend = self._backend(config)
        layout = Layout.of(config, view)
        join_keys, payloads = backend.read_all(layout.place)
        return Rows(backend, self._codecs, layout.kept_under(join_keys)).decode(payloads)

    def watermark(self, config: RepoConfig, view: FeatureView) -> datetime | None:
        """Newest event timestamp ever written to the view; None before the first write."""
        newest = self._backend(config).kept(Layout.of(config, view).place).watermark
        return None if newest is None else _time_of(newest)

    def generation(self, config: RepoConfig, view: FeatureView) -> int:
        """A number that changes with every write to the view; 0 before the first one."""
        return self._backend(config).kept(Layout.of(config, view).place).generation

    def expire(self, config: RepoConfig, view: FeatureView, before: datetime) -> int:
        """Forget what is kept under keys of which every row is of before a moment; return how many keys.

        For views whose entities come and go, such as sessions: nothing would ever write their rows again.
        """
        backend = self._backend(config)
        layout = _declared(backend, config, view)
        rows = Rows(backend, self._codecs, layout)
        return backend.expire(layout.place, (before - _EPOCH) // timedelta(microseconds=1), rows.newest)

    def erase_groups(self, config: RepoConfig, view: FeatureView, keys: Sequence[str | int]) -> int:
        """Delete all rows under some keys; return how many there were.

        Args:
            config: the feature store's configuration.
            view: the feature view.
            keys: of the only join key, or of the view's first entity.
        """
        rows: int = self.read_groups(config, view, keys).num_rows
        if rows:
            place = Layout.of(config, view).place
            self._backend(config).erase(place, [plain_key(key) for key in keys])
        return rows

    def forget(self, config: RepoConfig) -> None:
        """Forget every row of every view and project in the configured file, or under the configured prefix."""
        self._backend(config).forget()

    def findings(self, config: RepoConfig) -> Iterator[Finding]:
        """Say what `recsys doctor` has to know of the configured place."""
        return self._backend(config).findings()

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
        backend = self._backend(config)
        layout = _declared(backend, config, table)
        keys = layout.keys_of((row[0] for row in data), _version(config))
        rows = plain(layout.from_protos(data, keys, self._stored_schema(backend, layout)))
        self._write(backend, layout, rows, [key[0] for key in keys])
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: BaseFeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> list[OnlineRow]:
        """The row of each entity key, in order; (None, None) for an unknown key, and for a row past the view's TTL.

        Args:
            config: the feature store's configuration; its clock says what is past the TTL.
            table: the feature view.
            entity_keys: one a wanted row.
            requested_features: features wanted; all if None. Names the view lacks are left out.
        """
        version = _version(config)
        keys: list[tuple[Key, ...]] = []

        def groups(layout: Layout) -> list[Key]:
            keys[:] = layout.keys_of(entity_keys, version)
            return list(dict.fromkeys(key[0] for key in keys))

        rows, found = self._found(config, table, groups)
        layout = rows.layout
        wanted = layout.features if requested_features is None else requested_features
        names = [name for name in dict.fromkeys(wanted) if name in layout.features]
        if layout.grouped:
            stored = rows.decode(list(found.values()), [*layout.keys, *names, layout.event])
            online = _matching(layout, stored, names, set(keys))
        else:
            stored = rows.decode(list(found.values()), [*names, layout.event])
            online = dict(zip(((key,) for key in found), _online_rows(layout, stored, names), strict=True))
        oldest = present(config) - layout.ttl if layout.ttl else None
        return [_served(online.get(key), oldest) for key in keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Make room for kept views and forget deleted ones, and rows that were kept under other join keys."""
        del entities_to_delete, partial
        join_keys = {entity.name: entity.join_key for entity in entities_to_keep}
        backend = self._backend(config)
        for view in tables_to_keep:
            first = next(iter(getattr(view, "entities", None) or []), "")
            layout = Layout.of(config, view, join_keys.get(first))
            known = backend.kept(layout.place).join_keys
            if known is None or set(known) != set(layout.keys):
                backend.create(layout.place)
        for view in tables_to_delete:
            backend.drop(Layout.of(config, view).place)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Forget the rows of `tables`; those of other views and projects stay."""
        del entities
        for view in tables:
            self._backend(config).drop(Layout.of(config, view).place)

    # -- Inside

    def _write(self, backend: Backend, layout: Layout, table: pa.Table, keys: list[Key] | None) -> int:
        rows = Rows(backend, self._codecs, layout)
        if layout.grouped:
            return backend.merge(layout.place, *rows.merging(table))
        return backend.write(layout.place, rows.single(table, keys))

    def _found(
        self, config: RepoConfig, view: BaseFeatureView, wanted: Callable[[Layout], Sequence[Key]]
    ) -> tuple[Rows, dict[Key, bytes]]:
        """Values of the wanted keys, once it is known which of the view's keys they are kept under."""
        backend = self._backend(config)
        declared = self._layout(config, view)
        join_keys, found = backend.read(declared.place, wanted(declared))
        layout = declared.kept_under(join_keys)
        if layout is not declared:
            _, found = backend.read(layout.place, wanted(layout))
        return Rows(backend, self._codecs, layout), found

    def _layout(self, config: RepoConfig, view: BaseFeatureView) -> Layout:
        """Return a view's layout; to make it costs as much as to read a row by it, and requests ask for the same few.

        The view is kept with it: while it is, no other object has its id.
        """
        known = self._layouts.get(id(view))
        if known is None or known[0] is not view or known[1] is not config:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            known = view, config, Layout.of(config, view)
            self._layouts[id(view)] = known
        return known[2]

    def _stored_schema(self, backend: Backend, layout: Layout) -> pa.Schema | None:
        """The schema that a view was last written with, or None before its first write."""
        identity = backend.kept(layout.place).schema_id
        return None if identity is None else self._codecs.by_id(backend, layout, identity).schema


def _declared(backend: Backend, config: RepoConfig, view: BaseFeatureView) -> Layout:
    """The layout to write by."""
    layout = Layout.of(config, view)
    return layout.kept_under(backend.kept(layout.place).join_keys)


def _matching(
    layout: Layout, rows: pa.Table, names: Sequence[str], wanted: set[tuple[Key, ...]]
) -> dict[tuple[Key, ...], OnlineRow]:
    """The wanted entities among the rows of their groups."""
    keys = list(zip(*(rows.column(name).to_pylist() for name in layout.keys), strict=True))
    places = [i for i, key in enumerate(keys) if key in wanted]
    chosen = rows if len(places) == len(keys) else rows.take(pa.array(places, pa.int64()))
    return dict(zip((keys[i] for i in places), _online_rows(layout, chosen, names), strict=True))


def _online_rows(layout: Layout, rows: pa.Table, names: Sequence[str]) -> list[OnlineRow]:
    for name in names:
        if name not in rows.column_names:  # added to the view since these rows were written
            rows = rows.append_column(name, pa.nulls(rows.num_rows, layout.declared_type(name)))
    times = (_time_of(value) for value in rows.column(layout.event).cast(pa.int64()).to_pylist())
    values = layout.to_protos(rows, names) if names else [{} for _ in range(rows.num_rows)]
    return list(zip(times, values, strict=True))


def _served(row: OnlineRow | None, oldest: datetime | None) -> OnlineRow:
    if row is None or (oldest is not None and row[0] is not None and row[0] < oldest):
        return None, None
    return row


def _time_of(microseconds: int) -> datetime:
    """Return a stored time, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _version(config: RepoConfig) -> int:
    return int(config.entity_key_serialization_version)
