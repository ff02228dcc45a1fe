"""What did an experiment show, and what follows? `recsys evaluate`: health, effects, intervals, verdict.

Once the planned end is reached the report is frozen into the ledger; later runs return that report and `promote`
accepts no other.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa

from recsys.decision.verdict import Verdict, VerdictName, decide
from recsys.errors import ExperimentError
from recsys.evaluation.analysis import analyse
from recsys.evaluation.health import check_health
from recsys.evaluation.metric_definition import MetricDefinition, metric_definitions
from recsys.evaluation.terms import event_types, window_of
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.experiment.routing import window
from recsys.planning.lifecycle import FREEZE
from recsys.specs.catalog import digest
from recsys.specs.experiment import Experiment
from recsys.specs.problem import Problem
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.git import author, commit
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Evaluated:
    """An experiment's report."""

    document: dict[str, Any]
    """`analysis`, `verdict`, `experiment_digest`, and `frozen` (when, or null while it runs)."""
    reused: bool
    """Whether it was frozen before."""

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict: name, reason, treatment_arm, model_version."""
        return dict(self.document["verdict"])


def evaluate(workspace: Workspace, name: str) -> Evaluated:
    """Evaluate an experiment up to the environment's clock, or return its frozen report.

    Raises:
        ExperimentError: if nothing was logged for it, or its declaration changed after the report was frozen.
        StoreError: if the experiment is being replayed or evaluated for too long.
    """
    workspace.catalog.experiment(name)
    command = f"recsys evaluate {name}"
    with (
        exclusive(workspace, f"experiment-{name}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        return _evaluate(workspace, name)


def _evaluate(workspace: Workspace, name: str) -> Evaluated:
    experiment = workspace.catalog.experiment(name)
    declared = _digest(workspace, experiment)
    frozen = frozen_report(workspace, name)
    if frozen is not None:
        if frozen["experiment_digest"] != declared:
            message = (
                f"experiment {name}: its declaration, or that of one of its metrics, changed after its report was"
                f" frozen at {frozen['frozen']}; undo the edit, or declare a new experiment"
            )
            raise ExperimentError(message)
        return Evaluated(frozen, reused=True)
    now = workspace.clock.now()
    placement = workspace.catalog.placement(experiment.placement)
    problem = workspace.catalog.problem(placement.problem)
    target = problem.target
    definitions = metric_definitions(experiment, workspace.catalog.metrics)
    counted = _event_types(workspace, name, problem, definitions)
    start, end = window(experiment)
    since = start - timedelta(weeks=experiment.metrics.covariate_weeks)
    exposures = workspace.event_log.exposures(experiment.placement, since, end)
    if not len(exposures):
        message = (
            f"experiment {name}: no exposures of placement {experiment.placement} since {since:%Y-%m-%d} are logged;"
            f" serve it, or run `recsys replay {name}`"
        )
        raise ExperimentError(message)
    log = LogTables(
        exposures=exposures,
        impressions=workspace.event_log.impressions(experiment.placement, since, end),
        outcomes=pa.concat_tables(
            workspace.event_log.outcomes(event_type, since, end + window_of(target.horizon, definitions))
            for event_type in counted
        ),
    )
    metrics = unit_metrics(
        workspace.engine,
        name,
        experiment,
        log,
        now=now,
        horizon=target.horizon,
        event_type=target.event,
        default_model=placement.model,
        declared=workspace.catalog.metrics,
    )
    layer = workspace.catalog.layer_of(experiment)
    health = check_health(workspace.engine, name, experiment, exposures, now=now, layer=layer)
    analysis = analyse(name, experiment, metrics, health)
    verdict = decide(analysis, experiment, now)
    document: dict[str, Any] = {
        "experiment": name,
        "experiment_digest": declared,
        "metrics": _declared(workspace, experiment),
        "frozen": None,
        "analysis": analysis.to_dict(),
        "verdict": _verdict(verdict),
    }
    if verdict.name is not VerdictName.WAIT and now >= end:
        document = _freeze(workspace, name, document)
    return Evaluated(document, reused=False)


def frozen_report(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """Return an experiment's frozen report, or None before its decision was cut."""
    for entry in reversed(workspace.ledger.entries(name)):
        if entry.action == FREEZE and entry.state == "done":
            return dict(entry.payload)
    return None


def _digest(workspace: Workspace, experiment: Experiment) -> str:
    """Return the digest of an experiment's declaration, and of what its declared metrics count."""
    content = experiment.model_dump(mode="json")
    metrics = _declared(workspace, experiment)
    return digest({"experiment": content, "metrics": metrics} if metrics else content)


def _declared(workspace: Workspace, experiment: Experiment) -> dict[str, Any]:
    """Return what an experiment's declared metrics count, by name."""
    declared = workspace.catalog.metrics
    named = [name for name in dict.fromkeys(experiment.metrics.names()) if name in declared]
    return {name: declared[name].model_dump(mode="json", exclude={"description"}) for name in named}


def _event_types(
    workspace: Workspace, name: str, problem: Problem, definitions: Sequence[MetricDefinition]
) -> tuple[str, ...]:
    """Return the types of outcomes that count, ascending; a stage of the problem may not have happened yet.

    Raises:
        ExperimentError: if a metric counts a type that is neither logged nor of the problem.
    """
    stages = {problem.target.event, *(problem.funnel.stages if problem.funnel else ())}
    counted = event_types(definitions)
    strange = set(counted) - stages
    if strange:
        logged = workspace.event_log.event_types()
        unknown = sorted(strange - set(logged))
        if unknown:
            metric = next(each.name for each in definitions if unknown[0] in event_types([each]))
            message = (
                f"experiment {name}: metric {metric} counts {unknown[0]}, an event type that is not logged; logged:"
                f" {', '.join(logged) or 'none'}; of the problem: {', '.join(sorted(stages))}"
            )
            raise ExperimentError(message)
    return tuple(sorted({problem.target.event, *counted}))


def _freeze(workspace: Workspace, name: str, document: dict[str, Any]) -> dict[str, Any]:
    now = workspace.clock.now()
    content = document | {"frozen": now.isoformat(), "git_commit": commit(workspace.root)}
    content["digest"] = digest(json.loads(json.dumps(content)))
    workspace.ledger.append(
        transaction=str(uuid.uuid4()),
        state="done",
        action=FREEZE,
        subject=name,
        payload=content,
        author=author(),
        at=now,
    )
    return content


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | {"name": str(verdict.name)}
