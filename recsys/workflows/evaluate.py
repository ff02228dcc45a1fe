"""What did an experiment show, and what follows? `recsys evaluate`: health, effects, intervals, verdict.

Once the planned end is reached the report is frozen into the ledger; later runs return that report and `promote`
accepts no other.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from recsys.decision.verdict import Verdict, VerdictName, decide
from recsys.errors import ExperimentError
from recsys.evaluation.analysis import Analysis, analyse
from recsys.evaluation.health import check_health
from recsys.evaluation.metric_definition import MetricDefinition, metric_definitions
from recsys.evaluation.part import Part, part_of
from recsys.evaluation.terms import event_types, window_of
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.experiment.routing import window
from recsys.planning.lifecycle import FREEZE, epochs_of, planned_end
from recsys.specs.catalog import digest
from recsys.specs.experiment import Experiment
from recsys.specs.problem import Problem
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.git import author, commit
from recsys.workflows.workspace import Workspace

NO_VERDICT: Final = "NONE"
"""What a look at a part says instead of a verdict."""


@dataclass(frozen=True)
class Evaluated:
    """An experiment's report."""

    document: dict[str, Any]
    """`analysis`, `verdict`, `experiment_digest`, `metrics` (what the declared ones count), and `frozen` (when, or null
    while it runs, or where a part was looked at)."""
    reused: bool
    """Whether it was frozen before."""

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict: name, reason, treatment_arm, model_version."""
        return dict(self.document["verdict"])


def evaluate(
    workspace: Workspace, name: str, *, since: datetime | None = None, until: datetime | None = None
) -> Evaluated:
    """Evaluate an experiment up to the environment's clock, or return its frozen report.

    Args:
        workspace: the project.
        name: the experiment.
        since: with `until`, a part to look at: requests from this moment on. Such a look is never frozen, has no
            verdict, and promotes nothing.
        until: and before this one.

    Raises:
        ExperimentError: if nothing was logged for it, its declaration changed after the report was frozen, or nothing
            of it lies in the part.
        StoreError: if the experiment is being replayed or evaluated for too long.
    """
    part = part_of(name, workspace.catalog.experiment(name), since, until)
    command = f"recsys evaluate {name}"
    with (
        exclusive(workspace, f"experiment-{name}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        return _evaluate(workspace, name) if part is None else _look(workspace, name, part)


def _look(workspace: Workspace, name: str, part: Part) -> Evaluated:
    """Describe a part of an experiment, whether it is over or not."""
    reason = (
        f"A look at {part.start.isoformat()} to {part.end.isoformat()} only describes it; `recsys evaluate {name}`"
        " judges the whole."
    )
    none = {"name": NO_VERDICT, "reason": reason, "treatment_arm": None, "model_version": None}
    return Evaluated(_document(workspace, name, _analysis(workspace, name, part)) | {"verdict": none}, reused=False)


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
    analysis = _analysis(workspace, name)
    planned = planned_end(workspace.ledger.entries(), name)
    verdict = decide(analysis, experiment, now, planned_end=planned)
    document = _document(workspace, name, analysis) | {"verdict": _verdict(verdict)}
    if verdict.name is not VerdictName.WAIT and now >= window(experiment)[1]:
        document = _freeze(workspace, name, document)
    return Evaluated(document, reused=False)


def _document(workspace: Workspace, name: str, analysis: Analysis) -> dict[str, Any]:
    experiment = workspace.catalog.experiment(name)
    return {
        "experiment": name,
        "experiment_digest": _digest(workspace, experiment),
        "metrics": _declared(workspace, experiment),
        "frozen": None,
        "analysis": analysis.to_dict(),
    }


def _analysis(workspace: Workspace, name: str, part: Part | None = None) -> Analysis:
    """Read the log and compare the arms."""
    experiment = workspace.catalog.experiment(name)
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
        part=part,
    )
    layer = workspace.catalog.layer_of(experiment)
    health = check_health(
        workspace.engine,
        name,
        experiment,
        exposures,
        now=now,
        layer=layer,
        part=part,
        epochs=epochs_of(workspace.ledger.entries(), name, experiment),
        impressions=log.impressions,
    )
    return analyse(name, experiment, metrics, health)


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
