"""By how much do those reached differ from those held out, in one figure, and what could so many of them show?

Contacts of one unit belong together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.stats
from tea_tasting.aggr import Aggregates

from recsys.candidates.pool import to_numpy
from recsys.errors import DataError
from recsys.evaluation.campaign_groups import HELD_OUT, REACHED
from recsys.evaluation.metric_definition import MetricDefinition
from recsys.specs.funnel import Planning
from recsys.statistics.bootstrap import Interval
from recsys.statistics.effects import effect, moments, ratio_of_means
from recsys.statistics.power import minimum_detectable_effect, units_for_effect
from recsys.statistics.proportions import compare_shares

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
    of = by_arm(units)
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
    of = by_arm(units)
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
    counts = {arm: len(rows) for arm, rows in by_arm(units).items()}
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


def by_arm(units: pa.Table) -> dict[str, pa.Table]:
    """Return the rows of each group."""
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
