"""Do columns still go with the label as they did, and are those that say the same still the same ones?

A rank correlation is Spearman's. Whether its move can be chance is told from the spread over units, for rows of one
unit are alike: each row's influence on the correlation is summed by unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from recsys.evaluation.drift import Sample
from recsys.modeling.offline_evaluation import Correlation, drawn_rows, feature_correlation
from recsys.statistics.multiplicity import adjusted_p_values

LABEL: Final = "label"
_ROWS: Final = 20_000
"""Of a side are looked at, drawn by a seed."""


@dataclass(frozen=True)
class Correlated:
    """How one column's rank correlation moved."""

    column: str
    other: str
    """`label`, or another column that it was or is strongly correlated with."""
    before: float
    """NaN where one of the two is constant, or for pairs of columns, the correlation is weak."""
    now: float
    p_value: float = math.nan
    """Of the change of a correlation with the label; NaN where it cannot be told."""
    adjusted_p_value: float = math.nan
    """The same for the number of columns."""

    @property
    def change(self) -> float:
        """Return by how much it moved; NaN where one of them is not there."""
        return self.now - self.before

    def moved(self, rate: float) -> bool:
        """Say whether chance is no explanation at a false discovery rate."""
        return self.adjusted_p_value <= rate


def correlations(before: Sample, old: NDArray[Any], now: Sample, new: NDArray[Any]) -> tuple[Correlated, ...]:
    """Compare rank correlations: of every column with the label, and of pairs that are strong on a side.

    Both sides are taken as independent. They have units in common, which makes changes look less sure than they are.

    Args:
        before: the reference; a column `label` is left out.
        old: [rows] its labels.
        now: recent rows, likewise.
        new: [rows] their labels.

    Returns:
        Largest change first.
    """
    first, second = _Side(before, old), _Side(now, new)
    found = [
        Correlated(name, LABEL, value, second.found.label[name])
        for name, value in first.found.label.items()
        if name in second.found.label
    ]
    p_values = [_p_value(each, first.spread(each.column), second.spread(each.column)) for each in found]
    adjusted = adjusted_p_values(p_values, "fdr")
    found = [
        replace(each, p_value=value, adjusted_p_value=of_all)
        for each, value, of_all in zip(found, p_values, adjusted, strict=True)
    ]
    found += _pairs(first.found, second.found)
    return tuple(sorted(found, key=lambda each: -abs(each.change) if math.isfinite(each.change) else 0.0))


def spread(values: NDArray[np.float64], label: NDArray[np.float64], units: NDArray[np.int64]) -> float:
    """Return the standard error of a rank correlation over units.

    The delta method on standardised ranks u, v: a row moves the correlation r by uv - r (u^2 + v^2) / 2 (Devlin,
    Gnanadesikan and Kettenring, Robust estimation and outlier detection with correlation coefficients, Biometrika
    1975). Ranks are taken as given, which is right for weak correlations, as those with a label are.

    Args:
        values: [rows], NaN where unknown.
        label: [rows].
        units: [rows] the unit's number.

    Returns:
        NaN where a side is constant, or there are fewer than two units.
    """
    known = ~np.isnan(values)
    units, ranks = units[known], [scipy.stats.rankdata(each[known]) for each in (values, label)]
    if not len(units) or any(np.ptp(each) == 0 for each in ranks):
        return math.nan
    u, v = ((each - each.mean()) / each.std() for each in ranks)
    correlation = float(np.mean(u * v))
    sums = np.bincount(units, u * v - correlation * (u**2 + v**2) / 2)
    count = len(np.unique(units))
    if count < 2:  # noqa: PLR2004 - a spread takes two
        return math.nan
    return math.sqrt(float(np.sum(sums**2)) * count / (count - 1)) / len(units)


class _Side:
    """Rows of one side, as far as they are looked at."""

    def __init__(self, sample: Sample, label: NDArray[Any]) -> None:
        drawn = drawn_rows(len(label), _ROWS)
        self._columns = {name: values[drawn] for name, values in sample.columns.items() if name != LABEL}
        self._label = np.asarray(label)[drawn].astype(np.float64)
        names, self._units = np.unique(sample.units[drawn].astype(str), return_inverse=True)
        self.units = len(names)
        self.found = feature_correlation(self._columns, self._label, rows=_ROWS)

    def spread(self, column: str) -> tuple[float, int]:
        """Return the standard error of a column's correlation with the label, and of how many units."""
        return spread(self._columns[column].astype(np.float64), self._label, self._units), self.units


def _p_value(pair: Correlated, *sides: tuple[float, int]) -> float:
    """Return how likely so large a change is by chance, by Student's t with the degrees of the side of fewer units."""
    error = math.hypot(*(spread for spread, _ in sides))
    if not (math.isfinite(pair.change) and math.isfinite(error)):
        return math.nan
    if error == 0:
        return float(pair.change == 0)
    return float(2 * scipy.stats.t.sf(abs(pair.change) / error, min(units for _, units in sides) - 1))


def _pairs(before: Correlation, now: Correlation) -> Sequence[Correlated]:
    """Return the pairs of columns that are strongly correlated on one side only."""
    strong, strong_now = ({(one, other): value for one, other, value in each.pairs} for each in (before, now))
    return [
        Correlated(*pair, strong.get(pair, math.nan), strong_now.get(pair, math.nan))
        for pair in {**strong, **strong_now}
        if (pair in strong) != (pair in strong_now)
    ]
