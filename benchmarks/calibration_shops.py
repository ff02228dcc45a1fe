"""What do units of a shop look like to an experiment: few that do much, many that do nothing, baskets of any size?

A shop is a large population of unit rows; a simulated experiment draws its units from it with replacement, so that the
truth, a ratio of the population's sums, is known to the last digit. A lifted shop has the same units with the same
past, of which each does more from now on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from tea_tasting.aggr import Aggregates

from recsys.statistics.effects import moments

Floats = NDArray[np.float64]
UNITS = 200_000
"""Units of a shop."""
SLOTS = 10
"""Of a list."""


@dataclass(frozen=True)
class Shop:
    """One metric of all its units."""

    rows: Floats
    """[units, 4] numerator, denominator, and both of the pre-period."""

    @property
    def truth(self) -> float:
        """Return the metric's value if everybody took part."""
        return float(self.rows[:, 0].sum() / self.rows[:, 1].sum())

    def draw(self, generator: np.random.Generator, units: int, *, cuped: bool) -> Aggregates:
        """Return the moments of some of its units, each drawn by itself."""
        drawn = self.rows[generator.integers(0, len(self.rows), units)]
        return moments(*drawn.T) if cuped else moments(drawn[:, 0], drawn[:, 1])


def precision(generator: np.random.Generator, lift: float) -> Shop:
    """Return hits over slots: requests of a unit are as heavy-tailed as their units' zeal, hits belong to the unit."""
    past, future = generator.spawn(2)
    zeal = past.lognormal(0.0, 1.0, UNITS)
    habit = past.beta(2.0, 8.0, UNITS) * np.clip(0.8 + 0.1 * zeal, None, 1.3)
    before = past.poisson(2 * zeal)
    hits_before = past.binomial(SLOTS * before, habit) / SLOTS
    requests = 1 + future.poisson(2 * zeal)
    hits = future.binomial(SLOTS * requests, np.clip(habit * (1 + lift), 0, 1)) / SLOTS
    return Shop(np.column_stack((hits, requests, hits_before, before)).astype(np.float64))


def orders(generator: np.random.Generator, lift: float) -> Shop:
    """Return orders a unit: six of seven never buy anything, and a third was not there before."""
    past, future = generator.spawn(2)
    rate = past.gamma(0.8, 1.0, UNITS) * (past.random(UNITS) < 1 / 7)
    known = past.random(UNITS) < 2 / 3
    before = past.poisson(rate) * known
    after = future.poisson(rate * (1 + lift))
    return Shop(np.column_stack((after, np.ones(UNITS), before, known)).astype(np.float64))


def revenue(generator: np.random.Generator, lift: float) -> Shop:
    """Return revenue a unit: the same orders, each of a lognormal amount that one in a hundred exceeds tenfold."""
    past, future = generator.spawn(2)
    rate = past.gamma(0.8, 2.0, UNITS) * (past.random(UNITS) < 1 / 4)
    amount = past.lognormal(3.0, 0.6, UNITS)
    known = past.random(UNITS) < 2 / 3
    before = past.poisson(rate) * known
    after = future.poisson(rate * (1 + lift))
    columns = (_spent(future, after, amount), np.ones(UNITS), _spent(past, before, amount), known)
    return Shop(np.column_stack(columns).astype(np.float64))


def _spent(generator: np.random.Generator, baskets: NDArray[np.int64], amount: Floats) -> Floats:
    """Sum each unit's baskets: its own usual amount times what this basket is of it."""
    owner = np.repeat(np.arange(len(baskets)), baskets)
    return np.bincount(owner, amount[owner] * generator.lognormal(0.0, 0.8, len(owner)), minlength=len(baskets))


KINDS: dict[str, Callable[[np.random.Generator, float], Shop]] = {
    "precision@10": precision,
    "orders a unit": orders,
    "revenue a unit": revenue,
}


@cache
def shop(kind: str, lift: float) -> Shop:
    """Return a shop, the same in every process; shops that differ in their lift share units and past."""
    return KINDS[kind](np.random.default_rng(20_171_204), lift)
