"""What did contacts add: to the share of units that act, and to what units spend?

By intention to treat: everybody on the list counts as reached, sent or not, for who was not sent is not chance. A
contact is one unit in one campaign; an act or a purchase counts in the unit's latest contact before it alone, so that
windows that overlap count nothing twice. Contacts of one unit belong together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.stats
from numpy.typing import NDArray
from tea_tasting.aggr import Aggregates

from recsys.candidates.pool import to_numpy
from recsys.errors import DataError
from recsys.evaluation.campaign_groups import HELD_OUT, REACHED, Groups
from recsys.evaluation.campaign_units import contact_metrics, unit_sums
from recsys.evaluation.metric_definition import MetricDefinition
from recsys.ports import Engine
from recsys.schema import EVENT_TIMESTAMP, USER
from recsys.specs.funnel import Planning
from recsys.specs.online_metric import OnlineMetric
from recsys.specs.problem import Target
from recsys.statistics.bootstrap import Interval
from recsys.statistics.effects import effect, moments, ratio_of_means
from recsys.statistics.power import minimum_detectable_effect, units_for_effect
from recsys.statistics.proportions import compare_shares

ALL: Final = "all"
"""The scope of all channels together."""
_SKEW_UNITS: Final = 355
"""Times the square of the skewness: so many units in the smaller group before a mean is nearly normal (Kohavi, Deng,
Longbotham and Xu, Seven rules of thumb for web site experimenters, KDD 2014)."""
_THOUSAND: Final = 1_000


@dataclass(frozen=True)
class Outcome:
    """One figure of those reached beside those held out."""

    metric: str
    held_out: float
    """Its mean over contacts of those held out, after CUPED where that was used."""
    reached: float
    absolute: Interval
    """reached - held out, a contact."""
    relative: Interval
    """reached / held out - 1."""
    per_thousand: Interval
    """What 1,000 contacts add."""
    total: Interval
    """What all contacts of the lists added."""
    cuped: bool
    """Whether the score took part as a covariate."""
    rough: bool
    """Whether values are so skewed that the interval is of too few units held out."""


@dataclass(frozen=True)
class Power:
    """What the numbers at hand could show."""

    detectable: float
    """The smallest relative effect that would be seen with the declared power."""
    minimum_effect: float
    """The relative effect that the problem's planning declares."""
    needed_reached: int
    """Units reached that would show it."""
    needed_held_out: int
    """And held out, in the same proportion."""


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
            units={arm: len(rows) for arm, rows in _by_arm(units).items()},
            sent_share=float(sent.mean()) if len(sent) else 0.0,
            overlapping=int(np.count_nonzero(overlapping & reached)),
            primary=(compare_acts if shares else compare_means)(first, units, chosen, alpha=alpha),
            metrics=tuple(found for found in metrics if found is not None),
            power=power_of(first, units, self.planning),
        )


def compare_acts(metric: MetricDefinition, units: pa.Table, chosen: int, *, alpha: float) -> Outcome | None:
    """Compare the share of contacts that an act followed: by Newcombe's interval, for few may be held out.

    Contacts of one unit belong together: by so much as they spread the share more than independent ones would (Kish's
    design effect), groups count as smaller.

    Args:
        metric: whose numerator counts contacts.
        units: rows of `unit_sums`.
        chosen: contacts that the lists asked for, for the total.
        alpha: one less the confidence.

    Returns:
        None where a group is empty.
    """
    of = _by_arm(units)
    groups = {arm: _moments(rows, metric, scored=False) for arm, rows in of.items()}
    if not all(len(rows) for rows in of.values()):
        return None
    together = _design_effect(of, groups, metric)
    shares = [(ratio_of_means(groups[arm]), _contacts(of[arm], metric) / together) for arm in (HELD_OUT, REACHED)]
    found = compare_shares(shares[0], shares[1], confidence=1 - alpha)
    if found is None:
        return None
    return _outcome(metric, (found.control, found.treatment), found.absolute, found.relative, chosen)


def compare_means(metric: MetricDefinition, units: pa.Table, chosen: int, *, alpha: float) -> Outcome | None:
    """Compare the mean over contacts, with the score at the moment of the lists as CUPED's covariate.

    Arguments as for `compare_acts`.

    Returns:
        None where a group is empty.
    """
    of = _by_arm(units)
    if not all(len(rows) for rows in of.values()):
        return None
    scored = all(np.isfinite(to_numpy(rows[metric.covariate_numerator])).all() for rows in of.values())
    control, treatment = (_moments(of[arm], metric, scored=scored) for arm in (HELD_OUT, REACHED))
    found = effect(metric.name, control, treatment, confidence=1 - alpha)
    values = to_numpy(units[metric.numerator])
    skew = float(scipy.stats.skew(values)) if values.std() > 0 else 0.0
    return _outcome(
        metric,
        (found.control, found.treatment),
        found.absolute,
        found.relative,
        chosen,
        cuped=found.cuped,
        rough=min(len(rows) for rows in of.values()) < _SKEW_UNITS * skew**2,
    )


def power_of(metric: MetricDefinition, units: pa.Table, planning: Planning) -> Power | None:
    """Return what so many units could show, were they those of another time.

    Args:
        metric: the target.
        units: rows of `unit_sums`.
        planning: of the problem.

    Returns:
        None where a group is empty, nobody acted, or all did.
    """
    counts = {arm: len(rows) for arm, rows in _by_arm(units).items()}
    if not all(counts.values()):
        return None
    sample = _moments(units, metric, scored=False)
    asked = {"ratio": counts[REACHED] / counts[HELD_OUT], "alpha": planning.alpha, "power": planning.power}
    try:
        detectable = minimum_detectable_effect(sample, sum(counts.values()), **asked)
        needed = units_for_effect(sample, planning.minimum_effect, **asked)
    except DataError:
        return None
    held = math.ceil(needed / (1 + asked["ratio"]))
    return Power(detectable, planning.minimum_effect, needed - held, held)


def _by_arm(units: pa.Table) -> dict[str, pa.Table]:
    return {arm: units.filter(pc.equal(units["arm"], arm)) for arm in (REACHED, HELD_OUT)}


def _moments(rows: pa.Table, metric: MetricDefinition, *, scored: bool) -> Aggregates:
    names = metric.columns if scored else metric.columns[:2]
    return moments(*(to_numpy(rows[name]) for name in names))


def _contacts(rows: pa.Table, metric: MetricDefinition) -> float:
    return float(pc.sum(rows[metric.denominator]).as_py() or 0.0)


def _design_effect(of: Mapping[str, pa.Table], groups: Mapping[str, Aggregates], metric: MetricDefinition) -> float:
    """Return by how much contacts of the same units spread a share more than independent ones would (Kish, 1965)."""
    both = groups[REACHED] + groups[HELD_OUT]
    share, contacts = ratio_of_means(both), sum(_contacts(rows, metric) for rows in of.values())
    if not 0 < share < 1:
        return 1.0
    spread = both.ratio_var("numerator", "denominator") / both.count()
    return max(1.0, float(spread) / (share * (1 - share) / contacts))


def _outcome(
    metric: MetricDefinition,
    means: tuple[float, float],
    absolute: Interval,
    relative: Interval,
    chosen: int,
    *,
    cuped: bool = False,
    rough: bool = False,
) -> Outcome:
    return Outcome(
        metric=metric.name,
        held_out=means[0],
        reached=means[1],
        absolute=absolute,
        relative=relative,
        per_thousand=_times(absolute, _THOUSAND),
        total=_times(absolute, chosen),
        cuped=cuped,
        rough=rough,
    )


def _times(value: Interval, factor: float) -> Interval:
    return Interval(value.estimate * factor, value.lower * factor, value.upper * factor)


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
