"""Which arm of an experiment does a unit get, and when does the experiment apply at all?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.errors import ExperimentError
from recsys.experiment.bucketing import BUCKETS, bucket, buckets
from recsys.specs.experiment import Experiment

DEFAULT: Final = -1
"""Stands in the table for traffic that no arm takes: it gets the placement's default model and is not
analysed."""


@dataclass(frozen=True)
class Assignment:
    """The arm one unit gets."""

    experiment: str
    arm: str
    model_version: str
    """The logic the arm serves, `<model>/<version>`."""
    overridden: bool
    """True where a tester's override chose the arm: served, not analysed."""


class Router:
    """Assigns units to the arms of one experiment: by override first, else by bucket."""

    def __init__(self, name: str, experiment: Experiment) -> None:
        """Lay out the table once.

        Args:
            name: the experiment's name, as in `registry/experiments/<name>.yaml`.
            experiment: its declaration.
        """
        self.name = name
        self.experiment = experiment
        self._start, self._end = window(experiment)
        self._arms = tuple(experiment.arms)
        self._table = arm_table(experiment)
        self._assignments = tuple(self._assignment(arm, overridden=False) for arm in self._arms)
        self._overrides = {unit: self._assignment(arm, overridden=True) for unit, arm in experiment.overrides.items()}

    def active(self, at: datetime) -> bool:
        """Tell whether the experiment applies: start <= at < start + weeks.

        Args:
            at: the environment's time, with its zone.

        Raises:
            ExperimentError: if the time has no zone.
        """
        if at.tzinfo is None:
            message = f"experiment {self.name}: time {at.isoformat()} has no zone; times are UTC: attach one"
            raise ExperimentError(message)
        return self._start <= at < self._end

    def route(self, unit: str) -> Assignment | None:
        """Return the unit's assignment, or None for default traffic; it is not asked whether the time is right."""
        overridden = self._overrides.get(unit)
        if overridden is not None:
            return overridden
        index = int(self._table[bucket(self.experiment.seed, unit)])
        return None if index == DEFAULT else self._assignments[index]

    def route_many(self, units: pa.Array | pa.ChunkedArray | Sequence[str], *, overrides: bool = True) -> pa.Array:
        """Return every unit's arm.

        Args:
            units: ids without nulls.
            overrides: False asks for the arm by bucket alone, as analysis does.

        Returns:
            Names of arms as strings, one a unit and in their order; null for default traffic.

        Raises:
            ExperimentError: if a unit is null or not text.
        """
        indices = self._table[buckets(self.experiment.seed, units)]
        if overrides and self._overrides:
            indices = self._override(units, indices)
        return pa.array(self._arms, pa.string()).take(pa.array(indices, mask=indices == DEFAULT))

    def _override(
        self, units: pa.Array | pa.ChunkedArray | Sequence[str], indices: NDArray[np.int16]
    ) -> NDArray[np.int16]:
        column = units if isinstance(units, pa.Array | pa.ChunkedArray) else pa.array(units, pa.large_string())
        testers = pa.array(self._overrides, type=pa.large_string())
        arms = np.array([self._arms.index(made.arm) for made in self._overrides.values()], dtype=np.int16)
        found = pc.index_in(column.cast(pa.large_string()), value_set=testers)
        tester = np.asarray(pc.fill_null(found, -1))
        return np.where(tester >= 0, arms[tester], indices)

    def _assignment(self, arm: str, *, overridden: bool) -> Assignment:
        return Assignment(self.name, arm, self.experiment.arms[arm].model_version, overridden)


def window(experiment: Experiment) -> tuple[datetime, datetime]:
    """Return [start, end) of an experiment: its planned start and as many whole weeks later."""
    start = experiment.plan.start
    return start, start + timedelta(weeks=experiment.plan.weeks)


def arm_table(experiment: Experiment) -> NDArray[np.int16]:
    """Return the arm of each bucket.

    Returns:
        10,000 indices into `experiment.arms` in its order, `DEFAULT` where no arm takes the bucket.
    """
    table = np.full(BUCKETS, DEFAULT, dtype=np.int16)
    for index, arm in enumerate(experiment.arms.values()):
        first, last = arm.bucket_range()
        table[first:last] = index
    return table
