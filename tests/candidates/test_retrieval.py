"""Is the union that of the sources in order, past all filters, with a bit for each source that gave an item?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.candidates.fitted import PoolModel, fit
from recsys.candidates.history import Histories
from recsys.candidates.pool import ItemPool, instant
from recsys.candidates.retrieval import Candidates, Retrieval
from recsys.specs.candidates import label
from recsys.specs.placement import Placement
from tests.candidates.small_pool import DAY, NOW, history, nobody, placement, pool

EXAMPLES = settings(deadline=None, derandomize=True)
ITEMS = 12
RANDOM = np.random.default_rng(1)
UNITS, CODES = np.nonzero(RANDOM.random((60, ITEMS)) < 0.35)
POOL = pool(
    [float(number % 5) for number in range(ITEMS)],
    kind=[str("xyz"[number % 3]) for number in range(ITEMS)],
    since=[NOW - number * DAY for number in range(ITEMS)],
)
PERSONAL = {"source": "personal", "view": "pair", "order_by": ["times"], "limit": 3}
POPULAR = {"source": "popular", "order_by": "sales", "limit": 4}
BY_KIND = {"source": "popular", "name": "by_kind", "order_by": "sales", "by": "kind", "per_value": 1, "limit": 3}
COVISIT = {"source": "covisit", "view": "pair", "limit": 3, "minimum": 2, "shrinkage": 0.0}
FRESH = {"source": "covisit", "name": "fresh", "view": "pair", "limit": 3, "minimum": 2, "own": False}
EASE = {"source": "ease", "view": "pair", "limit": 3, "minimum": 2, "l2": 5.0}
NEWEST = {"source": "newest", "order_by": "since", "within": "9d", "limit": 2}
GIVEN = {"source": "given", "limit": 3}
ALL = (PERSONAL, POPULAR, BY_KIND, COVISIT, FRESH, EASE, NEWEST, GIVEN)
SEEN = {"filter": "seen", "view": "pair"}
DENY = {"filter": "items", "deny": ["a", "e"]}


def retrieval(declared: Placement, built: ItemPool = POOL, without: Sequence[str] = ()) -> Retrieval:
    """Look a placement up, with models fitted on 60 units."""
    models = {
        label(source): PoolModel(fit(source, built, UNITS, CODES, NOW), built)
        for source in declared.fitted
        if label(source) not in without
    }
    return Retrieval(declared, built, models)


def found(declared: Placement, histories: Histories, given_: Sequence[str] = ()) -> Candidates:
    """Return the candidates of now."""
    return retrieval(declared).candidates(histories, instant(NOW), given_)


def ids(rows: Any) -> str:
    """Return the ids of rows."""
    return "".join(POOL.ids[rows])


OWN = st.lists(st.tuples(st.integers(-1, ITEMS - 1), st.integers(0, 3)), unique_by=lambda row: row[0], max_size=8)
FILTERS = st.lists(
    st.sampled_from([SEEN, DENY, {"filter": "values", "feature": "kind", "deny": ["y"]}]), max_size=3, unique_by=str
)


@EXAMPLES
@given(st.lists(st.sampled_from(ALL), min_size=1, unique_by=str), FILTERS, OWN, st.lists(st.sampled_from("abcdeXnml")))
def test_the_union_and_its_bits_are_those_of_the_sources_alone(
    sources: list[dict[str, Any]], filters: list[dict[str, Any]], own: list[tuple[int, int]], asked: list[str]
) -> None:
    histories = history([code for code, _ in own], times=[float(times) for _, times in own])
    union = found(placement(*sources, filters=filters), histories, asked)
    alone = [found(placement(source, filters=filters), histories, asked).rows.tolist() for source in sources]
    assert union.rows.tolist() == list(dict.fromkeys(row for rows in alone for row in rows))
    for row, bits in zip(union.rows.tolist(), union.sources.tolist(), strict=True):
        assert [bool(bits >> bit & 1) for bit in range(len(sources))] == [row in rows for rows in alone]
    allowed = POOL.eligible & ~(np.isin(POOL.ids, ["a", "e"]) & (DENY in filters))
    assert allowed[union.rows].all()
    if SEEN in filters:
        assert not set(union.rows.tolist()) & {code for code, _ in own}


@EXAMPLES
@given(st.sampled_from(ALL), OWN, st.lists(st.sampled_from("abcdefghijklX"), unique=True))
def test_filters_come_before_limits(source: dict[str, Any], own: list[tuple[int, int]], asked: list[str]) -> None:
    """What a source gives past filters is what it would give without a limit, filtered, then cut."""
    filters = [SEEN, DENY]
    histories = history([code for code, _ in own], times=[float(times) for _, times in own])
    whole = source | {"limit": 99} | ({"per_value": 99} if "by" in source else {})
    out = {*DENY["deny"], *(POOL.ids[code] for code, _ in own if code >= 0)}
    everything = [item for item in ids(found(placement(whole), histories, asked).rows) if item not in out]
    if "by" in source:
        kinds = [POOL.columns["kind"][ord(item) - ord("a")] for item in everything]
        everything = [item for place, item in enumerate(everything) if kinds[place] not in kinds[:place]]
    limited = ids(found(placement(source, filters=filters), histories, asked).rows)
    assert limited == "".join(everything[: source["limit"]])


@EXAMPLES
@given(OWN)
def test_every_candidate_has_every_sources_score(own: list[tuple[int, int]]) -> None:
    declared = placement(POPULAR, COVISIT, EASE)
    histories = history([code for code, _ in own], times=[1.0] * len(own))
    made = retrieval(declared)
    union = made.candidates(histories, instant(NOW))
    everything = made.scores(np.arange(ITEMS), histories)
    assert list(union.scores) == ["covisit_score", "ease_score"]
    for name, scores in union.scores.items():
        np.testing.assert_array_equal(scores, everything[name][union.rows])
    for bit, name in ((1, "covisit_score"), (2, "ease_score")):
        gave = union.rows[union.sources >> bit & 1 == 1]
        scores = everything[name] * POOL.eligible
        best = [row for row in np.lexsort((np.arange(ITEMS), -scores)).tolist() if scores[row] > 0][:3]
        assert sorted(gave.tolist()) == sorted(best)


def test_an_item_that_the_pool_lacks_has_no_score() -> None:
    made = retrieval(placement(COVISIT)).scores(np.array([-1, 1, -1]), history([2, 3]))
    assert made["covisit_score"][[0, 2]].tolist() == [0, 0]
    assert made["covisit_score"][1] > 0


def test_own_items_are_left_to_others_where_they_are_not_wanted() -> None:
    own = history([1, 2, 3, 4, 6, 7])
    assert set(ids(found(placement(COVISIT), own).rows)) & set("bcdegh")
    assert not set(ids(found(placement(FRESH), own).rows)) & set("bcdegh")


def test_a_source_without_its_model_gives_nothing_and_scores_nothing() -> None:
    made = retrieval(placement(COVISIT, POPULAR), without=["covisit"]).candidates(history([1, 2]), instant(NOW))
    assert ids(made.rows) == "ejdi"
    assert made.scores["covisit_score"].tolist() == [0] * 4
    assert set(made.sources.tolist()) == {2}


def test_the_callers_list_is_in_its_order_without_what_nobody_knows_or_may_get() -> None:
    asked = ["l", "nobody knows", "a", "c", "l", "b", "d"]
    assert ids(found(placement(GIVEN), nobody, asked).rows) == "lcb"
    assert ids(found(placement(GIVEN, filters=[{"filter": "items", "deny": ["l"]}]), nobody, asked).rows) == "cbd"
    assert ids(found(placement(GIVEN), nobody).rows) == ""


class TestNewUnits:
    """A unit without any history has sources of its own, where they are declared."""

    DECLARED = placement(PERSONAL, POPULAR, new_units=[NEWEST | {"name": "starters"}])

    def test_nobodys_bits_come_after_those_of_the_candidates(self) -> None:
        """Newest first; `a` and `f` are not eligible."""
        made = found(self.DECLARED, nobody)
        assert ids(made.rows) == "bc"
        assert set(made.sources.tolist()) == {4}

    def test_whoever_has_a_row_that_says_something_is_not_new(self) -> None:
        """Even if no item of it can be shown."""
        assert set(found(self.DECLARED, history([-1])).sources.tolist()) == {2}

    def test_a_history_of_which_nothing_is_left_is_none(self) -> None:
        """All purchases were cancelled."""
        assert ids(found(self.DECLARED, history([3], times=[np.nan])).rows) == "bc"

    def test_without_a_declaration_the_ordinary_sources_answer(self) -> None:
        """What everybody takes."""
        assert ids(found(placement(PERSONAL, POPULAR), nobody).rows) == "ejdi"

    def test_where_no_source_reads_a_history_nobody_is_new(self) -> None:
        """There is nothing to tell them by."""
        assert ids(found(placement(POPULAR, new_units=[NEWEST]), nobody).rows) == "ejdi"


def test_all_candidates_filtered_is_an_empty_union() -> None:
    made = found(placement(*ALL, filters=[{"filter": "items", "allow": []}]), history([1, 2]), ["b"])
    assert made.rows.tolist() == made.sources.tolist() == made.scores["ease_score"].tolist() == []


def test_an_empty_pool_gives_nothing() -> None:
    empty = pool([], kind=np.array([], dtype=str), since=np.array([], "M8[us]"))
    declared = placement(*ALL)
    nothing = np.empty(0, dtype=np.int64)
    models = {label(each): PoolModel(fit(each, empty, nothing, nothing, NOW), empty) for each in declared.fitted}
    made = Retrieval(declared, empty, models).candidates(history([-1, -1]), instant(NOW), ["a"])
    assert made.rows.tolist() == []
    assert made.scores["covisit_score"].tolist() == []


def test_the_popular_list_keeps_to_the_filters() -> None:
    made = retrieval(placement(PERSONAL, POPULAR, filters=[SEEN, DENY]))
    rows, values = made.fallback(3, history([9]), instant(NOW))
    assert (ids(rows), values.tolist()) == ("dic", [3, 3, 2])
    assert ids(made.fallback(3, None, instant(NOW))[0]) == "jdi"
    assert ids(made.fallback(99, nobody, instant(NOW))[0]) == "jdic"
    assert retrieval(placement(PERSONAL)).fallback(3, nobody, instant(NOW))[0].tolist() == []


def test_what_the_filters_keep_out_of_a_list_is_said() -> None:
    made = retrieval(placement(POPULAR, filters=[SEEN, DENY]))
    rows = np.array([0, 4, 9, 8, -1])
    assert made.filtered(rows, history([9]), instant(NOW)).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("places", [[], [2, 0]])
def test_some_of_the_candidates(places: list[int]) -> None:
    made = found(placement(POPULAR, COVISIT), history([1, 2]))
    some = made.take(np.array(places, dtype=np.int64))
    assert some.rows.tolist() == [made.rows[place] for place in places]
    assert some.sources.tolist() == [made.sources[place] for place in places]
    assert some.scores["covisit_score"].tolist() == [made.scores["covisit_score"][place] for place in places]
