"""Do intervals of a campaign hold what comes of it, when its probabilities are right?"""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from recsys.statistics.chances import Chances, share_acting, share_reached

DRAWS = 4_000


def test_the_number_of_those_who_act_is_binomial_where_all_have_one_probability() -> None:
    found = share_acting(np.full(40, 0.3))
    assert found is not None
    expected = scipy.stats.binom.ppf([0.025, 0.975], 40, 0.3) / 40
    assert (found.lower, found.upper) == pytest.approx(tuple(expected))
    assert found.estimate == pytest.approx(0.3)


def test_three_units_by_hand() -> None:
    """Nobody with .5 * .8 * .9 = .36, all three with .01: 95 % of the cases are 0 to 2 of 3."""
    found = share_acting(np.array([0.5, 0.2, 0.1]))
    assert found is not None
    assert (found.estimate, found.lower, found.upper) == pytest.approx((0.8 / 3, 0, 2 / 3))


@pytest.mark.parametrize(("reached", "others"), [(10, 2_000), (100, 2_000), (500, 1_500), (1_500, 800), (60, 0)])
def test_intervals_hold_what_comes_in_95_of_100_cases(reached: int, others: int) -> None:
    random = np.random.default_rng(reached)
    chances = np.sort(random.beta(0.6, 6.0, reached + others))[::-1]
    first, rest = chances[:reached], chances[reached:]
    acted = (random.random((DRAWS, reached)) < first).sum(axis=1)
    also = (random.random((DRAWS, others)) < rest).sum(axis=1)
    precision, recall = share_acting(first), share_reached(Chances.of(first), Chances.of(rest))
    assert precision is not None
    assert recall is not None
    held = np.mean((precision.lower <= acted / reached) & (acted / reached <= precision.upper))
    shares = acted / np.maximum(acted + also, 1)
    also_held = np.mean((recall.lower <= shares) & (shares <= recall.upper))
    assert held > 0.94
    assert also_held > 0.93
    if reached > 50:  # of ten units one more or less is a tenth
        assert held < 0.975
    assert precision.estimate == pytest.approx(np.mean(acted / reached), abs=0.01)
    assert recall.estimate == pytest.approx(np.mean(shares), abs=0.01)


def test_nobody_and_nothing_to_expect_have_no_interval() -> None:
    assert share_acting(np.empty(0)) is None
    assert share_reached(Chances(), Chances()) is None
    everybody = share_reached(Chances.of(np.array([0.2, 0.4])), Chances())
    assert everybody is not None
    assert (everybody.estimate, everybody.lower, everybody.upper) == (1, 1, 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(0, 60))
def test_bounds_lie_around_the_estimate_and_between_0_and_1(chances: list[float], cut: int) -> None:
    values = np.array(chances)
    for found in (
        share_acting(values),
        share_reached(Chances.of(values[:cut]), Chances.of(values[cut:])),
    ):
        assert found is None or 0 <= found.lower <= found.upper <= 1
        unit = 1 / len(values)  # of whole units none need be the mean
        assert found is None or found.lower - unit < found.estimate < found.upper + unit


@given(st.lists(st.floats(0, 1), max_size=50), st.integers(0, 50))
def test_sums_of_parts_are_the_sum_of_all(chances: list[float], cut: int) -> None:
    values = np.array(chances)
    parts = Chances.of(values[:cut]) + Chances.of(values[cut:])
    assert (parts.mean, parts.variance) == pytest.approx((Chances.of(values).mean, Chances.of(values).variance))
