"""How does a model version come to be?

`recsys train`: data as known then, a fit, an offline report, a gate, a registration.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.candidates.pool import to_numpy
from recsys.decision.evidence import DATA_TAG, LOGIC_TAG
from recsys.decision.logic_weights import GATE_TAG, REASON_TAG
from recsys.decision.promotion import recover, refresh, was_in_service
from recsys.errors import ModelError
from recsys.modeling.decision_times import TEST, TRAIN, VALIDATION
from recsys.modeling.offline_evaluation import GateResult
from recsys.modeling.training_set import DOCUMENT, TrainingSet
from recsys.ports import FeatureSet, Registration, Weights
from recsys.reports.offline import page, pictures
from recsys.schema import EVENT_TIMESTAMP, SCORE
from recsys.specs.catalog import digest
from recsys.specs.model import ModelVersion
from recsys.workflows.exclusive import ALIASES, FEATURES, exclusive, write_text
from recsys.workflows.features.table_records import require_events
from recsys.workflows.git import author, commit
from recsys.workflows.modeling.dataset import built_dataset
from recsys.workflows.modeling.fits import Fitted, fit_splits
from recsys.workflows.modeling.judging import REPORT, flat_metrics, judge
from recsys.workflows.modeling.made_with import code_digest, library_versions
from recsys.workflows.modeling.training_data import Progress
from recsys.workflows.workspace import Workspace

PAGE = "report.html"
SAMPLE_ROWS = 100


@dataclass(frozen=True)
class Trained:
    """What a training gave."""

    weights: Weights
    report: Mapping[str, Any]
    """The offline report as JSON values, with the split and the sizes of the training set."""
    reused: bool
    in_service: bool
    """Whether `logic-<version>` names these weights: their gate passed."""
    page: Path
    """The report as a page; it lies with the weights too."""
    refreshed: bool
    """Whether the champion followed, because it is of the same logic."""


def train(
    workspace: Workspace, model_version: str, known_at: datetime | None = None, progress: Progress | None = None
) -> Trained:
    """Train one model version on what was known at a moment.

    Args:
        workspace: the project.
        model_version: such as basket/v2.
        known_at: nothing created after it is used; the environment's clock by default.
        progress: told how far the work is.

    Raises:
        LeakageError: if a training row knows more than its decision time did.
        ModelError: if the version's logic was changed since it was first trained, or there is nothing to learn from.
        FeatureError: if the feature tables are not up to date.
        StoreError: if another command works on this version or on the features for too long.
    """
    workspace.catalog.model(model_version)
    command = f"recsys train --model-version {model_version}"
    with (
        exclusive(workspace, f"train-{model_version}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        return _train(workspace, model_version, known_at, progress or (lambda *_: None))


def _train(workspace: Workspace, model_version: str, known_at: datetime | None, tell: Progress) -> Trained:
    require_events(workspace)
    spec = workspace.catalog.model(model_version)
    moment = known_at or workspace.clock.now()
    features = workspace.features.feature_set(spec.feature_service)
    logic = _unchanged_logic(workspace, model_version, features)
    dataset = built_dataset(workspace, model_version, moment, tell).dataset
    tags = _identity(workspace, model_version, dataset, logic)
    existing = _existing(workspace, model_version, tags)
    if existing is not None:
        # A run that was killed after the registration has not put them into service yet.
        refreshed = _put_in_service(workspace, existing)
        report = json.loads(workspace.registry.report(existing, REPORT))
        path = _keep_page(workspace, existing, workspace.registry.report(existing, PAGE))
        in_service = _in_service(workspace, existing)
        return Trained(existing, report, reused=True, in_service=in_service, page=path, refreshed=refreshed)

    fitted = fit_splits(workspace, spec, features, dataset, tell)
    test = dataset.rows(TEST)
    judgement = judge(workspace, model_version, dataset, test, fitted, tell)
    shown = page(judgement.document)
    weights = workspace.registry.register(
        Registration(
            model_version=model_version,
            ranker=fitted.ranker,
            tags=tags | _verdict(judgement.report.gate),
            parameters=_parameters(spec, dataset),
            metrics=flat_metrics(judgement.report),
            reports={
                REPORT: json.dumps(judgement.document, indent=2),
                PAGE: shown,
                DOCUMENT: json.dumps(dataset.document, indent=2),
            },
            pictures=pictures(judgement.document),
            sample=_sample(test, features, dataset, fitted),
        )
    )
    refreshed = _put_in_service(workspace, weights)
    passed = judgement.report.gate.passed
    path = _keep_page(workspace, weights, shown)
    return Trained(weights, judgement.document, reused=False, in_service=passed, page=path, refreshed=refreshed)


def _keep_page(workspace: Workspace, weights: Weights, text: str) -> Path:
    """Write the report where a browser finds it, by rename."""
    path = workspace.state / "reports" / weights.model / f"{weights.version}.html"
    write_text(path, text)
    return path


def _verdict(gate: GateResult) -> dict[str, str]:
    return {GATE_TAG: "passed" if gate.passed else "failed", REASON_TAG: gate.reason}


def _sample(test: pa.Table, features: FeatureSet, dataset: TrainingSet, fitted: Fitted) -> pa.Table:
    """Return some rows that the registered fit scored: what a load of these weights must reproduce."""
    mine = np.flatnonzero(dataset.splits[-1].holds(TEST, to_numpy(test[EVENT_TIMESTAMP])))[:SAMPLE_ROWS]
    sample = test.select(list(features.columns)).take(pa.array(mine))
    return sample.append_column(SCORE, pa.array(fitted.scores[mine]))


# ---------------------------------------------------------------- identity


def _identity(workspace: Workspace, model_version: str, dataset: TrainingSet, logic: str) -> dict[str, str]:
    spec = workspace.catalog.model(model_version)
    return {
        "recsys.model_version": model_version.partition("/")[2],
        LOGIC_TAG: logic,
        DATA_TAG: dataset.digest,
        "recsys.known_at": dataset.document["known_at"],
        "recsys.spec_digest": digest(spec.model_dump(mode="json", exclude={"search"})),
        "recsys.code_digest": code_digest(),
        "recsys.git_commit": commit(workspace.root),
        "feast.feature_service": dataset.document["feature_service"],
    }


def _unchanged_logic(workspace: Workspace, model_version: str, features: FeatureSet) -> str:
    """Return the digest of a version's logic; refuse one that was trained before and has changed."""
    logic = workspace.catalog.logic_digest(model_version, features.digest)
    for weights in _trained_before(workspace, model_version):
        if weights.tags.get(LOGIC_TAG) != logic:
            message = (
                f"model version {model_version}: its logic is {logic} now and was"
                f" {weights.tags.get('recsys.logic_digest')} when version {weights.number} was trained; trained"
                " logic does not change: undo the edit of its spec, features or candidates, or declare a new version"
                " beside it"
            )
            raise ModelError(message)
    return logic


def _existing(workspace: Workspace, model_version: str, tags: Mapping[str, str]) -> Weights | None:
    """Return weights of the same logic, data and moment."""
    same = [
        weights
        for weights in _trained_before(workspace, model_version)
        if all(weights.tags.get(name) == tags[name] for name in (DATA_TAG, "recsys.known_at"))
    ]
    return same[-1] if same else None


def _trained_before(workspace: Workspace, model_version: str) -> list[Weights]:
    model, _, version = model_version.partition("/")
    return [weights for weights in workspace.registry.search(model) if weights.version == version]


def _in_service(workspace: Workspace, weights: Weights) -> bool:
    served = workspace.registry.resolve(weights.model, f"logic-{weights.version}")
    return served is not None and served.number == weights.number


# ---------------------------------------------------------------- what is written down


def _parameters(spec: ModelVersion, dataset: TrainingSet) -> dict[str, str]:
    algorithm = {f"algorithm.{name}": str(value) for name, value in spec.algorithm.model_dump(mode="json").items()}
    return {
        **algorithm,
        "feature_service": spec.feature_service,
        "known_at": dataset.document["known_at"],
        **{f"{part}_rows": str(dataset.document["rows"][part]) for part in (TRAIN, VALIDATION)},
        **{f"version.{package}": number for package, number in library_versions().items()},
    }


def _put_in_service(workspace: Workspace, weights: Weights) -> bool:
    """Let `logic-<version>` name weights that passed their gate, once; returns whether the champion followed."""
    if weights.tags.get(GATE_TAG) != "passed":
        return False
    with exclusive(workspace, ALIASES, f"recsys train --model-version {weights.model_version}"):
        recover(workspace.registry, workspace.ledger, workspace.clock, author())
        if was_in_service(workspace.ledger, weights):
            return False
        promotion = refresh(workspace.registry, workspace.ledger, workspace.clock, weights, author())
    return promotion.action == "refresh"
