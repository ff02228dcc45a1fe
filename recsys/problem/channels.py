"""Which metric does each channel's capacity ask for?"""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from recsys.problem.bounds import Bounds
from recsys.problem.demand import Demand
from recsys.problem.need import StageNeed
from recsys.problem.rows import in_words
from recsys.specs.metric import Metric
from recsys.specs.problem import Channel, Problem

_FEW_ITEMS: Final = 1.5
"""With fewer right items a unit, there is hardly more than one."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class ChannelAdvice:
    """The metric of one channel, and why."""

    channel: str
    metric: str | None
    """None where nothing is selected."""
    reason: str
    days: int | None
    """Days in which its capacity reaches the units that a test of the stage needs; None of lists, or unknown."""
    days_bounds: Bounds | None
    """Of the days, by the bounds of the units; None where these are."""


def advise(
    problem: Problem, stage: str, demand: Demand, need: StageNeed | None, known_units: int
) -> tuple[ChannelAdvice, ...]:
    """Choose a metric for each channel of a problem.

    Args:
        problem: with its channels.
        stage: that is modelled.
        demand: of the stage, in one horizon.
        need: of the stage.
        known_units: among which a capacity selects.
    """
    return tuple(
        _of_list(name, channel.k, stage, demand, problem)
        if channel.k is not None
        else _of_capacity(name, channel, stage, demand, need, known_units, problem)
        for name, channel in problem.channels.items()
    )


def selects(channel: Channel, known_units: int) -> bool:
    """Whether a channel leaves most units out, so that there is something to select."""
    return channel.capacity is None or 2 * channel.capacity < known_units


def days_to_reach(
    problem: Problem, channel: Channel, need: StageNeed | None, known_units: int
) -> tuple[int | None, Bounds | None]:
    """Return the days in which a channel that selects reaches the units of a test, each round of a horizon others.

    None of lists, and where there are not so many units.
    """
    if channel.capacity is None or not selects(channel, known_units) or need is None:
        return None, None
    rounds = math.ceil(problem.target.horizon / _DAY)

    def days(units: int | None) -> int | None:
        return None if units is None or units > known_units else math.ceil(units / (channel.capacity or 1)) * rounds

    bounds = need.units_bounds
    return days(need.units), None if bounds is None else Bounds(days(bounds.lower), days(bounds.upper))


def _of_list(name: str, k: int, stage: str, demand: Demand, problem: Problem) -> ChannelAdvice:
    items, horizon = demand.items, in_words(problem.target.horizon)
    if items is None:
        return ChannelAdvice(
            name, str(Metric("ndcg", k, "user")), f"events {stage} name no item, so take any", None, None
        )
    right = f"in {horizon} a unit with any {stage} has {items:.1f} right items"
    if items < _FEW_ITEMS:
        kind, counts = "mrr", "hardly more than one, so that how high it stands counts"
    elif items >= k:
        kind, counts = "precision", f"more than the {k} slots, so that each slot can be right"
    else:
        kind, counts = "ndcg", f"fewer than the {k} slots, so that their order counts"
    return ChannelAdvice(name, str(Metric(kind, k, "user")), f"{right}: {counts}", None, None)


def _of_capacity(
    name: str, channel: Channel, stage: str, demand: Demand, need: StageNeed | None, known_units: int, problem: Problem
) -> ChannelAdvice:
    capacity, horizon = channel.capacity or 0, in_words(problem.target.horizon)
    if not selects(channel, known_units):
        reason = f"{capacity:,} places for {known_units:,} known units: half or more, so nothing is selected: reach all"
        return ChannelAdvice(name, None, reason, None, None)
    days = days_to_reach(problem, channel, need, known_units)
    act = f"in {horizon} {demand.units:,.0f} units reach {stage}"
    if capacity <= demand.units:
        reason = f"{act}, more than there are places: none may be wasted"
        return ChannelAdvice(name, str(Metric("precision", capacity, "global")), reason, *days)
    reason = f"{act}, fewer than there are places: what counts is who is missed"
    return ChannelAdvice(name, str(Metric("recall", capacity, "global")), reason, *days)
