"""Power inverts itself, agrees with the closed form, and is what simulated experiments of the planned size have."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DataError
from recsys.statistics.effects import effect, moments
from recsys.statistics.power import minimum_detectable_effect, units_for_effect

RNG = np.random.default_rng(11)


def test_power_inverts_itself_and_the_closed_form() -> None:
    values = RNG.gamma(2.0, size=2_000)
    sample = moments(values, np.ones(2_000))
    smallest = minimum_detectable_effect(sample, 8_000)
    closed = (scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)) * math.sqrt(4 * values.var(ddof=1) / 8_000)
    # The treatment's variance grows with the mean to the power of 1.5.
    assert smallest == pytest.approx(closed / values.mean() * math.sqrt((1 + (1 + smallest) ** 1.5) / 2), rel=1e-3)
    assert units_for_effect(sample, smallest) == pytest.approx(8_000, abs=2)
    uneven = minimum_detectable_effect(sample, 8_000, ratio=0.25)
    assert uneven > smallest > minimum_detectable_effect(sample, 16_000)
    assert minimum_detectable_effect(sample, 8_000, power=0.9) > smallest


def test_power_refuses_what_says_nothing() -> None:
    with pytest.raises(DataError, match="says nothing about power"):
        minimum_detectable_effect(moments([0.0, 0.0], [1.0, 1.0]), 100)
    with pytest.raises(DataError, match="smallest worth shipping"):
        units_for_effect(moments([0.0, 1.0], [1.0, 1.0]), 0.0)
    with pytest.raises(DataError, match="above -1"):
        units_for_effect(moments([0.0, 1.0], [1.0, 1.0]), -1.0)


@given(
    lift=st.one_of(st.floats(-0.5, -0.02), st.floats(0.02, 3.0)),
    ratio=st.sampled_from([0.05, 0.25, 1.0, 4.0]),
    power=st.sampled_from([0.6, 0.8, 0.95]),
)
def test_units_are_the_fewest_that_suffice(lift: float, ratio: float, power: float) -> None:
    sample = moments(np.arange(50.0), np.ones(50))
    units = units_for_effect(sample, lift, ratio=ratio, power=power)
    smaller_arm = units * min(1.0, ratio) / (1 + ratio)
    assert smaller_arm >= 2 - 1e-9
    if lift > 0:
        assert minimum_detectable_effect(sample, units, ratio=ratio, power=power) <= lift * (1 + 1e-9)
    else:
        assert units <= units_for_effect(sample, -lift, ratio=ratio, power=power)
    if lift > 0 and smaller_arm > 3:
        assert minimum_detectable_effect(sample, units - 1, ratio=ratio, power=power) >= lift * (1 - 1e-9)


@pytest.mark.parametrize("lift", [0.3, -0.25])
def test_the_planned_units_have_the_planned_power(lift: float) -> None:
    """Of counts that are spread over units, where the control's variance in both arms promised too much."""
    rng = np.random.default_rng(5)
    sample = moments(rng.poisson(rng.gamma(0.8, size=1_000_000)), np.ones(1_000_000))
    units = units_for_effect(sample, lift, power=0.8)
    seen, half = 0, units // 2
    for _ in range(2_000):
        arms = (rng.poisson(rng.gamma(0.8, size=half) * scale) for scale in (1.0, 1 + lift))
        seen += not effect("m", *(moments(arm, np.ones(half)) for arm in arms)).relative.holds(0.0)
    assert seen / 2_000 == pytest.approx(0.8, abs=0.03)
