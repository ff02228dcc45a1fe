"""How is a fitted version judged: beside its baselines and the champion, as numbers, a page and pictures?"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import scipy.special
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError, ModelError, SpecError
from recsys.modeling.context import read_of, with_unknown
from recsys.modeling.feature_ranker import FeatureRanker
from recsys.modeling.given import completed
from recsys.modeling.offline_evaluation import (
    MODEL,
    Judged,
    OfflineReport,
    ablation,
    drawn_rows,
    evaluate,
    feature_correlation,
    plain_values,
    reliability,
)
from recsys.modeling.training_set import TrainingSet
from recsys.ports import FeatureSet, Weights
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, REQUEST_TIMESTAMP, SESSION, USER
from recsys.specs.candidates import SOURCES, label
from recsys.specs.catalog import CHAMPION
from recsys.specs.metric import parse_metric
from recsys.specs.model import CatBoostAlgorithm, ModelVersion
from recsys.specs.problem import Problem
from recsys.workflows.modeling.fits import Fitted, ablated, feature_blocks
from recsys.workflows.modeling.training_data import Progress, with_baselines
from recsys.workflows.serving.resolvers import recorded_champion
from recsys.workflows.workspace import Workspace

REPORT: Final = "report.json"
"""What a version's evaluation is called among the reports kept with its weights."""


@dataclass(frozen=True)
class Judgement:
    """What a version's test requests say of it."""

    report: OfflineReport
    document: dict[str, Any]
    """The report and all that stands beside it, as JSON values."""


def judge(
    workspace: Workspace, model_version: str, dataset: TrainingSet, test: pa.Table, fitted: Fitted, tell: Progress
) -> Judgement:
    """Evaluate a version on its test requests, beside its baselines and the champion.

    Args:
        workspace: the project.
        model_version: such as basket/v2.
        dataset: its training set.
        test: the rows of the test requests.
        fitted: its fits, and their scores of these rows.
        tell: told how far the work is.

    Raises:
        ModelError: if the gate is against a champion that there is not, or that cannot be judged fairly.
    """
    spec = workspace.catalog.model(model_version)
    problem = workspace.catalog.problem(spec.problem)
    features = workspace.features.feature_set(spec.feature_service)
    tell("evaluation", 0, 1)
    scores = {MODEL: fitted.scores, **baseline_scores(workspace, spec, test)}
    beside, remark = champion_scores(workspace, model_version, dataset, test)
    champion = None if beside is None else recorded_champion(workspace, model_version.partition("/")[0])
    if beside is not None:
        scores[CHAMPION] = beside
    elif spec.gate.against == CHAMPION:
        message = f"gate.against {CHAMPION}: {remark or 'there is none'}; promote a first champion, or name a baseline"
        raise ModelError(message)
    judged = dataset.judged(test, problem)
    report = evaluate(
        judged,
        scores,
        problem.metrics(),
        spec.gate,
        resamples=spec.testing.resamples,
        confidence=spec.testing.confidence,
        sources=source_names(workspace, spec),
        probabilities=[MODEL] if isinstance(spec.algorithm, CatBoostAlgorithm) and spec.algorithm.calibration else [],
    )
    document = {
        **_about(workspace, model_version, dataset),
        "champion": None if champion is None else champion.model_version,
        **report.to_dict(),
        "remarks": [*report.remarks, *([remark] if remark else []), *without_context(workspace, model_version)],
        "importance": dict(fitted.ranker.importance()),
        "correlation": _correlation(test, features),
        **as_probabilities(spec, problem, fitted.scores, test[LABEL].to_numpy()),
        **_ablation(workspace, spec, dataset, test, fitted, judged, tell),
    }
    return Judgement(report, document)


def baseline_scores(workspace: Workspace, spec: ModelVersion, test: pa.Table) -> dict[str, NDArray[np.float64]]:
    """Return the scores of the rankers of one feature that a version is judged beside."""
    judged = with_baselines(workspace, spec)
    column_of = dict(zip(judged.references, judged.columns, strict=True))
    scores = {}
    for name, reference in spec.baselines.items():
        column = column_of[reference]
        scores[name] = FeatureRanker(column).score({column: to_numpy(test[column])})
    return scores


def source_names(workspace: Workspace, spec: ModelVersion) -> tuple[str, ...]:
    """Return the candidate sources in the order of the bits of a row's `sources`; empty where units are selected."""
    if not workspace.catalog.problem(spec.problem).lists:
        return ()
    return tuple(label(source) for source in workspace.catalog.placement(spec.placement).sources)


def flat_metrics(report: OfflineReport) -> dict[str, float]:
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
    return {name: value for name, value in flat.items() if math.isfinite(value)}


# ---------------------------------------------------------------- the champion


def champion_scores(
    workspace: Workspace, model_version: str, dataset: TrainingSet, test: pa.Table
) -> tuple[NDArray[np.float64] | None, str]:
    """Score the test rows by the weights that serve by default.

    Returns:
        [test rows] scores, or None and why there are none: no champion, one that learned from the test weeks, or one
        whose features these rows cannot have.
    """
    model = model_version.partition("/")[0]
    champion = recorded_champion(workspace, model)
    if champion is None:
        return None, ""
    named = f"champion {champion.model_version} (weights {champion.number})"
    overlap = learned_until(workspace, champion)
    first = dataset.splits[0].test[0]
    if overlap is not None and overlap > np.datetime64(first.replace(tzinfo=None), "us"):
        return None, f"{named} is left out: it learned from weeks that this version is judged on"
    try:
        return scores_of(workspace, champion, test), ""
    except (FeatureError, SpecError) as error:
        return None, f"{named} is left out: {error}"


def learned_until(workspace: Workspace, weights: Weights) -> np.datetime64 | None:
    """Return when the newest label that weights were fitted on was complete; None for a ranker that learns nothing."""
    report = json.loads(workspace.registry.report(weights, REPORT))
    split = report["splits"][-1]
    if not report["train_rows"]:
        return None
    newest = np.datetime64(split["validation"][-1][:19], "us")
    return newest + np.timedelta64(timedelta(seconds=split["wait_seconds"]))


def scores_of(workspace: Workspace, weights: Weights, rows: pa.Table) -> NDArray[np.float64]:
    """Score rows of one training set by the weights of another version, whose features are joined where they lack.

    Raises:
        FeatureError: if a feature cannot be joined to these rows.
        SpecError: if the version is not declared any more.
        ModelError: if the weights cannot be loaded.
    """
    spec = workspace.catalog.model(weights.model_version)
    features = workspace.features.feature_set(spec.feature_service)
    ranker = workspace.registry.load(weights)
    lacking = [column for column in features.columns if column not in rows.column_names]
    if lacking:
        # Nothing else: the other version's features may be read on the way to these, or be keys of theirs.
        asked = (USER, SESSION, ITEM, EVENT_TIMESTAMP, REQUEST_TIMESTAMP, SOURCES)
        rows = rows.select([name for name in asked if name in rows.column_names])
        if workspace.catalog.problem(spec.problem).lists:
            placement = workspace.catalog.placement(spec.placement)
            keys = sorted({key for view in features.views for key in view.join_keys} - {USER, ITEM})
            rows = completed(workspace.moments, placement, rows, keys, placement.score_columns)
            rows = with_unknown(rows, read_of(placement.context, features))
        rows = workspace.features.historical(rows, features)
    return ranker.score({name: to_numpy(rows[name]) for name in ranker.columns})


def without_context(workspace: Workspace, model_version: str) -> list[str]:
    """Say what a version's figures are without: test requests are candidates of the placement, and nobody made them."""
    spec = workspace.catalog.model(model_version)
    if not workspace.catalog.problem(spec.problem).lists:
        return []
    read = read_of(workspace.catalog.placement(spec.placement).context, with_baselines(workspace, spec))
    if not read:
        return []
    remark = (
        f"context {', '.join(read)} of {model_version}: unknown in every test request, for nobody made them: the"
        " figures are without it, and what it is worth is for an experiment to say"
    )
    return [remark]


# ---------------------------------------------------------------- what stands beside the metrics


def _about(workspace: Workspace, model_version: str, dataset: TrainingSet) -> dict[str, Any]:
    spec = workspace.catalog.model(model_version)
    problem = workspace.catalog.problem(spec.problem)
    known = dataset.document
    return {
        "model_version": model_version,
        "problem": spec.problem,
        "business_issue": problem.business_issue,
        "known_at": known["known_at"],
        "data_digest": dataset.digest,
        "split": known["splits"][-1],
        "splits": known["splits"],
        "train_rows": known["rows"]["train"],
        "validation_rows": known["rows"]["validation"],
        "left_out": known["left_out"],
    }


def _correlation(test: pa.Table, features: FeatureSet) -> Any:  # noqa: ANN401 - JSON values
    rows = test.select([*features.columns, LABEL]).take(pa.array(drawn_rows(len(test))))
    columns = {name: to_numpy(rows[name]) for name in features.columns}
    return plain_values(feature_correlation(columns, rows[LABEL].to_numpy()))


def as_probabilities(
    spec: ModelVersion, problem: Problem, scores: NDArray[np.float64], labels: NDArray[np.float32]
) -> Mapping[str, Any]:
    """Compare what was predicted with what came, where scores are probabilities or log-odds.

    Args:
        spec: of the version.
        problem: that it answers.
        scores: [rows].
        labels: [rows].

    Returns:
        `reliability` as JSON values, or nothing where scores stand for no probability.
    """
    probabilities = probabilities_of(spec, problem, scores)
    return {} if probabilities is None else {"reliability": plain_values(reliability(probabilities, labels))}


def probabilities_of(spec: ModelVersion, problem: Problem, scores: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the probabilities that scores stand for, being probabilities or log-odds; None where they do not."""
    algorithm = spec.algorithm
    if problem.formulation != "classification" or not isinstance(algorithm, CatBoostAlgorithm):
        return None
    return scores if algorithm.calibration else np.asarray(scipy.special.expit(scores))


def _ablation(
    workspace: Workspace,
    spec: ModelVersion,
    dataset: TrainingSet,
    test: pa.Table,
    fitted: Fitted,
    judged: Judged,
    tell: Progress,
) -> Mapping[str, Any]:
    """Return what each block of features is worth beside the others, on the newest split."""
    if not spec.testing.ablation:
        return {}
    features = workspace.features.feature_set(spec.feature_service)
    without = ablated(workspace, spec, features, dataset, test, tell)
    if not without:
        return {}
    found = ablation(
        judged,
        {MODEL: fitted.scores, **without},
        parse_metric(spec.gate.metric),
        resamples=spec.testing.resamples,
        confidence=spec.testing.confidence,
    )
    blocks = feature_blocks(spec, features)
    return {"ablation": {name: {"columns": list(blocks[name]), **plain_values(each)} for name, each in found.items()}}
