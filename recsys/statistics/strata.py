"""How are two arms compared whose shares grew at different times?

While both grow by the same factor, their units are of the same days, and may be pooled. Else the arm that grew later
has more units of the later days: whatever changes with time (a season, a campaign, who comes first) then reads as an
effect. So units are compared within strata, the allocation epochs, and strata are put together by weights that are the
same for both arms: each stratum's share of all units (direct standardisation; Cochran, Sampling Techniques, 1977,
chapter 5). Numerator and denominator are each standardised and then divided, so that the metric stays a ratio of sums
over units; its variance is the delta method's on variances within strata.

A stratum holds units that *could* be first exposed in its epoch in either arm. Those whose first visit of the placement
was in that epoch can. A unit that had visited before and came into an arm only as that grew cannot: its like in an
arm that did not grow were exposed an epoch earlier. Such late units compare with one another, where both arms grew in
the ramp that opened their buckets (`recsys/evaluation/split.py`), and with nobody else. `strata_of` says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tea_tasting.aggr import Aggregates

from recsys.errors import DataError

NO_STRATUM: Final = -1
"""Of a unit that belongs to no stratum."""
FEWEST_UNITS: Final = 2
"""Of each arm, for a stratum to take part."""


@dataclass(frozen=True)
class Standardised:
    """Two arms, ready for `recsys.statistics.effects.effect`."""

    control: Aggregates
    treatment: Aggregates
    strata: int
    """Strata that took part; 1 where the arms were pooled."""
    left_out_units: int
    """Units of strata in which one arm has fewer than two."""


def strata_of(
    first_visit: NDArray[np.int64],
    first_exposure: NDArray[np.int64],
    starts: Sequence[int],
    ramps: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the stratum of each unit.

    Args:
        first_visit: when each unit first asked for the placement's list since the experiment began, whatever it got,
            [units], in microseconds since 1970.
        first_exposure: when it first got the list of an arm, [units], likewise; not before its first visit.
        starts: when each epoch began, in order; the first with the experiment.
        ramps: the epoch whose ramp opened each unit's bucket for its arm, [units], below 0 where none did; without them
            late units belong to no stratum.

    Returns:
        Codes, [units], int64: the index of the epoch of a unit that came new in it; one beyond all epochs for late
        units of one ramp and epoch; `NO_STRATUM` of a unit that visited before the first epoch.

    Raises:
        DataError: if a unit was exposed before its first visit, or the epochs are not in order.
    """
    if not len(starts) or list(starts) != sorted(set(starts)):
        message = f"epochs begin at {list(starts)}: there is one at least, and each begins after the last"
        raise DataError(message)
    if (first_exposure < first_visit).any():
        unit = int(np.flatnonzero(first_exposure < first_visit)[0])
        message = (
            f"unit {unit} was first exposed at {first_exposure[unit]} and first came at {first_visit[unit]}: an"
            " exposure is a visit; take the earlier of both"
        )
        raise DataError(message)
    exposed, visited = (np.searchsorted(starts, times, side="right") - 1 for times in (first_exposure, first_visit))
    late = np.full(len(exposed), NO_STRATUM)
    if ramps is not None:
        late = np.where((ramps >= 0) & (visited >= 0), len(starts) * (1 + ramps) + exposed, NO_STRATUM)
    return np.where(exposed == visited, exposed, late).astype(np.int64)


def standardise(strata: Sequence[tuple[Aggregates, Aggregates]], *, pooled: bool) -> Standardised:
    """Put the strata of two arms together, so that both arms have the same mix of them.

    Args:
        strata: of each epoch, `moments` of the control's and of the treatment's units.
        pooled: whether the arms grew in proportion (`recsys.experiment.epochs.proportional`): then all units of an arm
            are alike, and none is left out.

    Returns:
        For each arm the moments of one sample that has the standardised means, and whose variances over its number of
        units are the variances of those means.

    Raises:
        DataError: if there is no stratum, or moments are of different columns.
    """
    columns = {tuple(arm.mean_) for stratum in strata for arm in stratum}
    if len(columns) != 1:
        message = (
            f"strata have columns {sorted(columns)}: all arms and epochs have the same ones, and there is an epoch"
        )
        raise DataError(message)
    units = sum(arm.count() for stratum in strata for arm in stratum)
    if pooled:
        return Standardised(_pooled([control for control, _ in strata]), _pooled([other for _, other in strata]), 1, 0)
    kept = [stratum for stratum in strata if min(arm.count() for arm in stratum) >= FEWEST_UNITS]
    if not kept:
        nothing = _weighted([], np.empty(0), *columns)
        return Standardised(nothing, nothing, 0, units)
    sizes = np.array([sum(arm.count() for arm in stratum) for stratum in kept], dtype=np.float64)
    shares = sizes / sizes.sum()
    control, treatment = (_weighted([stratum[side] for stratum in kept], shares, *columns) for side in (0, 1))
    return Standardised(control, treatment, len(kept), units - int(sizes.sum()))


def _pooled(arms: Sequence[Aggregates]) -> Aggregates:
    """Return the moments of all units; samples without a unit have no means, and those of one no variances."""
    seen = [arm if arm.count() >= FEWEST_UNITS else _without_spread(arm) for arm in arms if arm.count()]
    return sum(seen[1:], start=seen[0]) if len(seen) > 1 else next((arm for arm in arms if arm.count()), arms[0])


def _without_spread(arm: Aggregates) -> Aggregates:
    return Aggregates(arm.count(), arm.mean_, dict.fromkeys(arm.var_, 0.0), dict.fromkeys(arm.cov_, 0.0))


def _weighted(arms: Sequence[Aggregates], shares: NDArray[np.float64], names: tuple[str, ...]) -> Aggregates:
    """Return moments whose means are the weighted ones; of no arm, those of no unit."""
    count = sum(arm.count() for arm in arms)
    variance_shares = [share * share / arm.count() * count for share, arm in zip(shares, arms, strict=True)]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

    def combine(values: Sequence[float], weights: Sequence[float]) -> float:
        return float(np.dot(weights, values)) if values else math.nan

    return Aggregates(
        count_=count,
        mean_={name: combine([arm.mean(name) for arm in arms], list(shares)) for name in names},
        var_={name: combine([arm.var(name) for arm in arms], variance_shares) for name in names},
        cov_={pair: combine([arm.cov(*pair) for arm in arms], variance_shares) for pair in pairs},
    )
