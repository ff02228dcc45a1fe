"""Effects agree with closed forms, CUPED narrows them without moving them."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DataError
from recsys.statistics.effects import (
    effect,
    moments,
    sample_ratio_p_value,
)

RNG = np.random.default_rng(11)


def test_one_request_a_unit_is_welchs_test() -> None:
    control, treatment = RNG.gamma(2.0, size=300), RNG.gamma(2.2, size=250)
    found = effect("m", moments(control, np.ones(300)), moments(treatment, np.ones(250)))
    expected = scipy.stats.ttest_ind(treatment, control, equal_var=False)
    bounds = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.absolute.lower, found.absolute.upper) == pytest.approx((bounds.low, bounds.high))
    assert found.absolute.estimate == pytest.approx(treatment.mean() - control.mean())
    assert found.relative.estimate == pytest.approx(treatment.mean() / control.mean() - 1)
    assert found.standard_error == pytest.approx(math.sqrt(control.var(ddof=1) / 300 + treatment.var(ddof=1) / 250))
    assert (found.control_units, found.treatment_units, found.cuped) == (300, 250, False)


def test_ratio_variance_is_that_of_the_linearised_unit() -> None:
    # Delta method by hand: the residuals (numerator - R denominator) / mean(denominator).
    arms = []
    for size, chance in ((400, 0.3), (500, 0.35)):
        counts = RNG.integers(1, 8, size)
        arms.append((RNG.binomial(counts, chance), counts))
    variance, ratios = 0.0, []
    for hits, counts in arms:
        ratio = hits.sum() / counts.sum()
        variance += ((hits - ratio * counts) / counts.mean()).var(ddof=1) / len(hits)
        ratios.append(ratio)
    found = effect("m", moments(*arms[0]), moments(*arms[1]))
    assert (found.control, found.treatment) == pytest.approx(tuple(ratios))
    assert found.standard_error == pytest.approx(math.sqrt(variance))


@given(seed=st.integers(0, 2**32 - 1), lift=st.floats(0.3, 3), confidence=st.sampled_from([0.5, 0.95, 0.999]))
def test_relative_bounds_are_the_ratios_that_the_test_does_not_exclude(
    seed: int, lift: float, confidence: float
) -> None:
    rng = np.random.default_rng(seed)
    control, treatment = rng.gamma(0.5, size=120), rng.gamma(0.5, size=80) * lift
    arms = moments(control, np.ones(120)), moments(treatment, np.ones(80))
    found = effect("m", *arms, confidence=confidence)
    assert found.relative.holds(0.0) == (found.p_value >= 1 - confidence) == found.absolute.holds(0.0)
    variances = control.var(ddof=1) / 120, treatment.var(ddof=1) / 80
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 119 + variances[1] ** 2 / 79)
    quantile = scipy.stats.t.ppf((1 + confidence) / 2, freedom)
    for bound in (found.relative.lower, found.relative.upper):
        ratio = 1 + bound
        distance = abs(treatment.mean() - ratio * control.mean())
        assert distance == pytest.approx(quantile * math.sqrt(variances[1] + ratio**2 * variances[0]), rel=1e-6)


def test_a_control_that_may_be_zero_bounds_the_ratio_from_below_alone() -> None:
    rare = np.zeros(100)
    rare[:2] = 1.0
    ones = np.ones(100)
    found = effect("m", moments(rare, ones), moments(RNG.gamma(2.0, size=100), ones))
    assert found.absolute.lower > 0
    assert 0 < found.relative.lower < found.relative.estimate
    assert found.relative.upper == math.inf
    both = effect("m", moments(rare, ones), moments(rare, ones)).relative
    assert both.estimate == 0
    assert math.isnan(both.lower)
    assert math.isnan(both.upper)


def test_cuped_equals_the_regression_adjustment_by_hand() -> None:
    size = 500
    before = RNG.normal(10, 2, size=(2, size))
    after = before + RNG.normal(0, 1, size=(2, size))
    ones = np.ones(size)
    found = effect("m", moments(after[0], ones, before[0], ones), moments(after[1], ones, before[1], ones))
    theta = np.cov(after.ravel(), before.ravel())[0, 1] / before.var(ddof=1)
    adjusted = after - theta * (before - before.mean())
    assert found.cuped
    assert found.absolute.estimate == pytest.approx(adjusted[1].mean() - adjusted[0].mean())
    assert found.standard_error == pytest.approx(
        math.sqrt(adjusted[0].var(ddof=1) / size + adjusted[1].var(ddof=1) / size), rel=1e-3
    )


def test_cuped_narrows_and_does_not_move() -> None:
    truth, estimates, widths, plain_widths = 0.1, [], [], []
    rng = np.random.default_rng(5)
    for _ in range(150):
        arms, plain = [], []
        for lift in (0.0, truth):
            habit = rng.beta(2, 5, size=300)
            counts, counts_before = rng.integers(1, 5, 300), rng.integers(0, 5, 300)
            hits = rng.binomial(10 * counts, habit * (1 + lift)) / 10
            hits_before = rng.binomial(10 * counts_before, habit) / 10
            arms.append(moments(hits, counts, hits_before, counts_before))
            plain.append(moments(hits, counts))
        adjusted = effect("m", *arms)
        estimates.append(adjusted.absolute.estimate)
        widths.append(adjusted.standard_error)
        plain_widths.append(effect("m", *plain).standard_error)
    expected = truth * 2 / 7
    error = np.std(estimates, ddof=1) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - expected) < 3 * error
    assert np.std(estimates) == pytest.approx(np.mean(widths), rel=0.2)
    assert np.mean(widths) < 0.8 * np.mean(plain_widths)


def test_without_a_pre_period_there_is_no_cuped() -> None:
    hits, counts, none = RNG.binomial(3, 0.3, 100), np.full(100, 3), np.zeros(100)
    with_zeros = effect("m", moments(hits, counts, none, none), moments(hits, counts, none, none))
    assert not with_zeros.cuped
    assert with_zeros.standard_error == pytest.approx(
        effect("m", moments(hits, counts), moments(hits, counts)).standard_error
    )


@pytest.mark.parametrize(
    ("control", "treatment"),
    [
        (([0, 0, 0], [1, 1, 1]), ([1, 0, 1], [1, 1, 1])),
        (([1], [1]), ([1, 0, 1], [1, 1, 1])),
        (([], []), ([1, 0, 1], [1, 1, 1])),
        (([1, 1], [1, 1]), ([1, 1], [1, 1])),
        (([0, 0], [0, 0]), ([1, 0], [1, 1])),
    ],
)
def test_what_cannot_be_compared_has_no_bounds(
    control: tuple[list[float], list[float]], treatment: tuple[list[float], list[float]]
) -> None:
    found = effect("m", moments(*control), moments(*treatment))
    assert math.isnan(found.p_value)
    assert math.isnan(found.absolute.lower)
    assert math.isnan(found.relative.upper)


def test_a_mean_near_zero_has_no_bounds_instead_of_an_error() -> None:
    spread = np.concatenate((np.full(50, 1e6), np.full(50, -1e6 + 1e-6)))
    found = effect("m", moments(spread, np.ones(100)), moments(np.arange(100.0), np.ones(100)))
    assert math.isnan(found.absolute.lower)


def test_cuped_that_pushes_a_mean_below_zero_has_no_bounds() -> None:
    habit = np.linspace(0.0, 10.0, 1_000)
    treatment = moments(habit, np.ones(1_000), habit, np.ones(1_000))
    control = moments([0.1, 0.2, 0.3], np.ones(3), [9.0, 10.0, 9.5], np.ones(3))
    found = effect("m", control, treatment)
    assert found.control == pytest.approx(0.2)
    assert math.isnan(found.absolute.lower)


def test_moments_refuse() -> None:
    with pytest.raises(DataError, match="one value a unit"):
        moments([1.0], [1.0, 2.0])
    with pytest.raises(DataError, match="one value a unit"):
        moments([1.0], [1.0], [1.0])
    with pytest.raises(DataError, match="not finite"):
        moments([math.nan], [1.0])


def test_sample_ratio_is_chi_square() -> None:
    expected = scipy.stats.chisquare([5_100, 4_900, 1_990], [5_000, 5_000, 1_990]).pvalue
    ratios = {"a": 0.4, "b": 0.4, "c": 0.1592}
    found = sample_ratio_p_value({"a": 5_100, "b": 4_900, "c": 1_990}, ratios)
    assert found == pytest.approx(expected, rel=1e-2)
    assert sample_ratio_p_value({"a": 10}, {"a": 0.5, "b": 0.5}) == pytest.approx(scipy.stats.chisquare([10, 0]).pvalue)
    assert sample_ratio_p_value({}, ratios) == 1.0
    assert sample_ratio_p_value({"a": 3}, {"a": 1.0}) == 1.0
    with pytest.raises(DataError, match="not declared"):
        sample_ratio_p_value({"z": 1}, ratios)
