"""How is a figure kept together with its value in every draw of the units, so that any two of them can be paired?"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from recsys.statistics.bootstrap import Interval, bootstrap_sums

SEED: Final = 0
"""Of every draw of an evaluation: all figures see the same draws."""

_CELLS_AT_ONCE: Final = 8_000_000
"""Bounds memory: sums of 64 MB wait for the draws."""


@dataclass(frozen=True)
class Resampling:
    """How sure the figures are to be."""

    resamples: int
    confidence: float
    """Two-sided, of all intervals but the gate's."""


@dataclass(frozen=True)
class Figure:
    """An estimate, and its value in every draw of the units."""

    estimate: float
    draws: NDArray[np.float64]
    """[resamples]; NaN where a draw left it undefined."""
    units: int
    """How many units were drawn from."""

    def interval(self, confidence: float) -> Interval:
        """Return the estimate with its expanded percentile interval.

        The tails are those of Student's t, so that few units give wide bounds (Hesterberg, What teachers should know
        about the bootstrap, The American Statistician, 2015, section 3.3). Bounds are NaN where the estimate is, and
        for a single unit, of which every draw is the same. A draw that left the figure undefined counts as below the
        lower and above the upper bound.
        """
        if self.units < 2 or not np.isfinite(self.estimate):  # noqa: PLR2004
            return Interval(self.estimate, np.nan, np.nan)
        tail = _expanded_tail(confidence, self.units)
        if np.isfinite(self.draws).all():
            # The (resamples + 1) p-th draw: a new draw falls beside it with probability p, however few draws there are.
            low, high = np.quantile(self.draws, [tail, 1 - tail], method="weibull")
        else:
            low = np.quantile(_undefined_as(self.draws, -np.inf), tail, method="lower")
            high = np.quantile(_undefined_as(self.draws, np.inf), 1 - tail, method="higher")
        return Interval(self.estimate, float(low), float(high))

    def over(self, other: "Figure") -> "Figure":
        """Return the paired ratio of this figure to another; not a number where the other one is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            draws = self.draws / other.draws
        return Figure(self.estimate / other.estimate if other.estimate else np.nan, draws, self.units)


class UnitSums:
    """Sums of request-wise values over units, and over every draw of the units."""

    def __init__(self, codes: NDArray[np.int64], units: int, resamples: int) -> None:
        """Start without sums.

        Args:
            codes: [requests] the number of each request's unit.
            units: how many there are.
            resamples: how often they are drawn.
        """
        self.codes = codes
        self._units, self._resamples = units, resamples
        self._waiting: list[NDArray[np.float64]] = []
        self._keys: list[Hashable] = []
        self._totals: dict[Hashable, tuple[float, NDArray[np.float64]]] = {}

    def add(self, key: Hashable, values: NDArray[np.float64], codes: NDArray[np.int64] | None = None) -> None:
        """Sum values by unit.

        Args:
            key: names the sum.
            values: [requests], or [codes] where other codes are given.
            codes: the unit of each value; by default of each request.
        """
        self.add_parts([key], values, np.zeros(len(values), dtype=np.int64), codes)

    def add_parts(
        self,
        keys: Sequence[Hashable],
        values: NDArray[np.float64],
        part: NDArray[np.int64],
        codes: NDArray[np.int64] | None = None,
    ) -> None:
        """Sum values by unit and part; `keys` names the sum of each part, and `part` is -1 where a value is in none."""
        units = self.codes if codes is None else codes
        inside = part >= 0
        cells = units[inside] * len(keys) + part[inside]
        sums = np.bincount(cells, weights=values[inside], minlength=self._units * len(keys))
        self._waiting.append(sums.reshape(self._units, len(keys)).astype(np.float64))
        self._keys.extend(keys)
        if self._units * sum(block.shape[1] for block in self._waiting) > _CELLS_AT_ONCE:
            self._draw()

    def mean(self, top: Hashable, bottom: Hashable) -> Figure:
        """Return one sum over another, such as that of a metric over the number of requests."""
        self._draw()
        (total, drawn), (count, counted) = self._totals[top], self._totals[bottom]
        with np.errstate(divide="ignore", invalid="ignore"):
            return Figure(total / count if count else np.nan, drawn / counted, self._units)

    def total(self, key: Hashable) -> float:
        """Return a sum over all units."""
        self._draw()
        return self._totals[key][0]

    def _draw(self) -> None:
        """Draw the units for the sums that wait; each time the same draws."""
        if not self._waiting:
            return
        columns = np.hstack(self._waiting)
        totals, drawn = columns.sum(axis=0), bootstrap_sums(columns, resamples=self._resamples, seed=SEED)
        first = len(self._totals)
        for column, key in enumerate(self._keys[first:]):
            self._totals[key] = (float(totals[column]), drawn[:, column])
        self._waiting.clear()


def unit_codes(users: NDArray[np.object_]) -> tuple[NDArray[np.int64], int]:
    """Number the units in the order of their ids; returns each one's number, and how many there are."""
    units, codes = np.unique(users.astype(str), return_inverse=True)
    return codes.astype(np.int64), len(units)


@lru_cache
def _expanded_tail(confidence: float, units: int) -> float:
    """Return the share of draws beyond each bound: (1 - confidence) / 2 and less, the fewer units there are."""
    quantile = scipy.stats.t.isf((1 - confidence) / 2, units - 1) * np.sqrt(units / (units - 1))
    return float(scipy.stats.norm.sf(quantile))


def _undefined_as(draws: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    return np.nan_to_num(draws, nan=value, posinf=np.inf, neginf=-np.inf)
