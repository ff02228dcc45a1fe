"""Does a unit get in a batch what a request at that moment would get?"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import OnlineStoreError
from recsys.experiment.routing import Router, assign, assign_many
from recsys.ports import Columns, Groups
from recsys.serving.ladder import BY_A_MODEL, EMPTY, NO_CANDIDATES, NOTHING, POPULAR
from recsys.serving.resolver import AnsweredUnits, Resolver
from tests.fakes.features import FakeFeatures
from tests.fakes.ranker import FakeRanker
from tests.serving.small_shop import CONTEXT, NOW, history
from tests.serving.test_resolver import BY_SALES, BY_TIMES, Hooked, World, experiment, small, with_scores

FULL = FakeRanker((("visits", 1.0), ("sold", 0.5), ("times", 2.0), ("line_times", 1.0), ("days_since", -0.1)))
UNITS = ["u0", "nobody", "u3", "u1", "u2", "u5", "u4"]


def of_each(answers: Sequence[AnsweredUnits]) -> dict[str, Any]:
    """Return what each unit got, as `of_request` tells of a request."""
    found = {}
    for group in answers:
        listed = group.made.listed
        for place, unit in enumerate(group.user_ids):
            mine = slice(*listed.bounds[place : place + 2].tolist())
            by_model = group.model if group.made.rungs[place] in BY_A_MODEL else None
            rows = listed.items.rows[mine]
            found[unit] = {
                "request": group.request_ids[place],
                "arm": group.assignment,
                "weights": None if by_model is None else by_model.key,
                "rung": group.made.rungs[place],
                "items": [] if group.made.matrix is None else group.made.matrix.pool.ids[rows].tolist(),
                "scores": listed.items.scores[mine].tobytes(),
                "propensities": listed.items.propensities[mine].tolist(),
                "digest": listed.digests[place],
                "features": listed.features.get(place),
            }
    return found


def of_request(resolver: Resolver, unit: str, request_id: str, at: Any) -> dict[str, Any]:
    """Return what a request gets."""
    shown = resolver.recommend(unit, request_id=request_id).exposure
    made_by = None if shown.model_version is None else (shown.model_version.partition("/")[0], shown.weights)
    return {
        "request": shown.request_id,
        "arm": assign(resolver.state.routers, unit, None, at),
        "weights": made_by,
        "rung": shown.fallback,
        "items": [item.item_id for item in shown.items],
        "scores": np.array([item.score for item in shown.items], dtype=np.float64).tobytes(),
        "propensities": [item.propensity for item in shown.items],
        "digest": shown.feature_digest,
        "features": shown.features,
    }


def same(world: World, units: Sequence[str] = UNITS) -> dict[str, Any]:
    """Check that every unit gets the same either way, and return it."""
    requests = [f"request of {unit}" for unit in units]
    many = of_each(world.resolver.recommend_many(units, requests, world.features))
    assert set(many) == set(units)
    for unit, request_id in zip(units, requests, strict=True):
        assert many[unit] == of_request(world.resolver, unit, request_id, world.clock.now())
    return many


STAGES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "cap": [{"stage": "cap", "by": "line_id", "most": 1}],
    "diversity": [{"stage": "diversity", "by": ["line_id"], "weight": 0.7, "among": 6}],
    "pin": [{"stage": "pin", "items": ["i7", "i1"], "position": 2}],
    "explore": [{"stage": "explore", "position": 3, "among": 4}],
    "all": [
        {"stage": "cap", "by": "line_id", "most": 2},
        {"stage": "pin", "items": ["i8"], "position": 1},
        {"stage": "explore", "position": 2, "among": 3},
    ],
}


def whole(seed: int = 0, **parts: Any) -> World:
    """Make a world whose arms read features of every kind, with rows past their TTL and late ones."""
    features = history(seed)
    features.materialize(NOW)
    made = World(features, **parts)
    made.register("basket/v1", BY_SALES, "logic-v1")
    made.register("basket/v3", FULL, "logic-v3", "champion")
    made.resolver.refresh()
    return made


def arms(**changes: Any) -> Router:
    """Return an experiment of two logics that leaves some units to the champion."""
    declared = {
        "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.4},
        "treatment": {"model_version": "basket/v3", "slot": [0.5, 1.0], "ratio": 0.4},
    }
    return experiment(arms=declared, **changes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stages", list(STAGES))
def test_every_unit_gets_what_its_request_would_get(seed: int, stages: str) -> None:
    made = whole(seed, routers=[arms(overrides={"u1": "treatment"})], changes={"rerank": STAGES[stages]})
    found = same(made)
    assert found["u1"]["arm"].overridden
    assert sum(len(each["items"]) for each in found.values()) > len(UNITS)
    assert 0 < sum(each["features"] is not None for each in found.values()) < len(UNITS)


def test_an_exploration_slot_is_drawn_by_the_request_id() -> None:
    made = whole(changes={"rerank": STAGES["explore"]})
    found = same(made)
    assert {each["propensities"][2] for each in found.values() if len(each["items"]) > 2} >= {0.25, 1 / 3}
    again = of_each(made.resolver.recommend_many(UNITS, [f"another of {unit}" for unit in UNITS], made.features))
    assert any(again[unit]["items"] != found[unit]["items"] for unit in UNITS)


def test_filters_of_a_units_past_and_sources_of_new_units_count_for_each() -> None:
    seen = {"filter": "seen", "view": "pair", "by": "last", "within": "20d"}
    new = [{"source": "popular", "name": "for_new", "order_by": "sold", "limit": 2}]
    found = same(whole(3, changes={"filters": [seen], "new_units": new}))
    assert len(found["nobody"]["items"]) == 2
    assert len({tuple(each["items"]) for each in found.values()}) > 2


def test_scores_of_sources_are_features_of_each_unit() -> None:
    made, _ = with_scores()
    same(made, ["u1", "u2", "nobody", "u3"])


def test_a_context_that_nobody_stated_is_unknown() -> None:
    made = World(small(), changes={"context": CONTEXT})
    made.features.materialize(NOW)
    seen: list[Columns] = []
    made.register("basket/v4", Hooked(FakeRanker((("sold", 1.0),)), seen.append), "champion")
    made.resolver.refresh()
    same(made, ["u1", "u2"])
    together = seen[0]
    assert set(together["device_now"]) == {"unknown"}
    assert np.isnan(together["hours_since"].astype(float)).all()


def test_a_list_without_candidates_is_empty_and_says_so() -> None:
    nothing = [{"source": "personal", "view": "pair", "order_by": ["times"], "limit": 4}]
    found = same(whole(2, changes={"candidates": nothing}))
    assert found["nobody"]["rung"] == NO_CANDIDATES
    assert any(each["items"] for each in found.values())


@pytest.mark.parametrize(("fallback", "rung"), [("popular", POPULAR), ("empty", NOTHING)])
def test_arms_without_weights_fall_as_far_as_requests_do(fallback: str, rung: str) -> None:
    made = World(small(), routers=[experiment()], changes={"fallback": fallback})
    made.features.materialize(NOW)
    made.register("basket/v2", BY_TIMES, "logic-v2", "champion")
    made.resolver.refresh()
    found = same(made, [f"u{number}" for number in range(12)])
    assert {each["rung"] for each in found.values()} == {None, rung}


def test_before_anything_is_materialized_lists_are_empty() -> None:
    assert {each["rung"] for each in same(World(small())).values()} == {EMPTY}


def test_a_list_that_a_model_cannot_make_takes_no_other_with_it() -> None:
    def refuse(columns: Columns) -> None:
        if 3.0 in columns["visits"].tolist():
            message = "a value that this model was never shown"
            raise ValueError(message)

    made = World(small())
    made.features.materialize(NOW)
    made.register("basket/v3", Hooked(FakeRanker((("sold", 1.0),)), refuse), "champion")
    made.resolver.refresh()
    found = same(made, ["u1", "u2", "nobody"])
    assert [found[unit]["rung"] for unit in ("u1", "u2", "nobody")] == [POPULAR, None, None]


class Unreadable(FakeFeatures):
    """An online store that cannot be read."""

    def __init__(self, features: FakeFeatures) -> None:
        """Take over a shop."""
        self.__dict__.update(features.__dict__)

    def online_groups(self, keys: Any) -> dict[str, Groups]:
        """Fail."""
        message = f"online store: {', '.join(keys)} cannot be read"
        raise OnlineStoreError(message)


def test_a_store_that_cannot_be_read_ends_a_batch() -> None:
    made = whole()
    with pytest.raises(OnlineStoreError, match="cannot be read"):
        made.resolver.recommend_many(UNITS, UNITS, Unreadable(made.features))


@given(
    units=st.lists(st.text(max_size=6), max_size=30),
    overrides=st.dictionaries(st.sampled_from(["a", "b", "é"]), st.sampled_from(["control", "treatment"]), max_size=2),
    later=st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["control", "treatment"]), max_size=2),
    days=st.integers(-1, 30),
)
@settings(max_examples=60, deadline=None)
def test_units_are_routed_together_as_alone(
    units: list[str], overrides: dict[str, str], later: dict[str, str], days: int
) -> None:
    asked = [*units, "a", "b", "c", "é"]
    routers = [
        arms(overrides=overrides),
        experiment(unit="session_id", seed="visit:", overrides=later),
        experiment(0.2, 0.3, seed="other:", overrides=later),
    ]
    at = NOW + timedelta(days=days)
    assert assign_many(routers, asked, at) == [assign(routers, unit, None, at) for unit in asked]
