"""Which items exist for a placement at a moment, and what is known of each?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.errors import FeatureError
from recsys.schema import EVENT_TIMESTAMP, ITEM
from recsys.specs.placement import Pool

UNKNOWN: Final = "unknown"
"""What a text is where nothing is known."""

_NAT = -(2**63)  # how numpy writes a missing time
_MANY = 5_000  # ids from which a vectorised look-up beats a dictionary


@dataclass(frozen=True)
class ItemPool:
    """The items of a view at a moment, as columns; an item is known by its row, and rows ascend by item id."""

    ids: NDArray[np.object_]
    """Item ids, ascending."""
    columns: dict[str, NDArray[Any]]
    """Features by name, one value an item; null numbers are NaN, null texts are 'unknown'."""
    eligible: NDArray[np.bool_]
    """Which items may be shown: the view's row is live and the declared feature is large enough."""
    _row_of: dict[str, int] = field(repr=False)
    _index: pd.Index = field(repr=False)
    _codes: dict[str, tuple[dict[Any, int], NDArray[np.int64]]] = field(default_factory=dict, repr=False)
    _coded: dict[str, pa.Array] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """Return the number of items, eligible or not."""
        return len(self.ids)

    def locate(self, items: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the row of each item id, -1 where it is not in the pool."""
        if len(items) > _MANY:
            return np.asarray(self._index.get_indexer(items.to_pandas()), dtype=np.int64)
        return self.rows_of(items.to_pylist())

    def rows_of(self, items: Sequence[Any]) -> NDArray[np.int64]:
        """Return the row of each item id, -1 where it is not in the pool; for as many as one list has."""
        return codes_of(self._row_of, items)

    def codes_in(self, key: str, values: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the code of each value of an item attribute, -1 where it has none: for the rows of many lists.

        Raises:
            FeatureError: if the pool's view has no such feature.
        """
        if len(values) <= _MANY or not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            return codes_of(self.code_of(key), values.to_pylist())
        if key not in self._coded:
            self._coded[key] = pa.array(list(self.code_of(key)), values.type)
        found = pc.index_in(values, value_set=self._coded[key])
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)

    def code_of(self, key: str) -> Mapping[Any, int]:
        """Return how an item attribute is numbered, value to code; the item id itself is by its row.

        Raises:
            FeatureError: if the pool's view has no such feature.
        """
        return self._row_of if key == ITEM else self._numbered(key)[0]

    def codes(self, key: str) -> NDArray[np.int64]:
        """Return the code of an attribute of each item.

        Raises:
            FeatureError: if the pool's view has no such feature.
        """
        return np.arange(len(self.ids)) if key == ITEM else self._numbered(key)[1]

    def _numbered(self, key: str) -> tuple[dict[Any, int], NDArray[np.int64]]:
        if key not in self._codes:
            if key not in self.columns:
                message = (
                    f"join key {key!r}: neither the item id nor a feature of the pool's view"
                    f" ({', '.join(self.columns)})"
                )
                raise FeatureError(message)
            codes, values = pd.factorize(self.columns[key])
            self._codes[key] = ({value: code for code, value in enumerate(values)}, codes.astype(np.int64))
        return self._codes[key]


def codes_of(code_of: Mapping[Any, int], values: Sequence[Any]) -> NDArray[np.int64]:
    """Return the code of each value, -1 where it has none."""
    return np.fromiter(map(code_of.get, values, repeat(-1)), dtype=np.int64, count=len(values))


def build_pool(items: pa.Table, spec: Pool, at: datetime, ttl: timedelta | None) -> ItemPool:
    """Make the pool of a moment from an item view's rows.

    Args:
        items: item_id, event_timestamp and features, one row an item.
        spec: which items are eligible.
        at: the moment; rows older than the TTL are not live and rows after it do not exist yet.
        ttl: of the view; None for no limit.
    """
    items = items.sort_by(ITEM)
    stamps = pc.cast(items[EVENT_TIMESTAMP], pa.timestamp("us", tz="UTC"))
    live = pc.less_equal(stamps, pa.scalar(at, stamps.type))
    if ttl:
        live = pc.and_(live, pc.greater_equal(stamps, pa.scalar(at - ttl, stamps.type)))
    ids = items[ITEM].to_numpy(zero_copy_only=False).astype(object)
    skipped = {ITEM, EVENT_TIMESTAMP, "created_timestamp"}
    columns = {name: to_numpy(items[name]) for name in items.column_names if name not in skipped}
    if spec.feature not in columns:
        message = f"pool: {spec.feature!r} is not a feature of view {spec.view}: {', '.join(columns)}"
        raise FeatureError(message)
    enough = np.nan_to_num(columns[spec.feature].astype(float), nan=-np.inf) >= spec.minimum
    return ItemPool(
        ids=ids,
        columns=columns,
        eligible=live.to_numpy(zero_copy_only=False).astype(bool) & enough,
        _row_of={item: row for row, item in enumerate(ids)},
        _index=pd.Index(ids),
    )


def instant(at: datetime) -> np.datetime64:
    """Return a moment in UTC as numpy has it."""
    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")


def to_numpy(column: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    """Return a column as numpy.

    Numbers become float64 with NaN, times datetime64[us] in UTC with NaT, texts objects with 'unknown'.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        micros = column.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64())
        if micros.null_count:
            micros = pc.fill_null(micros, _NAT)
        return np.asarray(micros.to_numpy(zero_copy_only=False), dtype="int64").view("datetime64[us]")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        filled = pc.fill_null(column, UNKNOWN) if column.null_count else column
        return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=object)
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.int8())
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def columns_of(rows: pa.Table) -> dict[str, NDArray[Any]]:
    """Return every column of a table as numpy, by name."""
    return {name: to_numpy(rows[name]) for name in rows.column_names}


class PlainColumns(Mapping[str, NDArray[Any]]):
    """The columns of a table as numpy, each made when it is first asked for."""

    def __init__(self, rows: pa.Table) -> None:
        """Make nothing yet."""
        self._rows = rows
        self._made: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        """Return the number of columns."""
        return int(self._rows.num_columns)

    def __iter__(self) -> Iterator[str]:
        """Return their names."""
        return iter(self._rows.column_names)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return one column."""
        if name not in self._made:
            self._made[name] = to_numpy(self._rows[name])
        return self._made[name]


def unknown(kind: str, count: int) -> NDArray[Any]:
    """Return a column of unknown values for rows a view knows nothing of; `kind` is number, text or time."""
    if kind == "time":
        return np.full(count, np.datetime64("NaT", "us"), dtype="datetime64[us]")
    if kind == "text":
        return np.full(count, UNKNOWN, dtype=object)
    return np.full(count, np.nan)
