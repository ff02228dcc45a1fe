"""How was an experiment's traffic allocated, and since when? Each ramp opens an epoch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from recsys.specs.experiment import Experiment


@dataclass(frozen=True)
class Epoch:
    """A time in which no arm's share changed."""

    start: datetime
    end: datetime
    """The first moment after it: the next epoch's start, or the experiment's end."""
    ratios: Mapping[str, int]
    """Arm to its share of the traffic in buckets of 1/10,000, by name; an arm that is not there did not exist yet."""


def epochs(applied: Iterable[tuple[datetime, Experiment]]) -> tuple[Epoch, ...]:
    """Return the allocation epochs of an experiment from the declarations that were applied.

    What was applied up to the start is one epoch, by the last of it. Each later declaration with other ratios, or with
    another arm, opens the next one when it was applied; overrides and an earlier end open none. A service follows
    an apply within seconds: a boundary is as sharp as that.

    Args:
        applied: times and declarations in the order in which they were applied, the times by the environment's clock.

    Returns:
        Epochs without gaps, from the start to the end of the last declaration, none of them empty; () where nothing was
        applied.
    """
    begun: list[tuple[datetime, Mapping[str, int]]] = []
    end = None
    for moment, experiment in applied:
        start, end = experiment.plan.window()
        if not begun or moment <= start:
            begun = [(start, _ratios(experiment))]
            continue
        while begun and begun[-1][0] >= moment:  # of one moment the last declaration counts
            begun.pop()
        ratios = _ratios(experiment)
        if not begun or ratios != begun[-1][1]:
            begun.append((moment, ratios))
    if end is None:
        return ()
    inside = [(since, ratios) for since, ratios in begun if since < end]
    ends = [*(since for since, _ in inside[1:]), end]
    return tuple(Epoch(since, until, ratios) for (since, ratios), until in zip(inside, ends, strict=True))


def epoch_at(known: Iterable[Epoch], moment: datetime) -> int | None:
    """Return the number, from 0, of the epoch that holds a moment, or None outside of all."""
    return next((number for number, epoch in enumerate(known) if epoch.start <= moment < epoch.end), None)


def proportional(known: Iterable[Epoch]) -> bool:
    """Tell whether the arms only grew in proportion: effects may then be pooled over the epochs."""
    for left, right in pairwise(epoch.ratios for epoch in known):
        before, after = sum(left.values()), sum(right.values())
        # Shares compared as whole numbers: a / before == b / after.
        if left.keys() != right.keys() or any(left[arm] * after != right[arm] * before for arm in left):
            return False
    return True


def _ratios(experiment: Experiment) -> dict[str, int]:
    ranges = {name: arm.bucket_range() for name, arm in sorted(experiment.arms.items())}
    return {name: last - first for name, (first, last) in ranges.items()}
