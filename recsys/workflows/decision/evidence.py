"""What is known for and against the promotion of an experiment's verdict, from every store, at this moment?"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from recsys.decision.evidence import SHIP, Declared, Document, against_plan, against_report, against_weights
from recsys.decision.logic_weights import to_serve
from recsys.errors import DecisionError, ModelError
from recsys.planning.lifecycle import applied_experiments, planned_end
from recsys.planning.state import applied_state
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import OnlineMetric
from recsys.workflows.experiments.analysis import experiment_digest
from recsys.workflows.experiments.evaluate import frozen_report
from recsys.workflows.workspace import Workspace


def collect(workspace: Workspace, name: str, *, anyhow: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the evidence that a promotion records, and everything that speaks against it but the verdict.

    Args:
        workspace: the project.
        name: the experiment.
        anyhow: whether it shall be promoted whatever speaks against it: then a report is not needed.

    Raises:
        DecisionError: if nothing is frozen yet and it is not to be promoted anyhow, or no arm can be told.
    """
    report = frozen_report(workspace, name)
    declared = _declared(workspace, name)
    if report is None:
        missing = f"experiment {name}: no frozen report yet; run `recsys evaluate {name}` once its planned end has come"
        if not anyhow:
            raise DecisionError(missing)
        _, model_version = _only_treatment(name, declared.experiment)
        return {"experiment": name, "model_version": model_version}, (missing, *against_plan(declared))
    verdict = report["verdict"]
    arm, model_version = verdict["treatment_arm"], verdict["model_version"]
    if arm is None and anyhow:
        arm, model_version = _only_treatment(name, declared.experiment)
    refused = [*against_report(report, declared), *against_plan(declared)]
    if model_version is not None and (verdict["name"] == SHIP or anyhow):
        refused += _against_weights(workspace, report, arm, model_version)
    evidence = {
        "experiment": name,
        "verdict": verdict["name"],
        "reason": verdict["reason"],
        "model_version": model_version,
        "arm": arm,
        "digest": report.get("digest"),
        "experiment_digest": report.get("experiment_digest"),
    }
    return evidence, tuple(refused)


def _against_weights(workspace: Workspace, report: Document, arm: str, model_version: str) -> Iterator[str]:
    weights, _ = to_serve(workspace.registry, model_version)
    yield from against_weights(report, arm, weights, workspace.registry.search(weights.model))
    try:
        workspace.registry.load(weights)
    except ModelError as error:
        yield f"model version {model_version}: {error}: only weights that load as they were trained are promoted"


def _only_treatment(name: str, experiment: Experiment) -> tuple[str, str]:
    treatments = [arm for arm in experiment.arms if arm != experiment.control]
    if len(treatments) > 1:
        message = (
            f"experiment {name}: arms {', '.join(treatments)}: no verdict names one of them: an override needs the one"
            " treatment, or a verdict that names it; evaluate it first"
        )
        raise DecisionError(message)
    return treatments[0], experiment.arms[treatments[0]].model_version


def _declared(workspace: Workspace, name: str) -> Declared:
    experiment = workspace.catalog.experiment(name)
    entries = workspace.ledger.entries()
    applied = applied_experiments(entries, name)
    last = applied[-1][1] if applied else None
    metrics = _metrics(applied_state(entries)["metrics"])
    return Declared(
        name=name,
        experiment=experiment,
        digest=experiment_digest(experiment, workspace.catalog.metrics),
        applied=last,
        applied_digest=None if last is None else experiment_digest(last, metrics),
        first_applied=applied[0][0] if applied else None,
        planned_end=planned_end(entries, name),
    )


def _metrics(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, OnlineMetric]:
    """Read the metrics that were applied; one that does not read any more is as one that is not there."""
    found = {}
    for name, content in contents.items():
        try:
            found[name] = OnlineMetric.model_validate(content)
        except ValidationError:
            continue
    return found
