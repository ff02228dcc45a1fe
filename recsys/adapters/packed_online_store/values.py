"""How do Feast's values become Arrow, and Arrow Feast's values again, so that neither is rounded?

Scalars and lists of scalars are Arrow columns of their own type. Values whose shape differs from row to row (maps,
structs, nested collections, timestamps in zones of their own) have no Arrow type that keeps each as it came; they are
stored as the bytes of Feast's message.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.type_map import (
    PYTHON_SCALAR_VALUE_TYPE_TO_PROTO_VALUE,
    feast_value_type_to_python_type,
    python_values_to_proto_values,
)
from feast.types import FeastType, from_feast_to_pyarrow_type
from feast.value_type import ValueType

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")

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
_OPAQUE: Final = frozenset(
    {
        ValueType.MAP,
        ValueType.MAP_LIST,
        ValueType.STRUCT,
        ValueType.STRUCT_LIST,
        ValueType.SCALAR_MAP,
        ValueType.VALUE_LIST,
        ValueType.VALUE_SET,
        ValueType.ZONED_TIMESTAMP,
    }
)
_TEXTS: Final = frozenset({ValueType.UUID, ValueType.TIME_UUID, ValueType.JSON})
_TEXT_LISTS: Final = frozenset(
    {
        ValueType.UUID_LIST,
        ValueType.UUID_SET,
        ValueType.TIME_UUID_LIST,
        ValueType.TIME_UUID_SET,
        ValueType.JSON_LIST,
    }
)
_NULL_MOMENT: Final = -(2**63)


def opaque(declared: FeastType) -> bool:
    """Whether values of a declared type are stored as Feast's bytes."""
    return declared.to_value_type() in _OPAQUE


def arrow_type(declared: FeastType) -> pa.DataType:
    """Return the Arrow type of a declared one; null where Feast knows none."""
    kind = declared.to_value_type()
    if kind in _OPAQUE:
        return pa.binary()
    if kind in _TEXTS:
        return pa.string()
    if kind in _TEXT_LISTS:
        return pa.list_(pa.string())
    try:
        return from_feast_to_pyarrow_type(declared)
    except ValueError:
        return pa.binary() if kind in (ValueType.BYTES, ValueType.PDF_BYTES, ValueType.IMAGE_BYTES) else pa.null()


def storable(column: pa.ChunkedArray, declared: FeastType | None) -> pa.ChunkedArray:
    """Return a source's column as it is stored: moments without a zone are UTC, opaque values are Feast's bytes."""
    if declared is not None and opaque(declared):
        values = python_values_to_proto_values(column.to_pylist(), declared.to_value_type())
        return pa.chunked_array([serialised(values)])
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        return column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    if pa.types.is_list(column.type):
        inner = column.type.value_type
        if pa.types.is_timestamp(inner) and inner.tz is None:
            return column.cast(pa.list_(pa.timestamp(inner.unit, tz="UTC")))
    return column


def from_protos(values: Sequence[ValueProto | None], declared: FeastType, stored: pa.DataType | None) -> pa.Array:
    """Return Feast's values as one column: of the stored type where that fits, else of the declared one."""
    if opaque(declared):
        return serialised(values)
    plain = [_python(value) for value in values]
    for wish in (stored, arrow_type(declared)):
        if wish is not None:
            try:
                return pa.array(plain, wish)
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
                continue
    return pa.array(plain)


def to_protos(column: pa.ChunkedArray, declared: FeastType) -> list[ValueProto]:
    """Return a column as Feast's values of the declared type."""
    kind = declared.to_value_type()
    if kind in _OPAQUE:
        return [ValueProto() if value is None else ValueProto.FromString(value) for value in column.to_pylist()]
    if kind in _EXACT:
        # Feast's own conversion goes through numpy and so rounds integers beside nulls to floats.
        field, convert, _ = PYTHON_SCALAR_VALUE_TYPE_TO_PROTO_VALUE[kind]
        null = ValueProto()
        return [
            null if v is None or v != v else ValueProto(**{field: convert(v)})  # noqa: PLR0124 -- not a number
            for v in column.to_pylist()
        ]
    return python_values_to_proto_values(column.to_numpy(), kind)


def serialised(values: Sequence[ValueProto | None]) -> pa.Array:
    """Return values as the bytes of Feast's messages; null where there is none."""
    return pa.array(
        [None if v is None or v.WhichOneof("val") is None else v.SerializeToString() for v in values], pa.binary()
    )


def aware(value: datetime) -> datetime:
    """Return a moment with its zone; a naive one is UTC."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _python(value: ValueProto | None) -> Any:  # noqa: ANN401 -- one of Feast's many value types
    kind = value.WhichOneof("val") if value is not None else None
    if value is None or kind is None:
        return None
    if convert := _OWN.get(kind):
        return convert(getattr(value, kind))
    return feast_value_type_to_python_type(value)


def _texts(value: Any) -> list[str | None]:  # noqa: ANN401 -- a message with texts
    return [text or None for text in value.val]  # Feast writes a missing element as an empty text


def _decimals(value: Any) -> list[Decimal | None]:  # noqa: ANN401 -- a message with texts
    return [Decimal(text) if text else None for text in value.val]


def _moments(value: Any) -> list[datetime | None]:  # noqa: ANN401 -- a message with seconds
    return [None if at == _NULL_MOMENT else datetime.fromtimestamp(at, UTC) for at in value.val]


def _elements(value: Any) -> list[Any]:  # noqa: ANN401 -- a message with values
    return list(value.val)


# Where Feast's own conversion parses texts or makes Python's sets, whose order is lost.
_OWN: Final[dict[str, Callable[[Any], Any]]] = {
    "json_val": str,
    "uuid_val": str,
    "time_uuid_val": str,
    "json_list_val": _elements,
    "uuid_list_val": _texts,
    "uuid_set_val": _texts,
    "time_uuid_list_val": _texts,
    "time_uuid_set_val": _texts,
    "decimal_list_val": _decimals,
    "decimal_set_val": _decimals,
    "unix_timestamp_set_val": _moments,
    "bytes_set_val": _elements,
    "string_set_val": _elements,
    "int32_set_val": _elements,
    "int64_set_val": _elements,
    "double_set_val": _elements,
    "float_set_val": _elements,
    "bool_set_val": _elements,
}
