"""Is every request answered in its time from the highest rung that is left, and does its answer name the rung?"""

import math
from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ModelError, OnlineStoreError
from recsys.ports import Columns, Weights
from recsys.serving.breaker import OPEN
from recsys.serving.deadline import Deadline
from recsys.serving.ladder import LAST_GOOD, NOTHING, POPULAR, UNIT_UNKNOWN
from tests.fakes.features import FakeFeatures
from tests.serving.small_shop import DAY, NOW
from tests.serving.test_breaker import Time
from tests.serving.test_resolver import BY_SALES, BY_TIMES, Hooked, World, failing, small, world


class Store(FakeFeatures):
    """An online store that fails or takes its time by command."""

    def __init__(self, time: Time) -> None:
        """Take over a shop."""
        self.__dict__.update(small().__dict__)
        self.time = time
        self.fails = False
        self.takes = 0.0
        self.reads = 0

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Read a unit's rows, and give up after `within`."""
        self.reads += 1
        self.time.at += self.takes if within is None else min(self.takes, within)
        if self.fails or (within is not None and self.takes > within):
            message = "online store: no answer"
            raise OnlineStoreError(message)
        return super().online_group(view, key)

    def generation(self, view: str) -> int:
        """Fail as reads do."""
        if self.fails:
            message = "online store: no answer"
            raise OnlineStoreError(message)
        return super().generation(view)


def in_time(time: Time, seconds: float = 1.0) -> Deadline:
    return Deadline.after(timedelta(seconds=seconds), time)


def test_a_store_that_hangs_takes_half_of_the_time_and_the_model_answers_in_the_rest() -> None:
    time = Time()
    store = Store(time)
    made = world(store)
    made.register("basket/v1", BY_SALES, "champion")
    made.resolver.refresh()
    store.takes = 60
    exposure = made.answer(deadline=in_time(time)).exposure
    assert time.at == 100.5
    assert store.reads == 1, "the other views are not tried"
    assert (exposure.fallback, exposure.model_version) == (UNIT_UNKNOWN, "basket/v1")
    assert [item.item_id for item in exposure.items] == ["b", "c", "d"]


def test_after_some_failures_nobody_waits_until_the_store_is_back() -> None:
    time = Time()
    store = Store(time)
    made = world(store)
    store.fails = True
    rungs = [made.answer(deadline=in_time(time)).exposure.fallback for _ in range(20)]
    assert set(rungs) == {UNIT_UNKNOWN}
    assert made.resolver._online.breaker.state == OPEN
    assert store.reads == 5
    store.fails = False
    made.resolver._online.breaker._until = 0.0  # the cool-down is over
    assert made.answer(deadline=in_time(time)).exposure.fallback is None


def test_a_stage_that_takes_all_the_time_costs_the_stages_after_it(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    slow: list[FakeFeatures] = []

    class Slow(Store):
        """A store that answers late although it was asked to give up."""

        def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
            """Take two seconds."""
            slow.append(self)
            self.time.at += 2
            return super().online_group(view, key, within=within)

    exposure = world(Slow(time)).answer(deadline=in_time(time)).exposure
    assert (exposure.fallback, len(slow)) == (POPULAR, 1)
    assert "no time is left for a model" in caplog.text


def test_a_request_that_waited_all_its_time_reads_nothing() -> None:
    time = Time()
    store = Store(time)
    made = world(store)
    exposure = made.answer(deadline=in_time(time, 0.0)).exposure
    assert (exposure.fallback, store.reads) == (POPULAR, 0)


@pytest.mark.parametrize("fallback", ["popular", "empty"])
@given(
    broken=st.booleans(),
    fails=st.booleans(),
    takes=st.sampled_from([0.0, 0.2, 0.9, 3.0]),
    budget=st.sampled_from([0.0, 0.5, 1.0, None]),
    registry=st.booleans(),
)
def test_whatever_fails_there_is_an_answer_in_time_that_names_its_rung(
    fallback: str, broken: bool, fails: bool, takes: float, budget: float | None, registry: bool
) -> None:
    time = Time()
    store = Store(time)
    made = world(store, changes={"fallback": fallback})
    if broken:
        made.register("basket/v2", failing(ModelError("broken")), "champion")
        made.resolver.refresh()
    if registry:
        made.registry.resolve = _down  # type: ignore[method-assign] # by command
        made.resolver.follow()
    store.fails, store.takes = fails, takes
    began = time.at
    asked = Deadline.after(None if budget is None else timedelta(seconds=budget), time)
    exposure = made.answer(deadline=asked).exposure
    assert budget is None or time.at - began <= budget + 1e-9
    by_a_model = exposure.fallback in {None, LAST_GOOD, UNIT_UNKNOWN}
    assert by_a_model == (exposure.model_version is not None)
    assert by_a_model or exposure.fallback == (POPULAR if fallback == "popular" else NOTHING)
    assert bool(exposure.items) == (by_a_model or fallback == "popular")
    if broken or budget == 0:
        assert not by_a_model
    elif not fails and takes == 0:
        assert exposure.fallback == (LAST_GOOD if registry else None)
    elif fails:
        assert exposure.fallback == UNIT_UNKNOWN
        assert all(math.isnan(item.score) for item in exposure.items), "what only the unit's rows tell is unknown"


def _down(*_: object) -> Weights | None:
    message = "model registry: no answer"
    raise OnlineStoreError(message)


# ---------------------------------------------------------------- what a service follows


def test_a_registry_that_is_down_leaves_the_models_and_new_items_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()
    monkeypatch.setattr(made.registry, "resolve", _down)
    down: dict[str, str] = {}
    made.features.materialize(NOW + DAY)
    made.resolver.follow(down)
    state = made.resolver.state
    assert list(down) == list(state.troubles) == ["model registry and ledger"]
    assert made.answer().exposure.fallback == LAST_GOOD
    assert made.answer().exposure.model_version == "basket/v2"
    monkeypatch.undo()
    made.resolver.follow()
    assert made.resolver.state.current
    assert made.answer().exposure.fallback is None


def test_a_store_of_items_that_is_down_leaves_the_items_and_promotions_are_followed() -> None:
    store = Store(Time())
    made = world(store)
    store.fails = True
    made.registry.set_alias(made.registry.search("basket")[0], "champion")
    down: dict[str, str] = {}
    made.resolver.follow(down)
    exposure = made.answer().exposure
    assert (exposure.model_version, exposure.fallback) == ("basket/v1", UNIT_UNKNOWN)
    other = World(store)
    other.resolver.follow(down)
    assert other.resolver.state.troubles == down, "within one poll a store that is down is asked once"


Broken = Callable[[Columns], None]


@pytest.mark.parametrize("stage", ["load", "warm-up"])
def test_weights_that_are_refused_leave_those_before_them(
    stage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world()
    bad = made.register(
        "basket/v2", failing(ModelError("does not fit")) if stage == "warm-up" else BY_TIMES, "champion"
    )
    if stage == "load":

        def load(weights: Weights) -> None:
            made.registry.loaded.append(weights.number)
            message = "row 0 of their sample scores 1 and scored 2 at training"
            raise ModelError(message)

        monkeypatch.setattr(made.registry, "load", load)
    for _ in range(5):
        made.resolver.follow()
    exposure = made.answer().exposure
    assert (exposure.weights, exposure.fallback) == (2, None)
    assert list(made.resolver.state.refused) == [f"basket/{bad.number}"]
    assert made.resolver.state.current, "the stores answer"
    assert made.registry.loaded.count(bad.number) == 1, "it is not loaded at every poll"
    assert caplog.text.count("are not served, those before them go on") == 1
    good = made.registry.search("basket")[0]
    made.registry.set_alias(good, "champion")
    monkeypatch.undo()
    made.resolver.follow()
    assert made.answer().exposure.weights == good.number
    assert not made.resolver.state.refused


def test_refused_weights_are_looked_at_again_and_served_once_they_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()
    time = Time()
    made.resolver._follower._refusals._now = time

    def damaged(_: Weights) -> None:
        message = "damaged"
        raise ValueError(message)

    made.register("basket/v2", BY_TIMES, "champion")
    monkeypatch.setattr(made.registry, "load", damaged)
    made.resolver.follow()
    monkeypatch.undo()
    made.resolver.follow()
    assert made.answer().exposure.weights == 2
    time.at += 31
    made.resolver.follow()
    assert made.answer().exposure.weights == 3
    assert not made.resolver.state.refused


def test_new_weights_score_a_list_before_anybody_gets_one() -> None:
    made = world()
    scored: list[int] = []
    made.register("basket/v2", Hooked(BY_TIMES, lambda columns: scored.append(len(columns["times"]))), "champion")
    made.resolver.follow()
    assert len(scored) == 1
    made.resolver.follow()
    assert len(scored) == 1
    assert made.answer().exposure.weights == 3
