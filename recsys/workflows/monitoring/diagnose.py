"""Where is the trouble with an experiment or a model, and what is to be done next? `recsys diagnose`; reads only."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from recsys.decision.alerts import Alert
from recsys.decision.diagnosis import Diagnosis, Evidence, Signal, Trouble, diagnose
from recsys.errors import ExperimentError, ModelError
from recsys.evaluation.analysis import Analysis
from recsys.experiment.routing import window
from recsys.modeling.offline_evaluation import plain_values, read_interval
from recsys.ports import Weights
from recsys.specs.experiment import Experiment
from recsys.workflows.experiments.analysis import read_analysis
from recsys.workflows.modeling.compare import trained_weights
from recsys.workflows.modeling.judging import REPORT
from recsys.workflows.modeling.training_data import Progress
from recsys.workflows.monitoring.drift import Drifted, drift, weights_of
from recsys.workflows.monitoring.monitored import Monitored, monitored
from recsys.workflows.monitoring.signals import CLICKS, ORDERS, Figure, arm_figure, figures_over_time
from recsys.workflows.monitoring.skew import Skewed, skew
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Diagnosed:
    """One model version, in an experiment or by itself."""

    name: str
    arm: str | None
    """The treatment that it is, in an experiment."""
    version: str
    state: str
    """before, running, cut (its decision's units and weeks are reached) or ended, of an experiment; now, of a model."""
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
    clicks, orders, share = figures_over_time(workspace, what)
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
    state = _state(experiment, analysis, workspace.clock.now())
    found = []
    for arm in experiment.arms:
        if arm == experiment.control:
            continue
        weights = trained_weights(workspace, experiment.arms[arm].model_version)
        drifted, model, remarks = _model(workspace, weights, tell)
        clicks, orders = (arm_figure(workspace, experiment, analysis, arm, kind) for kind in (CLICKS, ORDERS))
        invalid = () if analysis is None else analysis.health.failures
        share = None if analysis is None else analysis.health.fallback_share.get(arm)
        evidence = _evidence(workspace, weights, drifted, skewed, invalid=invalid, given_up=share)
        found.append(_made((name, arm, state), weights, (model, clicks, orders), evidence, (*remark, *remarks)))
    return tuple(found)


def _state(experiment: Experiment, analysis: Analysis | None, now: datetime) -> str:
    """Return how far an experiment is: up to its start and where nothing is logged by the clock, else by its log."""
    start, end = window(experiment)
    if now <= start:
        return "before"
    if analysis is not None:
        return analysis.state
    return "running" if now < end else "ended"


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
        said = tuple(alert.message for alert in found.alerts if alert.check == "events")
        return found, Figure(standing, f"{quality.metric} over {quality.against}", quality.over_baseline, "ratio"), said
    gate = _report(workspace, weights)["gate"]
    signal_of: Signal = "good" if gate["passed"] else "bad"
    metric = f"gate at the training: {gate['metric']} over {gate['against']}"
    return None, Figure(signal_of, metric, read_interval(gate["ratio"]), "ratio"), (reason or str(found),)


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
        campaign=not _lists(workspace, weights.model_version),
    )


def _skewed(workspace: Workspace, what: Monitored, tell: Progress) -> tuple[Skewed | None, tuple[str, ...]]:
    try:
        return skew(workspace, what.name, progress=tell), ()
    except ExperimentError as error:
        return None, (f"skew: {error}",)


def _lists(workspace: Workspace, model_version: str) -> bool:
    """Say whether a version ranks items for each unit; otherwise it ranks the units."""
    return workspace.catalog.problem(workspace.catalog.model(model_version).problem).lists


def _report(workspace: Workspace, weights: Weights) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(workspace.registry.report(weights, REPORT))
    return report
