"""Which columns of a feature view does a packed online store keep, and under which key?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.base_feature_view import BaseFeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import RepoConfig
from feast.types import FeastType

from recsys.adapters.packed_online_store.backend import Key, Place
from recsys.adapters.packed_online_store.values import TIMESTAMP, arrow_type, aware, from_protos, storable, to_protos
from recsys.errors import FeatureError

ProtoRow = tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]

UNKNOWN_CREATED: Final = -(2**63)
"""A row without a created timestamp counts as the oldest of its event time."""
_INT64: Final = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Layout:
    """Columns of one view, as stored: keys, features, event timestamp, created timestamp."""

    view: str
    place: Place
    keys: tuple[str, ...]
    """Join keys, the grouping one first."""
    features: dict[str, FeastType]
    key_types: dict[str, FeastType]
    event: str
    created: str | None
    ttl: timedelta | None
    """Rows older than this are not served; None and zero mean that none is too old."""

    @classmethod
    def of(cls, config: RepoConfig, view: BaseFeatureView, group_key: str | None = None) -> "Layout":
        """Lay out a feature view (or an on-demand view that is written online).

        Args:
            config: names the project.
            view: the view.
            group_key: the join key that rows are grouped under, where it is known.
        """
        fields = [c for c in getattr(view, "entity_columns", []) if c.name != DUMMY_ENTITY_ID]
        columns = [field.name for field in fields]
        entities = list(getattr(view, "entities", None) or [])
        # Feast does not say here which key an entity joins on; by convention entity and key share
        # a name.
        first = group_key or next((name for name in entities[:1] if name in columns), None)
        keys = tuple(sorted(columns, key=lambda name: name != first) if first else columns)
        source = getattr(view, "batch_source", None)
        mapping = (source.field_mapping or {}) if source else {}
        event = source.timestamp_field if source else ""
        created = source.created_timestamp_column if source else ""
        versioned = bool(config.registry.enable_online_feature_view_versioning)
        return cls(
            view=view.name,
            place=Place(config.project, compute_versioned_name(view, versioned), keys),
            keys=keys,
            features={feature.name: feature.dtype for feature in view.features},
            key_types={field.name: field.dtype for field in fields},
            event=mapping.get(event, event) or "event_timestamp",
            created=mapping.get(created, created) or None,
            ttl=getattr(view, "ttl", None) or None,
        )

    @property
    def grouped(self) -> bool:
        """Whether one value holds the rows of several entities."""
        return len(self.keys) > 1

    @property
    def names(self) -> list[str]:
        """Stored columns in order."""
        return [*self.keys, *self.features, self.event, *([self.created] if self.created else [])]

    def kept_under(self, join_keys: tuple[str, ...] | None) -> "Layout":
        """Return the layout in the order of keys that was chosen when the view was created.

        Raises:
            FeatureError: the view's values are kept under other keys.
        """
        if join_keys is None or join_keys == self.keys:
            return self
        if set(join_keys) != set(self.keys):
            message = (
                f"feature view {self.view!r}: its online rows are kept under {', '.join(join_keys) or 'no key'}, and it"
                f" is declared with {', '.join(self.keys) or 'no key'}: run `feast apply`, then materialize again"
            )
            raise FeatureError(message)
        return replace(self, keys=join_keys, place=replace(self.place, join_keys=join_keys))

    def normalise(self, table: pa.Table) -> pa.Table:
        """The stored columns of `table` as they are stored, clocks in UTC microseconds (naive times are UTC).

        Raises:
            FeatureError: a column is missing, a key or an event time is null, or a type cannot be
                kept.
        """
        if missing := [name for name in self.names if name not in table.column_names]:
            message = (
                f"feature view {self.view!r}: the table to write has no column {missing} (it has "
                f"{', '.join(table.column_names)}): pass join keys, features and timestamps under "
                "the view's names"
            )
            raise FeatureError(message)
        columns = {name: storable(table.column(name), self.features.get(name)) for name in self.names}
        for name in (self.event, self.created):
            if name:
                columns[name] = self._time(table.column(name), name)
        for name in (*self.keys, self.event):
            if columns[name].null_count:
                message = (
                    f"feature view {self.view!r}: column {name!r} has {columns[name].null_count} nulls: "
                    "keys and event times must be present; drop these rows"
                )
                raise FeatureError(message)
        return pa.table(columns)

    def align(self, table: pa.Table) -> pa.Table:
        """Stored rows under today's columns: added features are null, removed ones left out."""
        if table.column_names == self.names:
            return table
        columns = [
            table.column(name) if name in table.column_names else pa.nulls(table.num_rows, self.declared_type(name))
            for name in self.names
        ]
        return pa.table(columns, names=self.names)

    def declared_type(self, name: str) -> pa.DataType:
        """Arrow type of a stored column by its declaration; null where Feast knows none."""
        declared = self.features.get(name) or self.key_types.get(name)
        return TIMESTAMP if declared is None else arrow_type(declared)

    def clocks(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Event and created times as int64 microseconds."""
        event = table.column(self.event).cast(pa.int64()).to_numpy()
        if self.created is None:
            return event, np.full(len(event), UNKNOWN_CREATED)
        return event, pc.fill_null(table.column(self.created).cast(pa.int64()), UNKNOWN_CREATED).to_numpy()

    def keys_of(self, entity_keys: Iterable[EntityKeyProto], version: int) -> list[tuple[Key, ...]]:
        """The values of this view's keys, in order, of each entity.

        Args:
            entity_keys: of Feast.
            version: how Feast serialises keys of views without join keys.

        Raises:
            FeatureError: an entity lacks a join key, or its value cannot be a key.
        """
        if not self.keys:
            return [(_key_without_name(key, version),) for key in entity_keys]
        places: dict[tuple[str, ...], list[int]] = {}
        result = []
        for key in entity_keys:
            names = tuple(key.join_keys)
            if names not in places:
                places[names] = self._places(names)
            values = key.entity_values
            result.append(tuple([plain_key(_key_value(values[place])) for place in places[names]]))
        return result

    def _places(self, names: tuple[str, ...]) -> list[int]:
        if absent := [name for name in self.keys if name not in names]:
            message = (
                f"feature view {self.view!r}: entity key {sorted(names)} lacks {', '.join(map(repr, absent))}: pass a "
                f"value for each of the join keys {', '.join(self.keys)}"
            )
            raise FeatureError(message)
        return [names.index(name) for name in self.keys]

    def group_keys(self, table: pa.Table) -> list[Key]:
        """The grouping key of each row."""
        if not self.keys:
            return [""] * table.num_rows
        return [plain_key(value) for value in table.column(self.keys[0]).to_pylist()]

    def from_protos(
        self, rows: Sequence[ProtoRow], keys: Sequence[tuple[Key, ...]], stored: pa.Schema | None
    ) -> pa.Table:
        """Rows of `online_write_batch` as a table, in stored types where there are any."""
        types = {} if stored is None else {field.name: field.type for field in stored}
        columns: dict[str, pa.Array] = {
            name: pa.array([key[place] for key in keys]) for place, name in enumerate(self.keys)
        }
        for name, declared in self.features.items():
            columns[name] = from_protos([row[1].get(name) for row in rows], declared, types.get(name))
        columns[self.event] = pa.array([aware(row[2]) for row in rows], TIMESTAMP)
        if self.created:
            columns[self.created] = pa.array([aware(row[3]) if row[3] else None for row in rows], TIMESTAMP)
        return pa.table(columns)

    def to_protos(self, table: pa.Table, names: Sequence[str]) -> list[dict[str, ValueProto]]:
        """Features `names` of each row as Feast's values, by their declared types.

        Raises:
            FeatureError: rows that were written under another type cannot be read as the declared one.
        """
        columns = []
        for name in names:
            try:
                columns.append(to_protos(table.column(name), self.features[name]))
            except (ValueError, TypeError, AssertionError) as error:
                message = (
                    f"feature view {self.view!r}: {name!r} is stored as {table.schema.field(name).type} and declared as"
                    f" {self.features[name]}: {error}: materialize the view again"
                )
                raise FeatureError(message) from error
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _time(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        if not (pa.types.is_timestamp(column.type) or pa.types.is_null(column.type)):
            message = f"feature view {self.view!r}: column {name!r} is {column.type}: it must be a timestamp; cast it"
            raise FeatureError(message)
        return column.cast(TIMESTAMP, safe=False)


def plain_key(value: object) -> Key:
    """A key as it is stored.

    Raises:
        FeatureError: not a text, an integer of 64 bits or bytes.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    message = f"key {value!r} is {type(value).__name__}: keys must be texts, integers of 64 bits or bytes; cast it"
    raise FeatureError(message)


def _key_without_name(key: EntityKeyProto, version: int) -> Key:
    """Return what a view without join keys is read by: nothing, or (a precomputed vector) the whole entity."""
    return "" if set(key.join_keys) <= {DUMMY_ENTITY_ID} else bytes(serialize_entity_key(key, version))


def _key_value(value: ValueProto) -> Any:  # noqa: ANN401 -- one of Feast's many key types
    kind = value.WhichOneof("val")
    return getattr(value, kind) if kind else None
