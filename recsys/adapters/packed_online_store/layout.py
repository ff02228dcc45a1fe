"""Which columns of a feature view does a packed online store keep, and under which key?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.base_feature_view import BaseFeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import RepoConfig
from feast.type_map import (
    PYTHON_SCALAR_VALUE_TYPE_TO_PROTO_VALUE,
    feast_value_type_to_python_type,
    python_values_to_proto_values,
)
from feast.types import FeastType, from_feast_to_pyarrow_type
from feast.value_type import ValueType

from recsys.errors import FeatureError

Key = str | int | bytes
ProtoRow = tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
UNKNOWN_CREATED: Final = -(2**63)
"""A row without a created timestamp counts as the oldest of its event time."""

_EXACT: Final = frozenset(
    {
        ValueType.INT32,
        ValueType.INT64,
        ValueType.FLOAT,
        ValueType.DOUBLE,
        ValueType.STRING,
        ValueType.BYTES,
        ValueType.BOOL,
    }
)


@dataclass(frozen=True)
class Layout:
    """Columns of one view, as stored: keys, features, event timestamp, created timestamp."""

    view: str
    table: str
    """Name of the view's table, project and version included."""
    keys: tuple[str, ...]
    """Join keys, the grouping one first."""
    features: dict[str, FeastType]
    key_types: dict[str, FeastType]
    event: str
    created: str | None

    @classmethod
    def of(cls, config: RepoConfig, view: BaseFeatureView, group_key: str | None = None) -> "Layout":
        """Lay out a feature view (or an on-demand view that is written online).

        Args:
            config: names the project.
            view: the view.
            group_key: the join key that rows are grouped under, where it is known from an earlier
                write.
        """
        fields = [c for c in getattr(view, "entity_columns", []) if c.name != DUMMY_ENTITY_ID]
        columns = [field.name for field in fields]
        entities = list(getattr(view, "entities", None) or [])
        # Feast does not say here which key an entity joins on; by convention entity and key share
        # a name.
        first = group_key or next((name for name in entities[:1] if name in columns), None)
        keys = sorted(columns, key=lambda name: name != first) if first else columns
        source = getattr(view, "batch_source", None)
        mapping = (source.field_mapping or {}) if source else {}
        event = source.timestamp_field if source else ""
        created = source.created_timestamp_column if source else ""
        versioned = bool(config.registry.enable_online_feature_view_versioning)
        return cls(
            view=view.name,
            table=compute_table_id(config.project, view, versioned),
            keys=tuple(keys),
            features={feature.name: feature.dtype for feature in view.features},
            key_types={field.name: field.dtype for field in fields},
            event=mapping.get(event, event) or "event_timestamp",
            created=mapping.get(created, created) or None,
        )

    @property
    def grouped(self) -> bool:
        """Whether one value holds the rows of several entities."""
        return len(self.keys) > 1

    @property
    def names(self) -> list[str]:
        """Stored columns in order."""
        return [*self.keys, *self.features, self.event, *([self.created] if self.created else [])]

    def normalise(self, table: pa.Table) -> pa.Table:
        """The stored columns of `table`, times in UTC microseconds (naive ones are UTC).

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
        result = table.select(self.names)
        for name in (self.event, self.created):
            if name:
                result = result.set_column(
                    result.schema.get_field_index(name), name, self._time(result.column(name), name)
                )
        for name in (*self.keys, self.event):
            if result.column(name).null_count:
                message = (
                    f"feature view {self.view!r}: column {name!r} has "
                    f"{result.column(name).null_count} nulls: "
                    "keys and event times must be present; drop these rows"
                )
                raise FeatureError(message)
        return result

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
        if declared is None:
            return TIMESTAMP
        try:
            return from_feast_to_pyarrow_type(declared)
        except ValueError:
            return pa.binary() if declared.to_value_type() == ValueType.BYTES else pa.null()

    def clocks(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Event and created times as int64 microseconds."""
        event = table.column(self.event).cast(pa.int64()).to_numpy()
        if self.created is None:
            return event, np.full(len(event), UNKNOWN_CREATED)
        return event, pc.fill_null(table.column(self.created).cast(pa.int64()), UNKNOWN_CREATED).to_numpy()

    def key_of(self, entity_key: EntityKeyProto, version: int) -> tuple[Key, ...]:
        """The values of this view's keys, in order."""
        if not self.keys:
            if set(entity_key.join_keys) <= {DUMMY_ENTITY_ID}:
                return ("",)
            return (bytes(serialize_entity_key(entity_key, version)),)
        values = dict(zip(entity_key.join_keys, entity_key.entity_values, strict=True))
        try:
            return tuple(plain_key(_key_value(values[name])) for name in self.keys)
        except KeyError as error:
            message = (
                f"feature view {self.view!r}: entity key {sorted(values)} lacks {error}: pass a "
                "value for each of "
                f"the join keys {', '.join(self.keys)}"
            )
            raise FeatureError(message) from error

    def group_keys(self, table: pa.Table) -> list[Key]:
        """The grouping key of each row."""
        if not self.keys:
            return [""] * table.num_rows
        return [plain_key(value) for value in table.column(self.keys[0]).to_pylist()]

    def from_protos(self, rows: Sequence[ProtoRow], stored: pa.Schema | None) -> pa.Table:
        """Rows of `online_write_batch` as a table, in stored types where there are any."""
        columns: dict[str, pa.Array] = {}
        for i, name in enumerate(self.keys):
            columns[name] = pa.array([self.key_of(row[0], 3)[i] for row in rows])
        for name in self.features:
            values = [_python(row[1].get(name)) for row in rows]
            columns[name] = self._typed(name, values, stored)
        columns[self.event] = pa.array([_aware(row[2]) for row in rows], TIMESTAMP)
        if self.created:
            columns[self.created] = pa.array([_aware(row[3]) if row[3] else None for row in rows], TIMESTAMP)
        return pa.table(columns)

    def to_protos(self, table: pa.Table, names: Sequence[str]) -> list[dict[str, ValueProto]]:
        """Features `names` of each row as Feast's values, by their declared types."""
        columns = [_proto_column(table.column(n), self.features[n].to_value_type()) for n in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def _typed(self, name: str, values: list[Any], stored: pa.Schema | None) -> pa.Array:
        wishes = [self.declared_type(name)]
        if stored is not None and name in stored.names:
            wishes.insert(0, stored.field(name).type)
        for wish in wishes:
            try:
                return pa.array(values, wish)
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
                continue
        return pa.array(values)

    def _time(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        if not (pa.types.is_timestamp(column.type) or pa.types.is_null(column.type)):
            message = f"feature view {self.view!r}: column {name!r} is {column.type}: it must be a timestamp; cast it"
            raise FeatureError(message)
        return column.cast(TIMESTAMP, safe=False)


def plain_key(value: object) -> Key:
    """A key as SQLite keeps it.

    Raises:
        FeatureError: not a text, an integer or bytes.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | int | bytes) and not isinstance(value, bool):
        return value
    message = f"key {value!r} is {type(value).__name__}: keys must be texts, integers or bytes; cast it"
    raise FeatureError(message)


def _key_value(value: ValueProto) -> Any:  # noqa: ANN401 -- one of Feast's many key types
    kind = value.WhichOneof("val")
    return getattr(value, kind) if kind else None


def _python(value: ValueProto | None) -> Any:  # noqa: ANN401 -- one of Feast's many value types
    return None if value is None else feast_value_type_to_python_type(value)


def _aware(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _proto_column(column: pa.ChunkedArray, kind: ValueType) -> list[ValueProto]:
    if kind in _EXACT:
        # Feast's own conversion goes through numpy and so rounds integers beside nulls to floats.
        field, convert, _ = PYTHON_SCALAR_VALUE_TYPE_TO_PROTO_VALUE[kind]
        return [
            ValueProto() if v is None or v != v else ValueProto(**{field: convert(v)})  # noqa: PLR0124
            for v in column.to_pylist()
        ]
    return python_values_to_proto_values(column.to_numpy(), kind)
