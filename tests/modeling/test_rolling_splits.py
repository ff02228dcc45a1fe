"""Do rolling splits follow each other, and does each learn only from what was mature when it was judged?"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.modeling.decision_times import TEST, TRAIN, VALIDATION, read_split, rolling_splits, split, times_of
from recsys.specs import model  # by module: pytest would collect a class named Testing
from recsys.specs.problem import Target

EXAMPLES = settings(deadline=None, derandomize=True)
KNOWN_AT = datetime(2017, 12, 4, tzinfo=UTC)
WEEK = timedelta(days=7)


def test_one_split_is_the_newest() -> None:
    target = Target(event="purchase", horizon=WEEK)
    three = rolling_splits(KNOWN_AT, target, model.Training(), model.Testing(decision_times=2, splits=3))
    alone = split(KNOWN_AT, target, model.Training(), model.Testing(decision_times=2))
    assert three[-1] == alone
    assert [one.test[0].day for one in three] == [23, 6, 20]
    assert not three[0].immature


@EXAMPLES
@given(
    st.integers(1, 5),
    st.integers(1, 40).map(lambda days: timedelta(days=days)),
    st.integers(0, 20).map(lambda days: timedelta(days=days)),
    st.integers(1, 4),
    st.sampled_from([timedelta(days=7), timedelta(days=14), timedelta(days=1)]),
)
def test_each_part_is_mature_before_the_next(
    splits: int, horizon: timedelta, settle: timedelta, tests: int, every: timedelta
) -> None:
    rolled = rolling_splits(
        KNOWN_AT,
        Target(event="purchase", horizon=horizon, settle_delay=settle),
        model.Training(every=every, decision_times=3),
        model.Testing(decision_times=tests, splits=splits),
    )
    judged = [time for one in rolled for time in one.test]
    assert judged == sorted(judged)
    assert all(later - earlier == every for earlier, later in pairwise(judged))
    assert judged[-1] + horizon + settle <= KNOWN_AT
    for one in rolled:
        assert one.wait == horizon + settle
        assert one.train[-1] + one.wait <= one.validation[0]
        assert one.validation[-1] + one.wait <= one.test[0]
        assert read_split(one.to_dict()) == type(one)(one.train, one.validation, one.test, one.wait)


def test_a_part_holds_its_decision_times_and_no_other() -> None:
    rolled = rolling_splits(KNOWN_AT, Target(event="purchase", horizon=WEEK), model.Training(), model.Testing(splits=2))
    times = times_of(rolled, TRAIN, VALIDATION, TEST)
    moments = np.array([time.replace(tzinfo=None) for time in times], dtype="datetime64[us]")
    for one in rolled:
        for part in (TRAIN, VALIDATION, TEST):
            held = one.holds(part, moments)
            assert tuple(np.array(times)[held]) == getattr(one, part)


def test_a_moment_between_decision_times_belongs_where_its_label_is_mature() -> None:
    (one,) = rolling_splits(KNOWN_AT, Target(event="purchase", horizon=WEEK), model.Training(), model.Testing())
    tuesday = np.datetime64(one.train[0].replace(tzinfo=None)) + np.timedelta64(1, "D")
    late = np.datetime64(one.validation[0].replace(tzinfo=None)) - np.timedelta64(1, "D")
    assert one.holds(TRAIN, np.array([tuesday, late])).tolist() == [True, False], "its label is still to come"
