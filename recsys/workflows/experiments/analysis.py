"""What did an experiment's log say: read, counted and compared, with what its evidence rests on?"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from recsys.errors import ExperimentError
from recsys.evaluation.analysis import Analysis, analyse
from recsys.evaluation.cumulative import with_cumulative
from recsys.evaluation.health import check_health
from recsys.evaluation.metric_definition import MetricDefinition, metric_definitions
from recsys.evaluation.part import Part
from recsys.evaluation.ramps import with_strata
from recsys.evaluation.terms import event_types, window_of
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.experiment.routing import Router, window
from recsys.planning.lifecycle import epochs_of, layer_while
from recsys.specs.catalog import digest
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import OnlineMetric
from recsys.specs.problem import Problem
from recsys.workflows.workspace import Workspace

_NO_TIME: Final = timedelta(0)


def read_analysis(workspace: Workspace, name: str, part: Part | None = None) -> Analysis:
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
    log = log_tables(workspace, experiment, exposures, counted, since, end, window_of(target.horizon, definitions))
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
        stages=_stages(problem, definitions),
        by_day=True,
        exploration=True,
    )
    entries = workspace.ledger.entries()
    epochs = epochs_of(entries, name, experiment)
    layer = layer_while(entries, experiment) or workspace.catalog.layer_of(experiment)
    metrics = with_strata(workspace.engine, Router(name, experiment, layer), exposures, metrics, epochs)
    health = check_health(
        workspace.engine,
        name,
        experiment,
        exposures,
        now=now,
        layer=layer,
        part=part,
        epochs=epochs,
        impressions=log.impressions,
        routed=workspace.event_log.routed(name),
    )
    return with_cumulative(analyse(name, experiment, metrics, health), experiment, metrics)


def log_tables(
    workspace: Workspace,
    experiment: Experiment,
    exposures: pa.Table,
    event_types: Iterable[str],
    since: datetime,
    until: datetime,
    after: timedelta = _NO_TIME,
) -> LogTables:
    """Read the rest of the log that an experiment's exposures are counted with.

    Args:
        workspace: the project.
        experiment: names the placement.
        exposures: of it, from `since` to `until`.
        event_types: the outcomes that count.
        since: the first moment.
        until: the moment after the last.
        after: so much later an outcome may still count.
    """
    log = workspace.event_log
    return LogTables(
        exposures=exposures,
        impressions=log.impressions(experiment.placement, since, until),
        outcomes=pa.concat_tables(log.outcomes(each, since, until + after) for each in event_types),
    )


def about(workspace: Workspace, experiment: Experiment) -> dict[str, Any]:
    """Say who owns an experiment, and what it is about."""
    problem = workspace.catalog.problem(workspace.catalog.placement(experiment.placement).problem)
    start, end = window(experiment)
    return {
        "owners": (experiment.owners or problem.owners).model_dump(mode="json"),
        "business_issue": problem.business_issue,
        "placement": experiment.placement,
        "unit": experiment.unit,
        "start": start.isoformat(),
        "end": end.isoformat(),
    }


def experiment_digest(experiment: Experiment, declared: Mapping[str, OnlineMetric]) -> str:
    """Return the digest of an experiment's declaration, its owners aside, and of what its declared metrics count."""
    content = experiment.model_dump(mode="json", exclude={"owners"})
    metrics = counted_metrics(experiment, declared)
    return digest({"experiment": content, "metrics": metrics} if metrics else content)


def counted_metrics(experiment: Experiment, declared: Mapping[str, OnlineMetric]) -> dict[str, Any]:
    """Return what an experiment's declared metrics count, by name."""
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
    return tuple(sorted({problem.target.event, *counted, *_stages(problem, definitions)}))


def _stages(problem: Problem, definitions: Sequence[MetricDefinition]) -> tuple[str, ...]:
    """Return the stages that are told by arm: the problem's funnel, or what its metrics count and the target."""
    if problem.funnel is not None:
        return problem.funnel.stages
    return tuple(dict.fromkeys((*event_types(definitions), problem.target.event)))
