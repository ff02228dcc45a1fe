"""Do units and days agree with the power calculation, and with experiments that are made up?"""

import numpy as np
import pytest

from recsys.problem.counts import UnitTable, day_grid
from recsys.problem.need import arrivals_of, stage_need
from recsys.specs.funnel import Planning
from recsys.statistics.effects import effect, moments
from recsys.statistics.power import units_for_effect

PLANNING = Planning(minimum_effect=0.2, covariate_weeks=0)


def shop(users: int, days: int, *, seed: int = 0, lift: float = 0.0, spread: float = 0.5) -> UnitTable:
    """Return users who come at a rate of their own, and click at another, from day to day."""
    rng = np.random.default_rng(seed)
    rate, habit = rng.gamma(2.0, 0.1, users), rng.gamma(1 / spread, 0.4 * spread, users)
    visits = rng.poisson(rate, (days, users))
    clicks = rng.poisson(visits * habit * (1 + lift))
    came = visits.cumsum(axis=0) > 0
    entered = came[-1]
    grid = np.array(day_grid(days)) - 1
    seen = visits.cumsum(axis=0)[grid][:, entered].astype(np.float64)
    done = clicks.cumsum(axis=0)[grid][:, entered].astype(np.float64)
    nothing = np.zeros(int(entered.sum()))
    return UnitTable(
        entry_day=came.argmax(axis=0)[entered],
        days=day_grid(days),
        counts=np.array([seen, done]),
        visits=seen,
        counts_before=np.array([nothing, nothing]),
        visits_before=nothing,
    )


def test_the_units_are_those_of_the_power_calculation_once_so_many_came() -> None:
    units = shop(4000, 40)
    need = stage_need(units, 1, PLANNING, 0)
    assert need.days is not None
    place = min(range(len(units.days)), key=lambda each: abs(units.days[each] - need.days))
    came = units.entry_day < units.days[place]
    sample = moments(units.counts[1, place][came], units.visits[place][came])
    assert need.units == pytest.approx(units_for_effect(sample, 0.2, alpha=0.05, power=0.8), rel=0.15)
    coming = arrivals_of(units, PLANNING)
    assert coming.after(need.days) >= need.units > coming.after(need.days - 1) * 0.9


def test_experiments_of_the_predicted_days_have_the_planned_power() -> None:
    need = stage_need(shop(1600, 60, seed=1), 1, PLANNING, 0)
    assert need.days is not None
    assert need.days < 60
    found = 0
    for seed in range(200):
        control, treated = shop(800, need.days, seed=2 * seed + 10), shop(800, need.days, seed=2 * seed + 11, lift=0.2)
        arms = [moments(each.counts[1, -1], each.visits[-1]) for each in (control, treated)]
        found += effect("click", *arms).p_value < 0.05
    assert 0.70 < found / 200 < 0.90


def test_fewer_days_for_larger_effects_and_more_traffic_and_a_window_adds_its_own() -> None:
    units = shop(2000, 60)

    def days(window: int = 0, **changes: float) -> int:
        found = stage_need(units, 1, PLANNING.model_copy(update=changes), window).days
        assert found is not None
        return found

    assert days(minimum_effect=0.4) < days() < days(traffic=0.5)
    assert days(7) == days() + 7


def test_days_beyond_the_past_go_on_as_it_went() -> None:
    long, short = shop(1000, 150), shop(1000, 40)
    known = stage_need(long, 1, PLANNING, 0)
    guessed = stage_need(short, 1, PLANNING, 0)
    assert (known.beyond, guessed.beyond) == (False, True)
    assert known.days is not None
    assert guessed.days == pytest.approx(known.days, rel=0.3)


def test_a_shop_with_too_few_different_users_never_has_enough() -> None:
    need = stage_need(shop(60, 60, spread=3.0), 1, PLANNING, 0)
    assert need.days is None
    assert need.units is not None
    assert need.units > 60


def test_a_stage_that_nobody_reaches_says_nothing() -> None:
    units = shop(200, 20)
    silent = UnitTable(
        units.entry_day, units.days, np.zeros_like(units.counts), units.visits, units.counts_before, units.visits_before
    )
    need = stage_need(silent, 1, PLANNING, 0)
    assert (need.units, need.days, need.detectable) == (None, None, None)
