"""How good is a model on the decisions since its training, beside what it was and beside its baseline?"""

import json
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.evaluation.quality import Quality, calibration, ratio_of_independent
from recsys.modeling.judged import Judged
from recsys.modeling.offline_evaluation import MODEL, OfflineReport, evaluate, read_interval, total_ratio
from recsys.ports import Weights
from recsys.schema import LABEL, USER
from recsys.specs.model import CatBoostAlgorithm, ModelVersion
from recsys.specs.problem import Problem
from recsys.workflows.modeling.judging import REPORT, baseline_scores, probabilities_of, source_names
from recsys.workflows.workspace import Workspace

NO_ORDER: Final = "no order"
"""What a version without a baseline is judged beside: candidates by their ids."""


def judge_anew(
    workspace: Workspace, weights: Weights, rows: pa.Table, judged: Judged, scores: NDArray[np.float64]
) -> tuple[OfflineReport, Quality]:
    """Judge weights by the code that judged them at their training, on what came since.

    Args:
        workspace: the project.
        weights: in service.
        rows: all candidates of the recent decisions, with the features of the model and its baselines.
        judged: what came of them.
        scores: [rows] of the model.
    """
    spec = workspace.catalog.model(weights.model_version)
    problem = workspace.catalog.problem(spec.problem)
    beside = baseline_scores(workspace, spec, rows) or {NO_ORDER: np.zeros(len(rows))}
    against = spec.gate.against if spec.gate.against in beside else next(iter(beside))
    calibrated = isinstance(spec.algorithm, CatBoostAlgorithm) and spec.algorithm.calibration
    report = evaluate(
        judged,
        {MODEL: scores, **beside},
        problem.metrics(),
        spec.gate.model_copy(update={"against": against}),
        resamples=spec.testing.resamples,
        confidence=spec.testing.confidence,
        sources=source_names(workspace, spec),
        probabilities=[MODEL] if calibrated else [],
    )
    was = json.loads(workspace.registry.report(weights, REPORT))
    metric = spec.gate.metric
    then, current = read_interval(was["metrics"][MODEL][metric]), report.metrics[MODEL][metric]
    probabilities = probabilities_of(spec, problem, scores)
    labels, units = rows[LABEL].to_numpy(), to_numpy(rows[USER])
    quality = Quality(
        metric=metric,
        against=against,
        then=then,
        now=current,
        ratio=ratio_of_independent(current, then, spec.testing.confidence),
        over_baseline_then=read_interval(was["ratios"][against]) if against in was["ratios"] else None,
        over_baseline=report.ratios[against],
        calibration=None if probabilities is None else calibration(probabilities, labels, units),
        total=total_ratio(scores, labels, units, resamples=spec.testing.resamples, confidence=spec.testing.confidence)
        if _predicts_amounts(spec, problem)
        else None,
    )
    return report, quality


def _predicts_amounts(spec: ModelVersion, problem: Problem) -> bool:
    return problem.formulation == "regression" and isinstance(spec.algorithm, CatBoostAlgorithm)
