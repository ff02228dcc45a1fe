"""The confidence sequence is narrowest where it is tuned, wider than one look, and holds at every look."""

import math

import numpy as np
import pytest
import scipy.special

from recsys.errors import DataError
from recsys.statistics.sequential import always_valid, mixing_variance, multiplier


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.3])
@pytest.mark.parametrize("planned", [10, 2_400, 1_000_000])
def test_mixing_variance_is_the_closed_form(alpha: float, planned: int) -> None:
    exact = (-scipy.special.lambertw(-(alpha**2) / math.e, -1).real - 1) / planned
    assert mixing_variance(planned, alpha) == pytest.approx(exact, rel=1e-9)
    # The paper's approximation.
    near = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned
    assert mixing_variance(planned, alpha) == pytest.approx(near, rel=0.25)


def test_multiplier_is_least_at_the_planned_units() -> None:
    looks = np.geomspace(10, 1_000_000, 200).astype(int)
    values = [multiplier(int(units), planned_units=2_400) for units in looks]
    least = multiplier(2_400, planned_units=2_400)
    assert min(values) >= least > 1.96
    assert least == pytest.approx(2.99, abs=0.2)


def test_bounds_narrow_as_units_arrive() -> None:
    widths = [
        multiplier(units, planned_units=2_400) / math.sqrt(units) for units in (10, 100, 1_000, 2_400, 10_000, 10**6)
    ]
    assert widths == sorted(widths, reverse=True)


def test_bounds_widen_with_certainty() -> None:
    wide = multiplier(500, planned_units=2_400, alpha=0.01)
    assert wide > multiplier(500, planned_units=2_400, alpha=0.05)


def test_interval_is_centred() -> None:
    interval = always_valid(0.5, 0.1, 2_400, planned_units=2_400)
    assert interval.estimate == 0.5
    assert interval.upper - 0.5 == pytest.approx(0.5 - interval.lower)
    assert interval.upper - 0.5 == pytest.approx(0.1 * multiplier(2_400, planned_units=2_400))


def test_looking_every_day_keeps_the_error() -> None:
    rng = np.random.default_rng(3)
    days, daily, runs = 28, 100, 2_000
    totals = rng.normal(scale=math.sqrt(daily), size=(runs, days)).cumsum(axis=1)
    units = daily * np.arange(1, days + 1)
    z = np.abs(totals) / np.sqrt(units)
    bounds = np.array([multiplier(int(count), planned_units=days * daily) for count in units])
    assert (z > 1.96).any(axis=1).mean() > 0.15
    assert (z > bounds).any(axis=1).mean() < 0.05


@pytest.mark.parametrize(("units", "planned", "alpha"), [(0, 10, 0.05), (10, 0, 0.05), (10, 10, 0.0), (10, 10, 1.0)])
def test_refuses(units: int, planned: int, alpha: float) -> None:
    with pytest.raises(DataError, match="inside"):
        multiplier(units, planned_units=planned, alpha=alpha)
