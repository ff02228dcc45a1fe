"""How does one column become bytes beside others, and bytes a column again, by the kind of its type?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.candidates.pool import UNKNOWN, to_numpy
from recsys.errors import FeatureError

_MAX_OFFSET: Final = 2**31 - 1

FIXED, BOOLEAN, BYTES, LIST, CELL = range(5)
"""Kinds of columns: fixed width, bit, text or binary, list of numbers, anything else (one Arrow
message a cell: exact but slow)."""


@dataclass(frozen=True)
class Column:
    """How one column is kept."""

    name: str
    type: pa.DataType
    kind: int
    dtype: np.dtype
    """Of the value (FIXED, BOOLEAN) or of one element in the tail (the others)."""
    variable: bool = False
    """Whether the record holds a length and the tail the value."""
    plain: str = ""
    """What it is to a request: number, time or text; other types go by Arrow."""


def column_of(field: pa.Field) -> Column:
    """Choose how a field is kept."""
    kind = field.type
    if pa.types.is_boolean(kind):
        return Column(field.name, kind, BOOLEAN, np.dtype("u1"), plain="number")
    if (dtype := _fixed_dtype(kind)) is not None:
        return Column(field.name, kind, FIXED, dtype, plain=_plain(kind))
    if kind in (pa.string(), pa.binary(), pa.large_string(), pa.large_binary()):
        text = "text" if kind in (pa.string(), pa.large_string()) else ""
        return Column(field.name, kind, BYTES, np.dtype("u1"), variable=True, plain=text)
    if pa.types.is_list(kind) and (dtype := _fixed_dtype(kind.value_type)) is not None:
        element = np.dtype([("valid", np.uint8), ("value", dtype)])
        return Column(field.name, kind, LIST, element, variable=True)
    return Column(field.name, kind, CELL, np.dtype("u1"), variable=True)


def _fixed_dtype(kind: pa.DataType) -> np.dtype | None:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        number: np.dtype = np.dtype(kind.to_pandas_dtype()).newbyteorder("<")
        return number
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return np.dtype(f"<i{kind.bit_width // 8}")
    return None


def _plain(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        return "time"
    return "" if pa.types.is_temporal(kind) else "number"


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def validity(array: pa.Array) -> np.ndarray:
    """Return which values are no nulls, as bool."""
    if array.null_count == 0:
        return np.ones(len(array), dtype=bool)
    valid: np.ndarray = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def bytes_of(records: np.ndarray) -> memoryview:
    """The memory of contiguous records, byte by byte."""
    return memoryview(records.view(np.uint8).reshape(-1))  # type: ignore[arg-type] # arrays are buffers


def bitmap_of(valid: np.ndarray) -> pa.Buffer:
    """Return bools as the bits that Arrow wants."""
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def fixed_values(array: pa.Array, column: Column) -> np.ndarray:
    """Return the values of a fixed-width column; those of nulls are anything."""
    if column.kind == BOOLEAN:
        bits: np.ndarray = array.cast(pa.uint8()).fill_null(0).to_numpy()
        return bits
    if not len(array):
        return np.zeros(0, column.dtype)
    data = np.frombuffer(array.buffers()[1], column.dtype)
    return data[array.offset : array.offset + len(array)]


def fixed_array(column: Column, values: np.ndarray, bitmap: pa.Buffer | None) -> pa.Array:
    """Return values of a fixed-width column as Arrow; nulls where a bitmap has zeros."""
    plain_values = np.ascontiguousarray(values)
    data = bitmap_of(plain_values) if column.kind == BOOLEAN else pa.py_buffer(plain_values)
    return pa.Array.from_buffers(column.type, len(values), [bitmap, data])


def plain_texts(column: Column, lengths: np.ndarray, tail: bytes, valid: np.ndarray | None) -> np.ndarray:
    """Return values of a text column as the core has them: objects, 'unknown' where there is none."""
    if column.plain != "text":
        return to_numpy(DECODERS[column.kind](column, lengths, tail, None if valid is None else bitmap_of(valid)))
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    pieces = map(slice, [0, *ends], ends)
    if tail.isascii():
        found: Iterable[str] = map(tail.decode("ascii").__getitem__, pieces)
    else:
        found = [tail[piece].decode() for piece in pieces]
    texts = np.fromiter(found, dtype=object, count=len(ends))
    if valid is not None:
        texts[~valid] = UNKNOWN
    return texts


def _encode_bytes(array: pa.Array, column: Column) -> tuple[memoryview, np.ndarray]:
    large = pa.large_binary() if column.type in (pa.binary(), pa.large_binary()) else pa.large_string()
    array = array.cast(large)
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data if data is not None else b""), places


def _decode_bytes(column: Column, lengths: np.ndarray, tail: bytes, bitmap: pa.Buffer | None) -> pa.Array:
    large = column.type in (pa.large_string(), pa.large_binary())
    offsets = _offsets(column, lengths, large=large)
    return pa.Array.from_buffers(column.type, len(lengths), [bitmap, pa.py_buffer(offsets), pa.py_buffer(tail)])


def _encode_list(array: pa.Array, column: Column) -> tuple[memoryview, np.ndarray]:
    offsets = array.offsets.to_numpy().astype(np.int64)
    child = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    elements = np.zeros(len(child), column.dtype)
    elements["valid"] = validity(child)
    value = Column("", child.type, FIXED, column.dtype["value"])
    elements["value"] = np.where(elements["valid"], fixed_values(child, value), 0)
    return bytes_of(elements), offsets - offsets[0]


def _decode_list(column: Column, lengths: np.ndarray, tail: bytes, bitmap: pa.Buffer | None) -> pa.Array:
    elements = np.frombuffer(tail, column.dtype)
    inner = Column("", column.type.value_type, FIXED, column.dtype["value"])
    nulls = None if elements["valid"].all() else bitmap_of(elements["valid"])
    child = fixed_array(inner, elements["value"], nulls)
    offsets = pa.py_buffer(_offsets(column, lengths, large=False))
    return pa.Array.from_buffers(column.type, len(lengths), [bitmap, offsets], children=[child])


def _encode_cells(array: pa.Array, column: Column) -> tuple[memoryview, np.ndarray]:
    del column
    cells = [
        pa.record_batch([pa.concat_arrays([array.slice(i, 1)])], names=["cell"]).serialize().to_pybytes()
        if array[i].is_valid
        else b""
        for i in range(len(array))
    ]
    places = np.cumsum([0, *(len(cell) for cell in cells)], dtype=np.int64)
    return memoryview(b"".join(cells)), places


def _decode_cells(column: Column, lengths: np.ndarray, tail: bytes, bitmap: pa.Buffer | None) -> pa.Array:
    del bitmap
    schema, at, cells = pa.schema([("cell", column.type)]), 0, []
    for length in lengths.tolist():
        cell = pa.py_buffer(tail[at : at + length])
        at += length
        cells.append(pa.ipc.read_record_batch(cell, schema).column(0) if length else pa.nulls(1, column.type))
    return pa.concat_arrays(cells)


def _offsets(column: Column, lengths: np.ndarray, *, large: bool) -> np.ndarray:
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


_Encoder = Callable[[pa.Array, Column], tuple[memoryview, np.ndarray]]
_Decoder = Callable[[Column, np.ndarray, bytes, "pa.Buffer | None"], pa.Array]
ENCODERS: dict[int, _Encoder] = {BYTES: _encode_bytes, LIST: _encode_list, CELL: _encode_cells}
DECODERS: dict[int, _Decoder] = {BYTES: _decode_bytes, LIST: _decode_list, CELL: _decode_cells}
