"""What does an analyst see who looks at a running experiment every day, while units come and come again?

Units arrive on a day of their own and come back as often as their zeal makes them; both arms are drawn from one
population, so that whatever is seen is false.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from recsys.statistics.effects import effect, moments
from recsys.statistics.sequential import always_valid

Floats = NDArray[np.float64]
DAYS = 28
UNITS = 20_000
"""Units of the population."""
ARM = 1_000
"""Units of an arm; the plan is of both."""
SLOTS = 10
ALPHA = 0.05
SCREEN = 2.5
"""Looks below so many standard errors cannot exclude 0, the always-valid interval being 2.9 of them wide at least: they
are not taken, which makes 10,000 experiments a matter of a minute."""


@cache
def population(arrival: str) -> tuple[Floats, Floats, Floats]:
    """Return hits and requests up to each day, [units, days], and both of the pre-period, [units, 2]."""
    generator = np.random.default_rng(20_171_204)
    zeal = generator.lognormal(0.0, 1.0, UNITS)
    habit = generator.beta(2.0, 8.0, UNITS)
    first = generator.integers(0, DAYS if arrival == "units come every day" else 7, UNITS)
    requests = generator.poisson(0.15 * zeal[:, np.newaxis], (UNITS, DAYS))
    requests[np.arange(UNITS), first] += 1
    requests *= np.arange(DAYS) >= first[:, np.newaxis]
    hits = generator.binomial(SLOTS * requests, habit[:, np.newaxis]) / SLOTS
    before = generator.poisson(4 * zeal)
    past = np.column_stack((generator.binomial(SLOTS * before, habit) / SLOTS, before)).astype(np.float64)
    return hits.cumsum(axis=1), requests.cumsum(axis=1).astype(np.float64), past


def daily_looks(arrival: str, *, cuped: bool) -> Callable[[np.random.Generator, int], dict[str, int]]:
    """Look every day by the always-valid interval: in how many experiments does one look exclude no effect?"""

    def simulate(generator: np.random.Generator, count: int) -> dict[str, int]:
        counted: Counter[str] = Counter()
        for _ in range(count):
            arms = [generator.integers(0, UNITS, ARM) for _ in range(2)]
            counted["always-valid interval excludes 0"] += any(
                _excludes(arms, day, arrival, cuped) for day in _worth_a_look(arms, arrival, cuped)
            )
        return dict(counted)

    return simulate


def _excludes(arms: list[NDArray[np.int64]], day: int, arrival: str, cuped: bool) -> bool:
    hits, requests, past = population(arrival)
    reduced = []
    for arm in arms:
        seen = arm[requests[arm, day] > 0]
        covariates = past[seen].T if cuped else ()
        reduced.append(moments(hits[seen, day], requests[seen, day], *covariates))
    found = effect("precision@10", *reduced)
    units = found.control_units + found.treatment_units
    bounds = (
        (found.absolute.estimate, found.standard_error),
        (np.log1p(found.relative.estimate), found.log_standard_error),
    )
    return any(
        not always_valid(estimate, error, units, planned_units=2 * ARM, alpha=ALPHA).holds(0.0)
        for estimate, error in bounds
        if np.isfinite(error)
    )


def _worth_a_look(arms: list[NDArray[np.int64]], arrival: str, cuped: bool) -> list[int]:
    """Return the days on which the difference is more than `SCREEN` standard errors, all days in one go."""
    hits, requests, past = population(arrival)
    ratios, lines, covariate_ratios, covariate_lines = [], [], [], []
    for arm in arms:
        ratio, line = _linearised(hits[arm], requests[arm])
        ratios.append(ratio)
        lines.append(line)
        seen = requests[arm] > 0
        ratio, line = _linearised(past[arm, :1] * seen, past[arm, 1:] * seen)
        covariate_ratios.append(ratio)
        covariate_lines.append(line)
    line, covariate_line = np.vstack(lines), np.vstack(covariate_lines)
    theta = (line * covariate_line).sum(axis=0) / np.maximum((covariate_line**2).sum(axis=0), 1e-300) * cuped
    difference = ratios[1] - ratios[0] - theta * (covariate_ratios[1] - covariate_ratios[0])
    error = np.sqrt(np.maximum(((line - theta * covariate_line) ** 2).sum(axis=0), 1e-300))
    return [int(day) for day in np.flatnonzero(np.abs(difference) > SCREEN * error)]


def _linearised(numerator: Floats, denominator: Floats) -> tuple[Floats, Floats]:
    """Return each day's ratio of sums, and what each unit adds to its error (the delta method)."""
    total = np.maximum(denominator.sum(axis=0), 1.0)
    ratio = numerator.sum(axis=0) / total
    return ratio, (numerator - ratio * denominator) / total
