"""What is known of an experiment: how its traffic was shared out and when, its stage, and its report?"""

import json
from typing import Any

from recsys.decision.champion import promoted_by
from recsys.experiment.bucketing import BUCKETS
from recsys.workflows.console.places import problem_of
from recsys.workflows.experiments.evaluate import frozen_report
from recsys.workflows.experiments.report import kept_path
from recsys.workflows.experiments.status import Status, experiment_status
from recsys.workflows.workspace import Workspace


def experiment_summary(status: Status) -> dict[str, Any]:
    """Return an experiment's stage in short."""
    start, end = status.experiment.plan.window()
    return {
        "experiment": status.name,
        "placement": status.experiment.placement,
        "hypothesis": status.experiment.hypothesis,
        "stage": str(status.stage),
        "applied": status.applied,
        "verdict": status.verdict,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "arms": {name: arm.model_version for name, arm in status.experiment.arms.items()},
        "control": status.experiment.control,
    }


def experiment_document(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return an experiment with its traffic's history and its report.

    Raises:
        SpecError: if there is none of that name.
        StoreError: if the ledger cannot be read.
    """
    (status,) = experiment_status(workspace, name)
    report = experiment_report(workspace, name)
    spec = status.experiment
    layer = None if spec.layer is None else workspace.catalog.layers.get(spec.layer.name)
    return {
        **experiment_summary(status),
        "problem": problem_of(workspace.catalog, spec.placement),
        "unit": spec.unit,
        "seed": spec.seed,
        "planned_end": status.planned_end.isoformat(),
        "plan": spec.plan.model_dump(mode="json"),
        "metrics": spec.metrics.model_dump(mode="json"),
        "slots": {
            arm: {"slot": _shares(each.slot_range()), "taken": _shares(each.bucket_range())}
            for arm, each in spec.arms.items()
        },
        "testers": dict(spec.overrides),
        "layer": None
        if spec.layer is None
        else {
            "name": spec.layer.name,
            "range": list(spec.layer.range),
            "holdout": None if layer is None or layer.holdout is None else list(layer.holdout),
        },
        "epochs": [
            {
                "start": epoch.start.isoformat(),
                "end": epoch.end.isoformat(),
                "ratios": {arm: ratio / BUCKETS for arm, ratio in epoch.ratios.items()},
            }
            for epoch in status.epochs
        ],
        "history": [event.to_dict() for event in status.history],
        "overrides": [{"model_version": each.model_version, "reason": each.reason} for each in status.overrides],
        "report": report,
        "promoted": None if report is None else _promoted(workspace, report),
    }


def experiment_report(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """Return the frozen report, else the one that `recsys evaluate` kept last; None before the first evaluation."""
    frozen = frozen_report(workspace, name)
    if frozen is not None:
        return frozen
    try:
        found: dict[str, Any] = json.loads(kept_path(workspace, name).with_suffix(".json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _promoted(workspace: Workspace, report: dict[str, Any]) -> dict[str, Any] | None:
    """Return when the verdict's version became champion by this report, and whether it was rolled back since."""
    version = report["verdict"]["model_version"] or ""
    entry, rolled_back = promoted_by(workspace.ledger, version.partition("/")[0], report.get("digest"))
    if entry is None:
        return None
    return {"at": entry.event_timestamp.isoformat(), "author": entry.author, "rolled_back": rolled_back is not None}


def _shares(buckets: tuple[int, int]) -> list[float]:
    return [bucket / BUCKETS for bucket in buckets]
