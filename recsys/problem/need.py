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
from scipy.optimize import nnls
from tea_tasting.aggr import Aggregates

from recsys.errors import DataError
from recsys.evaluation.arrivals import Arrivals
from recsys.problem.counts import UnitTable
from recsys.specs.funnel import Planning
from recsys.statistics.effects import moments, ratio_of_means, uses_covariate
from recsys.statistics.power import minimum_detectable_effect, units_for_effect

LONGEST_DAYS: Final = 3_660
"""An experiment that would take longer never ends."""
_ARMS: Final = 2
_RATE_DAYS: Final = 28
"""Beyond the past, units come as in its last four weeks: mailings come in bursts."""


@dataclass(frozen=True)
class StageNeed:
    """What an experiment needs whose primary metric is a stage."""

    mean: float | None
    """Of the metric: what a visit brings, or a unit where sessions do not count."""
    units: int | None
    """Over both arms; None where the past says nothing."""
    days: int | None
    """Until these have come and the last one's window closed; None where they never would."""
    cuped: bool
    """Whether the pre-period narrows it."""
    beyond: bool
    """Whether it is longer than the past, so that its days continue a trend."""
    detectable: float | None
    """The smallest relative effect that the longest experiment allowed shows."""


def arrivals_of(units: UnitTable, planning: Planning) -> Arrivals:
    """Return how many units entered up to each day, and the share of them that the experiment takes."""
    counts = np.bincount(units.entry_day, minlength=units.days[-1])[: units.days[-1]]
    return Arrivals(tuple(int(each) for each in counts.cumsum()), planning.traffic, _RATE_DAYS)


def stage_need(units: UnitTable, stage: int, planning: Planning, window_days: int) -> StageNeed:
    """Return what an experiment at a stage needs.

    Args:
        units: of the past.
        stage: its number.
        planning: the effect, alpha, power and traffic.
        window_days: days after the last unit came until all that follows has come.
    """
    samples = [_sample(units, stage, place) for place in range(len(units.days))]
    last = samples[-1]
    mean = ratio_of_means(last) if last.count() else math.nan
    asked = [(day, _asked(sample, planning)) for day, sample in zip(units.days, samples, strict=True)]
    known = [(day, needed) for day, needed in asked if needed is not None]
    cuped = last.count() > 1 and uses_covariate(last)
    if asked[-1][1] is None:
        return StageNeed(mean if math.isfinite(mean) else None, None, None, cuped=cuped, beyond=False, detectable=None)
    coming = arrivals_of(units, planning)
    days = _first_enough(known, coming)
    beyond = days is None or days > units.days[-1]
    needed = _asked_at(known, units.days[-1] if days is None else days)
    return StageNeed(
        mean=mean,
        units=math.ceil(needed),
        days=None if days is None else days + window_days,
        cuped=cuped,
        beyond=beyond,
        detectable=_detectable(units, samples, coming, planning, window_days),
    )


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


def _detectable(
    units: UnitTable, samples: Sequence[Aggregates], coming: Arrivals, planning: Planning, window_days: int
) -> float | None:
    """Return the smallest effect that the longest experiment allowed sees, by the moments of the nearest day."""
    day = max(1, planning.maximum_days - window_days)
    nearest = min(range(len(units.days)), key=lambda place: abs(math.log(units.days[place] / day)))
    try:
        return minimum_detectable_effect(
            samples[nearest], coming.after(day), alpha=planning.alpha, power=planning.power
        )
    except DataError:
        return None


def _first_enough(asked: Sequence[tuple[int, int]], coming: Arrivals) -> int | None:
    """Return the first day at which as many units came as are asked for, or None where that is never."""
    first, last = asked[0][0], asked[-1][0]
    for day in range(first, last + 1):
        if coming.after(day) >= _asked_at(asked, day):
            return day
    trend = _trend(asked)
    day = last
    while day < LONGEST_DAYS:
        day += max(1, day // 100)
        if coming.after(day) >= trend[0] + trend[1] / day:
            return day
    return None


def _asked_at(asked: Sequence[tuple[int, int]], day: int) -> float:
    """Return the units that are asked for at a day: between two days looked at by their logarithms, beyond by trend."""
    if day > asked[-1][0]:
        level, slope = _trend(asked)
        return max(float(2 * _ARMS), level + slope / day)
    days, needed = zip(*asked, strict=True)
    return float(np.exp(np.interp(math.log(day), np.log(days), np.log(needed))))


def _trend(asked: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Fit units = level + slope / days to the later half of the days, both at least 0.

    The variance of what a unit did is that between units, which grows with the square of the days as the squared mean
    does, and that within them, which grows with the days.
    """
    later = asked[len(asked) // 2 :]
    days, needed = (np.array(column, dtype=np.float64) for column in zip(*later, strict=True))
    (level, slope), _ = nnls(np.column_stack((np.ones(len(days)), 1 / days)) / needed[:, None], np.ones(len(days)))
    return float(level), float(slope)
