"""How does a model version come to be?

`recsys train`: data as known then, a fit, an offline report, a gate, a registration.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.candidates.pool import to_numpy
from recsys.decision.promotion import GATE_TAG, REASON_TAG, recover, refresh, was_in_service
from recsys.errors import ModelError
from recsys.modeling.decision_times import Split, split
from recsys.modeling.feature_ranker import FeatureRanker
from recsys.modeling.labels import positives
from recsys.modeling.offline_evaluation import MODEL, Judged, OfflineReport, evaluate
from recsys.modeling.requests import ITEM_ROW, REQUEST, Requests, Sampling, build_requests
from recsys.ports import FeatureSet, Ranker, Registration, TrainingRows, Weights
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, SCORE, USER
from recsys.specs.catalog import digest
from recsys.specs.model import FeatureAlgorithm, ModelVersion
from recsys.workflows.exclusive import ALIASES, FEATURES, exclusive
from recsys.workflows.features import manifest, require_built, require_events
from recsys.workflows.git import author, commit
from recsys.workflows.workspace import Workspace, file_digest

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

REPORT = "report.json"
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
    tags = _identity(workspace, model_version, features, moment)
    existing = _existing(workspace, model_version, tags)
    if existing is not None:
        # A run that was killed after the registration has not put them into service yet.
        refreshed = _put_in_service(workspace, existing)
        report = json.loads(workspace.registry.report(existing, REPORT))
        return Trained(existing, report, reused=True, in_service=_in_service(workspace, existing), refreshed=refreshed)

    require_built(workspace)
    problem = workspace.catalog.problem(spec.problem)
    parts = split(moment, problem.target, spec.training, spec.testing)
    ranker, sizes = _fitted(workspace, spec, features, parts, moment, tell)
    tell("test candidates", 0, 1)
    test = _requests(workspace, spec, parts.test, Sampling(), moment)
    tell("test features", 0, 1)
    judged_columns = _with_baselines(workspace, spec)
    joined = workspace.features.historical(test.rows, judged_columns)
    columns = {name: to_numpy(joined[name]) for name in judged_columns.columns}
    scores = {MODEL: ranker.score({name: columns[name] for name in features.columns})}
    for name, reference in spec.baselines.items():
        feature = reference.partition(":")[2]
        scores[name] = FeatureRanker(feature).score(columns)
    tell("evaluation", 0, 1)
    report = evaluate(
        _judged(test),
        scores,
        problem.list_sizes(),
        spec.gate,
        resamples=spec.testing.resamples,
        confidence=spec.testing.confidence,
    )
    document = _document(model_version, moment, parts, sizes, report)
    sample = joined.select(list(features.columns)).slice(0, SAMPLE_ROWS)
    sample = sample.append_column(SCORE, pa.array(scores[MODEL][:SAMPLE_ROWS]))
    weights = workspace.registry.register(
        Registration(
            model_version=model_version,
            ranker=ranker,
            tags=tags | {GATE_TAG: "passed" if report.gate.passed else "failed", REASON_TAG: report.gate.reason},
            parameters=_parameters(spec, moment, sizes),
            metrics=_metrics(report),
            reports={REPORT: json.dumps(document, indent=2)},
            sample=sample,
        )
    )
    refreshed = _put_in_service(workspace, weights)
    return Trained(weights, document, reused=False, in_service=report.gate.passed, refreshed=refreshed)


# ---------------------------------------------------------------- identity


def _identity(workspace: Workspace, model_version: str, features: FeatureSet, moment: datetime) -> dict[str, str]:
    spec = workspace.catalog.model(model_version)
    data = {
        "events": file_digest(workspace.events),
        "tables": {name: entry["digest"] for name, entry in manifest(workspace).items()},
        "known_at": moment.isoformat(),
    }
    return {
        "recsys.model_version": model_version.partition("/")[2],
        "recsys.logic_digest": workspace.catalog.logic_digest(model_version, features.digest),
        "recsys.data_digest": digest(data),
        "recsys.known_at": moment.isoformat(),
        "recsys.git_commit": commit(workspace.root),
        "feast.feature_service": spec.feature_service,
    }


def _existing(workspace: Workspace, model_version: str, tags: Mapping[str, str]) -> Weights | None:
    """Return weights of the same logic and data; refuse a logic that was trained before and has changed."""
    model, _, version = model_version.partition("/")
    trained = [weights for weights in workspace.registry.search(model) if weights.version == version]
    for weights in trained:
        if weights.tags.get("recsys.logic_digest") != tags["recsys.logic_digest"]:
            message = (
                f"model version {model_version}: its logic is {tags['recsys.logic_digest']} now and was"
                f" {weights.tags.get('recsys.logic_digest')} when version {weights.number} was trained; trained"
                f" logic does"
                f" not change: undo the edit of its spec, features or candidates, or declare a new version beside it"
            )
            raise ModelError(message)
    same = [weights for weights in trained if weights.tags.get("recsys.data_digest") == tags["recsys.data_digest"]]
    return same[-1] if same else None


def _in_service(workspace: Workspace, weights: Weights) -> bool:
    served = workspace.registry.resolve(weights.model, f"logic-{weights.version}")
    return served is not None and served.number == weights.number


# ---------------------------------------------------------------- data and fit


def _fitted(
    workspace: Workspace, spec: ModelVersion, features: FeatureSet, parts: Split, moment: datetime, tell: Progress
) -> tuple[Ranker, dict[str, int]]:
    """Make the ranker; returns it with the sizes of its training set."""
    algorithm = spec.algorithm
    if isinstance(algorithm, FeatureAlgorithm):
        if algorithm.feature not in features.columns:
            message = (
                f"algorithm.feature {algorithm.feature!r}: not a column of feature service {features.name}"
                f" ({', '.join(features.columns)})"
            )
            raise ModelError(message)
        return FeatureRanker(algorithm.feature), {"train_rows": 0, "validation_rows": 0}
    sampling = Sampling(spec.negatives.per_request, spec.negatives.seed)
    tell("training candidates", 0, 1)
    learn = _requests(workspace, spec, (*parts.train, *parts.validation), sampling, moment)
    tell("training features", 0, 1)
    joined = workspace.features.historical(learn.rows, features)
    late = to_numpy(joined[EVENT_TIMESTAMP]) >= np.datetime64(parts.validation[0].replace(tzinfo=None), "us")
    early_rows, late_rows = _rows(joined, features, ~late), _rows(joined, features, late)
    estimator = workspace.adapters.estimator(algorithm, features.columns)
    ranker = estimator.fit(early_rows, late_rows, lambda done, total: tell("fit", done, total))
    return ranker, {"train_rows": len(early_rows.label), "validation_rows": len(late_rows.label)}


def _requests(
    workspace: Workspace, spec: ModelVersion, times: Sequence[datetime], sampling: Sampling, moment: datetime
) -> Requests:
    """Make the requests of some decision times, with what was taken as known at the moment of training."""
    target = workspace.catalog.problem(spec.problem).target
    taken = positives(workspace.engine, workspace.events, target, times, moment)
    if not len(taken):
        message = (
            f"training data known at {moment:%Y-%m-%d}: no {target.event} within the horizon of any decision time from"
            f" {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}; check the events and --known-at"
        )
        raise ModelError(message)
    everything = workspace.features.feature_set(spec.feature_service), _with_baselines(workspace, spec)
    keys = sorted({key for wanted in everything for view in wanted.views for key in view.join_keys} - {USER, ITEM})
    placement = workspace.catalog.placement(spec.placement)
    return build_requests(workspace.moments, placement, taken, times, sampling, keys)


def _rows(joined: pa.Table, features: FeatureSet, kept: Any) -> TrainingRows:  # noqa: ANN401 - a boolean mask
    part = joined.filter(pa.array(kept))
    return TrainingRows(
        columns={name: to_numpy(part[name]) for name in features.columns},
        label=part[LABEL].to_numpy().astype(np.float32),
        request=part[REQUEST].to_numpy(),
    )


def _with_baselines(workspace: Workspace, spec: ModelVersion) -> FeatureSet:
    features = workspace.features.feature_set(spec.feature_service)
    extra = [reference for reference in spec.baselines.values() if reference not in features.references]
    return workspace.features.feature_set([*features.references, *dict.fromkeys(extra)])


def _judged(test: Requests) -> Judged:
    rows = test.rows
    return Judged(
        rows=TrainingRows({}, rows[LABEL].to_numpy().astype(np.float32), rows[REQUEST].to_numpy()),
        item_row=rows[ITEM_ROW].to_numpy(),
        item_code=rows[ITEM].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        users=test.users,
        relevant=test.relevant,
        pool_size=len(test.eligible),
    )


# ---------------------------------------------------------------- what is written down


def _document(
    model_version: str, moment: datetime, parts: Split, sizes: Mapping[str, int], report: OfflineReport
) -> dict[str, Any]:
    return {
        "model_version": model_version,
        "known_at": moment.isoformat(),
        "split": {
            "train": [time.isoformat() for time in parts.train] if sizes["train_rows"] else [],
            "validation": [time.isoformat() for time in parts.validation] if sizes["train_rows"] else [],
            "test": [time.isoformat() for time in parts.test],
        },
        **sizes,
        **report.to_dict(),
    }


def _parameters(spec: ModelVersion, moment: datetime, sizes: Mapping[str, int]) -> dict[str, str]:
    algorithm = {f"algorithm.{name}": str(value) for name, value in spec.algorithm.model_dump(mode="json").items()}
    return {
        **algorithm,
        "feature_service": spec.feature_service,
        "known_at": moment.isoformat(),
        **{name: str(value) for name, value in sizes.items()},
    }


def _metrics(report: OfflineReport) -> dict[str, float]:
    """Flatten a report for the registry.

    `ndcg@10/user` is the model's, `personal_frequency.ndcg@10/user` a baseline's; `.lower` and `.upper` are bounds.
    """
    flat: dict[str, float] = {}
    for ranker, metrics in report.metrics.items():
        prefix = "" if ranker == MODEL else f"{ranker}."
        for metric, interval in metrics.items():
            flat[f"{prefix}{metric}"] = interval.estimate
            if ranker == MODEL:
                flat[f"{metric}.lower"], flat[f"{metric}.upper"] = interval.lower, interval.upper
    for baseline, ratio in report.ratios.items():
        flat[f"ratio_to_{baseline}"] = ratio.estimate
        flat[f"ratio_to_{baseline}.lower"], flat[f"ratio_to_{baseline}.upper"] = ratio.lower, ratio.upper
    return flat


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
