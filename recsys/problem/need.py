"""How many units and days does an experiment at a stage need?

An experiment of d days is what the past's first d days were: so many units came, with such moments. It is long enough
once it has as many units as `recsys.statistics.power` asks for by these moments. Longer experiments see more of each
unit, so that fewer units show the same effect: what is asked for falls with the days while the units that came grow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tea_tasting.aggr import Aggregates

from recsys.errors import DataError
from recsys.evaluation.arrivals import Arrivals
from recsys.problem.bounds import Bounds, bounds_of, whole
from recsys.problem.counts import UnitTable
from recsys.problem.enough import first_enough
from recsys.problem.redrawn import Pasts
from recsys.specs.funnel import Planning
from recsys.statistics.effects import moments, ratio_of_means, uses_covariate
from recsys.statistics.power import minimum_detectable_effect, units_for_effect

_RATE_DAYS: Final = 28
"""Beyond the past, units come as in its last four weeks: mailings come in bursts."""


@dataclass(frozen=True)
class StageNeed:
    """What an experiment needs whose primary metric is a stage."""

    mean: float | None
    """Of the metric: what a visit brings, or a unit where sessions do not count."""
    units: int | None
    """Over both arms; None where the past says nothing."""
    units_bounds: Bounds | None
    """Of the units; None where these are, or where no bounds were asked for."""
    days: int | None
    """Until these have come and the last one's window closed; None where they never would."""
    days_bounds: Bounds | None
    """Of the days, as of the units."""
    cuped: bool
    """Whether the pre-period narrows it."""
    beyond: bool
    """Whether it is longer than the past, so that its days continue a trend."""
    detectable: float | None
    """The smallest relative effect that the longest experiment allowed shows."""
    detectable_units: int | None = None
    """Who come in it until the window of the last one closes with it: the effect is seen with these."""


def arrivals_of(units: UnitTable, planning: Planning) -> Arrivals:
    """Return how many units entered up to each day, and the share of them that the experiment takes."""
    counts = np.bincount(units.entry_day, minlength=units.days[-1])[: units.days[-1]]
    return Arrivals(tuple(int(each) for each in counts.cumsum()), planning.traffic, _RATE_DAYS)


def stage_need(units: UnitTable, stage: int, planning: Planning, window_days: int, pasts: Pasts) -> StageNeed:
    """Return what an experiment at a stage needs.

    Args:
        units: of the past.
        stage: its number.
        planning: the effect, alpha, power and traffic.
        window_days: days after the last unit came until all that follows has come.
        pasts: the units as they came, and as they might have; without the latter there are no bounds.
    """
    samples = [_sample(units, stage, place) for place in range(len(units.days))]
    last = samples[-1]
    mean = ratio_of_means(last) if last.count() else math.nan
    asked = [_asked(sample, planning) for sample in samples]
    cuped = last.count() > 1 and uses_covariate(last)
    if asked[-1] is None:
        mean_or_none = mean if math.isfinite(mean) else None
        return StageNeed(mean_or_none, None, None, None, None, cuped=cuped, beyond=False, detectable=None)
    days, needed = _first_enough(units, stage, asked, planning, pasts)
    coming = arrivals_of(units, planning)
    days_bounds, units_bounds = (bounds_of(of[1:]) for of in (days + window_days, needed))
    return StageNeed(
        mean=mean,
        units=whole(needed[0]),
        units_bounds=units_bounds,
        days=whole(days[0] + window_days),
        days_bounds=days_bounds,
        cuped=cuped,
        beyond=bool(days[0] > units.days[-1]),
        detectable=_detectable(units, samples, coming, planning, window_days),
        detectable_units=coming.after(_days_of_entry(planning, window_days)),
    )


def _first_enough(
    units: UnitTable, stage: int, asked: Sequence[int | None], planning: Planning, pasts: Pasts
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return days and units, [pasts] each: of the past as it was first.

    The power calculation is of that one; of every other past it gives units in proportion to the variance.
    """
    known = [place for place, needed in enumerate(asked) if needed is not None]
    needed = np.array([asked[place] for place in known], dtype=np.float64)
    variances = pasts.relative_variances(stage)[:, known]
    as_it_was = variances[0]
    factors = np.divide(variances, as_it_was, out=np.ones_like(variances), where=as_it_was > 0)
    days = [units.days[place] for place in known]
    return first_enough(days, needed * factors, pasts.cumulative, planning.traffic, _RATE_DAYS)


def _sample(units: UnitTable, stage: int, place: int) -> Aggregates:
    """Return the moments of the units that came up to a day."""
    came = units.entry_day < units.days[place]
    columns = (units.counts[stage, place], units.visits[place], units.counts_before[stage], units.visits_before)
    return moments(*(column[came] for column in columns))


def _asked(sample: Aggregates, planning: Planning) -> int | None:
    try:
        return units_for_effect(sample, planning.minimum_effect, alpha=planning.alpha, power=planning.power)
    except DataError:
        return None


def _days_of_entry(planning: Planning, window_days: int) -> int:
    """Return the days in which units may come to the longest experiment: what the last one's window leaves."""
    return max(1, planning.maximum_days - window_days)


def _detectable(
    units: UnitTable, samples: Sequence[Aggregates], coming: Arrivals, planning: Planning, window_days: int
) -> float | None:
    """Return the smallest effect that the longest experiment allowed sees, by the moments of the nearest day."""
    day = _days_of_entry(planning, window_days)
    nearest = min(range(len(units.days)), key=lambda place: abs(math.log(units.days[place] / day)))
    try:
        return minimum_detectable_effect(
            samples[nearest], coming.after(day), alpha=planning.alpha, power=planning.power
        )
    except DataError:
        return None
