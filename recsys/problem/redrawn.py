"""What else might the past have been, had other units come?

Units are drawn with replacement, each with all that it did: the bootstrap for clustered data, as in
`recsys.statistics.bootstrap`. What is asked for depends on a unit through sums over units only, so that beyond
`GROUPS` units it is random groups of them that are drawn: sums of groups scatter as sums of units do.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.problem.counts import UnitTable
from recsys.statistics.bootstrap import unit_weights

DRAWS: Final = 1_000
"""Pasts that the bounds are percentiles of."""
GROUPS: Final = 2_000
"""Of units that are drawn together, where there are more units."""
_COLUMNS: Final = 4
_PAIRS: Final = np.triu_indices(_COLUMNS)


class Pasts:
    """The past as it was, and so many of units that were drawn anew."""

    def __init__(self, units: UnitTable, draws: int = DRAWS) -> None:
        """Draw, the same for the same units in the same order.

        Args:
            units: of the past, in an order that does not depend on the run.
            draws: how often they are drawn; 0 for the past as it was only.
        """
        entered = len(units.entry_day)
        groups = min(entered, GROUPS)
        self._units = units
        self._group = np.random.default_rng(0).permutation(entered) % groups
        drawn = unit_weights(groups, draws, 0) if groups else ()
        self._weights = np.vstack([np.ones(groups), *drawn])
        self.cumulative = self._arrivals().cumsum(axis=1)
        """Units that entered up to each day's end, [draws, days]."""

    def relative_variances(self, stage: int) -> NDArray[np.float64]:
        """Return the variance of one unit's part in a stage's metric, over its squared mean, after CUPED.

        Args:
            stage: its number.

        Returns:
            [draws, places], a place each of the days that the units are told up to; infinite where nobody did
            anything. Units that an experiment needs are proportional to it.
        """
        units, groups = self._units, self._weights.shape[1]
        columns = [units.counts_before[stage], units.visits_before]
        found = np.empty((len(self._weights), len(units.days)))
        for place, day in enumerate(units.days):
            came = units.entry_day < day
            rows = np.array([each[came] for each in (units.counts[stage, place], units.visits[place], *columns)])
            terms = [np.ones(rows.shape[1]), *rows, *(rows[i] * rows[j] for i, j in zip(*_PAIRS, strict=True))]
            sums = np.column_stack([np.bincount(self._group[came], term, minlength=groups) for term in terms])
            found[:, place] = _relative_variance(self._weights @ sums)
        return found

    def _arrivals(self) -> NDArray[np.float64]:
        groups, days = self._weights.shape[1], self._units.days[-1]
        inside = self._units.entry_day < days
        place = self._group[inside] * days + self._units.entry_day[inside]
        return self._weights @ np.bincount(place, minlength=groups * days).reshape(groups, days)


def _relative_variance(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reduce sums of 1, of numerator, denominator and both of the covariate, and of their products, [draws, 15]."""
    count = sums[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums[:, 1 : 1 + _COLUMNS] / count[:, None]
        spread = np.zeros((len(sums), _COLUMNS, _COLUMNS))
        for (i, j), products in zip(zip(*_PAIRS, strict=True), sums[:, 1 + _COLUMNS :].T, strict=True):
            spread[:, i, j] = spread[:, j, i] = (products - count * means[:, i] * means[:, j]) / (count - 1)
        metric, covariate = _direction(means, 0), _direction(means, 2)
        variance, other, both = (
            np.einsum("di,dij,dj->d", one, spread, two)
            for one, two in ((metric, metric), (covariate, covariate), (metric, covariate))
        )
        explained = np.where(np.isfinite(other) & (other > 0), both**2 / other, 0.0)
        relative = np.maximum(variance - explained, 0.0)
    return np.where(np.isfinite(relative), relative, np.inf)


def _direction(means: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """Return the gradient of the log of a ratio of means (the delta method), [draws, columns]."""
    found = np.zeros_like(means)
    found[:, first] = 1 / means[:, first]
    found[:, first + 1] = -1 / means[:, first + 1]
    return found
