"""How good are rankers of items, one list a unit and decision time?"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.modeling.judged import JudgedLists
from recsys.modeling.metrics import TopK, list_metrics, top_k
from recsys.modeling.offline_evaluation.beyond import beyond_accuracy, coverage
from recsys.modeling.offline_evaluation.candidates import source_recall
from recsys.modeling.offline_evaluation.figures import Resampling, UnitSums, unit_codes
from recsys.modeling.offline_evaluation.found import Found
from recsys.modeling.offline_evaluation.item_segments import item_segments
from recsys.modeling.offline_evaluation.probabilities import probability_metrics
from recsys.modeling.offline_evaluation.report import Segment
from recsys.modeling.offline_evaluation.request_groups import Group, request_groups
from recsys.specs.metric import Metric
from recsys.statistics.bootstrap import Interval


def evaluate_lists(
    judged: JudgedLists,
    scores: Mapping[str, NDArray[np.float64]],
    metrics: Sequence[Metric],
    resampling: Resampling,
    sources: Sequence[str],
    probabilities: Sequence[str],
) -> Found:
    """Evaluate rankers of items side by side; see `evaluate`."""
    codes, units = unit_codes(judged.users)
    counted = judged.relevant > 0
    sums = UnitSums(codes, units, resampling.resamples)
    lists = {ranker: rank(judged, values, max(metric.size for metric in metrics)) for ranker, values in scores.items()}
    sizes = sorted({metric.size for metric in metrics})
    values = {ranker: request_metrics(judged, ranked, metrics) for ranker, ranked in lists.items()}
    groups, cuts = request_groups(judged.moments, judged.history, judged.splits)
    everything = Group("", ("",), np.zeros(len(counted), dtype=np.int64))
    for group in (everything, *groups):
        part = np.where(counted, group.part, -1)
        sums.add_parts([(group.name, name) for name in group.names], np.ones(len(counted)), part)
        for ranker, by_metric in values.items():
            for metric, each in by_metric.items():
                sums.add_parts([(group.name, name, ranker, metric) for name in group.names], each, part)
    figures = {
        str(metric): {ranker: sums.mean(("", "", ranker, str(metric)), ("", "")) for ranker in scores}
        for metric in metrics
    }
    segments = {
        group.name: _segments(group, sums, list(scores), metrics, resampling, codes[counted], group.part[counted])
        for group in groups
    }
    shown = {(ranker, size): _shown(judged, ranked, size) for ranker, ranked in lists.items() for size in sizes}
    return Found(
        requests=int(counted.sum()),
        units=len(np.unique(codes[counted])),
        figures=figures,
        coverage={ranker: coverage(judged, shown[ranker, sizes[-1]]) for ranker in scores},
        segments=segments | item_segments(judged, lists, sizes, codes, units, resampling),
        beyond=beyond_accuracy(judged, shown, sums, resampling),
        candidates=source_recall(judged, sources, sums, resampling),
        probabilities=probability_metrics(
            {ranker: scores[ranker] for ranker in probabilities},
            judged.rows.label,
            codes[judged.rows.request],
            units,
            resampling,
            probabilities,
        ),
        cuts=cuts,
    )


def rank(judged: JudgedLists, scores: NDArray[np.float64], k: int) -> TopK:
    """Return each request's first k candidates."""
    rows = judged.rows
    return top_k(scores, rows.label, rows.request, rows.item_row, len(judged.users), k)


def request_metrics(judged: JudgedLists, ranked: TopK, metrics: Sequence[Metric]) -> dict[str, NDArray[np.float64]]:
    """Return each metric of each request; a request without anything relevant has values that mean nothing."""
    relevant = np.maximum(judged.relevant, 1)
    by_size = {size: list_metrics(ranked.hits[:, :size], relevant) for size in {metric.size for metric in metrics}}
    return {str(metric): by_size[metric.size][metric.name] for metric in metrics}


def _segments(
    group: Group,
    sums: UnitSums,
    rankers: Sequence[str],
    metrics: Sequence[Metric],
    resampling: Resampling,
    codes: NDArray[np.int64],
    part: NDArray[np.int64],
) -> tuple[Segment, ...]:
    def interval(name: str, ranker: str, metric: Metric) -> Interval:
        mean = sums.mean((group.name, name, ranker, str(metric)), (group.name, name))
        return mean.interval(resampling.confidence)

    return tuple(
        Segment(
            name=name,
            share=float((part == number).mean()),
            sizes={"requests": int((part == number).sum()), "units": len(np.unique(codes[part == number]))},
            metrics={ranker: {str(metric): interval(name, ranker, metric) for metric in metrics} for ranker in rankers},
        )
        for number, name in enumerate(group.names)
    )


def _shown(judged: JudgedLists, ranked: TopK, size: int) -> NDArray[np.int64]:
    """Return the items in the slots, [requests, size], -1 where there is none."""
    rows = ranked.rows[:, :size]
    return np.where(rows >= 0, judged.item[rows], -1)
