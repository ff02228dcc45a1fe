"""Is the split of units the declared one, in each allocation epoch?

A unit belongs to the epoch of its first exposure, and its bucket was opened by that ramp or by an earlier one. Which of
the opened buckets come first says nothing about the arm; so units of one epoch whose buckets were opened together are
split as the buckets that were opened. That holds for any ramp, in proportion or not. The epoch's test adds up Pearson's
chi-squares over the ramps, and their degrees of freedom.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy.stats
from numpy.typing import NDArray

from recsys.experiment.epochs import Epoch
from recsys.experiment.routing import Router


@dataclass(frozen=True)
class EpochSplit:
    """The units first exposed in one epoch."""

    start: str
    """ISO, UTC."""
    end: str
    units: Mapping[str, int]
    expected: Mapping[str, float]
    """Units each arm would have by what was opened for it."""
    p_value: float
    """How likely so uneven a split is; 1 where nothing can be told."""


def epoch_splits(router: Router, units: pa.Table, epochs: Sequence[Epoch]) -> tuple[EpochSplit, ...]:
    """Test the split of every epoch.

    Args:
        router: of the experiment; arms keep their slots, so that any declaration of it does.
        units: one row a unit that was seen in one arm only: unit, arm, first (microseconds of its first exposure).
        epochs: without gaps, as `epochs` gives them; arms only grow.

    Returns:
        One an epoch; units whose arm is not that of their bucket stand in none, for they are a finding of their own.
    """
    arms = list(router.experiment.arms)
    opened = opened_by(router, units, epochs)
    first = np.asarray(units["first"].to_numpy(), dtype=np.int64)
    arm = _indices(units["arm"], arms)
    starts = np.array([round(epoch.start.timestamp() * 1_000_000) for epoch in epochs], dtype=np.int64)
    inside = np.searchsorted(starts, first, side="right") - 1
    widths = _widths(epochs, arms)
    found = []
    for number, epoch in enumerate(epochs):
        statistic, freedom = 0.0, 0
        units_of, expected = np.zeros(len(arms)), np.zeros(len(arms))
        for ramp in range(number + 1):
            mine = (inside == number) & (opened == ramp)
            observed = np.bincount(arm[mine], minlength=len(arms)).astype(np.float64)
            width = widths[ramp]
            units_of += observed
            if not observed.sum() or not width.sum():
                continue
            wanted = observed.sum() * width / width.sum()
            expected += wanted
            taken = width > 0
            statistic += float(((observed - wanted)[taken] ** 2 / wanted[taken]).sum())
            freedom += int(taken.sum()) - 1
        p_value = float(scipy.stats.chi2.sf(statistic, freedom)) if freedom else 1.0
        counted = {name: int(count) for name, count in zip(arms, units_of, strict=True)}
        wished = {name: float(count) for name, count in zip(arms, expected, strict=True)}
        found.append(EpochSplit(epoch.start.isoformat(), epoch.end.isoformat(), counted, wished, p_value))
    return tuple(found)


def opened_by(router: Router, units: pa.Table, epochs: Sequence[Epoch]) -> NDArray[np.int64]:
    """Return the ramp that opened each unit's bucket for its arm, as the number of its epoch; -1 where none did.

    Args:
        router: of the experiment.
        units: unit and arm.
        epochs: in order; arms only grow.
    """
    arms = list(router.experiment.arms)
    buckets = router.positions(units["unit"]).bucket
    arm = _indices(units["arm"], arms)
    slots = np.array([router.experiment.arms[name].slot_range()[0] for name in arms], dtype=np.int64)
    ratios = np.array([[epoch.ratios.get(name, 0) for name in arms] for epoch in epochs], dtype=np.int64)
    offset = buckets - slots[arm]
    within = (offset >= 0) & (offset < ratios[:, arm]) & (arm >= 0)
    return np.where(within.any(axis=0), within.argmax(axis=0), -1)


def _widths(epochs: Sequence[Epoch], arms: Sequence[str]) -> NDArray[np.float64]:
    """Return how many buckets each ramp opened for each arm, [epochs, arms]."""
    ratios = np.array([[epoch.ratios.get(arm, 0) for arm in arms] for epoch in epochs], dtype=np.float64)
    return np.diff(ratios, axis=0, prepend=0.0)


def _indices(column: pa.ChunkedArray, arms: Sequence[str]) -> NDArray[np.int64]:
    """Return each value's place among the arms; -1 of one that is none."""
    place = {arm: number for number, arm in enumerate(arms)}
    return np.array([place.get(arm, -1) for arm in column.to_pylist()], dtype=np.int64)
