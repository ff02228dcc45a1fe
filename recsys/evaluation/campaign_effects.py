"""What did contacts add: to the share of units that act, and to what units spend?

By intention to treat: everybody on the list counts as reached, sent or not, for who was not sent is not chance. A
contact is one unit in one campaign; an act or a purchase counts in the unit's latest contact before it alone, so that
windows that overlap count nothing twice. Contacts of one unit belong together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.evaluation.campaign_groups import HELD_OUT, REACHED, Groups
from recsys.evaluation.campaign_outcomes import Outcome, Power, by_arm, compare_acts, compare_means, power_of
from recsys.evaluation.campaign_units import contact_metrics, unit_sums
from recsys.evaluation.metric_definition import MetricDefinition
from recsys.ports import Engine
from recsys.schema import EVENT_TIMESTAMP, USER
from recsys.specs.funnel import Planning
from recsys.specs.online_metric import OnlineMetric
from recsys.specs.problem import Target

ALL: Final = "all"
"""The scope of all channels together."""


@dataclass(frozen=True)
class Brought:
    """What the contacts of a channel, or of all, added."""

    scope: str
    """A channel, or `all`."""
    contacts: Mapping[str, int]
    """By group."""
    units: Mapping[str, int]
    sent_share: float
    """Of the contacts of those reached, the share that was really sent."""
    overlapping: int
    """Contacts of those reached whose window holds another one of the same unit, on any channel."""
    primary: Outcome | None
    """The problem's target: the share of contacts that it followed, or its mean. None where nobody is in a group."""
    metrics: tuple[Outcome, ...]
    """Declared metrics that count whatever a unit does."""
    power: Power | None
    """None where nobody acted, or all did."""


def brought(
    engine: Engine,
    compared: Groups,
    outcomes: pa.Table,
    target: Target,
    planning: Planning,
    declared: Mapping[str, OnlineMetric],
    now: datetime,
) -> tuple[Brought, ...]:
    """Compare those reached with those held out: of all channels, and of each where there are several.

    Args:
        engine: runs the SQL.
        compared: who is compared.
        outcomes: rows of `schema.EVENTS` as they are known now, of all types that count.
        target: of the problem.
        planning: of the problem: alpha, power, and the effect that matters.
        declared: registry/metrics/, by name.
        now: the environment's time, by which all windows are closed.

    Returns:
        All channels first.
    """
    channels = sorted(set(compared.contacts["channel"].to_pylist()))
    overlapping = _overlapping(compared.contacts, target.horizon)
    asking = _Asking(engine, outcomes, target, planning, contact_metrics(target, declared), now)
    everybody = asking.brought(ALL, compared.contacts, sum(compared.chosen.values()), overlapping)
    if len(channels) < 2:  # noqa: PLR2004 - one channel is all of them
        return (everybody,)
    parts = []
    for channel in channels:
        mine = pc.equal(compared.contacts["channel"], channel)
        overlaps = overlapping[np.asarray(mine)]
        parts.append(asking.brought(channel, compared.contacts.filter(mine), compared.chosen[channel], overlaps))
    return (everybody, *parts)


@dataclass(frozen=True)
class _Asking:
    """What is the same for all scopes."""

    engine: Engine
    outcomes: pa.Table
    target: Target
    planning: Planning
    definitions: tuple[MetricDefinition, ...]
    now: datetime

    def brought(self, scope: str, contacts: pa.Table, chosen: int, overlapping: NDArray[np.bool_]) -> Brought:
        """Compare the groups of a scope."""
        units = unit_sums(self.engine, contacts, self.outcomes, self.target, self.definitions, self.now)
        reached = np.asarray(pc.equal(contacts["arm"], REACHED))
        sent = np.asarray(contacts["sent"])[reached]
        first, *others = self.definitions
        alpha, shares = self.planning.alpha, self.target.measure == "event"
        metrics = (compare_means(each, units, chosen, alpha=alpha) for each in others)
        return Brought(
            scope=scope,
            contacts={REACHED: int(np.count_nonzero(reached)), HELD_OUT: int(np.count_nonzero(~reached))},
            units={arm: len(rows) for arm, rows in by_arm(units).items()},
            sent_share=float(sent.mean()) if len(sent) else 0.0,
            overlapping=int(np.count_nonzero(overlapping & reached)),
            primary=(compare_acts if shares else compare_means)(first, units, chosen, alpha=alpha),
            metrics=tuple(found for found in metrics if found is not None),
            power=power_of(first, units, self.planning),
        )


def _overlapping(contacts: pa.Table, horizon: timedelta) -> NDArray[np.bool_]:
    """Tell of [contacts] whether another contact of the unit began within the horizon of it, before or after."""
    codes = np.unique(contacts[USER].to_numpy(zero_copy_only=False), return_inverse=True)[1]
    moments_of = contacts[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
    order = np.lexsort((moments_of, codes))
    near = (np.diff(codes[order]) == 0) & (np.diff(moments_of[order]) <= round(horizon / timedelta(microseconds=1)))
    found = np.zeros(len(contacts), dtype=np.bool_)
    found[order[1:][near]] = True
    found[order[:-1][near]] = True
    return found
