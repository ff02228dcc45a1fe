"""Does the champion move only on evidence, with a record, and back again?"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.decision.champion import champion_status
from recsys.decision.promotion import (
    Promotion,
    accept,
    history,
    promote_first,
    promote_verdict,
    recover,
    refresh,
    rollback,
)
from recsys.errors import DecisionError, RecsysError, StoreError
from recsys.ports import LedgerEntry, Registration, Weights
from tests.fakes.clock import FixedClock
from tests.fakes.ledger import FakeLedger
from tests.fakes.ranker import FakeRanker
from tests.fakes.registry import FakeRegistry

START = datetime(2018, 1, 1, tzinfo=UTC)


class FailingRegistry(FakeRegistry):
    """A registry that fails at the n-th move of an alias, before or after it took effect."""

    fail_in: int | None = None
    after: bool = False

    def set_alias(self, weights: Weights, alias: str) -> None:
        """Move an alias, or fail."""
        fails = self._is_due()
        if fails and not self.after:
            self._fail()
        super().set_alias(weights, alias)
        if fails:
            self._fail()

    def _is_due(self) -> bool:
        if self.fail_in is not None:
            self.fail_in -= 1
        return self.fail_in == 0

    def _fail(self) -> None:
        self.fail_in = None
        message = "model registry: gone"
        raise StoreError(message)


class FailingLedger(FakeLedger):
    """A ledger that cannot append a state."""

    refuses: str | None = None

    def append(self, **fields: Any) -> LedgerEntry:
        """Append, or fail once."""
        if fields["state"] == self.refuses:
            self.refuses = None
            message = "event log: gone"
            raise StoreError(message)
        return super().append(**fields)


@dataclass
class Shop:
    """A registry, a ledger and a clock, with shorter calls."""

    registry: FailingRegistry = field(default_factory=FailingRegistry)
    ledger: FailingLedger = field(default_factory=FailingLedger)
    clock: FixedClock = field(default_factory=lambda: FixedClock(START))

    def train(self, version: str, gate: str = "passed") -> Weights:
        """Register weights of a logic."""
        return self.registry.register(
            Registration(f"basket/{version}", FakeRanker(), {"recsys.gate": gate}, {}, {}, {}, pa.table({}))
        )

    def serve(self, version: str) -> Weights:
        """Register weights of a logic and put them into service."""
        weights = self.train(version)
        refresh(self.registry, self.ledger, self.clock, weights, "ada")
        return weights

    @property
    def ports(self) -> tuple[FakeRegistry, FakeLedger, FixedClock]:
        """Return what every function takes first."""
        return self.registry, self.ledger, self.clock

    def named(self, alias: str = "champion") -> int | None:
        """Return the number of the weights that an alias names."""
        weights = self.registry.resolve("basket", alias)
        return None if weights is None else weights.number

    def states(self) -> list[str]:
        """Return action and state of every entry."""
        return [f"{entry.action} {entry.state}" for entry in self.ledger.entries()]


@pytest.fixture
def shop() -> Shop:
    """Give an empty shop."""
    return Shop()


def report(version: str = "v2", verdict: str = "SHIP", digest: str = "d1") -> dict[str, Any]:
    """Return a frozen report."""
    return {
        "experiment": "home_ranker",
        "verdict": verdict,
        "model_version": f"basket/{version}",
        "digest": digest,
        "reason": "precision@10 rose by 12 %",
    }


class TestFirst:
    """The first champion of a model."""

    def test_becomes_the_logics_weights(self, shop: Shop) -> None:
        """Intent, alias, done."""
        weights = shop.serve("v1")
        moved = promote_first(*shop.ports, "basket/v1", "ada")
        assert (moved.changed, moved.before, moved.after) == (True, None, weights)
        assert shop.named() == weights.number
        assert shop.states()[-2:] == ["promote intent", "promote done"]
        entry = shop.ledger.entries("basket")[-1]
        assert (entry.author, entry.event_timestamp, entry.payload["gate"]) == ("ada", START, "passed")

    def test_is_refused_where_there_is_one(self, shop: Shop) -> None:
        """The message names it and the ways on."""
        shop.serve("v1")
        shop.serve("v2")
        promote_first(*shop.ports, "basket/v1", "ada")
        before = shop.states()
        with pytest.raises(DecisionError, match=r"champion basket/v1 \(weights 1\).*experiment.*roll back"):
            promote_first(*shop.ports, "basket/v2", "ada", override="because")
        assert shop.states() == before

    def test_needs_weights_in_service(self, shop: Shop) -> None:
        """Trained is not in service."""
        shop.train("v1")
        with pytest.raises(DecisionError, match="logic-v1 is not set"):
            promote_first(*shop.ports, "basket/v1", "ada")
        with pytest.raises(DecisionError, match="<model>/<version>"):
            promote_first(*shop.ports, "basket", "ada")

    def test_needs_a_passed_gate_or_a_reason(self, shop: Shop) -> None:
        """The reason is recorded."""
        weights = shop.train("v1", gate="failed")
        shop.registry.set_alias(weights, "logic-v1")
        with pytest.raises(DecisionError, match="gate failed"):
            promote_first(*shop.ports, "basket/v1", "ada")
        promote_first(*shop.ports, "basket/v1", "ada", override="nothing better yet")
        assert shop.ledger.entries()[-1].payload["override"] == "nothing better yet"


class TestVerdict:
    """A champion by experiment."""

    @pytest.fixture
    def running(self, shop: Shop) -> Shop:
        """Give a shop with champion v1 and v2 in service."""
        shop.serve("v1")
        shop.serve("v2")
        promote_first(*shop.ports, "basket/v1", "ada")
        return shop

    def test_ship_promotes_once(self, running: Shop) -> None:
        """A second call with the same report changes and appends nothing."""
        moved = promote_verdict(*running.ports, report(), "ada")
        assert (moved.changed, running.named()) == (True, 2)
        assert running.ledger.entries()[-1].payload["digest"] == "d1"
        before = running.states()
        again = promote_verdict(*running.ports, report(), "bob")
        assert (again.changed, again.transaction, again.after) == (False, moved.transaction, moved.after)
        assert promote_verdict(*running.ports, report(digest="d2"), "bob").changed is False
        assert running.states() == before

    @pytest.mark.parametrize("verdict", ["INVALID", "STOP", "WAIT", "REVIEW", "ITERATE", "ship"])
    def test_nothing_else_does(self, running: Shop, verdict: str) -> None:
        """The message gives the verdict and its reason."""
        with pytest.raises(DecisionError, match=f"verdict {verdict}: only SHIP.*rose by 12 %"):
            promote_verdict(*running.ports, report(verdict=verdict), "ada")
        assert running.named() == 1

    @pytest.mark.parametrize("key", ["experiment", "verdict", "model_version", "digest"])
    def test_needs_a_whole_report(self, running: Shop, key: str) -> None:
        """The message names what is missing."""
        with pytest.raises(DecisionError, match=f"{key} is missing"):
            promote_verdict(*running.ports, report() | {key: None}, "ada")

    def test_a_report_that_was_rolled_back_does_not_promote_again(self, running: Shop) -> None:
        """Evidence is used once."""
        promote_verdict(*running.ports, report(), "ada")
        rollback(*running.ports, "basket", "ada", reason="complaints")
        with pytest.raises(DecisionError, match="rolled back"):
            promote_verdict(*running.ports, report(), "ada")
        assert promote_verdict(*running.ports, report(digest="d2"), "ada").changed


class TestRollback:
    """Back, and back again."""

    def test_goes_back_step_by_step(self, shop: Shop) -> None:
        """A second rollback does not go forward."""
        for version in ("v1", "v2", "v3"):
            shop.serve(version)
        promote_first(*shop.ports, "basket/v1", "ada")
        promote_verdict(*shop.ports, report("v2", digest="d2"), "ada")
        promote_verdict(*shop.ports, report("v3", digest="d3"), "ada")
        assert rollback(*shop.ports, "basket", "ada", reason="complaints").after == shop.registry.search("basket")[1]
        assert shop.named() == 2
        rollback(*shop.ports, "basket", "ada", reason="complaints")
        assert shop.named() == 1
        with pytest.raises(DecisionError, match="its first"):
            rollback(*shop.ports, "basket", "ada", reason="complaints")
        assert [entry.action for entry in history(shop.ledger, "basket")][-2:] == ["rollback", "rollback"]

    def test_takes_a_refresh_back_with_both_aliases(self, shop: Shop) -> None:
        """Arms of the logic and the champion serve the same weights again."""
        shop.serve("v1")
        promote_first(*shop.ports, "basket/v1", "ada")
        moved = refresh(*shop.ports, shop.train("v1"), "scheduler")
        assert (moved.action, shop.named(), shop.named("logic-v1")) == ("refresh", 2, 2)
        rollback(*shop.ports, "basket", "ada", reason="complaints")
        assert (shop.named(), shop.named("logic-v1")) == (1, 1)

    def test_is_refused_where_there_never_was_one(self, shop: Shop) -> None:
        """An unknown model too."""
        with pytest.raises(DecisionError, match="no champion"):
            rollback(*shop.ports, "basket", "ada", reason="complaints")


class TestRefresh:
    """A retrain goes into service."""

    def test_of_another_logic_leaves_the_champion(self, shop: Shop) -> None:
        """Only its own alias moves."""
        shop.serve("v1")
        promote_first(*shop.ports, "basket/v1", "ada")
        moved = refresh(*shop.ports, shop.train("v2"), "scheduler")
        assert (moved.action, shop.named(), shop.named("logic-v2")) == ("serve", 1, 2)
        assert refresh(*shop.ports, shop.registry.search("basket")[1], "scheduler").changed is False

    def test_needs_a_passed_gate(self, shop: Shop) -> None:
        """Failed and unknown are refused."""
        for gate in ("failed", "skipped"):
            with pytest.raises(DecisionError, match=f"gate {gate}"):
                refresh(*shop.ports, shop.train("v1", gate), "scheduler")
        assert shop.states() == []


class TestOutside:
    """Somebody moves the alias in MLflow."""

    def test_is_shown_and_refused_until_accepted(self, shop: Shop) -> None:
        """Promotion and rollback wait; a refresh leaves the champion alone; accepting records it."""
        shop.serve("v1")
        shop.serve("v2")
        promote_first(*shop.ports, "basket/v1", "ada")
        shop.registry.set_alias(shop.registry.search("basket")[1], "champion")
        status = champion_status(shop.registry, shop.ledger, "basket")
        assert (status.agrees, status.recorded, shop.named()) == (False, 1, 2)
        with pytest.raises(DecisionError, match="accept it"):
            promote_verdict(*shop.ports, report(), "ada")
        with pytest.raises(DecisionError, match="moved from outside"):
            rollback(*shop.ports, "basket", "ada", reason="complaints")
        assert refresh(*shop.ports, shop.train("v2"), "scheduler").action == "serve"
        assert shop.named() == 2
        assert accept(*shop.ports, "basket", "ada").changed
        assert accept(*shop.ports, "basket", "ada").changed is False
        rollback(*shop.ports, "basket", "ada", reason="complaints")
        assert (shop.named(), champion_status(shop.registry, shop.ledger, "basket").agrees) == (1, True)

    def test_a_deleted_alias_cannot_be_accepted(self, shop: Shop) -> None:
        """There is nothing to serve."""
        shop.serve("v1")
        promote_first(*shop.ports, "basket/v1", "ada")
        shop.registry.delete_alias("basket", "champion")
        with pytest.raises(DecisionError, match="was deleted"):
            accept(*shop.ports, "basket", "ada")


class TestCrash:
    """A process dies between two steps."""

    @pytest.mark.parametrize(
        ("after", "refuses", "named", "end"),
        [(False, None, None, "reverted"), (True, None, 1, "done"), (False, "done", 1, "done")],
        ids=["before the alias", "after the alias", "before done"],
    )
    def test_is_recovered(
        self,
        shop: Shop,
        after: bool,
        refuses: str | None,
        named: int | None,
        end: str,
    ) -> None:
        """Done where the alias had moved, else reverted; nothing goes on in between or is left after."""
        shop.serve("v1")
        shop.registry.fail_in, shop.registry.after = (None if refuses else 1), after
        shop.ledger.refuses = refuses
        with pytest.raises(StoreError):
            promote_first(*shop.ports, "basket/v1", "ada")
        if not after and not refuses:
            with pytest.raises(DecisionError, match=r"by ada.*is not ended"):
                promote_first(*shop.ports, "basket/v1", "bob")
        (ended,) = recover(*shop.ports, "carl")
        assert (ended.state, ended.author, shop.named()) == (end, "carl", named)
        assert champion_status(shop.registry, shop.ledger, "basket").agrees
        assert recover(*shop.ports, "carl") == ()

    def test_between_two_aliases_puts_the_first_back(self, shop: Shop) -> None:
        """A half-made refresh is no refresh."""
        shop.serve("v1")
        promote_first(*shop.ports, "basket/v1", "ada")
        shop.registry.fail_in = 2
        with pytest.raises(StoreError):
            refresh(*shop.ports, shop.train("v1"), "scheduler")
        assert (shop.named("logic-v1"), shop.named()) == (2, 1)
        recover(*shop.ports, "carl")
        assert (shop.named("logic-v1"), shop.named()) == (1, 1)
        assert refresh(*shop.ports, shop.registry.search("basket")[1], "scheduler").action == "refresh"

    def test_a_living_process_yields_to_a_recovery(self, shop: Shop) -> None:
        """Reverted is final: whoever was taken for dead puts the alias back and says so."""
        shop.serve("v1")
        set_alias = shop.registry.set_alias

        def slow(weights: Weights, alias: str) -> None:
            recover(*shop.ports, "carl")
            set_alias(weights, alias)

        shop.registry.set_alias = slow  # type: ignore[method-assign]
        with pytest.raises(DecisionError, match="has ended already"):
            promote_first(*shop.ports, "basket/v1", "ada")
        assert shop.named() is None
        assert champion_status(shop.registry, shop.ledger, "basket").agrees

    def test_of_two_promotions_the_earlier_goes_on(self, shop: Shop) -> None:
        """The later one reverts itself, and nothing of it stays."""
        shop.serve("v1")
        append = shop.ledger.append

        def slow(**fields: Any) -> LedgerEntry:
            if fields["author"] == "bob" and fields["state"] == "intent":
                append(**{**fields, "transaction": "earlier", "author": "ada"})
            return append(**fields)

        shop.ledger.append = slow  # type: ignore[method-assign]
        with pytest.raises(DecisionError, match="by ada"):
            promote_first(*shop.ports, "basket/v1", "bob")
        assert (shop.named(), shop.states()[-1]) == (None, "promote reverted")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["first", "verdict", "rollback", "train", "recover"]),
        st.sampled_from(["v1", "v2", "v3"]),
        st.sampled_from([None, None, None, 1, 2, -1, -2]),
    ),
    max_size=30,
)


def act(shop: Shop, step: str, version: str, digest: str) -> Promotion | None:
    """Do one step of a random history."""
    if step == "first":
        return promote_first(*shop.ports, f"basket/{version}", "ada")
    if step == "verdict":
        return promote_verdict(*shop.ports, report(version, digest=digest), "ada")
    if step == "rollback":
        return rollback(*shop.ports, "basket", "ada", reason="complaints")
    if step == "recover":
        recover(*shop.ports, "ada")
    else:
        shop.serve(version)
    return None


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_champion_is_always_the_last_done_entry(steps: list[tuple[str, str, int | None]]) -> None:
    """Whatever is asked, wherever it crashes: once recovered, alias and record agree, every intent ended."""
    shop = Shop()
    for number, (step, version, crash) in enumerate(steps):
        shop.registry.fail_in = None if crash is None else abs(crash)
        shop.registry.after = crash is not None and crash < 0
        try:
            act(shop, step, version, digest=str(number))
        except RecsysError:
            shop.registry.fail_in = None
            recover(*shop.ports, "ada")
        shop.registry.fail_in = None
        moved = [
            entry.payload["aliases"]["champion"]["after"]
            for entry in shop.ledger.entries("basket")
            if entry.state == "done" and "champion" in entry.payload["aliases"]
        ]
        assert shop.named() == (moved[-1] if moved else None)
        assert champion_status(shop.registry, shop.ledger, "basket").agrees
        states = [entry.state for entry in shop.ledger.entries()]
        assert states.count("intent") == len(states) / 2
