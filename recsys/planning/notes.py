"""What does a declaration mean for the units that are known now? Notes for the reader of a plan."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys.experiment.routing import Router, window
from recsys.planning.plan import Step
from recsys.planning.refusals import Facts
from recsys.specs.experiment import Experiment
from recsys.specs.problem import Problem

_DEFAULT: Final = "the default model"


def with_notes(step: Step, facts: Facts) -> Step:
    """Return a step with what its experiment or problem would do now; other steps as they are."""
    if step.content is None:
        return step
    if step.kind == "problems":
        return replace(step, notes=tuple(_of_problem(Problem.model_validate(step.content), facts)))
    if step.kind != "experiments":
        return step
    experiment = Experiment.model_validate(step.content)
    if facts.now >= window(experiment)[1]:
        return step
    return replace(step, notes=tuple(_of_experiment(step.name, experiment, facts)))


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


def _of_experiment(name: str, experiment: Experiment, facts: Facts) -> Iterator[str]:
    units = facts.units(experiment.unit)
    if units is not None:
        counted = {row["values"]: row["counts"] for row in pc.value_counts(_arms(name, experiment, units)).to_pylist()}
        arms = [f"{counted.get(arm, 0):,} {arm}" for arm in experiment.arms]
        yield f"of {len(units):,} known units: {', '.join(arms)}, {counted.get(None, 0):,} {_DEFAULT}"
    if experiment.unit == "session_id":
        yield "unit session_id: a user meets several arms; what one visit taught may carry over to the next"


def _arms(name: str, experiment: Experiment, units: Sequence[str]) -> pa.Array:
    return Router(name, experiment).route_many(pa.array(units, pa.large_string()), overrides=False)
