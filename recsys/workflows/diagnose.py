"""Where is the trouble with an experiment or a model, and what is to be done next? `recsys diagnose`; reads only."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.decision.alerts import Alert
from recsys.decision.diagnosis import Diagnosis, Evidence, Signal, Trouble, diagnose, signal
from recsys.decision.intervals import oriented
from recsys.errors import ExperimentError, ModelError
from recsys.evaluation.analysis import Analysis, ArmEffect
from recsys.evaluation.metric_definition import MetricDefinition, metric_definitions
from recsys.experiment.routing import window
from recsys.modeling.labels import attributed
from recsys.modeling.offline_evaluation import plain_values, read_interval
from recsys.ports import Weights
from recsys.schema import CLICK, EVENT_TIMESTAMP, ITEM, REQUEST_ID, USER
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import EventCount
from recsys.specs.problem import Problem
from recsys.statistics.bootstrap import Interval
from recsys.statistics.effects import effect, moments
from recsys.workflows.compare import trained_weights
from recsys.workflows.drift import Drifted, drift, weights_of
from recsys.workflows.experiment_analysis import read_analysis
from recsys.workflows.judging import REPORT
from recsys.workflows.monitored import Monitored, exposures_of, given_up, monitored
from recsys.workflows.skew import Skewed, skew
from recsys.workflows.training_data import Progress
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
    """Of the relative effect, larger being better; of the model, its metric over its baseline's."""


@dataclass(frozen=True)
class Diagnosed:
    """One model version, in an experiment or by itself."""

    name: str
    arm: str | None
    """The treatment that it is, in an experiment."""
    version: str
    state: str
    """before, running or over, of an experiment; now, of a model."""
    model: Figure
    clicks: Figure
    orders: Figure
    diagnosis: Diagnosis
    remarks: tuple[str, ...]
    """What could not be looked at, with why."""

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Return an alert where there is trouble."""
        if self.diagnosis.trouble in {Trouble.NONE, Trouble.UNCLEAR}:
            return ()
        bad = sum(said == "bad" for said in self.diagnosis.cell)
        message = f"diagnose: {self.version}: {self.diagnosis.trouble}: {self.diagnosis.reason}"
        return (Alert("diagnose", self.version, float(bad), 0.0, message),)


def diagnose_all(workspace: Workspace, name: str, progress: Progress | None = None) -> tuple[Diagnosed, ...]:
    """Diagnose every treatment of an experiment, or the weights in service of a model.

    Nothing is written: a running experiment is neither frozen nor edited.

    Args:
        workspace: the project.
        name: an experiment, a model or a version.
        progress: told how far the work is.

    Raises:
        SpecError: if nothing has the name.
        ModelError: if a version has no weights.
        FeatureError: if the feature tables are not up to date.
    """
    tell = progress or (lambda *_: None)
    what = monitored(workspace, name)
    skewed, remark = _skewed(workspace, what, tell)
    if what.experiment is not None:
        return _of_experiment(workspace, what.experiment, skewed, remark, tell)
    weights = weights_of(workspace, name)
    drifted, model, remarks = _model(workspace, weights, tell)
    clicks, orders, share = _over_time(workspace, what)
    evidence = _evidence(workspace, weights, drifted, skewed, given_up=share)
    return (_made((name, None, "now"), weights, (model, clicks, orders), evidence, (*remark, *remarks)),)


def document(found: Sequence[Diagnosed]) -> list[dict[str, Any]]:
    """Return diagnoses as JSON values."""
    return [
        {
            "of": each.name,
            "arm": each.arm,
            "model_version": each.version,
            "state": each.state,
            **{name: plain_values(getattr(each, name)) for name in ("model", CLICKS, ORDERS)},
            "trouble": str(each.diagnosis.trouble),
            "reason": each.diagnosis.reason,
            "next": list(each.diagnosis.next_steps),
            "evidence": plain_values(each.diagnosis.evidence),
            "remarks": list(each.remarks),
            "alerts": [asdict(alert) for alert in each.alerts],
        }
        for each in found
    ]


def _of_experiment(
    workspace: Workspace, name: str, skewed: Skewed | None, remark: tuple[str, ...], tell: Progress
) -> tuple[Diagnosed, ...]:
    experiment = workspace.catalog.experiment(name)
    try:
        analysis = read_analysis(workspace, name)
    except ExperimentError as error:
        analysis, remark = None, (*remark, str(error))
    start, _ = window(experiment)
    state = "before" if workspace.clock.now() < start or analysis is None else analysis.state
    found = []
    for arm in experiment.arms:
        if arm == experiment.control:
            continue
        weights = trained_weights(workspace, experiment.arms[arm].model_version)
        drifted, model, remarks = _model(workspace, weights, tell)
        clicks, orders = (_online(workspace, experiment, analysis, arm, kind) for kind in (CLICKS, ORDERS))
        invalid = () if analysis is None else analysis.health.failures
        share = None if analysis is None else analysis.health.fallback_share.get(arm)
        evidence = _evidence(workspace, weights, drifted, skewed, invalid=invalid, given_up=share)
        found.append(_made((name, arm, state), weights, (model, clicks, orders), evidence, (*remark, *remarks)))
    return tuple(found)


def _made(
    about: tuple[str, str | None, str],
    weights: Weights,
    signals: tuple[Figure, Figure, Figure],
    evidence: Evidence,
    remarks: tuple[str, ...],
) -> Diagnosed:
    """Apply the table; `about` is the name, the arm and the state, signals are those of model, clicks and orders."""
    (name, arm, state), version = about, weights.model_version
    model, clicks, orders = signals
    made = diagnose(model.signal, clicks.signal, orders.signal, evidence, name=name, version=version)
    return Diagnosed(name, arm, version, state, model, clicks, orders, made, remarks)


# ---------------------------------------------------------------- the model


def _model(workspace: Workspace, weights: Weights, tell: Progress) -> tuple[Drifted | None, Figure, tuple[str, ...]]:
    """Judge a version on matured labels since its training; where there are none, by its gate at the training."""
    reason = ""
    try:
        found = drift(workspace, weights.model_version, tell)
    except ModelError as error:  # its training set is not kept here
        found, reason = None, str(error)
    if isinstance(found, Drifted):
        quality = found.quality
        standing = quality.standing(found.limits.quality.minimum_ratio)
        return found, Figure(standing, f"{quality.metric} over {quality.against}", quality.over_baseline), ()
    gate = _report(workspace, weights)["gate"]
    said: Signal = "good" if gate["passed"] else "bad"
    metric = f"gate at the training: {gate['metric']} over {gate['against']}"
    return None, Figure(said, metric, read_interval(gate["ratio"])), (reason or str(found),)


def _evidence(
    workspace: Workspace,
    weights: Weights,
    drifted: Drifted | None,
    skewed: Skewed | None,
    *,
    invalid: tuple[str, ...] = (),
    given_up: float | None = None,
) -> Evidence:
    was = _report(workspace, weights)["candidates"]
    now = drifted.report.candidates if drifted else ()
    moved = [alert.subject for alert in drifted.alerts if alert.check == "drift"] if drifted else []
    return Evidence(
        invalid=tuple(invalid),
        skewed=skewed.alerts[0].message if skewed is not None and skewed.alerts else None,
        drifted=tuple(dict.fromkeys(moved)),
        given_up=given_up,
        recall_then=read_interval(was[0]["recall"]) if was else None,
        recall_now=now[0].recall if now else None,
    )


def _skewed(workspace: Workspace, what: Monitored, tell: Progress) -> tuple[Skewed | None, tuple[str, ...]]:
    try:
        return skew(workspace, what.name, progress=tell), ()
    except ExperimentError as error:
        return None, (f"skew: {error}",)


def _report(workspace: Workspace, weights: Weights) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(workspace.registry.report(weights, REPORT))
    return report


# ---------------------------------------------------------------- clicks and orders


def _online(workspace: Workspace, experiment: Experiment, analysis: Analysis | None, arm: str, kind: str) -> Figure:
    """Return what an experiment says of clicks or orders, by its first metric of that kind."""
    if analysis is None:
        return Figure("unclear", "nothing was logged yet")
    problem = workspace.catalog.problem(workspace.catalog.placement(experiment.placement).problem)
    definitions = {each.name: each for each in metric_definitions(experiment, workspace.catalog.metrics)}
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


def _over_time(workspace: Workspace, what: Monitored) -> tuple[Figure, Figure, float | None]:
    """Compare clicks and orders a request with those of as long a time before; and the share of lists given up."""
    if not what.placements:
        nothing = Figure("unclear", "the model's lists are of units, and are not logged by request")
        return nothing, nothing, None
    before = monitored(workspace, what.name, what.start - (what.end - what.start), what.start)
    sides = [(exposures_of(workspace, each), each) for each in (before, what)]
    problem = workspace.catalog.problem(workspace.catalog.placement(what.placements[0]).problem)
    stages = [stage for stage in (problem.funnel.stages if problem.funnel else ()) if stage != problem.target.event]
    clicked = CLICK if CLICK in stages else next(reversed(stages), None)
    clicks = (
        Figure("unclear", "the problem has no funnel with an earlier stage")
        if clicked is None
        else _moved(workspace, problem, clicked, sides)
    )
    return clicks, _moved(workspace, problem, problem.target.event, sides), given_up(workspace, what)


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
