"""Does a process follow what is declared, keep what it serves when that fails, and begin from its local copy?"""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from recsys.errors import SpecError, StoreError
from recsys.serving.copying import CopiedStores, save
from recsys.serving.fleet import Declared, Fleet
from recsys.serving.following import Follower
from recsys.serving.ladder import LAST_GOOD, UNIT_UNKNOWN
from recsys.serving.resolver import Resolver
from recsys.serving.state import Online, ServingState
from tests.fakes.clock import FixedClock
from tests.fakes.item_models import FakeItemModels
from tests.fakes.serving_copy import FakeServingCopy
from tests.serving.small_shop import NOW, placement
from tests.serving.test_breaker import Time
from tests.serving.test_ladder import Store
from tests.serving.test_resolver import BY_SALES, BY_TIMES, SERVICE_OF, CountedRegistry, World


@dataclass
class Shop:
    """A source of declarations whose stores fail by command."""

    registry: CountedRegistry = field(default_factory=CountedRegistry)
    copy: FakeServingCopy = field(default_factory=FakeServingCopy)
    placements: dict[str, dict[str, Any]] = field(default_factory=lambda: {"home": {}})
    stamp: int = 1
    ledger: Exception | None = None
    down: bool = False

    def __post_init__(self) -> None:
        """Register two models over a shop that is materialized."""
        self.store = Store(Time())
        self.store.materialize(NOW)
        made = World.__new__(World)
        made.registry = self.registry
        made.register("basket/v1", BY_SALES, "logic-v1")
        made.register("basket/v2", BY_TIMES, "logic-v2", "champion")
        self.saved: list[str] = []

    def declared(self) -> Declared:
        """Return what is declared."""
        if self.ledger is not None:
            raise self.ledger
        return Declared(str(self.stamp), {name: placement(**each) for name, each in self.placements.items()})

    def remembered(self) -> Declared | None:
        """Return what the copy says."""
        documents = {name: self.copy.read(name) for name in self.copy.placements()}
        found = {name: placement(**each["declared"]) for name, each in documents.items() if each}
        return Declared("copy", found) if found else None

    def _champion(self, model: str) -> Any:
        if self.down:
            message = "ledger: no answer"
            raise StoreError(message)
        return self.registry.resolve(model, "champion")

    def resolver(self, name: str, declared: Declared) -> Resolver:
        """Make a resolver."""
        online = Online(self.store, FakeItemModels())
        made = declared.placements[name]
        return Resolver(name, made, online, self.registry, self._champion, (), FixedClock(NOW), SERVICE_OF.__getitem__)

    def restore(self, name: str, declared: Declared, resolver: Resolver) -> None:
        """Restore a resolver."""
        document = self.copy.read(name)
        if document is None:
            return
        copied = CopiedStores(self.copy, document, (self.store.feature_set,))
        follower = Follower(
            name,
            declared.placements[name],
            Online(copied, FakeItemModels()),
            copied,
            copied.champion_of,
            (),
            FixedClock(NOW),
            SERVICE_OF.__getitem__,
        )
        resolver.restore(follower.restored(ServingState.empty(()), copied.at))

    def save(self, name: str, declared: Declared, resolver: Resolver) -> None:
        """Write the copy."""
        del declared
        self.saved.append(name)
        save(self.copy, name, self.placements[name], resolver.state, self.store, NOW)

    def forget(self, name: str) -> None:
        """Forget a placement."""
        self.copy.forget(name)

    def all_down(self) -> None:
        """Let no store answer."""
        self.ledger = StoreError("ledger: no answer")
        self.down = self.store.fails = True

    def all_up(self) -> None:
        """Let every store answer."""
        self.ledger = None
        self.down = self.store.fails = False


def shown(fleet: Fleet, name: str = "home") -> tuple[str, str | None, int | None]:
    """Return the items, the rung and the weights of an answer."""
    exposure = fleet[name].recommend("u1").exposure
    return "".join(item.item_id for item in exposure.items), exposure.fallback, exposure.weights


def test_placements_come_change_and_go_without_a_restart() -> None:
    shop = Shop()
    fleet = Fleet(source=shop)
    assert not fleet.ready
    fleet.sweep()
    assert fleet.ready
    home, loads = fleet["home"], list(shop.registry.loaded)
    shop.placements |= {"cart": {"k": 1}}
    shop.stamp += 1
    fleet.sweep()
    assert (shown(fleet)[0], shown(fleet, "cart")[0]) == ("eac", "e")
    assert fleet["home"] is home, "what did not change goes on as it is"
    shop.placements["home"] = {"k": 2}
    shop.stamp += 1
    fleet.sweep()
    assert shown(fleet)[0] == "ea"
    assert shop.registry.loaded[: len(loads)] == loads
    assert shop.registry.loaded.count(2) == 2, "a changed placement takes its loaded weights over"
    del shop.placements["cart"]
    shop.stamp += 1
    fleet.sweep()
    assert list(fleet) == list(shop.copy.placements()) == ["home"]


@pytest.mark.parametrize("error", [SpecError(["home.yaml: broken"]), StoreError("ledger: no answer"), KeyError("x")])
def test_declarations_that_cannot_be_read_change_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop()
    fleet = Fleet(source=shop)
    fleet.sweep()
    shop.ledger = error
    fleet.sweep()
    fleet.sweep()
    assert shown(fleet) == ("eac", None, 2)
    assert fleet.ready
    assert fleet.troubles["declarations"] == str(error)
    assert caplog.text.count("declarations cannot be followed") == 1
    shop.ledger = None
    fleet.sweep()
    assert not fleet.troubles


def test_a_placement_that_cannot_be_served_as_applied_is_served_as_it_was_and_tried_again() -> None:
    shop = Shop()
    fleet = Fleet(source=shop)
    fleet.sweep()
    shop.placements = {"home": {"pool": {"view": "item_week", "feature": "weight"}}, "cart": {"k": 1}}
    shop.stamp += 1
    fleet.sweep()
    assert shown(fleet)[0] == "eac"
    assert shown(fleet, "cart")[0] == "e"
    assert "weight" in fleet.troubles["placement home"]
    shop.placements["home"] = {"k": 2}
    shop.stamp += 1
    fleet.sweep()
    assert shown(fleet)[0] == "ea"
    assert not fleet.troubles


def test_a_start_with_every_store_down_answers_from_the_copy_and_returns_by_itself() -> None:
    shop = Shop()
    Fleet(source=shop).sweep()
    shop.all_down()
    loads = len(shop.registry.loaded)
    fleet = Fleet(source=shop)
    fleet.sweep()
    assert fleet.ready
    state = fleet["home"].state
    assert state.copied == NOW
    assert set(state.troubles) == {"model registry and ledger", "online store"}
    assert shown(fleet)[1:] == (UNIT_UNKNOWN, 2)
    shop.store.fails = False
    assert shown(fleet) == ("eac", LAST_GOOD, 2)
    shop.all_up()
    fleet["home"]._online.breaker._until = None
    fleet.sweep()
    assert shown(fleet) == ("eac", None, 2)
    assert fleet["home"].state.copied is None
    assert len(shop.registry.loaded) == loads, "weights of the copy are not loaded again"


def test_a_first_start_with_stores_down_is_not_ready_until_they_answer() -> None:
    shop = Shop()
    shop.all_down()
    fleet = Fleet(source=shop)
    fleet.sweep()
    assert not fleet.ready
    shop.all_up()
    fleet.sweep()
    assert fleet.ready


def test_stores_that_hang_at_a_start_are_waited_for_in_vain_for_a_short_while() -> None:
    shop, time = Shop(), Time()
    Fleet(source=shop).sweep()
    fleet = Fleet(source=shop, now=time)
    states: list[bool] = []

    class Hanging(type(shop.store)):  # type: ignore[misc] # the store, with a command of its own
        def generation(self, view: str) -> int:
            states.append(fleet.ready)
            time.at += 6
            states.append(fleet.ready)
            return int(super().generation(view))

    shop.store.__class__ = Hanging
    fleet.sweep()
    assert states[:2] == [False, True]


def test_weights_of_the_copy_that_are_damaged_are_left_out() -> None:
    shop = Shop()
    Fleet(source=shop).sweep()
    document = shop.copy.read("home")
    assert document is not None
    damaged = [each | {"digest": "other"} for each in document["models"]]
    shop.copy.write("home", dict(document) | {"models": damaged}, [])
    shop.all_down()
    fleet = Fleet(source=shop)
    fleet.sweep()
    exposure = fleet["home"].recommend("u1").exposure
    assert [item.item_id for item in exposure.items] == ["b", "c", "d"]
    assert exposure.model_version is None


def test_a_copy_is_written_when_something_changed_and_only_then() -> None:
    shop = Shop()
    fleet = Fleet(source=shop)
    for _ in range(3):
        fleet.sweep()
    assert shop.saved == ["home"]
    shop.registry.set_alias(shop.registry.search("basket")[0], "champion")
    fleet.sweep()
    fleet.sweep()
    assert shop.saved == ["home", "home"]
    shop.down = True
    shop.store._generations["item_week"] += 1
    fleet.sweep()
    assert shop.saved == ["home", "home"], "a state that is not of now is not kept"


def test_request_time_features_come_back_only_as_they_were() -> None:
    made = World(Store(Time()))
    made.features.materialize(NOW)
    made.register("basket/v3", BY_TIMES, "champion")
    made.resolver.refresh()
    copy = FakeServingCopy()
    save(copy, "home", {}, made.resolver.state, made.features, NOW)
    document = copy.read("home")
    assert document is not None
    known = made.features.feature_set("full")
    same = CopiedStores(copy, document, (lambda _: replace(known, digest="changed"), lambda _: known))
    assert same.feature_set("full") == known
    assert same.champion_of("basket") is not None
    changed = CopiedStores(copy, document, (lambda _: replace(known, digest="changed"),))
    assert changed.champion_of("basket") is None
