"""Strata of a ramp give what was done and not when it was done."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tea_tasting.aggr import Aggregates

from recsys.errors import DataError
from recsys.statistics.effects import Effect, effect, moments
from recsys.statistics.strata import NO_STRATUM, standardise, strata_of


def test_a_unit_that_came_before_its_arm_grew_belongs_to_no_stratum() -> None:
    visit = np.array([0, 5, 12, 5, 25, -1])
    exposure = np.array([0, 9, 12, 12, 27, 3])
    assert strata_of(visit, exposure, [0, 10, 20]).tolist() == [0, 0, 1, NO_STRATUM, 2, NO_STRATUM]
    ramps = np.array([0, 0, 1, 1, 0, 0])
    assert strata_of(visit, exposure, [0, 10, 20], ramps).tolist() == [0, 0, 1, 3 * 2 + 1, 2, NO_STRATUM]
    assert strata_of(visit, exposure, [0, 10, 20], ramps - 1)[3] == 3 * 1 + 1
    assert strata_of(visit, exposure, [0, 10, 20], ramps - 2)[3] == NO_STRATUM
    with pytest.raises(DataError, match="an exposure is a visit"):
        strata_of(np.array([5]), np.array([4]), [0])
    with pytest.raises(DataError, match="begins after the last"):
        strata_of(visit, exposure, [0, 10, 10])


def _arm(rng: np.random.Generator, units: int, level: float) -> tuple[Aggregates, np.ndarray]:
    requests = rng.integers(1, 6, units)
    columns = np.column_stack((rng.binomial(10 * requests, level) / 10, requests)).astype(float)
    return moments(*columns.T), columns


def test_one_stratum_and_equal_mixes_are_the_plain_comparison() -> None:
    rng = np.random.default_rng(1)
    (control, _), (treatment, _) = _arm(rng, 300, 0.2), _arm(rng, 200, 0.25)
    alone = standardise([(control, treatment)], pooled=False)
    assert (alone.strata, alone.left_out_units) == (1, 0)
    _same(effect("m", alone.control, alone.treatment), effect("m", control, treatment))
    # Twice the same stratum: the same means on twice the units.
    twice = standardise([(control, treatment)] * 2, pooled=False)
    found, once = effect("m", twice.control, twice.treatment), effect("m", control, treatment)
    assert found.absolute.estimate == pytest.approx(once.absolute.estimate)
    assert found.standard_error == pytest.approx(once.standard_error / math.sqrt(2))
    assert found.control_units == 600


def test_pooled_is_all_units_of_an_arm_at_once() -> None:
    rng = np.random.default_rng(2)
    strata = [(_arm(rng, n, level), _arm(rng, n, level)) for n, level in ((100, 0.2), (1, 0.3), (300, 0.4))]
    pooled = standardise([(a[0], b[0]) for a, b in strata], pooled=True)
    whole = [moments(*np.vstack([stratum[side][1] for stratum in strata]).T) for side in (0, 1)]
    _same(effect("m", pooled.control, pooled.treatment), effect("m", *whole))


def test_variance_is_that_of_the_standardised_ratio_by_hand() -> None:
    rng = np.random.default_rng(3)
    strata = [(_arm(rng, 200, 0.2), _arm(rng, 50, 0.2)), (_arm(rng, 100, 0.4), _arm(rng, 400, 0.45))]
    sizes = np.array([250, 500]) / 750
    ratios, variance = [], 0.0
    for side in (0, 1):
        rows = [stratum[side][1] for stratum in strata]
        numerator, denominator = sum(share * one.mean(axis=0) for share, one in zip(sizes, rows, strict=True))
        ratio = numerator / denominator
        for share, one in zip(sizes, rows, strict=True):
            line = (one[:, 0] - ratio * one[:, 1]) / denominator
            variance += share**2 * line.var(ddof=1) / len(one)
        ratios.append(ratio)
    both = standardise([(a[0], b[0]) for a, b in strata], pooled=False)
    found = effect("m", both.control, both.treatment)
    assert (found.control, found.treatment) == pytest.approx(tuple(ratios))
    assert found.standard_error == pytest.approx(math.sqrt(variance))


def test_a_stratum_that_an_arm_is_not_in_is_left_out() -> None:
    rng = np.random.default_rng(4)
    (early, _), (control, _), (treatment, _) = _arm(rng, 90, 0.2), _arm(rng, 80, 0.2), _arm(rng, 70, 0.3)
    nobody = moments([], [])
    found = standardise([(early, nobody), (control, treatment)], pooled=False)
    assert (found.strata, found.left_out_units) == (1, 90)
    _same(effect("m", found.control, found.treatment), effect("m", control, treatment))
    nothing = standardise([(early, nobody)], pooled=False)
    assert (nothing.strata, nothing.left_out_units) == (0, 90)
    assert math.isnan(effect("m", nothing.control, nothing.treatment).absolute.estimate)
    with pytest.raises(DataError, match="there is an epoch"):
        standardise([], pooled=True)


@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.lists(st.floats(0.1, 0.8), min_size=2, max_size=4),
    lift=st.sampled_from([0.0, 0.1]),
)
def test_a_trend_is_never_read_as_an_effect(seed: int, levels: list[float], lift: float) -> None:
    """Levels move from epoch to epoch while the treatment grows: the strata's error stays within its bounds."""
    rng = np.random.default_rng(seed)
    strata = [
        (_arm(rng, 2_000, level)[0], _arm(rng, 500 * (number + 1), level * (1 + lift))[0])
        for number, level in enumerate(levels)
    ]
    both = standardise(strata, pooled=False)
    found = effect("m", both.control, both.treatment, confidence=1 - 1e-9)
    assert found.relative.holds(lift)


def test_pooling_a_ramp_that_is_not_in_proportion_is_biased_and_strata_are_not() -> None:
    rng = np.random.default_rng(6)
    naive, fair, held, runs = [], [], 0, 400
    for _ in range(runs):
        strata = [
            (_arm(rng, 400, 0.2)[0], _arm(rng, 100, 0.22)[0]),
            (_arm(rng, 400, 0.3)[0], _arm(rng, 400, 0.33)[0]),
        ]
        pooled, split = (standardise(strata, pooled=pooled) for pooled in (True, False))
        naive.append(effect("m", pooled.control, pooled.treatment).relative.estimate)
        found = effect("m", split.control, split.treatment).relative
        fair.append(found.estimate)
        held += found.holds(0.1)
    error = np.std(fair, ddof=1) / math.sqrt(runs)
    assert abs(np.mean(fair) - 0.1) < 3.3 * error
    assert np.mean(naive) - 0.1 > 20 * error
    assert held / runs == pytest.approx(0.95, abs=0.035)


def test_late_units_compare_where_both_arms_grew_in_their_ramp() -> None:
    """Zealous users come first and have other habits; both arms grow in the second week, one more than the other."""
    rng = np.random.default_rng(7)
    control, treatment = (0.1, 0.2), (0.1, 0.4)
    estimates: dict[str, list[float]] = {"by ramp": [], "by epoch": []}
    late, held, runs = 0, 0, 300
    for _ in range(runs):
        zeal, bucket = rng.lognormal(size=6_000), rng.random(6_000)
        arm = (bucket >= 0.5).astype(np.int64)
        place = bucket - 0.5 * arm
        opened = np.where(place < np.where(arm, treatment[0], control[0]), 0, 1)
        taken = place < np.where(arm, treatment[1], control[1])
        visits = rng.poisson(zeal[:, np.newaxis], (6_000, 2))
        shown = visits * (np.arange(2) >= opened[:, np.newaxis]) * taken[:, np.newaxis]
        level = np.clip(0.1 + 0.05 * zeal, None, 0.4)[:, np.newaxis] * (1, 1.3)
        seen = shown.any(axis=1)
        hits = rng.binomial(10 * shown, level * (1 + 0.1 * arm[:, np.newaxis])).sum(axis=1) / 10
        columns = np.column_stack((hits, shown.sum(axis=1))).astype(float)
        visit, exposure = (np.argmax(weeks > 0, axis=1) for weeks in (visits, shown))
        codes = {"by ramp": strata_of(visit[seen], exposure[seen], (0, 1), opened[seen]), "by epoch": exposure[seen]}
        for name, code in codes.items():
            both = standardise(
                [
                    tuple(moments(*columns[seen][(code == one) & (arm[seen] == which)].T) for which in (0, 1))
                    for one in np.unique(code)
                ],
                pooled=False,
            )
            found = effect("m", both.control, both.treatment).relative
            estimates[name].append(found.estimate)
            held += name == "by ramp" and found.holds(0.1)
        late += int((codes["by ramp"] > 1).sum())
    assert late > 100 * runs
    error = np.std(estimates["by ramp"], ddof=1) / math.sqrt(runs)
    assert abs(np.mean(estimates["by ramp"]) - 0.1) < 3.3 * error
    assert held / runs == pytest.approx(0.95, abs=0.04)
    assert abs(np.mean(estimates["by epoch"]) - 0.1) > 5 * error


def _same(found: Effect, expected: Effect) -> None:
    for name in ("control", "treatment", "p_value", "standard_error", "log_standard_error"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name))
    assert (found.control_units, found.treatment_units) == (expected.control_units, expected.treatment_units)
    assert found.relative.upper == pytest.approx(expected.relative.upper)
