"""Do units and days agree with the power calculation, and with experiments that are made up?"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri

from recsys.problem import redrawn
from recsys.problem.bounds import Bounds
from recsys.problem.counts import UnitTable, day_grid
from recsys.problem.need import StageNeed, arrivals_of, stage_need
from recsys.problem.redrawn import Pasts
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


def sparse(units: UnitTable) -> UnitTable:
    """Return it as told up to fewer days, which takes fewer power calculations."""
    return replace(units, days=units.days[::3], counts=units.counts[:, ::3], visits=units.visits[::3])


def needed(units: UnitTable, window: int = 0, draws: int = 0, **changes: float) -> StageNeed:
    return stage_need(units, 1, PLANNING.model_copy(update=changes), window, Pasts(units, draws))


def test_the_units_are_those_of_the_power_calculation_once_so_many_came() -> None:
    units = shop(4000, 40)
    need = needed(units)
    assert need.days is not None
    place = min(range(len(units.days)), key=lambda each: abs(units.days[each] - need.days))
    came = units.entry_day < units.days[place]
    sample = moments(units.counts[1, place][came], units.visits[place][came])
    assert need.units == pytest.approx(units_for_effect(sample, 0.2, alpha=0.05, power=0.8), rel=0.15)
    coming = arrivals_of(units, PLANNING)
    assert coming.after(need.days) >= need.units > coming.after(need.days - 1) * 0.9


def test_experiments_of_the_predicted_days_have_the_planned_power() -> None:
    need = needed(shop(1600, 60, seed=1))
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
        found = needed(units, window, **changes).days
        assert found is not None
        return found

    assert days(minimum_effect=0.4) < days() < days(traffic=0.5)
    assert days(7) == days() + 7


def test_days_beyond_the_past_go_on_as_it_went() -> None:
    long, short = shop(1000, 150), shop(1000, 40)
    known = needed(long)
    guessed = needed(short)
    assert (known.beyond, guessed.beyond) == (False, True)
    assert known.days is not None
    assert guessed.days == pytest.approx(known.days, rel=0.3)


def test_a_shop_with_too_few_different_users_never_has_enough() -> None:
    need = needed(shop(60, 60, spread=3.0))
    assert need.days is None
    assert need.units is not None
    assert need.units > 60


def test_a_stage_that_nobody_reaches_says_nothing() -> None:
    units = shop(200, 20)
    silent = UnitTable(
        units.entry_day, units.days, np.zeros_like(units.counts), units.visits, units.counts_before, units.visits_before
    )
    need = needed(silent)
    assert (need.units, need.days, need.detectable) == (None, None, None)
    assert (need.units_bounds, need.days_bounds) == (None, None)


# ---------------------------------------------------------------- bounds


def bounds(found: Bounds | None) -> tuple[int, int]:
    assert found is not None
    assert found.lower is not None
    assert found.upper is not None
    return found.lower, found.upper


def test_the_bounds_hold_what_all_users_would_give_and_are_as_wide_as_pasts_scatter() -> None:
    users, pasts = 600, 30
    all_users = needed(sparse(shop(60 * users, 60, seed=500)), traffic=1 / 60, minimum_effect=0.3)
    assert all_users.days is not None
    assert all_users.units is not None
    shops = (sparse(shop(users, 60, seed=1_000 + past)) for past in range(pasts))
    found = [needed(each, draws=300, minimum_effect=0.3) for each in shops]
    for told, single, true in (
        ([bounds(each.days_bounds) for each in found], [each.days for each in found], all_users.days),
        ([bounds(each.units_bounds) for each in found], [each.units for each in found], all_users.units),
    ):
        lower, upper = np.array(told, dtype=np.float64).T
        assert ((lower <= true) & (true <= upper)).mean() >= 0.85
        scatter = np.log(np.array(single, dtype=np.float64)).std()
        assert np.log(upper / lower).mean() / (2 * 1.96) == pytest.approx(scatter, rel=0.3)


def test_four_times_as_many_users_halve_the_bounds() -> None:
    def width(users: int) -> float:
        shops = (sparse(shop(users, 60, seed=seed)) for seed in range(8))
        found = [needed(each, draws=300, traffic=600 / users, minimum_effect=0.3) for each in shops]
        return float(np.mean([np.diff(np.log(bounds(each.units_bounds)))[0] for each in found]))

    assert width(600) / width(2400) == pytest.approx(2.0, rel=0.25)


def test_bounds_leave_the_prediction_as_it_is_and_are_the_same_again() -> None:
    units = sparse(shop(1600, 60, seed=3))
    plain, bounded = needed(units), needed(units, draws=100)
    assert plain.days_bounds is None
    assert (plain.units, plain.days) == (bounded.units, bounded.days)
    assert bounded == needed(units, draws=100)
    lower, upper = bounds(bounded.days_bounds)
    assert lower <= (bounded.days or 0) <= upper
    window = needed(units, 7, draws=100)
    assert bounds(window.days_bounds) == (lower + 7, upper + 7)


def test_where_more_users_would_never_do_the_upper_bound_is_never() -> None:
    found = needed(sparse(shop(60, 60, spread=3.0)), draws=200).days_bounds
    assert found is not None
    assert found.upper is None
    assert str(found).endswith(", never]")


def test_random_groups_of_many_users_scatter_as_users_do(monkeypatch: pytest.MonkeyPatch) -> None:
    units = sparse(shop(3000, 40, seed=5))
    each = needed(units, draws=600, traffic=0.3)
    monkeypatch.setattr(redrawn, "GROUPS", 400)
    grouped = needed(units, draws=600, traffic=0.3)
    assert (each.units, each.days) == (grouped.units, grouped.days)
    widths = [np.diff(np.log(bounds(of.units_bounds)))[0] for of in (each, grouped)]
    assert widths[1] == pytest.approx(widths[0], rel=0.2)


def test_variances_of_the_past_are_those_of_the_power_calculation() -> None:
    units = shop(900, 40, seed=6)
    units = replace(units, counts_before=units.counts[:, 4], visits_before=units.visits[4])
    last = Pasts(units, 0).relative_variances(1)[0, -1]
    sample = moments(units.counts[1, -1], units.visits[-1], units.counts_before[1], units.visits_before)
    asked = units_for_effect(sample, 0.02, alpha=0.05, power=0.8)
    spread = (1 + 1.02**1.5) / 2
    assert asked == pytest.approx(4 * spread * last * ((ndtri(0.975) + ndtri(0.8)) / 0.02) ** 2, rel=0.001)
    bare = moments(units.counts[1, -1], units.visits[-1])
    assert asked < 0.9 * units_for_effect(bare, 0.02, alpha=0.05, power=0.8), "the pre-period narrows it"
