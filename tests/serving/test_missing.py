"""Is an item that came online after the matrix was read served as if the matrix had it?"""

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import OnlineStoreError
from recsys.serving.missing import MOST
from tests.fakes.features import FakeFeatures
from tests.fakes.ranker import FakeRanker
from tests.serving.small_shop import DAY, NOW, pair, row, shop, sold
from tests.serving.test_assembly import CountedFeatures
from tests.serving.test_resolver import World, world

GIVEN = {"source": "given", "limit": 50}
PERSONAL = {"source": "personal", "view": "pair", "order_by": ["times"], "limit": 4}
FULL = FakeRanker((("sold", 1.0), ("stock", 10.0), ("times", 100.0)))
LATER = NOW + timedelta(hours=1)


def grown(late: str, changes: dict[str, Any], known: str = "bdf") -> World:
    """Make a world whose matrix was read before some items came online."""
    items = [sold(item, 1 + place, NOW) for place, item in enumerate(known)]
    items += [sold(item, 20 + place, LATER) for place, item in enumerate(late)]
    stock = [row(LATER if item in late else NOW, item_id=item, stock=float(ord(item))) for item in known + late]
    features = CountedFeatures(shop(item_week=items, item_stock=stock, pair=[pair("u1", i, 2) for i in known + late]))
    made = World(features, changes=changes)
    features.materialize(NOW)
    made.register("basket/v3", FULL, "champion")
    made.resolver.refresh()
    made.clock.advance(DAY)
    features.materialize(LATER)
    return made


@given(
    late=st.text("acegz", max_size=5).map(lambda text: "".join(sorted(set(text)))), named=st.permutations("abcdefgz")
)
def test_a_list_over_items_read_by_themselves_is_that_over_a_new_matrix(late: str, named: list[str]) -> None:
    changes = {"candidates": [GIVEN, PERSONAL], "k": 9}
    before, after = grown(late, changes), grown(late, changes)
    after.resolver.refresh()
    one, other = (made.answer(candidates=named).exposure for made in (before, after))
    assert [(item.item_id, item.score) for item in one.items] == [(item.item_id, item.score) for item in other.items]
    assert one.feature_digest == other.feature_digest


def test_a_pin_that_came_online_is_shown_at_once() -> None:
    pinned = {"rerank": [{"stage": "pin", "items": ["c"], "position": 1}], "candidates": [PERSONAL]}
    assert grown("c", pinned).shown(k=2)[0] == "c"


def test_an_item_that_nobody_knows_is_asked_for_once_and_many_are_not_asked_for_one_by_one() -> None:
    made = grown("c", {"candidates": [GIVEN], "k": 9})
    features = made.features
    assert isinstance(features, CountedFeatures)
    made.answer(candidates=["nobody", "b"])
    features.read.clear()
    assert made.shown(candidates=["nobody", "b"]) == "b"
    assert "item_week" not in features.read
    made.answer(candidates=[f"unknown {number}" for number in range(1_000)])
    assert features.read.count("item_week") == MOST


def test_filters_and_eligibility_hold_for_items_read_by_themselves() -> None:
    made = grown("c", {"candidates": [GIVEN], "filters": [{"filter": "items", "deny": ["c"]}], "k": 9})
    assert made.shown(candidates=["c", "b"]) == "b"
    made = grown("c", {"candidates": [GIVEN], "pool": {"view": "item_week", "feature": "sold", "minimum": 21}, "k": 9})
    assert made.shown(candidates=["c", "b"]) == ""


class WithoutUnits(FakeFeatures):
    """A store that cannot be read any more."""

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Fail."""
        del view, key, within
        message = "online store: no answer"
        raise OnlineStoreError(message)


@pytest.mark.usefixtures("caplog")
def test_a_store_that_is_down_leaves_them_out_and_they_are_asked_for_again() -> None:
    made = grown("c", {"candidates": [GIVEN], "k": 9})
    kind, made.features.__class__ = made.features.__class__, WithoutUnits
    assert made.shown(candidates=["c", "b"]) == "b"
    made.features.__class__ = kind
    assert made.shown(candidates=["c", "b"]) == "cb"


def test_without_named_items_nothing_is_read() -> None:
    made = world(CountedFeatures(shop(item_week=[sold("a", 1)])))
    made.answer()
    assert isinstance(made.features, CountedFeatures)
    assert "item_week" not in made.features.read
