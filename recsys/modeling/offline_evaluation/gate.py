"""Does a version earn its place, and which metrics can tell?"""

import math
from collections.abc import Collection, Mapping

from recsys.errors import ModelError
from recsys.modeling.offline_evaluation.figures import Figure
from recsys.modeling.offline_evaluation.report import MODEL, GateResult
from recsys.specs.metric import Metric
from recsys.specs.model import Gate


def not_a_selection(metric: Metric, eligible: int) -> str | None:
    """Return why a capacity selects nothing worth the name: it reaches half of the eligible units, or more.

    Args:
        metric: of one list of units.
        eligible: the units of the shortest list.
    """
    if metric.scope != "global" or 2 * metric.size < eligible:
        return None
    return (
        f"{metric}: a capacity of {metric.size:,} is at least half of the {eligible:,} eligible units: not a selection"
    )


def require_gate(gate: Gate, rankers: Collection[str], metrics: Collection[Metric], eligible: int | None) -> None:
    """Refuse a gate that nothing could pass or fail.

    Args:
        gate: the model version's.
        rankers: which have scores.
        metrics: what the problem's channels give.
        eligible: the units of the shortest list; None for lists of items.

    Raises:
        ModelError: if its metric, its baseline or the model itself is not there, or the metric selects nothing.
    """
    named = {str(metric): metric for metric in metrics}
    if gate.metric not in named:
        message = f"gate.metric {gate.metric!r}: the problem's channels give {', '.join(sorted(named))}"
        raise ModelError(message)
    for ranker in (MODEL, gate.against):
        if ranker not in rankers:
            message = f"gate.against {gate.against!r}: {ranker} has no scores; scored were {', '.join(sorted(rankers))}"
            raise ModelError(message)
    nothing = None if eligible is None else not_a_selection(named[gate.metric], eligible)
    if nothing:
        message = f"gate.metric {gate.metric!r}: {nothing}; gate on a smaller capacity"
        raise ModelError(message)


def decide_gate(gate: Gate, figures: Mapping[str, Figure]) -> GateResult:
    """Pass if the paired ratio's lower bound lies above the minimum; what cannot be told is refused.

    Args:
        gate: what has to be proved.
        figures: ranker to its figure of the gate's metric.
    """
    model, baseline = figures[MODEL], figures[gate.against]
    ratio = model.over(baseline).interval(gate.confidence)
    passed = math.isfinite(ratio.lower) and ratio.lower > gate.minimum_ratio
    told = f"{gate.metric} {model.estimate:.4f} against {gate.against}'s {baseline.estimate:.4f}"
    if baseline.estimate == 0:
        reason = f"{told}: a baseline of 0 gives no ratio, so that nothing is proved"
    elif model.units < 2:  # noqa: PLR2004
        reason = f"{told}: of {model.units} unit, which gives no interval, so that nothing is proved"
    elif not (math.isfinite(ratio.estimate) and math.isfinite(ratio.lower)):
        reason = f"{told}: hits are so few that the ratio has no lower bound, so that nothing is proved"
    else:
        reason = (
            f"{told}: ratio {ratio.estimate:.3f} [{ratio.lower:.3f}, {ratio.upper:.3f}] at {100 * gate.confidence:g}%;"
            f" the lower bound {'is' if passed else 'has to be'} above {gate.minimum_ratio:g}"
        )
    return GateResult(passed, reason, ratio, gate.metric, gate.against, gate.minimum_ratio, gate.confidence)
