"""Does every request get one consistent list, whatever was promoted, is missing or is broken?"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from recsys.errors import FeatureError, ModelError, RecsysError
from recsys.experiment.routing import Router
from recsys.ports import Columns, Ranker, Registration, RequestTransform, Weights
from recsys.serving.ladder import EMPTY, NO_CANDIDATES, POPULAR, UNIT_UNKNOWN
from recsys.serving.ranking import feature_digest
from recsys.serving.resolver import Answer, Resolver
from recsys.serving.state import Online
from recsys.specs.experiment import Experiment
from recsys.workflows.features.item_models import fit_item_models, write_item_models
from tests.fakes.clock import FixedClock
from tests.fakes.features import FakeFeatures
from tests.fakes.item_models import FakeItemModels
from tests.fakes.ranker import FakeRanker
from tests.fakes.registry import FakeRegistry
from tests.serving.small_shop import DAY, NOW, TICK, looked, pair, placement, pushed, row, shop, sold

BY_TIMES = FakeRanker((("times", 1.0),))
BY_SALES = FakeRanker((("sold", 1.0),))
AGAINST_SALES = FakeRanker((("sold", -1.0),))
UNITS = [f"u{number}" for number in range(1, 200)]
SERVICE_OF = {"basket/v1": "sales", "basket/v2": "frequency", "basket/v3": "full", "basket/v4": "moment"}


class CountedRegistry(FakeRegistry):
    """Counts loads."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.loaded: list[int] = []

    def load(self, weights: Weights) -> Ranker:
        """Count and load."""
        self.loaded.append(weights.number)
        return super().load(weights)


@dataclass
class Hooked:
    """A ranker that does something else while it scores."""

    inner: Ranker
    hook: Callable[[Columns], None]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the inner one's columns."""
        return self.inner.columns

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Call the hook, then score."""
        self.hook(columns)
        return self.inner.score(columns)

    def save(self, folder: Path) -> None:
        """Save the inner one."""
        self.inner.save(folder)


@dataclass
class World:
    """A resolver and all that it follows."""

    features: FakeFeatures
    registry: CountedRegistry = field(default_factory=CountedRegistry)
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))
    routers: list[Router] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    item_models: FakeItemModels = field(default_factory=FakeItemModels)

    def __post_init__(self) -> None:
        """Put the resolver together."""
        self.resolver = Resolver(
            "home",
            placement(**self.changes),
            Online(self.features, self.item_models),
            self.registry,
            lambda model: self.registry.resolve(model, "champion"),
            self.routers,
            self.clock,
            SERVICE_OF.__getitem__,
            feature_rows=0.5,
        )

    def register(self, version: str, ranker: Ranker, *aliases: str) -> Weights:
        """Register weights and let aliases name them."""
        weights = self.registry.register(Registration(version, ranker, {}, {}, {}, {}, pa.table({})))
        for alias in aliases:
            self.registry.set_alias(weights, alias)
        return weights

    def answer(self, user: str = "u1", **asked: Any) -> Answer:
        """Answer one request."""
        return self.resolver.recommend(user, **asked)

    def shown(self, user: str = "u1", **asked: Any) -> str:
        """Return the answered items in order."""
        return "".join(item.item_id for item in self.answer(user, **asked).exposure.items)


def small() -> FakeFeatures:
    """Give a shop of five items, in which u1 has a history with three."""
    return shop(
        item_week=[sold(item, sales) for item, sales in zip("abcde", (1, 5, 4, 3, 2), strict=True)],
        pair=[pair("u1", "a", 2), pair("u1", "e", 9), pair("u1", "c", 2)],
        user_week=[row(NOW, user_id="u1", visits=3.0, seen=NOW)],
    )


def world(features: FakeFeatures | None = None, *, materialized: datetime | None = NOW, **parts: Any) -> World:
    """Make a world with a champion that orders by the pair's frequency."""
    made = World(features or small(), **parts)
    if materialized is not None:
        made.features.materialize(materialized)
    made.register("basket/v1", BY_SALES, "logic-v1")
    made.register("basket/v2", BY_TIMES, "logic-v2", "champion")
    made.resolver.refresh()
    return made


def experiment(control: float = 0.5, treatment: float = 0.5, **changes: Any) -> Router:
    """Route two arms: v1 and v2."""
    declared = {
        "hypothesis": "better",
        "placement": "home",
        "seed": "home:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": control},
            "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": treatment},
        },
        "metrics": {"primary": {"name": "precision@10", "minimum_effect": 0.08}},
        "plan": {"units": 100, "start": NOW.date().isoformat(), "weeks": 4},
    }
    return Router("home_ranker", Experiment.model_validate(declared | changes))


# ---------------------------------------------------------------- lists


def test_candidates_are_ranked_by_the_champion() -> None:
    made = world()
    exposure = made.answer(request_id="r1", session_id="s1").exposure
    assert [item.item_id for item in exposure.items] == ["e", "a", "c"]
    assert [item.score for item in exposure.items] == [9, 2, 2]
    assert [item.position for item in exposure.items] == [1, 2, 3]
    assert (exposure.model_version, exposure.weights, exposure.fallback) == ("basket/v2", 2, None)
    assert (exposure.experiment, exposure.arm, exposure.overridden) == (None, None, False)
    assert (exposure.request_id, exposure.user_id, exposure.session_id) == ("r1", "u1", "s1")
    assert (exposure.placement, exposure.event_timestamp) == ("home", NOW)
    assert exposure.watermarks["item_week"] == NOW.isoformat()


def test_stages_after_the_model_change_what_is_shown_and_logged() -> None:
    stages = [{"stage": "pin", "items": ["d"]}, {"stage": "explore", "position": 3, "among": 5}]
    made = world(changes={"rerank": stages})
    seen = set()
    for number in range(20):
        answer = made.answer(request_id=f"r{number}")
        items = answer.exposure.items
        assert [item.item_id for item in items[:2]] == ["d", "e"]
        assert [item.propensity for item in items] == [1, 1, 0.5]
        assert math.isnan(items[0].score), "nobody bought it, so its score is unknown"
        assert answer.to_dict()["items"][0] == {"item_id": "d", "score": None}
        assert answer.exposure.feature_digest == made.answer(request_id=f"r{number}").exposure.feature_digest
        seen.add(items[2].item_id)
    assert seen == {"b", "c"}, "a leaves its slot to one of those that follow"


def test_ties_fall_to_the_item_id_and_not_to_the_candidates_order() -> None:
    rows = {"item_week": [sold(item, 1) for item in "abcde"], "pair": [pair("u1", "e", 1), pair("u1", "d", 1)]}
    constant = FakeRanker((("sold", 0.0),))
    made = World(shop(**rows))
    made.features.materialize(NOW)
    made.register("basket/v1", constant, "logic-v1", "champion")
    made.resolver.refresh()
    assert made.shown(k=10) == "abcde"


def test_unknown_scores_come_last() -> None:
    made = world()
    assert made.shown(k=5) == "eacbd"
    scores = [item.score for item in made.answer(k=5).exposure.items]
    assert np.isnan(scores[3:]).all()


@pytest.mark.parametrize(("k", "count"), [(None, 3), (1, 1), (4, 4), (100, 5)])
def test_a_list_has_k_slots_or_as_many_as_there_are_candidates(k: int | None, count: int) -> None:
    assert len(world().answer(k=k).exposure.items) == count


def test_request_ids_are_made_where_none_is_given() -> None:
    made = world()
    assert made.answer().exposure.request_id != made.answer().exposure.request_id


def test_an_answer_is_plain_values() -> None:
    document = world(routers=[experiment()]).answer(request_id="r1").to_dict()
    assert document["items"][0].keys() == {"item_id", "score"}
    assert document["request_id"] == "r1"
    assert document["placement"] == "home"


# ---------------------------------------------------------------- arms


def test_arms_are_served_by_their_logic() -> None:
    router = experiment()
    made = world(routers=[router])
    for unit in UNITS[:40]:
        assigned = router.route(unit)
        assert assigned is not None
        exposure = made.answer(unit).exposure
        assert (exposure.experiment, exposure.arm) == ("home_ranker", assigned.arm)
        assert exposure.model_version == assigned.model_version
        assert exposure.weights == {"basket/v1": 1, "basket/v2": 2}[assigned.model_version]
    assert {made.answer(unit).exposure.arm for unit in UNITS[:40]} == {"control", "treatment"}


def test_traffic_that_no_arm_takes_gets_the_champion() -> None:
    router = experiment(0.1, 0.1)
    made = world(routers=[router])
    unit = next(unit for unit in UNITS if router.route(unit) is None)
    exposure = made.answer(unit).exposure
    assert (exposure.experiment, exposure.arm, exposure.model_version) == (None, None, "basket/v2")


@pytest.mark.parametrize(("at", "active"), [(NOW - TICK, False), (NOW, True), (NOW + 28 * DAY, False)])
def test_an_experiment_applies_from_its_start_up_to_its_end(at: datetime, active: bool) -> None:
    made = world(routers=[experiment()])
    made.clock.set(at)
    assert (made.answer().exposure.experiment is not None) == active


def test_an_override_is_served_and_marked() -> None:
    plain = experiment()
    control = next(unit for unit in UNITS if getattr(plain.route(unit), "arm", "") == "control")
    made = world(routers=[experiment(overrides={control: "treatment"})])
    exposure = made.answer(control).exposure
    assert (exposure.arm, exposure.overridden, exposure.model_version) == ("treatment", True, "basket/v2")


def test_sessions_are_routed_by_session() -> None:
    router = experiment(unit="session_id")
    made = world(routers=[router])
    arms = {session: made.answer("u1", session_id=session).exposure.arm for session in UNITS[:30]}
    assert arms == {session: getattr(router.route(session), "arm", None) for session in UNITS[:30]}
    assert set(arms.values()) == {"control", "treatment"}
    assert made.answer("u1").exposure.experiment is None


def test_an_arm_without_weights_is_answered_with_what_everybody_takes() -> None:
    router = experiment()
    made = World(small(), routers=[router])
    made.features.materialize(NOW)
    made.register("basket/v2", BY_TIMES, "logic-v2", "champion")
    made.resolver.refresh()
    unit = next(unit for unit in UNITS if getattr(router.route(unit), "arm", "") == "control")
    exposure = made.answer(unit).exposure
    assert (exposure.arm, exposure.model_version, exposure.weights, exposure.fallback) == (
        "control",
        None,
        None,
        POPULAR,
    )


# ---------------------------------------------------------------- time and what is missing


def test_histories_past_their_ttl_are_no_candidates_and_no_features() -> None:
    features = shop(
        item_week=[sold(item, 1) for item in "abcd"] + [sold("e", 2)],
        pair=[pair("u1", "a", 9, NOW - 28 * DAY), pair("u1", "b", 8, NOW - 28 * DAY - TICK)],
    )
    made = world(
        features, changes={"candidates": [{"source": "personal", "view": "pair", "order_by": ["times"], "limit": 4}]}
    )
    assert made.shown() == "a"
    made.clock.advance(TICK)
    assert made.shown() == ""


def test_items_past_their_ttl_are_no_candidates() -> None:
    made = world(shop(item_week=[sold("a", 1), sold("b", 2, NOW - 7 * DAY), sold("c", 3, NOW - 7 * DAY - TICK)]))
    assert sorted(made.shown()) == ["a", "b"]


def test_items_pass_their_ttl_while_the_process_runs() -> None:
    made = world(shop(item_week=[sold("a", 1), sold("b", 2, NOW - 6 * DAY)]))
    assert sorted(made.shown()) == ["a", "b"]
    made.clock.advance(2 * DAY)
    made.resolver.refresh()
    assert made.shown() == "a"


def test_a_unit_nobody_knows_gets_a_list_by_the_model() -> None:
    exposure = world().answer("stranger").exposure
    assert [item.item_id for item in exposure.items] == ["b", "c", "d"]
    assert exposure.model_version == "basket/v2"


def test_unknown_features_reach_the_ranker_as_unknown() -> None:
    seen: list[Columns] = []
    made = world()
    inner = FakeRanker((("sold", 1.0),))
    made.register("basket/v3", Hooked(inner, seen.append), "champion")
    made.resolver.refresh()
    made.answer("stranger")
    (columns,) = seen
    assert list(columns) == ["visits", "sold", "brand", "stock", "times", "line_times", "days_since", "share"]
    for name in ("visits", "stock", "times", "line_times", "days_since"):
        assert np.isnan(columns[name].astype(float)).all(), name


# ---------------------------------------------------------------- the fallback ladder


def failing(error: Exception) -> Hooked:
    """Give a ranker that raises."""

    def fail(_: Columns) -> None:
        raise error

    return Hooked(BY_TIMES, fail)


@pytest.mark.parametrize(
    "error",
    [
        ModelError("broken weights"),
        ValueError("not of this project"),
        KeyError("column"),
    ],
    ids=repr,
)
def test_a_ranker_that_fails_is_replaced_by_what_everybody_takes(error: Exception) -> None:
    made = world()
    made.register("basket/v2", failing(error), "champion")
    made.resolver.refresh()
    exposure = made.answer().exposure
    assert [item.item_id for item in exposure.items] == ["b", "c", "d"]
    assert [item.score for item in exposure.items] == [5, 4, 3]
    assert (exposure.fallback, exposure.model_version, exposure.weights) == (POPULAR, None, None)


class Unreachable(FakeFeatures):
    """A store whose user rows cannot be read."""

    def __init__(self, features: FakeFeatures, error: RecsysError) -> None:
        """Take over a shop."""
        self.__dict__.update(features.__dict__)
        self.error = error

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Fail."""
        del view, key, within
        raise self.error


def test_a_store_that_is_down_means_no_failed_request() -> None:
    made = world(Unreachable(small(), FeatureError("no answer")))
    exposure = made.answer().exposure
    assert [item.item_id for item in exposure.items] == ["b", "c", "d"]
    assert (exposure.fallback, exposure.model_version, exposure.weights) == (UNIT_UNKNOWN, "basket/v2", 2)
    made.registry.set_alias(made.registry.search("basket")[0], "champion")
    made.resolver.refresh()
    exposure = made.answer().exposure
    assert [item.score for item in exposure.items] == [5, 4, 3], "items' features are known all the same"
    assert (exposure.fallback, exposure.model_version) == (UNIT_UNKNOWN, "basket/v1")


def test_without_a_champion_everybody_gets_what_everybody_takes() -> None:
    made = World(small())
    made.features.materialize(NOW)
    made.resolver.refresh()
    exposure = made.answer().exposure
    assert [item.item_id for item in exposure.items] == ["b", "c", "d"]
    assert exposure.fallback == POPULAR


def test_a_placement_may_prefer_an_empty_list() -> None:
    made = World(small(), changes={"fallback": "empty"})
    made.features.materialize(NOW)
    made.resolver.refresh()
    exposure = made.answer().exposure
    assert not exposure.items
    assert exposure.fallback is not None
    assert exposure.fallback.startswith("empty list")


def test_nothing_materialized_is_an_empty_list_with_its_reason() -> None:
    exposure = world(materialized=None).answer().exposure
    assert (list(exposure.items), exposure.fallback, exposure.model_version) == ([], EMPTY, None)


def test_before_the_first_refresh_the_list_is_empty() -> None:
    assert World(small()).answer().exposure.fallback == EMPTY


# ---------------------------------------------------------------- following the registry and the store


def test_a_moved_alias_is_served_after_a_refresh() -> None:
    made = world()
    before = made.answer().exposure
    made.registry.set_alias(made.registry.search("basket")[0], "champion")
    assert made.answer().exposure.weights == before.weights
    assert made.resolver.refresh()
    exposure = made.answer().exposure
    assert (exposure.model_version, exposure.weights) == ("basket/v1", 1)
    assert [item.item_id for item in exposure.items] == ["b", "c", "d"]


def test_an_arm_follows_its_logics_alias() -> None:
    router = experiment()
    made = world(routers=[router])
    unit = next(unit for unit in UNITS if getattr(router.route(unit), "arm", "") == "control")
    made.register("basket/v1", AGAINST_SALES, "logic-v1")
    made.resolver.refresh()
    exposure = made.answer(unit, k=5).exposure
    assert (exposure.model_version, exposure.weights) == ("basket/v1", 3)
    assert exposure.items[-1].item_id == "b"


def test_an_alias_that_is_gone_is_served_no_more() -> None:
    made = world()
    made.registry.delete_alias("basket", "champion")
    assert made.resolver.refresh()
    assert made.answer().exposure.fallback == POPULAR


def test_loaded_models_are_kept() -> None:
    made = world(routers=[experiment()])
    state = made.resolver.state
    loads = list(made.registry.loaded)
    assert not made.resolver.refresh()
    assert made.resolver.state.models == state.models
    assert made.resolver.state.matrix is state.matrix
    assert made.registry.loaded == loads
    made.register("basket/v2", BY_TIMES, "logic-v2")
    assert made.resolver.refresh()
    assert made.registry.loaded == [*loads, 3]


def test_weights_that_two_aliases_name_are_loaded_once() -> None:
    made = world(routers=[experiment()])
    assert sorted(made.registry.loaded) == [1, 2]


def test_a_materialization_is_served_after_a_refresh() -> None:
    made = world(shop(item_week=[sold("a", 1), sold("b", 1, NOW + DAY)]))
    assert made.shown() == "a"
    made.clock.advance(DAY)
    made.features.materialize(NOW + DAY, since=NOW)
    assert made.shown() == "a"
    assert made.resolver.refresh()
    assert made.shown() == "ab"
    assert made.answer().exposure.watermarks["item_week"] == (NOW + DAY).isoformat()


def test_a_model_that_reads_another_item_view_gets_it() -> None:
    features = shop(item_week=[sold("a", 1)], item_stock=[row(NOW, item_id="a", stock=4.0)])
    made = world(features)
    assert set(made.answer().exposure.watermarks) == {"item_week"}
    made.register("basket/v3", FakeRanker((("stock", 1.0),)), "champion")
    made.resolver.refresh()
    exposure = made.answer().exposure
    assert [item.score for item in exposure.items] == [4]
    assert set(exposure.watermarks) == {"item_week", "item_stock"}


def test_an_answer_never_mixes_versions() -> None:
    made = world(shop(item_week=[sold("a", 1), sold("b", 2), sold("c", 9, NOW + DAY)]))

    def promote(_: Columns) -> None:
        made.registry.set_alias(made.registry.search("basket")[0], "champion")
        made.features.materialize(NOW + DAY)
        made.clock.advance(DAY)
        made.resolver.refresh()

    made.register("basket/v2", Hooked(BY_TIMES, promote), "champion")
    made.resolver.refresh()
    during = made.answer().exposure
    assert (during.model_version, during.weights) == ("basket/v2", 3)
    assert during.watermarks == {"item_week": NOW.isoformat()}
    assert during.event_timestamp == NOW
    assert [item.item_id for item in during.items] == ["a", "b"]
    after = made.answer().exposure
    assert (after.model_version, after.weights) == ("basket/v1", 1)
    assert [item.item_id for item in after.items] == ["c", "b", "a"]


def test_a_registry_that_is_down_leaves_the_last_good_state(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()

    def down(*_: object) -> None:
        message = "no answer"
        raise ModelError(message)

    monkeypatch.setattr(made.registry, "resolve", down)
    with pytest.raises(ModelError):
        made.resolver.refresh()
    assert made.answer().exposure.model_version == "basket/v2"


# ---------------------------------------------------------------- the digest of what was seen


def test_equal_features_have_equal_digests() -> None:
    made = world()
    first, again = made.answer().exposure, made.answer().exposure
    assert first.feature_digest == again.feature_digest != ""
    assert made.answer("stranger").exposure.feature_digest != first.feature_digest


@pytest.mark.parametrize(
    ("values", "other"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, 2.0])),
        (np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)),
        (np.array(["a", "b"], dtype=object), np.array(["ab", ""], dtype=object)),
        (np.array(["a", "b"]), np.array(["a", "c"])),
        (
            np.array(["2024-01-01", "2024-01-01T00:00:01"], dtype="datetime64[us]"),
            np.array(["2024-01-01", "2024-01-01T00:00:02"], dtype="datetime64[us]"),
        ),
    ],
    ids=["numbers", "texts", "joined texts", "fixed texts", "times"],
)
def test_a_digest_tells_values_of_every_kind_apart(values: NDArray[Any], other: NDArray[Any]) -> None:
    rows = np.arange(2)
    assert feature_digest({"x": values}, rows) == feature_digest({"x": values.copy()}, rows)
    assert feature_digest({"x": values}, rows) != feature_digest({"x": other}, rows)
    assert feature_digest({"x": values}, rows) != feature_digest({"y": values}, rows)
    assert feature_digest({"x": values}, rows) != feature_digest({"x": values}, rows[::-1])


# ---------------------------------------------------------------- candidate sources


PERSONAL = {"source": "personal", "view": "pair", "order_by": ["times"], "limit": 4}
POPULAR_LIST = {"source": "popular", "order_by": "sold", "limit": 4}
COVISIT = {"source": "covisit", "view": "pair", "limit": 4, "minimum": 1, "together": 1, "shrinkage": 0.0}


def test_a_callers_list_is_ranked_without_what_nobody_knows() -> None:
    made = world(changes={"candidates": [{"source": "given", "limit": 3}]})
    assert made.shown(k=9, candidates=["d", "nobody", "a", "d", "e", "b"]) == "ead"
    assert made.shown() == ""
    nothing = made.answer(candidates=["nobody"]).exposure
    assert (list(nothing.items), nothing.fallback, nothing.model_version) == ([], NO_CANDIDATES, "basket/v2")


def test_a_callers_list_that_no_source_takes_is_refused() -> None:
    with pytest.raises(FeatureError, match="placement home: the request gives 1 candidates, and none of the placement"):
        world().answer(candidates=["a"])


def test_a_unit_without_history_has_sources_of_its_own() -> None:
    starters = [{"source": "popular", "order_by": "sold", "limit": 2}]
    made = world(changes={"candidates": [PERSONAL], "new_units": starters})
    assert made.shown("stranger") == "bc"
    assert made.shown("u1") == "eac"


def test_filters_keep_items_out_of_lists_and_of_what_everybody_takes() -> None:
    filters = [{"filter": "items", "deny": ["b"]}, {"filter": "seen", "view": "pair"}]
    made = world(changes={"filters": filters})
    assert made.shown(k=9) == "d"
    assert made.shown("stranger", k=9) == "acde"
    made.register("basket/v2", failing(ModelError("broken")), "champion")
    made.resolver.refresh()
    exposure = made.answer(k=9).exposure
    assert ([item.item_id for item in exposure.items], exposure.fallback) == (["d"], POPULAR)


def test_a_store_that_is_down_leaves_the_filters_that_need_no_unit() -> None:
    filters = [{"filter": "items", "deny": ["b"]}, {"filter": "seen", "view": "pair"}]
    made = world(Unreachable(small(), FeatureError("no answer")), changes={"filters": filters})
    exposure = made.answer(k=9).exposure
    assert sorted(item.item_id for item in exposure.items) == ["a", "c", "d", "e"]
    assert exposure.fallback == UNIT_UNKNOWN
    made.register("basket/v2", failing(ModelError("broken")), "champion")
    made.resolver.refresh()
    exposure = made.answer(k=9).exposure
    assert [item.item_id for item in exposure.items] == ["c", "d", "e", "a"]
    assert exposure.fallback == POPULAR


def with_scores() -> tuple[World, FakeFeatures]:
    """Make a world whose champion orders by what a source says, over the features that it brings along."""
    rows = [
        pair(user, item, 1) for user, items in {"u1": "a", "u2": "ab", "u3": "abc", "u4": "d"}.items() for item in items
    ]
    source = shop(item_week=[sold(item, 1) for item in "abcd"], pair=rows)
    score = RequestTransform(
        "strength", ("covisit_score",), ("strength",), lambda inputs: {"strength": inputs["covisit_score"]}
    )
    features = FakeFeatures(
        [source.view(name) for name in source._views],
        {name: pa.Table.from_pylist(source._rows[name], schema=source._schemas[name]) for name in source._views},
        {"sales": ["strength:strength"]},
        [score],
    )
    features.materialize(NOW)
    made = World(features, changes={"candidates": [COVISIT, POPULAR_LIST]})
    made.register("basket/v1", FakeRanker((("strength", 1.0),)), "champion")
    return made, features


def test_what_a_source_says_of_every_candidate_is_a_feature() -> None:
    made, features = with_scores()
    declared = placement(candidates=[COVISIT, POPULAR_LIST])
    write_item_models(made.item_models, fit_item_models(features, [("home", declared)], NOW, 10**9))
    made.resolver.refresh()
    items = made.answer(k=9).exposure.items
    assert [item.item_id for item in items] == ["b", "c", "a", "d"]
    assert [item.score for item in items] == pytest.approx([2 / 6**0.5, 1 / 3**0.5, 0, 0])
    assert made.answer().exposure.watermarks["candidates/covisit"] == NOW.isoformat()


def test_a_model_of_a_source_is_followed_and_a_missing_one_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    made, features = with_scores()
    made.resolver.refresh()
    assert not made.resolver.refresh()
    assert [item.score for item in made.answer(k=9).exposure.items] == [0] * 4
    assert [line.message.partition(":")[0] for line in caplog.records] == ["candidates covisit"]
    declared = placement(candidates=[COVISIT, POPULAR_LIST])
    write_item_models(made.item_models, fit_item_models(features, [("home", declared)], NOW, 10**9))
    before = made.resolver.state
    assert made.resolver.refresh()
    assert made.resolver.state.matrix is before.matrix
    assert made.answer(k=1).exposure.items[0].item_id == "b"
    assert not made.resolver.refresh()
    made.item_models.keep(frozenset())
    assert made.resolver.refresh()
    assert made.answer(k=1).exposure.items[0].score == 0
    assert len(caplog.records) == 2


VISITED = {"source": "personal", "name": "visited", "view": "visit", "order_by": ["looked"], "limit": 2}


def test_what_a_session_looks_at_enters_its_next_list() -> None:
    """Pushed rows are read with the request; what was known of them is logged with it, and of no other session."""
    made = world(changes={"candidates": [VISITED, {"source": "popular", "order_by": "sold", "limit": 1}]})
    assert made.shown(session_id="s1") == made.shown(session_id="s2") == made.shown() == "b"
    pushed(made.features, "visit", looked("s1", "e", 1.0), looked("s1", "a", 2.0, NOW - TICK))
    assert set(made.shown(session_id="s1")) == set("abe")
    assert made.shown(session_id="s2") == made.shown() == "b"
    assert made.answer(session_id="s1").exposure.watermarks["visit"] == NOW.isoformat()
    assert "visit" not in made.answer(session_id="s2").exposure.watermarks
    assert "visit" not in made.resolver.state.watermarks
    made.clock.advance(DAY)
    assert set(made.shown(session_id="s1")) == set("be"), "a visit of a day ago is over"


def test_what_a_session_has_seen_may_be_kept_out() -> None:
    made = world(changes={"filters": [{"filter": "seen", "view": "visit"}]})
    assert "e" in made.shown(session_id="s1")
    pushed(made.features, "visit", looked("s1", "e", 1.0))
    assert "e" not in made.shown(session_id="s1")
    assert "e" in made.shown(session_id="s2")
