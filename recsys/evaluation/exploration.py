"""What would each arm's lists have brought without their exploration slot, by what was drawn into it?

A round is a request, its reward what the primary metric's numerator counts of it. The target is the arm's own list: the
item that stands in the slot when nothing is drawn. It has a propensity above one half, and whatever is drawn one below
(`specs.reranking.Explore`), so that the log itself tells them apart; all other slots, and lists in which nothing could
be drawn, are the same under both policies. What one list does to the next request of its unit is not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.errors import ExperimentError
from recsys.evaluation.off_policy import OffPolicyValue, off_policy_value, require_support
from recsys.evaluation.unit_metrics import UnitMetrics
from recsys.specs.experiment import Experiment

_OWN: Final = "the list's own item"
_HALF: Final = 0.5
_CHECKED_AT: Final = 0.999
"""Weights whose mean is not 1 at this confidence are not those of the lists that were drawn."""


@dataclass(frozen=True)
class ArmOffPolicy:
    """The value of one arm's lists without exploration, or why it cannot be told."""

    arm: str
    metric: str
    """Whose numerator a request's reward is."""
    slots: Sequence[int]
    """Those that were drawn."""
    value: OffPolicyValue | None
    refused: str | None
    """One sentence, where there is no value."""


def off_policy(experiment: Experiment, metrics: UnitMetrics, confidence: float) -> tuple[ArmOffPolicy, ...]:
    """Value every arm's lists without exploration.

    Args:
        experiment: its declaration.
        metrics: with what was drawn, if they were asked for it.
        confidence: of the intervals.

    Returns:
        One an arm whose lists were logged with propensities below 1; testers and units in several arms are left out.
    """
    if metrics.explored is None or metrics.drawn_slots is None:
        return ()
    kept = pc.is_in(metrics.explored["unit"], value_set=metrics.analysed["unit"].combine_chunks())
    rows = metrics.explored.filter(kept)
    return tuple(
        _of_arm(arm, metrics, rows.filter(pc.equal(rows["arm"], arm)), drawn, confidence)
        for arm in experiment.arms
        if (drawn := metrics.drawn_slots.filter(pc.equal(metrics.drawn_slots["arm"], arm))).num_rows and rows.num_rows
    )


def _of_arm(arm: str, metrics: UnitMetrics, rows: pa.Table, drawn: pa.Table, confidence: float) -> ArmOffPolicy:
    metric, slots = metrics.definitions[0].name, drawn["position"].to_pylist()
    try:
        _require_own_items(slots, drawn["likeliest"].to_pylist())
    except ExperimentError as error:
        refused = f"{arm}: {error}; a `share` of the explore stage below 0.5 reaches them"
        return ArmOffPolicy(arm, metric, slots, None, refused)
    balance = _value(rows, _CHECKED_AT).mean_weight
    if balance.lower > 1 or balance.upper < 1:
        refused = (
            f"the weights of {arm} have the mean {balance.estimate:.3f} [{balance.lower:.3f}, {balance.upper:.3f}]"
            " instead of 1: in a part of the log its own items were never shown, or propensities are not those of the"
            " draws; look at a part with --from and --to"
        )
        return ArmOffPolicy(arm, metric, slots, None, refused)
    return ArmOffPolicy(arm, metric, slots, _value(rows, confidence), None)


def _require_own_items(slots: Sequence[int], likeliest: Sequence[float]) -> None:
    """Check that every drawn slot shows its own item too, in some lists: with a propensity above one half."""
    shown = np.ones(max(slots))
    shown[np.array(slots) - 1] = np.where(np.array(likeliest) > _HALF, likeliest, 0.0)
    wanted = np.ones_like(shown)
    require_support([_OWN, "what is drawn"], np.stack([shown, 1 - shown]), np.stack([wanted, 1 - wanted]))


def _value(rows: pa.Table, confidence: float) -> OffPolicyValue:
    return off_policy_value(
        rows["reward"].to_numpy(),
        rows["logged"].to_numpy(),
        np.asarray(rows["own"]).astype(np.float64),
        np.asarray(rows["unit"].combine_chunks().dictionary_encode().indices),
        rounds=rows["requests"].to_numpy(),
        confidence=confidence,
    )
