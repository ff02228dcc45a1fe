"""Do rows come back from bytes as they were, whatever their types and however they are grouped?"""

from datetime import date, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.adapters.packed_online_store.packing import Codec, plain
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
