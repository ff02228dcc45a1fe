"""Power inverts itself and agrees with the closed form."""

import math

import numpy as np
import pytest
import scipy.stats

from recsys.errors import DataError
from recsys.statistics.effects import moments
from recsys.statistics.power import minimum_detectable_effect, units_for_effect

RNG = np.random.default_rng(11)


def test_power_inverts_itself_and_the_closed_form() -> None:
    values = RNG.gamma(2.0, size=2_000)
    sample = moments(values, np.ones(2_000))
    smallest = minimum_detectable_effect(sample, 8_000)
    closed = (scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)) * math.sqrt(4 * values.var(ddof=1) / 8_000)
    assert smallest == pytest.approx(closed / values.mean(), rel=1e-2)
    assert units_for_effect(sample, smallest) == pytest.approx(8_000, abs=2)
    uneven = minimum_detectable_effect(sample, 8_000, ratio=0.25)
    assert uneven > smallest > minimum_detectable_effect(sample, 16_000)
    assert minimum_detectable_effect(sample, 8_000, power=0.9) > smallest


def test_power_refuses_what_says_nothing() -> None:
    with pytest.raises(DataError, match="says nothing about power"):
        minimum_detectable_effect(moments([0.0, 0.0], [1.0, 1.0]), 100)
    with pytest.raises(DataError, match="smallest worth shipping"):
        units_for_effect(moments([0.0, 1.0], [1.0, 1.0]), 0.0)
