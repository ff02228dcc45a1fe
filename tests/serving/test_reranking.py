"""Do the stages after the model do what they promise, in the order they are declared, and nothing else?"""

from collections import Counter
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from recsys.candidates.pool import ItemPool, build_pool
from recsys.errors import FeatureError
from recsys.serving.reranking import Ranked, rerank
from recsys.specs.placement import Placement, Pool
from recsys.specs.reranking import Stage
from tests.serving.small_shop import NOW, placement, shop, sold

POOL: Final = Pool(view="item_week", feature="sold", minimum=0)
STAGE: Final[TypeAdapter[Stage]] = TypeAdapter(Stage)


def pool_of(kinds: str) -> ItemPool:
    """Make a pool with one item a letter, whose letter is its line."""
    rows = [sold(f"i{number:03d}", 1.0, line=kind) for number, kind in enumerate(kinds)]
    features = shop(item_week=rows)
    return build_pool(features.snapshot("item_week", NOW), POOL, NOW, None)


def everything(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Let every item in."""
    return np.ones(len(rows), dtype=bool)


def listed(
    kinds: str, *stages: dict[str, Any], slots: int = 5, request_id: str = "r", order: list[int] | None = None
) -> Ranked:
    """Re-rank the items in the order of their letters, the first with the largest score."""
    pool = pool_of(kinds)
    rows = np.array(order if order is not None else range(len(kinds)), dtype=np.int64)
    ranked = Ranked.of(rows, np.linspace(1, 0, len(rows)))
    return rerank([STAGE.validate_python(stage) for stage in stages], ranked, pool, everything, slots, request_id)


def test_without_stages_the_models_order_is_shown() -> None:
    shown = listed("aabbc", slots=3)
    assert shown.rows.tolist() == [0, 1, 2]
    assert shown.ranks.tolist() == [1, 2, 3]
    assert shown.propensities.tolist() == [1, 1, 1]


def test_a_cap_leaves_out_what_is_too_much() -> None:
    shown = listed("aaabac", {"stage": "cap", "by": "line_id", "most": 2})
    assert shown.rows.tolist() == [0, 1, 3, 5], "the list is shorter where nothing else is left"
    assert shown.ranks.tolist() == [1, 2, 4, 6]


@given(kinds=st.text("abcd", min_size=1, max_size=40), most=st.integers(1, 5), slots=st.integers(1, 12))
def test_a_capped_list_holds_the_best_of_each_kind_in_their_order(kinds: str, most: int, slots: int) -> None:
    shown = listed(kinds, {"stage": "cap", "by": "line_id", "most": most}, slots=slots)
    seen: Counter[str] = Counter()
    wanted = []
    for row, kind in enumerate(kinds):
        if seen[kind] < most:
            wanted.append(row)
        seen[kind] += 1
    assert shown.rows.tolist() == wanted[:slots]


def test_diversity_puts_another_kind_between() -> None:
    assert listed("aaab", {"stage": "diversity", "by": ["line_id"], "weight": 0.7}).rows.tolist() == [0, 3, 1, 2]
    assert listed("aaab", {"stage": "diversity", "by": ["line_id"], "weight": 0.01}).rows.tolist() == [0, 1, 2, 3]


@given(
    kinds=st.text("abc", min_size=2, max_size=25),
    weight=st.floats(0.05, 0.95),
    slots=st.integers(1, 10),
    among=st.integers(2, 30),
)
def test_diversity_is_the_greedy_maximum_of_its_formula(kinds: str, weight: float, slots: int, among: int) -> None:
    stage = {"stage": "diversity", "by": ["line_id", "brand"], "weight": weight, "among": among}
    shown = listed(kinds, stage, slots=slots)
    count = min(among, len(kinds))
    scores = np.linspace(1, 0, len(kinds))[:count]
    relevance = (scores - scores.min()) / np.ptp(scores)
    chosen: list[int] = []
    while len(chosen) < min(slots, count):
        worth = {
            row: (1 - weight) * relevance[row]
            # Brands are unique, so two items of one line have half in common.
            - weight * max((0.5 * (kinds[row] == kinds[other]) for other in chosen), default=0.0)
            for row in range(count)
            if row not in chosen
        }
        best = max(worth.values())
        chosen.append(min(row for row, value in worth.items() if np.isclose(value, best, rtol=0, atol=1e-12)))
    rest = [row for row in range(len(kinds)) if row not in chosen]
    assert shown.rows.tolist() == [*chosen, *rest][:slots]


def test_equal_or_unknown_scores_are_no_reason_to_fail() -> None:
    pool = pool_of("aab")
    stage = STAGE.validate_python({"stage": "diversity", "by": ["line_id"], "weight": 0.5})
    for scores in (np.zeros(3), np.full(3, np.nan), np.array([1.0, np.nan, np.nan])):
        shown = rerank([stage], Ranked.of(np.arange(3), scores), pool, everything, 3, "r")
        assert sorted(shown.rows.tolist()) == [0, 1, 2]


def test_pinned_items_stand_where_they_are_pinned() -> None:
    shown = listed("aaaaaa", {"stage": "pin", "items": ["i004", "i001"], "position": 2}, slots=4)
    assert shown.rows.tolist() == [0, 4, 1, 2]
    assert shown.ranks.tolist() == [1, 5, 2, 3]


def test_a_pinned_item_needs_no_source_but_no_filter_against_it() -> None:
    stage = {"stage": "pin", "items": ["i003", "i002", "nowhere"]}
    shown = listed("aaaa", stage, order=[0, 1], slots=3)
    assert shown.rows.tolist() == [3, 2, 0]
    assert shown.ranks.tolist() == [0, 0, 1]
    assert np.isnan(shown.scores[:2]).all()
    kept_out = rerank(
        [STAGE.validate_python(stage)],
        Ranked.of(np.array([0, 1]), np.array([1.0, 0.5])),
        pool_of("aaaa"),
        lambda rows: rows != 3,
        3,
        "r",
    )
    assert kept_out.rows.tolist() == [2, 0, 1]


def test_pins_of_an_empty_list_are_the_list() -> None:
    shown = listed("aaa", {"stage": "pin", "items": ["i001"]}, order=[])
    assert shown.rows.tolist() == [1]


def test_an_exploration_slot_draws_evenly_from_those_that_follow() -> None:
    stage = {"stage": "explore", "position": 2, "among": 4}
    drawn: Counter[int] = Counter()
    for number in range(4_000):
        shown = listed("aaaaaaaaaa", stage, slots=3, request_id=f"r{number}")
        assert shown.rows[[0, 2]].tolist() == [0, 2]
        assert shown.propensities.tolist() == [1, 0.25, 1]
        drawn[int(shown.rows[1])] += 1
    assert set(drawn) == {3, 4, 5, 6}
    # Six standard deviations of a binomial of 4,000 and 1/4.
    assert all(abs(count - 1_000) < 6 * 27.4 for count in drawn.values())


def test_a_share_of_the_lists_is_explored_and_the_others_show_their_own_item() -> None:
    stage = {"stage": "explore", "position": 2, "among": 4, "share": 0.2}
    drawn: Counter[int] = Counter()
    for number in range(4_000):
        shown = listed("aaaaaaaaaa", stage, slots=3, request_id=f"r{number}")
        own = int(shown.rows[1]) == 1
        assert shown.propensities.tolist() == pytest.approx([1, 0.8 if own else 0.05, 1])
        drawn[int(shown.rows[1])] += 1
    assert set(drawn) == {1, 3, 4, 5, 6}
    # Six standard deviations of binomials of 4,000 and 4/5, and 1/20.
    assert abs(drawn[1] - 3_200) < 6 * 25.3
    assert all(abs(drawn[row] - 200) < 6 * 13.8 for row in (3, 4, 5, 6))


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_share_that_leaves_propensities_ambiguous_is_refused(share: float) -> None:
    with pytest.raises(ValidationError, match=rf"share {share} is below 0\.5 or 1"):
        STAGE.validate_python({"stage": "explore", "position": 1, "among": 2, "share": share})


def test_a_request_draws_the_same_item_again() -> None:
    stage = {"stage": "explore", "position": 1, "among": 50}
    first, again = (listed("a" * 60, stage, request_id="one").rows.tolist() for _ in range(2))
    assert first == again
    assert len({listed("a" * 60, stage, request_id=str(number)).rows[0] for number in range(30)}) > 5


def test_where_nothing_follows_nothing_is_explored() -> None:
    shown = listed("aaa", {"stage": "explore", "position": 1, "among": 5}, slots=3)
    assert shown.rows.tolist() == [0, 1, 2]
    assert shown.propensities.tolist() == [1, 1, 1]
    fewer = listed("aaaa", {"stage": "explore", "position": 3, "among": 5}, slots=2)
    assert fewer.rows.tolist() == [0, 1], "a page that asks for fewer slots has none to explore"


def test_stages_are_carried_out_as_declared() -> None:
    cap = {"stage": "cap", "by": "line_id", "most": 1}
    pin = {"stage": "pin", "items": ["i001"]}
    assert listed("aab", cap, pin).rows.tolist() == [1, 0, 2], "what is pinned afterwards is not capped"
    assert listed("aab", pin, cap).rows.tolist() == [1, 2], "what is pinned before counts"


def test_a_feature_that_is_not_there_is_named() -> None:
    with pytest.raises(FeatureError, match=r"rerank cap: 'colour' is not a feature of the pool's view, which has sold"):
        listed("a", {"stage": "cap", "by": "colour", "most": 1})


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{"stage": "pin", "items": ["a", "b"], "position": 3}], "pin takes slots 3 to 4"),
        ([{"stage": "explore", "position": 4, "among": 5}], "explore takes slots 4 to 4"),
        (
            [{"stage": "pin", "items": ["a"], "position": 2}, {"stage": "explore", "position": 2, "among": 5}],
            "that no stage before it takes",
        ),
        (
            [{"stage": "explore", "position": 1, "among": 5}, {"stage": "cap", "by": "line_id", "most": 1}],
            "explore is the last stage",
        ),
    ],
)
def test_stages_that_contradict_each_other_are_refused(stages: list[dict[str, Any]], words: str) -> None:
    declared = placement(k=3).model_dump(mode="json")
    with pytest.raises(ValidationError, match=words):
        Placement.model_validate({**declared, "rerank": stages})
