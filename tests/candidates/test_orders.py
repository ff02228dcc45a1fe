"""Is what everybody takes largest first, what is new newest first, and is a limit filled past what was seen?"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.candidates.orders import NewestOrder, PopularOrder, ranks_within
from recsys.candidates.pool import ItemPool, instant
from recsys.errors import FeatureError
from recsys.specs.candidates import Newest, Popular
from tests.candidates.small_pool import DAY, NOW, pool

EXAMPLES = settings(deadline=None, derandomize=True)


def popular(limit: int = 10, order_by: str = "sales", by: str | None = None, per_value: int | None = None) -> Popular:
    """Declare what everybody takes."""
    return Popular(source="popular", order_by=order_by, limit=limit, by=by, per_value=per_value)


def first(source: Popular, built: ItemPool, seen: str = "") -> str:
    """Return the ids that an order gives past what was seen."""
    mask = np.isin(built.ids, list(seen)) if seen else None
    return "".join(built.ids[PopularOrder(source, built, built.eligible).first(mask)])


def newest(built: ItemPool, seen: str = "", limit: int = 10, within: int = 7) -> str:
    """Return the ids of what is new."""
    source = Newest(source="newest", order_by="since", within=within * DAY, limit=limit)
    mask = np.isin(built.ids, list(seen)) if seen else None
    return "".join(built.ids[NewestOrder.of(source, built, built.eligible).first(mask, instant(NOW))])


def test_popular_is_largest_first_and_ties_fall_to_the_item_id() -> None:
    built = pool([5, 0, 9, 5, 5])
    assert first(popular(), built) == "cade"
    assert first(popular(2), built) == "ca"


def test_popular_by_an_unknown_value_comes_last() -> None:
    assert first(popular(order_by="trend"), pool([1, 1, 1], trend=[None, -5.0, 2.0])) == "cba"


@pytest.mark.parametrize("source", [popular(order_by="price"), popular(by="price", per_value=1)])
def test_an_unknown_feature_is_refused(source: Popular) -> None:
    with pytest.raises(FeatureError, match="'price' is not a feature of the pool's view: sales"):
        first(source, pool([1]))


def test_so_many_of_each_value_still_largest_first() -> None:
    built = pool([9, 8, 7, 6, 5, 4], kind=["x", "x", "x", "y", "y", None])
    assert first(popular(by="kind", per_value=1), built) == "adf"
    assert first(popular(by="kind", per_value=2), built) == "abdef"
    assert first(popular(3, by="kind", per_value=2), built) == "abd"


def test_what_was_seen_makes_room_for_the_next() -> None:
    built = pool([9, 8, 7, 6, 5, 4], kind=["x", "x", "x", "y", "y", None])
    assert first(popular(2), built, seen="ac") == "bd"
    assert first(popular(by="kind", per_value=1), built, seen="abf") == "cd"


def test_values_may_be_numbers_and_unknown_ones_are_a_value_of_their_own() -> None:
    assert first(popular(by="size", per_value=1), pool([4, 3, 2, 1], size=[1.0, None, None, 1.0])) == "ab"


@EXAMPLES
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from("xyz")), max_size=20),
    st.sets(st.integers(0, 19)),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_an_order_is_what_a_walk_over_the_sorted_items_gives(
    items: list[tuple[int, str]], seen: set[int], limit: int, per_value: int | None
) -> None:
    built = pool([float(sales) for sales, _ in items], kind=np.array([kind for _, kind in items], dtype=str))
    source = popular(limit, by="kind" if per_value else None, per_value=per_value)
    expected: list[int] = []
    taken: Counter[str] = Counter()
    for row in sorted(range(len(items)), key=lambda row: (-items[row][0], row)):
        sales, kind = items[row]
        if sales >= 1 and row not in seen and (per_value is None or taken[kind] < per_value):
            taken[kind] += 1
            expected.append(row)
    mask = np.isin(np.arange(len(items)), list(seen))
    order = PopularOrder(source, built, built.eligible)
    assert order.first(mask).tolist() == expected[:limit]
    if not mask.any():
        assert order.first(None).tolist() == expected[:limit]


def test_what_is_new_is_newest_first_within_its_time() -> None:
    ages = [3 * DAY, DAY, None, 7 * DAY, 8 * DAY, -DAY, DAY]
    built = pool([1] * 7, since=[None if age is None else NOW - age for age in ages])
    assert newest(built) == "bgad"
    assert newest(built, limit=2) == "bg"
    assert newest(built, seen="b", limit=2) == "ga"


def test_what_is_new_and_not_eligible_is_left_out() -> None:
    assert newest(pool([0, 1], since=[NOW, NOW])) == "b"


def test_new_by_what_is_no_time_is_refused() -> None:
    with pytest.raises(FeatureError, match="order_by 'since' is float64, and has to be a time"):
        newest(pool([1], since=[1.0]))


@EXAMPLES
@given(st.lists(st.integers(0, 5)))
def test_ranks_count_the_earlier_ones_of_a_group(groups: list[int]) -> None:
    expected = [groups[:place].count(group) for place, group in enumerate(groups)]
    assert ranks_within(np.array(groups, dtype=np.int64)).tolist() == expected
