"""How do the rows of one key become one value of an online store, and back?

A payload is a header (row count, schema id), then one fixed-width record a row, then the bytes of
each variable-length column. Records of a whole table are made and read by numpy at once, so
writing a row costs a slice, and reading many payloads costs one join. A schema id names its schema
for ever (it is a digest), so payloads of several schemas can stand side by side while features
come and go.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.adapters.packed_online_store.columns import (
    DECODERS,
    ENCODERS,
    Column,
    bitmap_of,
    bytes_of,
    column_of,
    fixed_array,
    fixed_values,
    plain_texts,
    validity,
    whole,
)
from recsys.candidates.pool import to_numpy

SCHEMA_ID_BYTES: Final = 8
_HEADER: Final = struct.Struct(f"<I{SCHEMA_ID_BYTES}s")


class Codec:
    """Packs tables of one schema."""

    def __init__(self, schema: pa.Schema) -> None:
        """Prepare for `schema`, which must come from `plain`."""
        self.schema = schema
        self.schema_id = hashlib.blake2b(schema.serialize().to_pybytes(), digest_size=SCHEMA_ID_BYTES).digest()
        self._columns = [column_of(field) for field in schema]
        fields: list[tuple[str, object]] = [("valid", np.uint8, (len(self._columns),))]  # type: ignore[list-item]
        for i, column in enumerate(self._columns):
            fields.append((f"c{i}", np.dtype("<u4") if column.variable else column.dtype))
        self._record = np.dtype(fields)
        self._places = {column.name: place for place, column in enumerate(self._columns)}
        self._runs = runs_of(self._columns, self._record)

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
            array = whole(table.column(i))
            valid = validity(array)
            records["valid"][:, i] = valid
            if column.variable:
                data, offsets = ENCODERS[column.kind](array, column)
                records[f"c{i}"] = np.diff(offsets)
                tails.append((data, (offsets * column.dtype.itemsize).tolist()))
            else:
                records[f"c{i}"] = np.where(valid, fixed_values(array, column), 0)
        body, size = bytes_of(records), self._record.itemsize
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
            bitmap = None if all_valid[i] else bitmap_of(valid[:, i])
            if column.variable:
                arrays.append(DECODERS[column.kind](column, values, tail, bitmap))
            else:
                arrays.append(fixed_array(column, values, bitmap))
            fields.append(self.schema.field(i))
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def columns(self, payload: bytes) -> "Unpacked":
        """Return the columns of one payload as a request reads them: without Arrow in between, and when asked for."""
        count, _ = _HEADER.unpack_from(payload)
        records = np.frombuffer(payload, self._record, count=count, offset=_HEADER.size)
        tail = _HEADER.size + count * self._record.itemsize
        return Unpacked(self._columns, self._places, self._runs, records, payload, tail)


def schema_id(payload: bytes) -> bytes:
    """Which schema a payload is packed by."""
    return payload[4 : 4 + SCHEMA_ID_BYTES]


def row_count(payload: bytes) -> int:
    """How many rows a payload holds."""
    count: int = _HEADER.unpack_from(payload)[0]
    return count


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


@dataclass(frozen=True)
class Run:
    """Columns that lie side by side in a record and are read together, for they are of one width and kind."""

    first: int
    """The first one's place among all columns."""
    names: tuple[str, ...]
    plain: str
    """What they are to a request: number or time."""
    dtype: np.dtype
    offset: int
    """Of the first one in a record, in bytes."""

    def unpacked(self, records: np.ndarray, *, complete: bool) -> np.ndarray:
        """Return [columns, rows] values as the core has them: float64 with NaN, or datetime64[us] with NaT."""
        size = self.dtype.itemsize
        width = len(self.names)
        raw = np.ndarray(
            (width, len(records)), self.dtype, records.base, _HEADER.size + self.offset, (size, records.itemsize)
        )
        if self.plain == "time":
            values = np.array(raw, order="C").view("datetime64[us]")
        else:
            values = raw.astype(np.float64, order="C")
        if not complete:
            values[records["valid"][:, self.first : self.first + width].T == 0] = _ABSENT[self.plain]
        return values


_ABSENT: Final[Mapping[str, Any]] = {"number": np.nan, "time": np.datetime64("NaT", "us")}


def runs_of(columns: Sequence[Column], record: np.dtype) -> Mapping[str, Run]:
    """Return, for each column that requests read as numbers or times, what it is read together with."""
    runs: dict[str, Run] = {}
    for _, same in groupby(enumerate(columns), lambda each: (each[1].plain, each[1].dtype, each[1].variable)):
        group = list(same)
        first, column = group[0]
        if column.plain in _ABSENT:
            names = tuple(each.name for _, each in group)
            offset = record.fields[f"c{first}"][1]  # type: ignore[index] # it has fields
            runs |= dict.fromkeys(names, Run(first, names, column.plain, column.dtype, offset))
    return runs


class Unpacked(Mapping[str, np.ndarray]):
    """Columns of one payload, each unpacked when it or one like it beside it is first asked for.

    Numbers are float64 with NaN, times datetime64[us] in UTC with NaT, texts objects with 'unknown'.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        places: Mapping[str, int],
        runs: Mapping[str, Run],
        records: np.ndarray,
        payload: bytes,
        tail: int,
    ) -> None:
        """Unpack nothing yet.

        Args:
            columns: of the payload's schema.
            places: of the columns, by name.
            runs: what columns are read together, by name.
            records: its fixed-width part, read from the payload.
            payload: all of it.
            tail: where the first variable-length column begins.
        """
        self._columns = columns
        self._places = places
        self._runs = runs
        self._records = records
        self._payload = payload
        self._tail = tail
        self._complete = bool(records["valid"].all())
        self._found: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Return their names."""
        return iter(self._places)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a column, without unpacking it."""
        return name in self._places

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one column."""
        if name not in self._found:
            run = self._runs.get(name)
            if run is None:
                self._found[name] = self._unpacked(self._places[name])
            else:
                self._found.update(zip(run.names, run.unpacked(self._records, complete=self._complete), strict=True))
        return self._found[name]

    def _unpacked(self, place: int) -> np.ndarray:
        """Return a column that is by itself: texts, and what requests have no own form of."""
        column, values = self._columns[place], self._records[f"c{place}"]
        valid = None if self._complete else self._records["valid"][:, place] != 0
        if valid is not None and valid.all():
            valid = None
        if not column.variable:
            return to_numpy(fixed_array(column, values, None if valid is None else bitmap_of(valid)))
        start = self._tail + sum(self._bytes_of(before) for before in range(place) if self._columns[before].variable)
        return plain_texts(column, values, self._payload[start : start + self._bytes_of(place)], valid)

    def _bytes_of(self, place: int) -> int:
        return int(self._records[f"c{place}"].sum(dtype=np.int64)) * self._columns[place].dtype.itemsize


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
