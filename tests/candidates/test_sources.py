"""Is the list of candidates the union of its sources, in their order and without duplicates?"""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys.candidates.history import Histories, History
from recsys.candidates.pool import ItemPool, build_pool, instant
from recsys.candidates.retrieval import Retrieval
from recsys.errors import FeatureError
from recsys.schema import EVENT_TIMESTAMP, ITEM, TIMESTAMP
from recsys.specs.candidates import CandidateSource, Personal, Popular
from recsys.specs.placement import Placement, Pool

EXAMPLES = settings(deadline=None, derandomize=True)

NOW = datetime(2024, 1, 8, tzinfo=UTC)
SALES = [4.0, 0.0, 3.0, 3.0, 1.0]  # of items a to e; b is not eligible


def pool(sales: Sequence[float] = SALES) -> ItemPool:
    """Make a pool of items a, b, c, ..."""
    table = pa.table(
        {
            ITEM: [chr(ord("a") + number) for number in range(len(sales))],
            "sales": pa.array(sales, pa.float64()),
            EVENT_TIMESTAMP: pa.array([NOW] * len(sales), TIMESTAMP),
        }
    )
    return build_pool(table, Pool(view="items", feature="sales"), NOW, None)


def history(codes: Sequence[int], times: Sequence[float], last: Sequence[float] | None = None) -> Histories:
    """Give one unit rows in the view `pair` and in no other."""
    columns = {"times": np.array(times, float), "last": np.array(last or [0.0] * len(times), float)}
    rows = History(np.array(codes, dtype=np.int64), columns)
    return lambda view: rows if view == "pair" else None


def personal(*order_by: str, view: str = "pair", limit: int = 10) -> Personal:
    """Declare a unit's own history."""
    return Personal(source="personal", view=view, order_by=order_by or ("times",), limit=limit)


def popular(limit: int = 10) -> Popular:
    """Declare what everybody takes."""
    return Popular(source="popular", order_by="sales", limit=limit)


def candidates(sources: Sequence[CandidateSource], built: ItemPool, histories: Histories) -> NDArray[np.int64]:
    """Return the rows of the union; each source has a name of its own."""
    named = [source.model_copy(update={"name": f"s{number}"}) for number, source in enumerate(sources)]
    placement = Placement(
        problem="p", model="m", k=1, pool=Pool(view="items", feature="sales"), candidates=tuple(named)
    )
    return Retrieval(placement, built, {}).candidates(histories, instant(NOW)).rows


def listed(sources: Sequence[CandidateSource], histories: Histories) -> str:
    """Return the candidates' ids in order."""
    built = pool()
    return "".join(built.ids[candidates(sources, built, histories)])


NOBODY: Histories = lambda _: None  # noqa: E731 - a constant that happens to be a function


def test_a_unit_without_history_gets_what_everybody_takes() -> None:
    assert listed([personal(), popular()], NOBODY) == "acde"
    assert listed([personal()], NOBODY) == ""


def test_the_own_history_is_largest_first_and_ties_fall_to_the_item_id() -> None:
    assert listed([personal()], history([4, 3, 0, 2], [2, 1, 1, 7])) == "cead"


def test_later_features_break_ties_of_earlier_ones() -> None:
    rows = history([0, 2, 3], [1, 1, 2], [5, 9, 0])
    assert listed([personal("times", "last")], rows) == "dca"
    assert listed([personal("last", "times")], rows) == "cad"


def test_unknown_values_come_last() -> None:
    rows = history([0, 2, 3], [np.nan, 0, -1], [1, 1, 1])
    assert listed([personal("times", "last")], rows) == "cda"


def test_a_history_of_which_nothing_is_left_is_none() -> None:
    """All purchases of `a` were cancelled: its row says so with unknown features."""
    assert listed([personal()], history([0, 2, 3], [np.nan, 0, -1])) == "cd"
    rows = history([0, 2, 3], [np.nan, 0, -1], [np.nan, 1, 1])
    assert listed([personal("times", "last")], rows) == "cd"


def test_what_is_not_in_the_pool_or_not_eligible_is_left_out() -> None:
    assert listed([personal()], history([1, -1, 0], [9, 8, 1])) == "a"
    assert listed([personal(limit=1)], history([1, -1, 0], [9, 8, 1])) == "a"


def test_sources_come_in_their_order_and_an_item_once() -> None:
    rows = history([4, 3], [2, 1])
    assert listed([personal(), popular()], rows) == "edac"
    assert listed([popular(), personal()], rows) == "acde"
    assert listed([personal(limit=1), popular(limit=2)], rows) == "eac"


def test_another_views_history_is_not_its_own() -> None:
    assert listed([personal(view="line"), popular(limit=1)], history([4], [1])) == "a"


def test_an_unknown_feature_to_order_by_is_refused() -> None:
    with pytest.raises(FeatureError, match="order_by 'price' is not a feature of view pair: times, last"):
        listed([personal("price")], history([0], [1]))


SOURCES = st.lists(
    st.one_of(
        st.builds(lambda limit: personal(limit=limit), st.integers(1, 6)),
        st.builds(lambda limit: popular(limit=limit), st.integers(1, 6)),
    ),
    min_size=1,
    max_size=4,
)
ROWS = st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 3)), unique_by=lambda row: row[0])


@EXAMPLES
@given(SOURCES, ROWS, st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_the_union_keeps_the_first_place_of_every_item(
    sources: list[CandidateSource], rows: list[tuple[int, int]], sales: list[int]
) -> None:
    built = pool([float(value) for value in sales])
    own = history([code for code, _ in rows], [times for _, times in rows])
    alone = [candidates([source], built, own).tolist() for source in sources]
    union = candidates(sources, built, own)
    assert union.tolist() == list(dict.fromkeys(row for part in alone for row in part))
    assert built.eligible[union].all()
    assert all(len(part) <= source.limit for part, source in zip(alone, sources, strict=True))


@EXAMPLES
@given(ROWS)
def test_the_order_of_rows_does_not_matter(rows: list[tuple[int, int]]) -> None:
    built = pool([1.0] * 8)
    forwards, backwards = (
        candidates([personal()], built, history([code for code, _ in part], [times for _, times in part])).tolist()
        for part in (rows, rows[::-1])
    )
    assert forwards == backwards
