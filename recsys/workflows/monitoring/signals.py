"""What do clicks and orders say: of an experiment's arm, or of a model's lists over time?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.decision.diagnosis import Signal, signal
from recsys.decision.intervals import oriented
from recsys.evaluation.analysis import Analysis, ArmEffect
from recsys.evaluation.metric_definition import MetricDefinition, metric_definitions
from recsys.modeling.labels import attributed
from recsys.schema import CLICK, EVENT_TIMESTAMP, ITEM, REQUEST_ID, USER
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import EventCount
from recsys.specs.problem import Problem
from recsys.statistics.bootstrap import Interval
from recsys.statistics.effects import effect, moments
from recsys.workflows.monitoring.monitored import Monitored, exposures_of, given_up, monitored
from recsys.workflows.workspace import Workspace

CLICKS: Final = "clicks"
ORDERS: Final = "orders"


@dataclass(frozen=True)
class Figure:
    """One signal with what it rests on."""

    signal: Signal
    metric: str
    """What was looked at; a reason where nothing could be."""
    interval: Interval | None = None
    """Of the kind; larger is better."""
    kind: Literal["ratio", "relative effect"] = "relative effect"
    """relative effect: 0.11 is 11 % more than without; ratio: the model's metric by its baseline's, 1 is as good."""


_NO_CLICKS: Final = Figure("none", "none declared: the problem's funnel has no stage before its target")


def arm_figure(workspace: Workspace, experiment: Experiment, analysis: Analysis | None, arm: str, kind: str) -> Figure:
    """Return what an experiment says of clicks or orders, by its first metric of that kind.

    Args:
        workspace: the project.
        experiment: its declaration.
        analysis: of its log; None where nothing is logged.
        arm: a treatment.
        kind: clicks, what counts another event than the target, or orders.
    """
    problem = workspace.catalog.problem(workspace.catalog.placement(experiment.placement).problem)
    definitions = {each.name: each for each in metric_definitions(experiment, workspace.catalog.metrics)}
    counted = {_kind(each, problem) for each in definitions.values()}
    if kind == CLICKS and kind not in counted and not _earlier(problem):
        return _NO_CLICKS
    if analysis is None:
        return Figure("unclear", "nothing was logged yet")
    directions = {experiment.metrics.primary.name: experiment.metrics.primary.direction}
    directions |= {each.name: each.direction for each in experiment.metrics.guardrails}
    for found in (each for each in analysis.effects if each.treatment_arm == arm):
        name = found.effect.metric
        if _kind(definitions[name], problem) == kind:
            interval = oriented(_relative(found, analysis), directions.get(name, "higher_is_better"))
            return Figure(signal(interval), name, interval)
    return Figure("unclear", f"no metric of the experiment counts {kind}")


def _relative(found: ArmEffect, analysis: Analysis) -> Interval:
    """Return the bounds that hold at every look while it runs, and the fixed ones after."""
    return found.always_relative if analysis.state == "running" else found.effect.relative


def _kind(definition: MetricDefinition, problem: Problem) -> str:
    """Tell whether a metric counts the target, or an earlier stage."""
    counted = definition.declared.numerator if definition.declared is not None else None
    return CLICKS if isinstance(counted, EventCount) and counted.event != problem.target.event else ORDERS


def figures_over_time(workspace: Workspace, what: Monitored) -> tuple[Figure, Figure, float | None]:
    """Compare a model's clicks and orders a request with those of as long a time before.

    Args:
        workspace: the project.
        what: the model's lists.

    Returns:
        Clicks, orders, and the share of lists that were given up (None where there were none).
    """
    if not what.placements:
        nothing = Figure(
            "unclear",
            "a campaign's contacts are no lists that are clicked: units that were held out have to be beside them",
        )
        return nothing, nothing, None
    length = what.end - what.start
    length -= length % timedelta(milliseconds=1)  # what was answered at the clock's very moment is in the later time
    before = monitored(workspace, what.name, what.start - length, what.start)
    sides = [(exposures_of(workspace, each), each) for each in (before, what)]
    problem = workspace.catalog.problem(workspace.catalog.placement(what.placements[0]).problem)
    stages = _earlier(problem)
    clicked = CLICK if CLICK in stages else next(reversed(stages), None)
    clicks = _NO_CLICKS if clicked is None else _moved(workspace, problem, clicked, sides)
    return clicks, _moved(workspace, problem, problem.target.event, sides), given_up(workspace, what)


def _earlier(problem: Problem) -> tuple[str, ...]:
    """Return the declared stages but the target, from the widest on."""
    return tuple(stage for stage in (problem.funnel.stages if problem.funnel else ()) if stage != problem.target.event)


def _moved(workspace: Workspace, problem: Problem, event: str, sides: Sequence[tuple[pa.Table, Monitored]]) -> Figure:
    """Return the relative change of an event's shown items a request; units of both times are taken as independent."""
    (_, before), _ = sides
    said = f"{event} of what was shown, a request, against {before.start:%Y-%m-%d} to {before.end:%Y-%m-%d}"
    counted = [_by_unit(workspace, problem, event, exposures, of) for exposures, of in sides]
    if min(len(hits) for hits, _ in counted) < 2:  # noqa: PLR2004 - a spread takes two
        return Figure("unclear", f"{said}: too few lists with a mature outcome")
    interval = effect(event, *(moments(hits, requests) for hits, requests in counted)).relative
    return Figure(signal(interval), said, interval)


def _by_unit(
    workspace: Workspace, problem: Problem, event: str, exposures: pa.Table, what: Monitored
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each unit's shown items that led to an event, and its requests whose outcome is mature."""
    target, now = problem.target.model_copy(update={"event": event}), workspace.clock.now()
    mature = pc.less_equal(exposures[EVENT_TIMESTAMP], pa.scalar(now - target.horizon - target.settle_delay))
    exposures = exposures.filter(mature).select([REQUEST_ID, USER, EVENT_TIMESTAMP])
    if not len(exposures):
        return np.empty(0), np.empty(0)
    slots = pa.concat_tables(
        workspace.event_log.impressions(place, what.start, what.end).select([REQUEST_ID, ITEM])
        for place in what.placements
    )
    shown = slots.join(exposures, REQUEST_ID, join_type="inner").select([REQUEST_ID, USER, ITEM, EVENT_TIMESTAMP])
    taken = attributed(workspace.engine, workspace.events, target, shown, now)
    of_request = exposures.select([REQUEST_ID, USER])
    hits = taken.select([REQUEST_ID]).join(of_request, REQUEST_ID, join_type="inner")
    names, codes = np.unique(np.array(of_request[USER].to_pylist(), dtype=object).astype(str), return_inverse=True)
    place = {name: number for number, name in enumerate(names.tolist())}
    counted = np.bincount([place[user] for user in hits[USER].to_pylist()], minlength=len(names))
    return counted.astype(np.float64), np.bincount(codes).astype(np.float64)
