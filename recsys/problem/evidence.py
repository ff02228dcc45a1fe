"""Where does a weak stage lose: at a few items, in some segments, or in the log?

A stage's place says which lever it might be. What the past can say beyond that is said with its figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from recsys.ports import Engine
from recsys.problem.figures import Reading
from recsys.problem.rows import EVENTS, Span, Stages, counts_sql, moment, quoted, readable_sql
from recsys.schema import EVENT_TIMESTAMP, EVENT_TYPE, ITEM, USER
from recsys.specs.problem import Problem

_FALSE_DISCOVERIES: Final = 0.05


@dataclass(frozen=True)
class ItemLoss:
    """How a stage's loss spreads over items. A pair is a user and an item of the stage before, whatever the visits."""

    items: int
    pairs: int
    reached: int
    """Pairs that reached the stage."""
    low_items: int
    """Items with which less than half as many reach it as with the others, and not by chance."""
    low_pairs: int
    low_reached: int

    @property
    def share(self) -> float:
        """Share of all pairs that reached it."""
        return self.reached / self.pairs

    @property
    def low_share(self) -> float:
        """Share of the low items' pairs that did; NaN where there are none."""
        return self.low_reached / self.low_pairs if self.low_pairs else float("nan")

    @property
    def other_share(self) -> float:
        """Share of the other items' pairs that did."""
        return (self.reached - self.low_reached) / (self.pairs - self.low_pairs)


def item_loss(engine: Engine, events: Path, stages: Stages, number: int, span: Span) -> ItemLoss | None:
    """Count over items how many of those who reached the stage before with an item reached this one with it.

    Args:
        engine: runs the SQL.
        events: parquet of `schema.EVENT_TABLE`.
        stages: of the funnel.
        number: the stage's; not the first.
        span: which part of the log.

    Returns:
        None where the stage before is any event, or where events of either stage have no item.
    """
    if number == 1 and stages.any_event:
        return None
    before, stage = (quoted(stages.names[each]) for each in (number - 1, number))
    sql = f"""
select count(*) as pairs, count(*) filter (after) as reached from (
    select {USER}, {ITEM}, bool_or({EVENT_TYPE} = {before}) as entered, bool_or({EVENT_TYPE} = {stage}) as after
    from {EVENTS}
    where {EVENT_TYPE} in ({before}, {stage}) and {ITEM} is not null and {readable_sql(span)} and {counts_sql()}
      and {EVENT_TIMESTAMP} >= {moment(span.start)}
    group by {USER}, {ITEM})
where entered group by {ITEM}
"""
    found = engine.query(sql, {EVENTS: events})
    pairs, reached = (np.asarray(found[name], dtype=np.int64) for name in ("pairs", "reached"))
    if not reached.sum():
        return None
    low = _low(pairs, reached)
    return ItemLoss(
        items=len(pairs),
        pairs=int(pairs.sum()),
        reached=int(reached.sum()),
        low_items=int(low.sum()),
        low_pairs=int(pairs[low].sum()),
        low_reached=int(reached[low].sum()),
    )


def _low(pairs: NDArray[np.int64], reached: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which items surely have less than half of the others' share.

    By a binomial test each against that half, at a false discovery rate of 5 % (Benjamini and Hochberg, JRSS B, 1995):
    users are independent, and each counts once with an item. Items always differ somewhat, so that with many users each
    would surely differ. The others are those that are not found to be low: all at first, then what is left.
    """
    low = np.zeros(len(pairs), dtype=np.bool_)
    while True:
        share = reached[~low].sum() / pairs[~low].sum()
        p_values = scipy.stats.binom.cdf(reached, pairs, share / 2)
        further = low | (scipy.stats.false_discovery_control(p_values) < _FALSE_DISCOVERIES)
        if further.all() or (further == low).all():
            return low
        low = further


def of_items(problem: Problem, found: ItemLoss, stage: str) -> tuple[str, bool]:
    """Say how a stage's loss spreads over items, and whether it is weak by some of them only.

    That is, where with the others it would not be weak, and they are not most of the items.
    """
    if not found.low_items:
        every = f"by item: {found.share:.1%} of who come to an item reach {stage} with it, and none of {found.items:,}"
        return f"{every} items has surely less than half of that: look at what all items share", False
    takes = found.low_pairs / found.pairs
    lost = (found.low_pairs - found.low_reached) / (found.pairs - found.reached)
    figures = (
        f"by item: with {found.low_items:,} of {found.items:,} items {found.low_share:.1%} of who come to them reach"
        f" {stage}, with the others {found.other_share:.1%}; they have {takes:.0%} of who come, {lost:.0%} of the loss"
    )
    limit = problem.planning.weak_below
    if found.share < limit <= found.other_share and 2 * found.low_items <= found.items:
        return f"{figures}: without them {stage} is not weak, so look at these items and their prices", True
    return f"{figures}: without them it is {found.other_share:.1%} instead of {found.share:.1%}", False


def of_segments(problem: Problem, segments: Sequence[Reading], by: str, stage: str) -> str | None:
    """Say in how many segments a stage is weak; None where fewer than two are large enough to say."""
    limit = problem.planning.weak_below
    shares = [
        (each.from_before, str(segment.segment))
        for segment in segments
        if not segment.small
        for each in segment.stages
        if each.stage == stage and each.from_before is not None
    ]
    if len(shares) < 2:  # noqa: PLR2004 - with itself nothing compares
        return None
    shares.sort()
    weak, strong = ([each for each in shares if (each[0] < limit) is below] for below in (True, False))
    if not weak or not strong:
        word = "weak in each" if weak else "weak in none"
        return f"by {by}: {word} of {len(shares)} segments, {_range(shares)}"
    return f"by {by}: weak in {len(weak)} of {len(shares)} segments, {_range(weak)}; {_range(strong)} elsewhere"


def of_log(problem: Problem, reading: Reading, number: int) -> str | None:
    """Say where a weak stage may be one whose events were not all logged: what follows it came without it."""
    if number + 1 >= len(reading.stages):
        return None
    stage, after = reading.stages[number], reading.stages[number + 1]
    if after.bypass is None or after.bypass <= problem.planning.maximum_bypass:
        return None
    return (
        f"by the log: {after.bypass:.0%} of the events {after.stage} came without {stage.stage}: before anything is"
        f" changed, see whether every {stage.stage} is logged"
    )


def _range(shares: Sequence[tuple[float, str]]) -> str:
    (least, lowest), (most, highest) = shares[0], shares[-1]
    return f"{least:.1%} ({lowest})" if len(shares) == 1 else f"{least:.1%} ({lowest}) to {most:.1%} ({highest})"
