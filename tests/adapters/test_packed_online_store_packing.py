"""Do rows come back from bytes as they were, whatever their types and however they are grouped?"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.adapters.packed_online_store.packing import Codec, plain
from recsys.candidates.pool import to_numpy
from tests.adapters.packed_stores import START

EXOTIC = {
    "struct": pa.array([{"a": 1}, None, {"a": None}, {"a": 2}]),
    "map": pa.array([[("k", "v")], None, [], [("x", "y")]], pa.map_(pa.string(), pa.string())),
    "decimal": pa.array([Decimal("1.10"), None, Decimal("-2.25"), None]),
    "day": pa.array([date(2024, 1, 1), None, date(1900, 1, 1), None]),
    "dictionary": pa.array(["p", "q", None, "p"]).dictionary_encode(),
    "nothing": pa.nulls(4),
    "lists": pa.array([[1.0, None], None, [], [2.0]]),
    "nested": pa.array([[["x"], []], None, [], [["y", None]]]),
    "small": pa.array([1, 255, None, 0], pa.uint8()),
    "duration": pa.array([timedelta(1), None, timedelta(0), None]),
    "large": pa.array(["a", None, "", "bb"], pa.large_string()),
    "seconds": pa.array([START, None, START, None], pa.timestamp("s", tz="Asia/Tokyo")),
    "float": pa.array([float("nan"), None, -0.0, 1.0]),
}


@pytest.mark.parametrize("bounds", [[0, 4], [0, 1, 4], [0, 1, 2, 3, 4]])
def test_packing_keeps_every_type(bounds: list[int]) -> None:
    for source in (pa.table(EXOTIC), pa.concat_tables([pa.table(EXOTIC)] * 2).slice(2, 4)):
        table = plain(source)
        codec = Codec(table.schema)
        payloads = codec.encode(table, bounds)
        result = codec.decode(payloads)
        result.validate(full=True)
        assert result.schema == table.schema
        assert repr(result.to_pylist()) == repr(table.to_pylist())
        some = codec.decode(payloads, ["float", "map"])
        assert some.equals(result.select(["map", "float"])) or "nan" in repr(some.to_pylist())


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11)),
)
def test_packing_is_independent_of_the_grouping(texts: list[str | None], cuts: set[int]) -> None:
    table = pa.table({"text": pa.array(texts, pa.string()), "n": pa.array(range(len(texts)))})
    codec = Codec(table.schema)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(texts)), len(texts)]
    assert codec.decode(codec.encode(table, bounds)).equals(table)


_TIMES = st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants its bounds naive
_CELLS = {
    "number": (st.floats(), pa.float64()),
    "small": (st.integers(-100, 100), pa.int16()),
    "flag": (st.booleans(), pa.bool_()),
    "text": (st.text(max_size=4), pa.string()),
    "large": (st.text(max_size=4), pa.large_string()),
    "moment": (_TIMES, pa.timestamp("us", tz="UTC")),
    "second": (_TIMES.map(lambda time: time.replace(microsecond=0)), pa.timestamp("s", tz="UTC")),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(1, 6))
def test_what_a_request_reads_is_what_arrow_reads(data: st.DataObject, rows: int) -> None:
    table = pa.table(
        {
            name: pa.array(data.draw(st.lists(st.none() | cells, min_size=rows, max_size=rows), label=name), kind)
            for name, (cells, kind) in _CELLS.items()
        }
    )
    codec = Codec(table.schema)
    (payload,) = codec.encode(table, [0, rows])
    found = codec.columns(payload)
    assert list(found) == table.column_names
    for name in reversed(table.column_names):  # each is found without the ones before it
        expected = to_numpy(codec.decode([payload])[name])
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)
