"""What does a declaration mean for the units that are known now? Notes for the reader of a plan."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.experiment.epochs import Epoch
from recsys.experiment.routing import Router, window
from recsys.planning.lifecycle import Stage, stage
from recsys.planning.plan import Step
from recsys.planning.refusals import Facts, layer_of
from recsys.planning.state import State
from recsys.specs.experiment import Experiment
from recsys.specs.problem import Problem

_DEFAULT: Final = "the default model"


def with_notes(step: Step, facts: Facts, after: State, before: Mapping[str, Sequence[Epoch]]) -> Step:
    """Return a step with what its experiment or problem would do now; other steps as they are.

    Args:
        step: one difference.
        facts: what the stores know.
        after: what is declared.
        before: experiment to the allocation epochs that were applied.
    """
    if step.content is None:
        return step
    if step.kind == "problems":
        return replace(step, notes=tuple(_of_problem(Problem.model_validate(step.content), facts)))
    if step.kind != "experiments":
        return step
    experiment = Experiment.model_validate(step.content)
    if facts.now >= window(experiment)[1]:
        return step
    router = Router(step.name, experiment, layer_of(after, experiment))
    return replace(step, notes=(*_of_experiment(router, facts), *_ramp(experiment, facts, before.get(step.name, ()))))


def _of_problem(problem: Problem, facts: Facts) -> Iterator[str]:
    """Say which channels reach half of the units or more; no gate is decided by such a capacity."""
    limited = {name: channel.capacity for name, channel in problem.channels.items() if channel.capacity is not None}
    units = facts.units(problem.entity.unit) if limited else None
    if units is None:
        return
    for name, capacity in limited.items():
        if 2 * capacity >= len(units):
            yield (
                f"channels.{name}.capacity {capacity:,} of {len(units):,} known units is not a selection: no gate can"
                " be decided by it"
            )


def _of_experiment(router: Router, facts: Facts) -> Iterator[str]:
    experiment = router.experiment
    units = facts.units(experiment.unit)
    if units is not None:
        yield f"of {len(units):,} known units: {', '.join(_counts(router, pa.array(units, pa.large_string())))}"
    if experiment.unit == "session_id":
        yield "unit session_id: a user meets several arms; what one visit taught may carry over to the next"
    start, end = window(experiment)
    yield f"{stage(experiment, facts.now)}: from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"


def _counts(router: Router, units: pa.Array) -> Iterator[str]:
    positions = router.positions(units)
    arms = router.route_many(units, overrides=False, positions=positions)
    counted = {row["values"]: row["counts"] for row in pc.value_counts(arms).to_pylist()}
    yield from (f"{counted.get(arm, 0):,} {arm}" for arm in router.experiment.arms)
    yield f"{counted.get(None, 0):,} {_DEFAULT}"
    if router.layer is not None and positions.layer_bucket is not None:
        first, last = router.layer.holdout_range()
        held = np.count_nonzero((first <= positions.layer_bucket) & (positions.layer_bucket < last))
        yield f"{held:,} of them in the layer's holdout"


def _ramp(experiment: Experiment, facts: Facts, known: Sequence[Epoch]) -> Iterator[str]:
    """Say that an edit of a running experiment opens an allocation epoch, and which shares change in it."""
    if not known or stage(experiment, facts.now) is not Stage.RUNNING:
        return
    before = known[-1].ratios
    now = {arm: last - first for arm, spec in experiment.arms.items() for first, last in [spec.bucket_range()]}
    shares = {arm: (before.get(arm, 0), ratio) for arm, ratio in now.items()}
    grown = [f"{arm} {old / 100:g} -> {new / 100:g} %" for arm, (old, new) in shares.items() if old != new]
    if grown:
        yield f"opens allocation epoch {len(known) + 1}: {', '.join(grown)}"
