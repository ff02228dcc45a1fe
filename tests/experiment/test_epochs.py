"""Which times did an experiment's allocation not change in?"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recsys.experiment.epochs import Epoch, epoch_at, epochs, proportional
from recsys.specs.experiment import Experiment

START = datetime(2017, 12, 4, tzinfo=UTC)
END = START + timedelta(weeks=4)
DAY = timedelta(days=1)


def declared(control: int, treatment: int, *, end: datetime | None = None, **changes: Any) -> Experiment:
    """Return an experiment with ratios in buckets."""
    plan = {"units": 100, "start": "2017-12-04", "weeks": 4, "end": None if end is None else end.isoformat()}
    arms = {
        "control": {"model_version": "basket/v1", "slot": [0.0, 0.4], "ratio": control / 10_000},
        "treatment": {"model_version": "basket/v2", "slot": [0.4, 0.8], "ratio": treatment / 10_000},
    }
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": "home:",
            "arms": arms,
            "metrics": {"primary": {"name": "precision@10", "minimum_effect": 0.08}},
            "plan": plan,
        }
        | changes
    )


def ratios(control: int, treatment: int, **more: int) -> dict[str, int]:
    return {"control": control, "treatment": treatment, **more}


def test_nothing_applied_is_no_epoch() -> None:
    assert epochs([]) == ()


def test_what_was_applied_last_before_the_start_is_the_first_epoch() -> None:
    applied = [(START - 9 * DAY, declared(100, 200)), (START - DAY, declared(500, 500))]
    assert epochs(applied) == (Epoch(START, END, ratios(500, 500)),)


def test_a_first_apply_in_a_past_that_is_replayed_holds_from_the_start() -> None:
    assert epochs([(START + 40 * DAY, declared(500, 500))]) == (Epoch(START, END, ratios(500, 500)),)


def test_each_ramp_opens_an_epoch_and_other_edits_open_none() -> None:
    applied = [
        (START - DAY, declared(500, 500)),
        (START + DAY, declared(500, 500, overrides={"u1": "control"})),
        (START + 2 * DAY, declared(1_000, 500)),
        (START + 3 * DAY, declared(1_000, 1_000)),
        (START + 4 * DAY, declared(1_000, 1_000, end=START + 5 * DAY)),
    ]
    known = epochs(applied)
    assert known == (
        Epoch(START, START + 2 * DAY, ratios(500, 500)),
        Epoch(START + 2 * DAY, START + 3 * DAY, ratios(1_000, 500)),
        Epoch(START + 3 * DAY, START + 5 * DAY, ratios(1_000, 1_000)),
    )
    assert [epoch_at(known, START + days * DAY) for days in (-1, 0, 2, 4, 5)] == [None, 0, 1, 2, None]


def test_a_new_arm_opens_an_epoch() -> None:
    third = {"third": {"model_version": "basket/v3", "slot": [0.8, 1.0], "ratio": 0.1}}
    grown = declared(500, 500)
    after = grown.model_copy(update={"arms": {**grown.arms, **declared(1, 1, arms=_arms() | third).arms}})
    after = after.model_copy(update={"arms": {**after.arms, **grown.arms}})
    known = epochs([(START, grown), (START + DAY, after)])
    assert [epoch.ratios for epoch in known] == [ratios(500, 500), ratios(500, 500, third=1_000)]
    assert not proportional(known)


def test_two_ramps_of_one_moment_are_one() -> None:
    applied = [(START, declared(1, 1)), (START + DAY, declared(2, 2)), (START + DAY, declared(3, 3))]
    assert [epoch.ratios for epoch in epochs(applied)] == [ratios(1, 1), ratios(3, 3)]


def test_arms_that_grow_in_proportion_may_be_pooled() -> None:
    assert proportional(epochs([(START, declared(500, 1_000)), (START + DAY, declared(1_000, 2_000))]))
    assert not proportional(epochs([(START, declared(500, 500)), (START + DAY, declared(1_000, 501))]))
    assert proportional(())


@given(st.lists(st.tuples(st.integers(-5, 40), st.integers(1, 2), st.integers(1, 4_000)), min_size=1))
def test_epochs_have_no_gaps_and_differ_from_their_neighbours(applied: list[tuple[int, int, int]]) -> None:
    applied.sort(key=itemgetter(0))
    known = epochs([(START + days * DAY, declared(one, two)) for days, one, two in applied])
    assert (known[0].start, known[-1].end) == (START, END)
    for left, right in pairwise(known):
        assert left.end == right.start
        assert left.ratios != right.ratios
    assert all(epoch.start < epoch.end for epoch in known)


def _arms() -> dict[str, Any]:
    return {name: arm.model_dump() for name, arm in declared(500, 500).arms.items()}
