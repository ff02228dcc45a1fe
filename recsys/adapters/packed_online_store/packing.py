"""How do the rows of one key become one value of an online store, and back?

A payload is a header (row count, schema id), then one fixed-width record a row, then the bytes of
each variable-length column. Records of a whole table are made and read by numpy at once, so
writing a row costs a slice, and reading many payloads costs one join. A schema id names its schema
for ever (it is a digest), so payloads of several schemas can stand side by side while features
come and go.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.errors import FeatureError

SCHEMA_ID_BYTES: Final = 8
_HEADER: Final = struct.Struct(f"<I{SCHEMA_ID_BYTES}s")
_MAX_OFFSET: Final = 2**31 - 1

FIXED, BOOLEAN, BYTES, LIST, CELL = range(5)
"""Kinds of columns: fixed width, bit, text or binary, list of numbers, anything else (one Arrow
message a cell: exact but slow)."""


@dataclass(frozen=True)
class _Column:
    name: str
    type: pa.DataType
    kind: int
    dtype: np.dtype
    """Of the value (FIXED, BOOLEAN) or of one element in the tail (the others)."""
    variable: bool = False
    """Whether the record holds a length and the tail the value."""


class Codec:
    """Packs tables of one schema."""

    def __init__(self, schema: pa.Schema) -> None:
        """Prepare for `schema`, which must come from `plain`."""
        self.schema = schema
        self.schema_id = hashlib.blake2b(schema.serialize().to_pybytes(), digest_size=SCHEMA_ID_BYTES).digest()
        self._columns = [_column(field) for field in schema]
        fields: list[tuple[str, object]] = [("valid", np.uint8, (len(self._columns),))]  # type: ignore[list-item]
        for i, column in enumerate(self._columns):
            fields.append((f"c{i}", np.dtype("<u4") if column.variable else column.dtype))
        self._record = np.dtype(fields)

    def encode(self, table: pa.Table, bounds: Sequence[int]) -> list[bytes]:
        """Pack consecutive rows.

        Args:
            table: rows of this codec's schema.
            bounds: group g holds the rows from bounds[g] up to bounds[g + 1]; no group is empty.

        Returns:
            One payload a group.
        """
        records = np.zeros(table.num_rows, dtype=self._record)
        tails: list[tuple[memoryview, list[int]]] = []
        for i, column in enumerate(self._columns):
            array = _whole(table.column(i))
            valid = _validity(array)
            records["valid"][:, i] = valid
            if column.variable:
                data, offsets = _ENCODERS[column.kind](array, column)
                records[f"c{i}"] = np.diff(offsets)
                tails.append((data, (offsets * column.dtype.itemsize).tolist()))
            else:
                records[f"c{i}"] = np.where(valid, _fixed_values(array, column), 0)
        body, size = _bytes(records), self._record.itemsize
        pairs = pairwise(bounds)
        if not tails:
            return [_HEADER.pack(b - a, self.schema_id) + body[a * size : b * size] for a, b in pairs]
        return [
            b"".join(
                (
                    _HEADER.pack(b - a, self.schema_id),
                    body[a * size : b * size],
                    *(data[at[a] : at[b]] for data, at in tails),
                )
            )
            for a, b in pairs
        ]

    def decode(self, payloads: Sequence[bytes], names: Sequence[str] | None = None) -> pa.Table:
        """Unpack payloads of this schema, one after another.

        Args:
            payloads: at least one.
            names: columns wanted; those that the schema lacks are left out. None for all.
        """
        counts = [_HEADER.unpack_from(payload)[0] for payload in payloads]
        size, start = self._record.itemsize, _HEADER.size
        if len(payloads) == 1:
            records = np.frombuffer(payloads[0], self._record, count=counts[0], offset=start)
        else:
            parts = [p[start : start + n * size] for p, n in zip(payloads, counts, strict=True)]
            records = np.frombuffer(b"".join(parts), self._record)
        valid = records["valid"]
        all_valid = valid.min(axis=0, initial=1)
        tails = _Tails(payloads, counts, start, size)
        arrays, fields = [], []
        for i, column in enumerate(self._columns):
            values = records[f"c{i}"]
            wanted = names is None or column.name in names
            if column.variable:
                tail = tails.take(values, column.dtype.itemsize, wanted=wanted)
            if not wanted:
                continue
            bitmap = None if all_valid[i] else _bitmap(valid[:, i])
            if column.variable:
                arrays.append(_DECODERS[column.kind](column, values, tail, bitmap))
            else:
                arrays.append(_fixed_array(column, values, bitmap))
            fields.append(self.schema.field(i))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def schema_id(payload: bytes) -> bytes:
    """Which schema a payload is packed by."""
    return payload[4 : 4 + SCHEMA_ID_BYTES]


def plain(table: pa.Table) -> pa.Table:
    """The table in the types that payloads keep: dictionaries as values, views as plain texts.

    Metadata and nullability are dropped: they would make two schemas of one.
    """
    columns = []
    for column in table.columns:
        kind = column.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if kind == pa.string_view():
            kind = pa.string()
        elif kind == pa.binary_view():
            kind = pa.binary()
        columns.append(column if column.type == kind else column.cast(kind))
    return pa.table(columns, names=table.column_names)


class _Tails:
    """Walks through the variable-length columns behind the records of each payload."""

    def __init__(self, payloads: Sequence[bytes], counts: Sequence[int], start: int, size: int) -> None:
        self._payloads = payloads
        self._at = [start + n * size for n in counts]
        self._groups = np.cumsum([0, *counts[:-1]]) if payloads[1:] else None

    def take(self, lengths: np.ndarray, width: int, *, wanted: bool) -> bytes:
        """The bytes of the next column, and step over them."""
        if self._groups is None:
            totals = [int(lengths.sum(dtype=np.int64)) * width]
        else:
            sums = np.add.reduceat(lengths.astype(np.int64), self._groups)
            totals = (sums * width).tolist()
        places = self._at
        self._at = [at + total for at, total in zip(places, totals, strict=True)]
        if not wanted:
            return b""
        return b"".join([p[at:end] for p, at, end in zip(self._payloads, places, self._at, strict=True)])


def _column(field: pa.Field) -> _Column:
    kind = field.type
    if pa.types.is_boolean(kind):
        return _Column(field.name, kind, BOOLEAN, np.dtype("u1"))
    if (dtype := _fixed_dtype(kind)) is not None:
        return _Column(field.name, kind, FIXED, dtype)
    if kind in (pa.string(), pa.binary(), pa.large_string(), pa.large_binary()):
        return _Column(field.name, kind, BYTES, np.dtype("u1"), variable=True)
    if pa.types.is_list(kind) and (dtype := _fixed_dtype(kind.value_type)) is not None:
        element = np.dtype([("valid", np.uint8), ("value", dtype)])
        return _Column(field.name, kind, LIST, element, variable=True)
    return _Column(field.name, kind, CELL, np.dtype("u1"), variable=True)


def _fixed_dtype(kind: pa.DataType) -> np.dtype | None:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        number: np.dtype = np.dtype(kind.to_pandas_dtype()).newbyteorder("<")
        return number
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return np.dtype(f"<i{kind.bit_width // 8}")
    return None


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _validity(array: pa.Array) -> np.ndarray:
    if array.null_count == 0:
        return np.ones(len(array), dtype=bool)
    valid: np.ndarray = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _bytes(records: np.ndarray) -> memoryview:
    """The memory of contiguous records, byte by byte."""
    return memoryview(records.view(np.uint8).reshape(-1))  # type: ignore[arg-type] # arrays are buffers


def _bitmap(valid: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def _fixed_values(array: pa.Array, column: _Column) -> np.ndarray:
    if column.kind == BOOLEAN:
        bits: np.ndarray = array.cast(pa.uint8()).fill_null(0).to_numpy()
        return bits
    if not len(array):
        return np.zeros(0, column.dtype)
    data = np.frombuffer(array.buffers()[1], column.dtype)
    return data[array.offset : array.offset + len(array)]


def _fixed_array(column: _Column, values: np.ndarray, bitmap: pa.Buffer | None) -> pa.Array:
    plain_values = np.ascontiguousarray(values)
    data = _bitmap(plain_values) if column.kind == BOOLEAN else pa.py_buffer(plain_values)
    return pa.Array.from_buffers(column.type, len(values), [bitmap, data])


def _encode_bytes(array: pa.Array, column: _Column) -> tuple[memoryview, np.ndarray]:
    large = pa.large_binary() if column.type in (pa.binary(), pa.large_binary()) else pa.large_string()
    array = array.cast(large)
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data if data is not None else b""), places


def _decode_bytes(column: _Column, lengths: np.ndarray, tail: bytes, bitmap: pa.Buffer | None) -> pa.Array:
    large = column.type in (pa.large_string(), pa.large_binary())
    offsets = _offsets(column, lengths, large=large)
    return pa.Array.from_buffers(column.type, len(lengths), [bitmap, pa.py_buffer(offsets), pa.py_buffer(tail)])


def _encode_list(array: pa.Array, column: _Column) -> tuple[memoryview, np.ndarray]:
    offsets = array.offsets.to_numpy().astype(np.int64)
    child = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    elements = np.zeros(len(child), column.dtype)
    elements["valid"] = _validity(child)
    value = _Column("", child.type, FIXED, column.dtype["value"])
    elements["value"] = np.where(elements["valid"], _fixed_values(child, value), 0)
    return _bytes(elements), offsets - offsets[0]


def _decode_list(column: _Column, lengths: np.ndarray, tail: bytes, bitmap: pa.Buffer | None) -> pa.Array:
    elements = np.frombuffer(tail, column.dtype)
    inner = _Column("", column.type.value_type, FIXED, column.dtype["value"])
    nulls = None if elements["valid"].all() else _bitmap(elements["valid"])
    child = _fixed_array(inner, elements["value"], nulls)
    offsets = pa.py_buffer(_offsets(column, lengths, large=False))
    return pa.Array.from_buffers(column.type, len(lengths), [bitmap, offsets], children=[child])


def _encode_cells(array: pa.Array, column: _Column) -> tuple[memoryview, np.ndarray]:
    del column
    cells = [
        pa.record_batch([pa.concat_arrays([array.slice(i, 1)])], names=["cell"]).serialize().to_pybytes()
        if array[i].is_valid
        else b""
        for i in range(len(array))
    ]
    places = np.cumsum([0, *(len(cell) for cell in cells)], dtype=np.int64)
    return memoryview(b"".join(cells)), places


def _decode_cells(column: _Column, lengths: np.ndarray, tail: bytes, bitmap: pa.Buffer | None) -> pa.Array:
    del bitmap
    schema, at, cells = pa.schema([("cell", column.type)]), 0, []
    for length in lengths.tolist():
        cell = pa.py_buffer(tail[at : at + length])
        at += length
        cells.append(pa.ipc.read_record_batch(cell, schema).column(0) if length else pa.nulls(1, column.type))
    return pa.concat_arrays(cells)


def _offsets(column: _Column, lengths: np.ndarray, *, large: bool) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if large:
        return offsets
    if offsets[-1] > _MAX_OFFSET:
        message = (
            f"column {column.name!r}: {offsets[-1]} bytes in one read exceed {_MAX_OFFSET}, the "
            "limit of "
            f"{column.type}: read fewer keys at a time"
        )
        raise FeatureError(message)
    return offsets.astype(np.int32)


_Encoder = Callable[[pa.Array, _Column], tuple[memoryview, np.ndarray]]
_Decoder = Callable[[_Column, np.ndarray, bytes, "pa.Buffer | None"], pa.Array]
_ENCODERS: dict[int, _Encoder] = {BYTES: _encode_bytes, LIST: _encode_list, CELL: _encode_cells}
_DECODERS: dict[int, _Decoder] = {BYTES: _decode_bytes, LIST: _decode_list, CELL: _decode_cells}
