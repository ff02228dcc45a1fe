"""Which of two trained versions is better on the same requests? `recsys compare A B`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.candidates.pool import to_numpy
from recsys.decision.champion import logic_alias
from recsys.decision.evidence import LOGIC_TAG
from recsys.errors import ModelError
from recsys.modeling.decision_times import TEST
from recsys.modeling.offline_evaluation import MODEL, evaluate, plain_values
from recsys.ports import Weights
from recsys.schema import EVENT_TIMESTAMP
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.modeling.dataset import built_dataset
from recsys.workflows.modeling.judging import learned_until, scores_of, without_context
from recsys.workflows.modeling.training_data import Progress
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Compared:
    """Two versions on the same requests."""

    first: Weights
    second: Weights
    document: Mapping[str, Any]
    """As JSON values: requests, units, weeks, metrics of both, and the paired ratios second over first."""


def compare(
    workspace: Workspace,
    first: str,
    second: str,
    known_at: datetime | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Judge two trained versions on the test requests of the first that neither learned from.

    Args:
        workspace: the project.
        first: such as basket/v1; its placement's candidates are ranked by both.
        second: such as basket/v2.
        known_at: the first one's test weeks as known then; the environment's clock by default.
        progress: told how far the work is.

    Raises:
        ModelError: if one is not trained or its logic was changed since, they answer different problems, or no test
            decision is left that neither learned from.
        FeatureError: if the feature tables are not up to date.
    """
    ours, theirs = workspace.catalog.model(first), workspace.catalog.model(second)
    if ours.problem != theirs.problem:
        message = f"{first} answers {ours.problem}, {second} {theirs.problem}: versions of one problem are compared"
        raise ModelError(message)
    if first == second:
        message = f"{first} with itself: name two versions"
        raise ModelError(message)
    command = f"recsys compare {first} {second}"
    with exclusive(workspace, f"train-{first}", command), exclusive(workspace, FEATURES, command, shared=True):
        return _compare(workspace, first, second, known_at or workspace.clock.now(), progress or (lambda *_: None))


def _compare(workspace: Workspace, first: str, second: str, known_at: datetime, tell: Progress) -> Compared:
    weights = [trained_weights(workspace, name) for name in (first, second)]
    learned = [(until, one) for one in weights if (until := learned_until(workspace, one)) is not None]
    dataset = built_dataset(workspace, first, known_at, tell).dataset
    rows = dataset.rows(TEST)
    after, newest = max(learned, key=lambda each: each[0], default=(None, None))
    if after is not None:
        rows = rows.filter(pa.array(to_numpy(rows[EVENT_TIMESTAMP]) >= after))
    if newest is not None and not len(rows):
        message = (
            f"{first} and {second}: {newest.model_version} (weights {newest.number}) learned from labels up to"
            f" {str(after)[:10]}, and known at {known_at:%Y-%m-%d} the last test decision of {first} is of"
            f" {dataset.splits[-1].test[-1]:%Y-%m-%d}: none is left that neither learned from; compare as known later"
            " (--known-at)"
        )
        raise ModelError(message)
    spec = workspace.catalog.model(first)
    problem = workspace.catalog.problem(spec.problem)
    tell("scores", 0, 2)
    scores = {MODEL: scores_of(workspace, weights[1], rows), first: scores_of(workspace, weights[0], rows)}
    tell("evaluation", 1, 2)
    since = None if after is None else _before(after)
    judged = replace(dataset.judged(rows, problem, since), splits={})  # the older ones have nothing left
    report = evaluate(
        judged,
        scores,
        problem.metrics(),
        spec.gate.model_copy(update={"against": first}),
        resamples=spec.testing.resamples,
        confidence=spec.testing.confidence,
    )
    document = {
        "first": {"model_version": first, "weights": weights[0].number},
        "second": {"model_version": second, "weights": weights[1].number},
        "known_at": known_at.isoformat(),
        "data_digest": dataset.digest,
        "decision_times": sorted({time.isoformat() for time in rows[EVENT_TIMESTAMP].to_pylist()}),
        "kind": report.kind,
        "requests": report.requests,
        "units": report.units,
        "metrics": {first: plain_values(report.metrics[first]), second: plain_values(report.metrics[MODEL])},
        "ratios": {metric: plain_values(of[first]) for metric, of in report.metric_ratios.items()},
        "confidence": report.confidence,
        "remarks": [
            *(_naming(remark, second) for remark in report.remarks),
            *(remark for version in (first, second) for remark in without_context(workspace, version)),
        ],
    }
    return Compared(weights[0], weights[1], document)


def trained_weights(workspace: Workspace, model_version: str) -> Weights:
    """Return a version's weights in service, else its newest ones.

    Raises:
        ModelError: if it was never trained, or its logic was changed since.
    """
    model, _, version = model_version.partition("/")
    trained = [weights for weights in workspace.registry.search(model) if weights.version == version]
    if not trained:
        message = f"model version {model_version}: never trained; run `recsys train --model-version {model_version}`"
        raise ModelError(message)
    chosen = workspace.registry.resolve(model, logic_alias(version)) or trained[-1]
    features = workspace.features.feature_set(workspace.catalog.model(model_version).feature_service)
    logic = workspace.catalog.logic_digest(model_version, features.digest)
    was = chosen.tags.get(LOGIC_TAG)
    if was != logic:
        message = (
            f"model version {model_version}: its logic is {logic} now and was {was} when weights {chosen.number} were"
            " trained; undo the edit of its spec, features or candidates, or declare a new version beside it"
        )
        raise ModelError(message)
    return chosen


def _naming(remark: str, second: str) -> str:
    """Call the ranker that an evaluation knows as the model by its version."""
    return re.sub(rf"\b{MODEL}(?=:| \d)", second, remark)


def _before(moment: np.datetime64) -> datetime:
    """Return the last moment before another."""
    micros = int(moment.astype("datetime64[us]").astype(np.int64)) - 1
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
