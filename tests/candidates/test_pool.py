"""Which items exist at a moment, and what is known of them?"""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings

from recsys.candidates.pool import ItemPool, build_pool, to_numpy, unknown
from recsys.errors import FeatureError
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, TIMESTAMP
from recsys.specs.placement import Pool

EXAMPLES = settings(deadline=None, derandomize=True)

NOW = datetime(2024, 1, 8, tzinfo=UTC)
WEEK = timedelta(days=7)
TICK = timedelta(microseconds=1)
SPEC = Pool(view="items", feature="sales", minimum=1)


def items(*rows: tuple[str, float | None, datetime], **columns: list[Any]) -> pa.Table:
    """Make an item view's rows: id, sales and time of the event."""
    return pa.table(
        {
            ITEM: pa.array([item for item, _, _ in rows], pa.string()),
            "sales": pa.array([sales for _, sales, _ in rows], pa.float64()),
            EVENT_TIMESTAMP: pa.array([at for _, _, at in rows], TIMESTAMP),
            CREATED_TIMESTAMP: pa.array([at for _, _, at in rows], TIMESTAMP),
            **columns,
        }
    )


def pool(*rows: tuple[str, float | None, datetime], ttl: timedelta | None = WEEK, **columns: list[Any]) -> ItemPool:
    """Build the pool of now."""
    return build_pool(items(*rows, **columns), SPEC, NOW, ttl)


def test_rows_ascend_by_item_id() -> None:
    built = pool(("b", 2, NOW), ("a", 1, NOW), ("c", 3, NOW))
    assert built.ids.tolist() == ["a", "b", "c"]
    assert built.columns["sales"].tolist() == [1, 2, 3]
    assert len(built) == 3
    assert set(built.columns) == {"sales"}


def test_a_row_is_live_within_its_ttl_borders_included() -> None:
    rows = [("a", 1, NOW - WEEK - TICK), ("b", 1, NOW - WEEK), ("c", 1, NOW), ("d", 1, NOW + TICK)]
    assert pool(*rows).eligible.tolist() == [False, True, True, False]
    assert pool(*rows, ttl=None).eligible.tolist() == [True, True, True, False]


def test_an_item_is_eligible_from_the_minimum_on() -> None:
    built = pool(("a", 0.999, NOW), ("b", 1, NOW), ("c", None, NOW), ("d", 5, NOW))
    assert built.eligible.tolist() == [False, True, False, True]
    assert len(built) == 4


def test_a_pool_by_an_unknown_feature_is_refused() -> None:
    with pytest.raises(FeatureError, match="'price' is not a feature of view items: sales"):
        build_pool(items(("a", 1, NOW)), Pool(view="items", feature="price"), NOW, WEEK)


def test_an_empty_view_is_an_empty_pool() -> None:
    built = pool()
    assert len(built) == 0
    assert built.locate(pa.array(["a"])).tolist() == [-1]


@pytest.mark.parametrize("many", [1, 2_000])
def test_items_are_found_by_id_however_many_are_asked(many: int) -> None:
    built = pool(("b", 1, NOW), ("a", 0, NOW), ("c", 1, NOW))
    asked = pa.chunked_array([["c", "x"], ["a", None]] * many, pa.string())
    assert built.locate(asked).tolist() == [2, -1, 0, -1] * many


def test_attributes_are_numbered() -> None:
    built = pool(("a", 1, NOW), ("b", 1, NOW), ("c", 1, NOW), ("d", 1, NOW), line=["x", "y", "x", None])
    code_of, codes = built.code_of("line"), built.codes("line")
    assert codes.tolist() == [code_of["x"], code_of["y"], code_of["x"], code_of["unknown"]]
    assert built.code_of(ITEM) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert built.codes(ITEM).tolist() == [0, 1, 2, 3]
    with pytest.raises(FeatureError, match="'maker': neither the item id nor a feature"):
        built.codes("maker")


MOMENT = datetime(2024, 1, 8, 12, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None], pa.int64()), [1.0, np.nan]),
        (pa.array([1, 2], pa.int32()), [1.0, 2.0]),
        (pa.array([0.5, None], pa.float32()), [0.5, np.nan]),
        (pa.array([True, False, None]), [1.0, 0.0, np.nan]),
        (pa.array([None, None], pa.float64()), [np.nan, np.nan]),
    ],
)
def test_numbers_become_floats_and_null_is_nan(column: pa.Array, expected: list[float]) -> None:
    for given_ in (column, pa.chunked_array([column])):
        values = to_numpy(given_)
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_texts_become_objects_and_null_is_unknown(kind: pa.DataType) -> None:
    values = to_numpy(pa.array(["a", None], kind))
    assert values.dtype == object
    assert values.tolist() == ["a", "unknown"]


@pytest.mark.parametrize(
    "kind", [TIMESTAMP, pa.timestamp("ns", tz="UTC"), pa.timestamp("us"), pa.timestamp("us", tz="Asia/Tokyo")]
)
def test_times_become_utc_microseconds(kind: pa.DataType) -> None:
    zone = timezone(timedelta(hours=9))
    moment = MOMENT if kind.tz else MOMENT.replace(tzinfo=None)
    given_ = moment.astimezone(zone) if kind.tz else moment
    assert to_numpy(pa.array([given_], kind)).tolist() == [MOMENT.replace(tzinfo=None)]


def test_a_null_time_is_not_a_time() -> None:
    values = to_numpy(pa.array([MOMENT, None], TIMESTAMP))
    assert values.dtype == np.dtype("datetime64[us]")
    assert values[0] == np.datetime64(MOMENT.replace(tzinfo=None), "us")
    assert np.isnat(values[1])


@pytest.mark.parametrize(("kind", "dtype"), [("number", "float64"), ("text", "object"), ("time", "datetime64[us]")])
def test_what_is_unknown_looks_like_a_column_of_nulls(kind: str, dtype: str) -> None:
    types = {"number": pa.float64(), "text": pa.string(), "time": TIMESTAMP}
    column = unknown(kind, 2)
    assert column.dtype == np.dtype(dtype)
    assert column.shape == (2,)
    np.testing.assert_array_equal(column, to_numpy(pa.nulls(2, types[kind])))
