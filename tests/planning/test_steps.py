"""Are the differences of any two states complete, ordered, and gone once they are recorded as done?"""

import uuid
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from recsys.planning.plan import Plan, feast_step, steps_between
from recsys.planning.state import ORDER, State, applied_state, open_transactions
from recsys.specs.catalog import digest
from tests.fakes.ledger import FakeLedger

NOW = datetime(2017, 12, 4, tzinfo=UTC)
KINDS = ("transforms", "feature_views", "request_transforms")
STATE: State = {kind: {} for kind in KINDS}

values = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3), st.lists(st.integers(0, 3), max_size=2)
)
names = st.sampled_from(["a", "b", "c/d"])
contents = st.dictionaries(names, st.one_of(values, st.dictionaries(names, values, max_size=2)), max_size=3)
states = st.fixed_dictionaries({kind: st.dictionaries(names, contents, max_size=3) for kind in KINDS})


def record(ledger: FakeLedger, plan: Plan, end: str | None = "done") -> None:
    """Append a plan's steps as one transaction, with its end or still open."""
    transaction = str(uuid.uuid4())

    def append(state: str, subject: str, payload: dict[str, Any]) -> None:
        ledger.append(
            transaction=transaction,
            state=state,
            action="apply",
            subject=subject,
            payload=payload,
            author="ada",
            at=NOW,
        )

    for step in plan.steps:
        append("intent", step.subject, {"content": step.content})
    if end is not None:
        append(end, "plan", {})


def between(before: State, after: State) -> Plan:
    return Plan("local", NOW, steps_between(before, after, frozenset()))


@given(first=states, second=states)
def test_whatever_is_recorded_as_done_is_what_the_ledger_says(first: State, second: State) -> None:
    ledger = FakeLedger()
    for wanted in (first, second):
        record(ledger, between(applied_state(ledger.entries()), wanted))
        applied = applied_state(ledger.entries())
        assert digest({kind: applied[kind] for kind in KINDS}) == digest(wanted)
        assert not between(applied, wanted).steps


@given(first=states, second=states)
def test_what_was_reverted_or_is_open_does_not_count(first: State, second: State) -> None:
    ledger = FakeLedger()
    record(ledger, between(applied_state(ledger.entries()), first))
    applied = applied_state(ledger.entries())
    plan = between(applied, second)
    record(ledger, plan, "reverted")
    record(ledger, plan, None)
    assert applied_state(ledger.entries()) == applied
    assert len(open_transactions(ledger.entries())) == (1 if plan.steps else 0)


@example(before=STATE | {"transforms": {"a": {"b": 1}}}, after=STATE | {"transforms": {"a": {"b": True}}})
@given(before=states, after=states)
def test_steps_are_all_differences_in_order(before: State, after: State) -> None:
    steps = steps_between(before, after, frozenset())
    keys = [(ORDER.index(step.kind), step.name) for step in steps]
    assert keys == sorted(set(keys))
    for kind in KINDS:
        for name in before[kind].keys() | after[kind].keys():
            old, new = before[kind].get(name), after[kind].get(name)
            found = [step for step in steps if (step.kind, step.name) == (kind, name)]
            same = old is not None and new is not None and digest(old) == digest(new)
            assert len(found) == (0 if same else 1)
            for step in found:
                assert step.change == ("added" if old is None else "removed" if new is None else "changed")
                assert bool(step.fields) == (step.change == "changed")


@given(before=states, after=states)
def test_equal_plans_have_equal_digests_and_others_do_not(before: State, after: State) -> None:
    there, again, back = between(before, after), between(before, after), between(after, before)
    assert there.digest == again.digest
    assert (there.digest == back.digest) == (not there.steps)


@given(registered=states, declared=states)
def test_feast_is_told_exactly_where_it_differs(registered: State, declared: State) -> None:
    step = feast_step(registered, declared)
    assert (step is None) == (digest(registered) == digest(declared))
    assert feast_step(declared, declared) is None
    if step is not None:
        assert {one.field.partition("/")[0] for one in step.fields} <= set(KINDS)
