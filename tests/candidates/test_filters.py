"""What do filters take away, and from whom?"""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from recsys.candidates.filters import allowed_items, seen_items
from recsys.candidates.history import Histories, History
from recsys.candidates.pool import instant
from recsys.errors import FeatureError
from recsys.specs.candidates import Filter
from tests.candidates.small_pool import DAY, NOW, history, nobody, pool

POOL = pool(
    [1, 1, 0, 1, 1],
    kind=["x", "y", "x", None, "z"],
    left=[2.0, 0.0, 5.0, None, 1.0],
)
FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)


def declared(filter_: str, **fields: Any) -> Filter:
    """Declare a filter."""
    return FILTER.validate_python({"filter": filter_, **fields})


def left(*filters: Filter) -> str:
    """Return the ids that may stand in a list."""
    return "".join(POOL.ids[allowed_items(filters, POOL)])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], "abde"),
        ([declared("items", deny=["a", "zzz"])], "bde"),
        ([declared("items", allow=["a", "b", "c"])], "ab"),
        ([declared("items", allow=["a", "b"], deny=["b"])], "a"),
        ([declared("items", allow=[])], ""),
        ([declared("values", feature="kind", deny=["x"])], "bde"),
        ([declared("values", feature="kind", allow=["x", "z"])], "ae"),
        ([declared("values", feature="kind", deny=["unknown"])], "abe"),
        ([declared("stock", feature="left")], "ae"),
        ([declared("stock", feature="left", minimum=2)], "a"),
        ([declared("stock", feature="left"), declared("items", deny=["a"])], "e"),
        ([declared("seen", view="pair")], "abde"),
    ],
)
def test_what_is_left_for_everybody(filters: list[Filter], expected: str) -> None:
    assert left(*filters) == expected
    assert left(*reversed(filters)) == expected


@pytest.mark.parametrize(
    ("filter_", "words"),
    [
        (declared("stock", feature="price"), "filter stock: 'price' is not a feature of the pool's view"),
        (declared("stock", feature="kind"), "filter stock: 'kind' is object, and has to be a number"),
        (declared("values", feature="left", deny=["1"]), "filter values: 'left' is float64, and has to be a text"),
    ],
)
def test_a_feature_that_does_not_serve_is_refused(filter_: Filter, words: str) -> None:
    with pytest.raises(FeatureError, match=words):
        left(filter_)


def seen(histories: Histories, **fields: Any) -> list[int]:
    """Return the rows that a unit has seen."""
    return sorted(seen_items([declared("seen", view="pair", **fields)], histories, instant(NOW)).tolist())


def test_what_was_seen_is_what_a_row_says_something_of() -> None:
    rows = history(
        [0, -1, 2, 3], times=[1.0, 1.0, np.nan, np.nan], last=np.array(["NaT", "NaT", "NaT", NOW.date()], "M8[us]")
    )
    assert seen(rows) == [0, 3]
    assert seen(nobody) == []


def test_what_was_seen_long_ago_may_be_seen_again() -> None:
    times = [instant(NOW - 7 * DAY), instant(NOW - 7 * DAY) - np.timedelta64(1, "us"), np.datetime64("NaT", "us")]
    rows = history([0, 1, 2], times=[1.0, 1.0, 1.0], last=np.array(times))
    assert seen(rows, by="last", within="7d") == [0]


def test_a_time_that_is_not_there_is_refused() -> None:
    with pytest.raises(FeatureError, match="filter seen: by 'last' is not a feature of view pair: times"):
        seen(history([0]), by="last", within="7d")


def test_rows_of_which_only_some_features_were_read_say_something() -> None:
    part = History(np.array([0]), {"times": np.array([np.nan])}, whole=False)
    assert part.known.tolist() == [True]
    assert History(np.array([0]), {"brand": np.array(["unknown"], dtype=object)}).known.tolist() == [False]
