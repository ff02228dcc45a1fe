"""How good are rankers on past requests, how sure is that, and does a new one earn its place?"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.judged import Judged, JudgedLists, JudgedUnits
from recsys.modeling.offline_evaluation.figures import Resampling
from recsys.modeling.offline_evaluation.gate import decide_gate, require_gate
from recsys.modeling.offline_evaluation.lists import evaluate_lists
from recsys.modeling.offline_evaluation.report import MODEL, OfflineReport
from recsys.modeling.offline_evaluation.units import eligible_units, evaluate_units
from recsys.specs.metric import Metric
from recsys.specs.model import Gate


def evaluate(
    judged: Judged,
    scores: Mapping[str, NDArray[np.float64]],
    metrics: tuple[Metric, ...],
    gate: Gate,
    *,
    resamples: int,
    confidence: float,
    sources: Sequence[str] = (),
    probabilities: Collection[str] = (),
) -> OfflineReport:
    """Evaluate rankers side by side.

    All intervals are percentile intervals of one set of draws of the units, so that every ratio is paired.

    Args:
        judged: the requests, their candidates and what was taken.
        scores: [rows] of each ranker by name; `MODEL` is the one the gate decides on. A score that is not a number
            stands below all that are.
        metrics: of the problem's channels.
        gate: what the model must prove.
        resamples: bootstrap resamples of units.
        confidence: two-sided, of all intervals but the gate's.
        sources: of lists: the name of each bit of the candidates' mask, lowest first.
        probabilities: rankers whose scores are probabilities of an event: they are judged as such too.

    Raises:
        ModelError: if there is nothing to judge on, scores do not fit the rows, or the gate cannot decide.
    """
    named = list(probabilities)
    _require(judged, scores, metrics, named)
    require_gate(gate, scores, metrics, eligible_units(judged) if isinstance(judged, JudgedUnits) else None)
    resampling = Resampling(resamples, confidence)
    if isinstance(judged, JudgedLists):
        found = evaluate_lists(judged, scores, metrics, resampling, sources, named)
    else:
        found = evaluate_units(judged, scores, metrics, resampling, named)
    ratios = {
        metric: {
            ranker: figures[MODEL].over(other).interval(confidence)
            for ranker, other in figures.items()
            if ranker != MODEL
        }
        for metric, figures in found.figures.items()
    }
    return OfflineReport(
        kind="lists" if isinstance(judged, JudgedLists) else "units",
        requests=found.requests,
        units=found.units,
        resamples=resamples,
        confidence=confidence,
        metrics={
            ranker: {metric: figures[ranker].interval(confidence) for metric, figures in found.figures.items()}
            for ranker in scores
        },
        ratios=ratios[gate.metric],
        metric_ratios=ratios,
        coverage=found.coverage,
        gate=decide_gate(gate, found.figures[gate.metric]),
        segments=found.segments,
        beyond=found.beyond,
        candidates=found.candidates,
        probabilities=found.probabilities,
        cuts=found.cuts,
        remarks=(*_unscored(scores), *found.remarks),
    )


def _require(
    judged: Judged, scores: Mapping[str, NDArray[np.float64]], metrics: Sequence[Metric], probabilities: Sequence[str]
) -> None:
    if not (judged.relevant > 0).any():
        message = (
            f"nothing to judge on: of {len(judged.relevant):,} test requests none has anything that was taken; test on"
            " other weeks, or look at the target event of the problem"
        )
        raise ModelError(message)
    scope = "user" if isinstance(judged, JudgedLists) else "global"
    for metric in metrics:
        if metric.scope != scope:
            message = (
                f"metric {metric}: what is judged are {'lists' if scope == 'user' else 'units'}: metrics are /{scope}"
            )
            raise ModelError(message)
    for ranker, values in scores.items():
        if values.shape != (len(judged.rows),):
            message = (
                f"scores of {ranker}: shape {values.shape}, and there are {len(judged.rows):,} rows; one score a row"
            )
            raise ModelError(message)
    for ranker in probabilities:
        if ranker not in scores:
            message = f"probabilities of {ranker}: it has no scores; scored were {', '.join(sorted(scores))}"
            raise ModelError(message)


def _unscored(scores: Mapping[str, NDArray[np.float64]]) -> tuple[str, ...]:
    remarks = []
    for ranker, values in scores.items():
        unknown = np.count_nonzero(np.isnan(values))
        if unknown:
            remarks.append(f"{ranker}: {unknown:,} of {len(values):,} scores are not numbers, and stand last")
    return tuple(remarks)
