"""Which arm of an experiment does a unit get, and when does the experiment apply at all?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.errors import ExperimentError
from recsys.experiment.bucketing import BUCKETS, Units, bucket, buckets
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer

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


@dataclass(frozen=True)
class Positions:
    """Where units fall, in the order in which they were given."""

    bucket: NDArray[np.int32]
    """In the experiment, by its seed."""
    layer_bucket: NDArray[np.int32] | None
    """In the experiment's layer, by the layer's seed; None where it has none."""


class Router:
    """Assigns units to the arms of one experiment: by override first, else by bucket."""

    def __init__(self, name: str, experiment: Experiment, layer: Layer | None = None) -> None:
        """Lay out the table once.

        Args:
            name: the experiment's name, as in `registry/experiments/<name>.yaml`.
            experiment: its declaration.
            layer: the one that the experiment names, if it names one.

        Raises:
            ExperimentError: if the experiment is in a layer and none is given, or the other way round.
        """
        if (layer is None) != (experiment.layer is None):
            named = "no layer" if experiment.layer is None else f"layer {experiment.layer.name}"
            message = f"experiment {name} is in {named}: it is routed with the layer that it names, and no other"
            raise ExperimentError(message)
        self.name = name
        self.experiment = experiment
        self.layer = layer
        self._start, self._end = window(experiment)
        self._arms = tuple(experiment.arms)
        self._table = arm_table(experiment)
        self._range = (0, BUCKETS) if experiment.layer is None else experiment.layer.bucket_range()
        self._assignments = tuple(self._assignment(arm, overridden=False) for arm in self._arms)
        self._overrides = {unit: self._assignment(arm, overridden=True) for unit, arm in experiment.overrides.items()}

    def active(self, at: datetime) -> bool:
        """Tell whether the experiment applies: start <= at < its end.

        Args:
            at: the environment's time, with its zone.

        Raises:
            ExperimentError: if the time has no zone.
        """
        if at.tzinfo is None:
            message = f"experiment {self.name}: time {at.isoformat()} has no zone; times are UTC: attach one"
            raise ExperimentError(message)
        return self._start <= at < self._end

    def override(self, unit: str) -> Assignment | None:
        """Return a tester's assignment, or None for everybody else."""
        return self._overrides.get(unit)

    def route(self, unit: str) -> Assignment | None:
        """Return the unit's assignment, or None for default traffic; it is not asked whether the time is right."""
        overridden = self._overrides.get(unit)
        if overridden is not None:
            return overridden
        if self.layer is not None:
            first, last = self._range
            if not first <= bucket(self.layer.seed, unit) < last:
                return None
        index = int(self._table[bucket(self.experiment.seed, unit)])
        return None if index == DEFAULT else self._assignments[index]

    def positions(self, units: Units) -> Positions:
        """Return every unit's place in the experiment and in its layer.

        Raises:
            ExperimentError: if a unit is null or not text.
        """
        in_layer = None if self.layer is None else buckets(self.layer.seed, units)
        return Positions(buckets(self.experiment.seed, units), in_layer)

    def held_out(self, positions: Positions) -> NDArray[np.bool_]:
        """Tell of every unit whether the layer's holdout keeps it from all experiments; of nobody without a layer.

        Args:
            positions: of the units, as `positions` gives them.
        """
        if self.layer is None or positions.layer_bucket is None:
            return np.zeros(len(positions.bucket), dtype=np.bool_)
        first, last = self.layer.holdout_range()
        return (first <= positions.layer_bucket) & (positions.layer_bucket < last)

    def route_many(self, units: Units, *, overrides: bool = True, positions: Positions | None = None) -> pa.Array:
        """Return every unit's arm.

        Args:
            units: ids without nulls.
            overrides: False asks for the arm by bucket alone, as analysis does.
            positions: of these units, where they are known already.

        Returns:
            Names of arms as strings, one a unit and in their order; null for default traffic.

        Raises:
            ExperimentError: if a unit is null or not text.
        """
        at = positions or self.positions(units)
        indices = self._table[at.bucket]
        if at.layer_bucket is not None:
            first, last = self._range
            indices[(at.layer_bucket < first) | (at.layer_bucket >= last)] = DEFAULT
        if overrides and self._overrides:
            indices = self._override(units, indices)
        return pa.array(self._arms, pa.string()).take(pa.array(indices, mask=indices == DEFAULT))

    def assignments(self, units: Sequence[str]) -> list[Assignment | None]:
        """Return every unit's assignment by bucket, None for default traffic; overrides do not count."""
        by_arm = dict(zip(self._arms, self._assignments, strict=True))
        arms = self.route_many(units, overrides=False).to_pylist()
        return [None if arm is None else by_arm[arm] for arm in arms]

    def overridden(self, units: Units) -> NDArray[np.bool_]:
        """Tell of every unit whether an override chooses its arm."""
        testers = pa.array(self._overrides, type=pa.large_string())
        return np.asarray(pc.is_in(as_text(units), value_set=testers))

    def _override(self, units: Units, indices: NDArray[np.int16]) -> NDArray[np.int16]:
        testers = pa.array(self._overrides, type=pa.large_string())
        arms = np.array([self._arms.index(made.arm) for made in self._overrides.values()], dtype=np.int16)
        found = pc.index_in(as_text(units), value_set=testers)
        tester = np.asarray(pc.fill_null(found, -1))
        return np.where(tester >= 0, arms[tester], indices)

    def _assignment(self, arm: str, *, overridden: bool) -> Assignment:
        return Assignment(self.name, arm, self.experiment.arms[arm].model_version, overridden)


def routers_of(
    placement: str, experiments: Mapping[str, Experiment], layers: Mapping[str, Layer]
) -> tuple[Router, ...]:
    """Return a router a declared experiment on one placement, by name.

    Args:
        placement: its name.
        experiments: by name; those of other placements are left out.
        layers: by name; those that these experiments name have to be there.
    """
    return tuple(
        Router(name, spec, None if spec.layer is None else layers[spec.layer.name])
        for name, spec in sorted(experiments.items())
        if spec.placement == placement
    )


def assign(routers: Iterable[Router], user_id: str, session_id: str | None, at: datetime) -> Assignment | None:
    """Return who answers one request: a tester's override of any experiment, else the first that has an arm for it.

    Args:
        routers: of the experiments on one placement; those that are not active at this time do not count.
        user_id: who asks.
        session_id: the visit; without one an experiment whose unit is the session does not apply.
        at: the environment's time, with its zone.

    Returns:
        The assignment, or None for default traffic.
    """
    found = None
    for router in routers:
        unit = session_id if router.experiment.unit == "session_id" else user_id
        if unit is None or not router.active(at):
            continue
        assignment = router.route(unit) if found is None else router.override(unit)
        if assignment is not None:
            if assignment.overridden:
                return assignment
            found = assignment
    return found


def assign_many(routers: Iterable[Router], user_ids: Sequence[str], at: datetime) -> list[Assignment | None]:
    """Return who answers one request of each user, made in no session: what `assign` gives each.

    Args:
        routers: of the experiments on one placement.
        user_ids: who asks.
        at: the environment's time, with its zone.
    """
    active = [router for router in routers if router.experiment.unit != "session_id" and router.active(at)]
    found: list[Assignment | None] = [None] * len(user_ids)
    for router in active:
        for place, assignment in enumerate(router.assignments(user_ids)):
            if found[place] is None:
                found[place] = assignment
    for router in reversed(active):  # the first one's override goes before the others'
        if router.experiment.overrides:
            for place, unit in enumerate(user_ids):
                found[place] = router.override(unit) or found[place]
    return found


def held_out(layer: Layer, units: Units) -> NDArray[np.bool_]:
    """Tell of every unit whether it is in a layer's holdout; none is where the layer has none."""
    first, last = layer.holdout_range()
    position = buckets(layer.seed, units)
    return np.asarray((first <= position) & (position < last))


def held_out_by_any(layers: Iterable[Layer], units: Units) -> NDArray[np.bool_]:
    """Tell of every unit whether it is in the holdout of one of some layers."""
    held = np.zeros(len(units), dtype=np.bool_)
    for layer in layers:
        held |= held_out(layer, units)
    return held


def as_text(units: Units) -> pa.Array | pa.ChunkedArray:
    """Return ids as large Arrow strings."""
    column = units if isinstance(units, pa.Array | pa.ChunkedArray) else pa.array(units, pa.large_string())
    return column.cast(pa.large_string())


def window(experiment: Experiment) -> tuple[datetime, datetime]:
    """Return [start, end) of an experiment: its planned start, and its weeks later or its earlier end."""
    return experiment.plan.window()


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
