"""Are settings tried on decision times that no test ever judges, and learned from what was mature then?"""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.modeling.decision_times import TEST, TRAIN, VALIDATION, rolling_splits, times_of, tuning_splits
from recsys.specs import model  # by module: pytest would collect a class named Testing
from recsys.specs.problem import Target

EXAMPLES = settings(deadline=None, derandomize=True)
KNOWN_AT = datetime(2017, 12, 4, tzinfo=UTC)
WEEK = timedelta(days=7)


def test_one_split_is_taken_as_it_is() -> None:
    alone = rolling_splits(KNOWN_AT, Target(event="purchase", horizon=WEEK), model.Training(), model.Testing())
    assert tuning_splits(alone) == alone


def test_of_three_splits_each_fit_is_judged_a_week_before_the_next() -> None:
    """With a horizon of two weeks, the validation times of the later splits are test times of the earlier ones."""
    target = Target(event="redeemed", horizon=2 * WEEK)
    splits = rolling_splits(KNOWN_AT, target, model.Training(decision_times=5), model.Testing(splits=3))
    tested = times_of(splits, TEST)
    assert [one.validation[0] in tested for one in splits] == [False, True, True]

    tuned = tuning_splits(splits)

    assert tuned[-1] == splits[0]
    assert [f"{one.validation[0]:%m-%d}" for one in tuned] == ["08-28", "09-04", "09-11"]
    assert f"{tested[0]:%m-%d}" == "09-25"
    assert [len(one.train) for one in tuned] == [2, 3, 4]


def test_there_are_fewer_where_nothing_is_left_to_learn_from() -> None:
    target = Target(event="purchase", horizon=WEEK)
    splits = rolling_splits(KNOWN_AT, target, model.Training(decision_times=3), model.Testing(splits=4))
    assert [len(one.train) for one in tuning_splits(splits)] == [1, 2]


@EXAMPLES
@given(
    st.integers(1, 5),
    st.integers(1, 40).map(lambda days: timedelta(days=days)),
    st.integers(2, 8),
    st.integers(1, 4),
    st.sampled_from([timedelta(days=7), timedelta(days=14), timedelta(days=1)]),
)
def test_nothing_that_is_tested_or_immature_is_seen(
    splits: int, horizon: timedelta, learned: int, tests: int, every: timedelta
) -> None:
    rolled = rolling_splits(
        KNOWN_AT,
        Target(event="purchase", horizon=horizon),
        model.Training(every=every, decision_times=learned),
        model.Testing(decision_times=tests, splits=splits),
    )
    tuned = tuning_splits(rolled)
    assert 1 <= len(tuned) <= splits
    known = times_of(rolled, TRAIN, VALIDATION)
    for one in tuned:
        assert len(one.validation) == 1
        assert {*one.train, *one.validation} <= {*known}
        assert one.train[-1] + one.wait <= one.validation[0]
        assert one.validation[0] + one.wait <= rolled[0].test[0]
    judged = times_of(tuned, VALIDATION)
    assert len(judged) == len(tuned)
    assert not {*judged} & {*times_of(rolled, TEST)}
