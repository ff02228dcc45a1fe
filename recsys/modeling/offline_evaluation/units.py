"""How good are rankers of units, one list a decision time, cut at each capacity?

A percentile interval of such a figure needs hits: where fewer than `ENOUGH_HITS` stand in a ranker's lists together, as
with a capacity of 10 and few that act, the bounds of its ratios are too near to each other, and the report remarks it.
In simulated shops (two lists of 200 units, cut at 10) the 95 % bounds of a ratio held the truth in 87 % where 6 and 2
hits stood in the two rankers' lists, in 63 % at 3 and 1, and in 96 % at 29 and 11. Beyond that they are a little too
wide in short lists, because a cut that moves with the draw adds some 0.8 / sqrt(capacity) to the variance: 96.5 % at a
capacity of 50, 95 % at 300. tests/modeling/test_interval_coverage.py has the shops.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.modeling.judged import JudgedUnits
from recsys.modeling.offline_evaluation.figures import Figure, Resampling, unit_codes
from recsys.modeling.offline_evaluation.found import Found
from recsys.modeling.offline_evaluation.gate import not_a_selection
from recsys.modeling.offline_evaluation.probabilities import probability_metrics
from recsys.modeling.offline_evaluation.reach import Reached, reach
from recsys.modeling.offline_evaluation.report import Segment
from recsys.modeling.offline_evaluation.request_groups import Group, activity, split_group, time_group
from recsys.specs.metric import Metric

ENOUGH_HITS: Final = 20
"""Hits in all lists together from which a percentile interval may be believed."""


def evaluate_units(
    judged: JudgedUnits,
    scores: Mapping[str, NDArray[np.float64]],
    metrics: Sequence[Metric],
    resampling: Resampling,
    probabilities: Sequence[str],
) -> Found:
    """Evaluate rankers of units side by side; see `evaluate`."""
    parts, cut = activity(judged.history)
    found = reach(judged, scores, metrics, parts, resampling)
    times = [time_group(judged.moments)]
    if len(judged.splits) > 1:
        times.insert(0, split_group(judged.moments, judged.splits))
    eligible = eligible_units(judged)
    codes, units = unit_codes(judged.users)
    scored = (
        {}
        if judged.measured
        else probability_metrics(scores, judged.rows.label, codes, units, resampling, probabilities)
    )
    by_activity = _activity_segments(judged, found, parts, resampling)
    return Found(
        requests=len(judged.moments),
        units=units,
        figures={str(metric): {ranker: figure(found, ranker, metric) for ranker in scores} for metric in metrics},
        segments={group.name: _time_segments(judged, group, found, metrics, resampling) for group in times}
        | {parts.name: by_activity},
        probabilities=scored,
        cuts={"activity": cut, "eligible": eligible},
        remarks=_remarks(judged, found, metrics, eligible),
    )


def eligible_units(judged: JudgedUnits) -> int:
    """Return the units of the shortest list."""
    return int(np.bincount(judged.rows.request, minlength=len(judged.moments)).min(initial=len(judged.rows)))


def figure(found: Reached, ranker: str, metric: Metric, times: NDArray[np.int64] | slice = slice(None)) -> Figure:
    """Return a metric of one ranker over some decision times."""
    measure = found.recall if metric.name == "recall" else found.precision
    return measure(ranker, metric.size, times)


def _time_segments(
    judged: JudgedUnits, group: Group, found: Reached, metrics: Sequence[Metric], resampling: Resampling
) -> tuple[Segment, ...]:
    segments = []
    for number, name in enumerate(group.names):
        times = np.flatnonzero(group.part == number)
        rows = np.isin(judged.rows.request, times)
        segments.append(
            Segment(
                name=name,
                share=float(rows.mean()),
                sizes={"requests": len(times), "units": len(np.unique(judged.users[rows].astype(str)))},
                metrics={
                    ranker: {
                        str(metric): figure(found, ranker, metric, times).interval(resampling.confidence)
                        for metric in metrics
                    }
                    for ranker in found.rankers
                },
            )
        )
    return tuple(segments)


def _activity_segments(
    judged: JudgedUnits, found: Reached, parts: Group, resampling: Resampling
) -> tuple[Segment, ...]:
    def metrics(ranker: str, part: int) -> dict[str, Figure]:
        each = [found.part_metrics(ranker, size, part, measured=judged.measured) for size in found.capacities]
        return {name: value for of_size in each for name, value in of_size.items()}

    return tuple(
        Segment(
            name=name,
            share=float((parts.part == number).mean()),
            sizes={"units": len(np.unique(judged.users[parts.part == number].astype(str)))},
            metrics={
                ranker: {key: each.interval(resampling.confidence) for key, each in metrics(ranker, number).items()}
                for ranker in found.rankers
            },
        )
        for number, name in enumerate(parts.names)
    )


def _remarks(judged: JudgedUnits, found: Reached, metrics: Sequence[Metric], eligible: int) -> tuple[str, ...]:
    remarks = [remark for metric in metrics if (remark := not_a_selection(metric, eligible))]
    if judged.measured:
        return tuple(remarks)
    for size in found.capacities:
        hits = {ranker: found.hits(ranker, size) for ranker in found.rankers}
        few = ", ".join(f"{ranker} {count:g}" for ranker, count in hits.items() if count < ENOUGH_HITS)
        if few:
            remarks.append(
                f"@{size}/global: few hits in all lists together ({few}); with fewer than {ENOUGH_HITS} the bounds, and"
                " those of ratios, are too near to each other"
            )
    return tuple(remarks)
