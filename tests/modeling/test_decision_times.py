"""Does every part learn only from labels that were mature when the next part decided?"""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.steps import ANCHOR
from recsys.errors import ModelError
from recsys.modeling.decision_times import split
from recsys.specs import model  # by module: pytest would collect a class named Testing
from recsys.specs.problem import Target

EXAMPLES = settings(deadline=None, derandomize=True)

KNOWN_AT = datetime(2017, 12, 4, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)


def target(horizon: timedelta = WEEK, settle_delay: timedelta = timedelta(0)) -> Target:
    """Declare a label."""
    return Target(event="purchase", horizon=horizon, settle_delay=settle_delay)


def test_weeks_before_a_monday() -> None:
    parts = split(KNOWN_AT, target(), model.Training(decision_times=3), model.Testing(decision_times=2))
    assert parts.test == (datetime(2017, 11, 20, tzinfo=UTC), datetime(2017, 11, 27, tzinfo=UTC))
    assert parts.validation == (datetime(2017, 11, 13, tzinfo=UTC),)
    assert parts.train == (datetime(2017, 10, 30, tzinfo=UTC), datetime(2017, 11, 6, tzinfo=UTC))


def test_a_moment_before_maturity_is_a_step_earlier() -> None:
    parts = split(KNOWN_AT - timedelta(microseconds=1), target(), model.Training(), model.Testing(decision_times=1))
    assert parts.test == (datetime(2017, 11, 20, tzinfo=UTC),)


def test_a_settle_delay_is_waited_for() -> None:
    parts = split(KNOWN_AT, target(settle_delay=DAY), model.Training(decision_times=2), model.Testing(decision_times=1))
    assert parts.test == (datetime(2017, 11, 20, tzinfo=UTC),)
    assert parts.validation == (datetime(2017, 11, 6, tzinfo=UTC),)


@pytest.mark.parametrize("zone", ["known at 1970-02-02"])
def test_decisions_before_the_anchor_are_refused(zone: str) -> None:
    with pytest.raises(ModelError, match=f"{zone}.*ask for fewer decision times"):
        split(datetime(1970, 2, 2, tzinfo=UTC), target(), model.Training(), model.Testing())


def test_a_step_of_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match=r"training\.every: 0s: decision times must be apart"):
        split(KNOWN_AT, target(), model.Training(every=timedelta(0)), model.Testing())


@EXAMPLES
@given(
    st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 24 * 40).map(lambda hours: timedelta(hours=hours)),
    st.integers(0, 24 * 20).map(lambda hours: timedelta(hours=hours)),
    st.integers(1, 24 * 21).map(lambda hours: timedelta(hours=hours)),
    st.integers(2, 12),
    st.integers(1, 8),
)
def test_labels_are_mature_before_the_next_part_decides(
    known_at: datetime, horizon: timedelta, settle_delay: timedelta, every: timedelta, learned: int, tested: int
) -> None:
    parts = split(
        known_at,
        target(horizon, settle_delay),
        model.Training(every=every, decision_times=learned),
        model.Testing(decision_times=tested),
    )
    wait = horizon + settle_delay
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (learned - 1, 1, tested)
    assert parts.test[-1] + wait <= known_at
    assert parts.validation[-1] + wait <= parts.test[0]
    assert parts.train[-1] + wait <= parts.validation[0]
    for part in (parts.train, parts.validation, parts.test):
        assert list(part) == sorted(set(part))
        assert all((moment - ANCHOR) % every == timedelta(0) for moment in part)


@EXAMPLES
@given(st.datetimes(datetime(2010, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_newest_mature_moment_is_tested(known_at: datetime) -> None:
    parts = split(known_at, target(), model.Training(), model.Testing())
    assert parts.test[-1] + WEEK <= known_at < parts.test[-1] + 2 * WEEK
    assert all(moment.weekday() == 0 for moment in parts.test)
