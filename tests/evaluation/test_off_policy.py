"""Off-policy values are unbiased, as uncertain as they say, and refused where no log can have them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DataError, ExperimentError
from recsys.evaluation.off_policy import off_policy_value, require_support

REWARD = np.array([0.1, 0.3, 0.5])
LOGGING = np.array([0.6, 0.3, 0.1])
TARGET = np.array([0.2, 0.3, 0.5])


def test_by_hand() -> None:
    found = off_policy_value([1, 0, 1, 1], [0.5, 0.5, 0.25, 1.0], [0.25, 1.0, 0.5, 0.0], [7, 7, 8, 9])
    # Weights 1/2, 2, 2, 0.
    assert found.ips.estimate == pytest.approx((0.5 + 2) / 4)
    assert found.snips.estimate == pytest.approx((0.5 + 2) / 4.5)
    assert found.logged.estimate == 0.75
    assert found.mean_weight.estimate == pytest.approx(4.5 / 4)
    assert found.effective_sample_size == pytest.approx(4.5**2 / (0.25 + 4 + 4))
    assert (found.largest_weight, found.rounds, found.units) == (2.0, 4, 3)
    lines = np.array([0.5 - 0.625 * 2, 2 - 0.625, 0 - 0.625]) / (4 / 3)
    error = math.sqrt(lines.var(ddof=1) / 3)
    assert found.ips.upper - found.ips.estimate == pytest.approx(1.959964 * error, rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_logging_policy_itself_is_valued_at_what_it_brought(seed: int) -> None:
    rng = np.random.default_rng(seed)
    propensity = rng.uniform(0.01, 1, 50)
    found = off_policy_value(rng.random(50), propensity, propensity, rng.integers(0, 20, 50))
    assert found.ips == found.snips == found.logged
    assert found.mean_weight.estimate == 1
    assert found.effective_sample_size == pytest.approx(50)


@given(seed=st.integers(0, 2**32 - 1), zero=st.floats(-5, 5))
def test_the_normalised_value_does_not_depend_on_the_rewards_zero(seed: int, zero: float) -> None:
    rng = np.random.default_rng(seed)
    rewards, logged, target = rng.random(40), rng.uniform(0.1, 1, 40), rng.uniform(0.1, 1, 40)
    units = rng.integers(0, 10, 40)
    moved = off_policy_value(rewards + zero, logged, target, units).snips
    found = off_policy_value(rewards, logged, target, units).snips
    assert moved.estimate == pytest.approx(found.estimate + zero)
    assert moved.upper - moved.lower == pytest.approx(found.upper - found.lower, abs=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
def test_rows_may_stand_for_several_rounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rounds, units = rng.integers(1, 4, 20), rng.integers(0, 6, 20)
    rewards, logged, target = rng.random(20), rng.uniform(0.1, 1, 20), rng.uniform(0.1, 1, 20)
    each = off_policy_value(*(np.repeat(column, rounds) for column in (rewards, logged, target, units)))
    summed = off_policy_value(rewards * rounds, logged, target, units, rounds=rounds)
    for name in ("ips", "snips", "logged", "gain", "mean_weight"):
        found, wanted = getattr(summed, name), getattr(each, name)
        assert (found.estimate, found.lower) == pytest.approx((wanted.estimate, wanted.lower), nan_ok=True)
    assert summed.effective_sample_size == pytest.approx(each.effective_sample_size)
    assert (summed.rounds, summed.units) == (each.rounds, each.units)
    assert summed.gain.estimate == pytest.approx(summed.ips.estimate - summed.logged.estimate)


def test_values_are_unbiased_and_intervals_hold_them_by_unit() -> None:
    """Rounds of a unit share their luck: to take them as independent would hold the truth far too seldom."""
    rng = np.random.default_rng(2)
    truth = float(REWARD @ TARGET)
    held, naive, estimates, runs, units, each = 0, 0, [], 600, 150, 6
    for _ in range(runs):
        unit = np.repeat(np.arange(units), each)
        shown = np.repeat(rng.choice(3, units, p=LOGGING), each)
        reward = np.repeat(rng.random(units), each) < REWARD[shown]
        columns = (reward, LOGGING[shown], TARGET[shown])
        found = off_policy_value(*columns, unit)
        estimates.append(found.ips.estimate)
        held += found.ips.holds(truth)
        naive += off_policy_value(*columns, np.arange(len(unit))).ips.holds(truth)
        assert found.mean_weight.lower < 1.6
    assert abs(np.mean(estimates) - truth) < 3.3 * np.std(estimates) / math.sqrt(runs)
    assert held / runs == pytest.approx(0.94, abs=0.03)
    assert naive / runs < 0.7


def test_what_was_never_shown_is_refused_by_name() -> None:
    require_support(["a", "b", "c"], LOGGING, TARGET)
    require_support(["a", "b"], [[0.5, 0.0], [0.5, 1.0]], [[0.1, 0.0], [0.9, 1.0]])
    with pytest.raises(ExperimentError, match=r"never does: b in slot 1 \(0\.9\); no log can value that: log an"):
        require_support(["a", "b"], [[1.0, 0.5], [0.0, 0.5]], [[0.1, 0.0], [0.9, 1.0]])
    with pytest.raises(ExperimentError, match=r"item_4 in slot 1 \(0\.125\) and 3 more"):
        require_support([f"item_{n}" for n in range(8)], np.zeros(8), np.full(8, 1 / 8))
    with pytest.raises(DataError, match="one row an item"):
        require_support(["a", "b"], LOGGING, TARGET)
    with pytest.raises(DataError, match="target policy has a probability outside"):
        require_support(["a", "b", "c"], LOGGING, TARGET * 3)


def test_refuses() -> None:
    with pytest.raises(DataError, match="one value a round"):
        off_policy_value([1, 0], [0.5], [0.5], [1])
    with pytest.raises(DataError, match="one value a round"):
        off_policy_value([], [], [], [])
    with pytest.raises(DataError, match="not known yet"):
        off_policy_value([math.nan], [0.5], [0.5], [1])
    with pytest.raises(DataError, match=r"round 1 was logged with propensity 0\.0"):
        off_policy_value([1, 1], [0.5, 0.0], [0.5, 0.5], [1, 2])
    with pytest.raises(DataError, match="target policy has a probability outside"):
        off_policy_value([1], [0.5], [1.5], [1])
    with pytest.raises(DataError, match="stands for no round"):
        off_policy_value([1], [0.5], [0.5], [1], rounds=[0])
    alone = off_policy_value([1, 0], [0.5, 0.5], [0.5, 0.5], [1, 1])
    assert alone.ips.estimate == 0.5
    assert math.isnan(alone.ips.lower)
