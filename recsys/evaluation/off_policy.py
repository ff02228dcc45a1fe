"""What would another policy have brought, judged by lists that were logged with their propensities?

Each logged item counts by how much likelier the target policy would have shown it there. IPS divides by the rounds,
SNIPS by the weights (Horvitz and Thompson, JASA, 1952; Swaminathan and Joachims, The self-normalized estimator for
counterfactual learning, NeurIPS 2015); both are ratios of sums over units, so that their intervals are the delta
method's, clustered by unit. Neither says anything about items that the logging policy never showed: those are refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tea_tasting.aggr import Aggregates

from recsys.errors import DataError, ExperimentError
from recsys.statistics.bootstrap import Interval
from recsys.statistics.effects import moments, ratio_of_means

_NAMED: Final = 5
"""So many items without support are named."""
_FEWEST_UNITS: Final = 2


@dataclass(frozen=True)
class OffPolicyValue:
    """What a target policy would have brought a round, by one log."""

    ips: Interval
    """Inverse propensity score: unbiased where propensities are right, and wide where weights are uneven."""
    snips: Interval
    """Self-normalised: a little biased, narrower, and the same if the reward is counted from another zero."""
    logged: Interval
    """What the logging policy brought, by the same rounds."""
    gain: Interval
    """What the target would have brought more, a round: `ips` less `logged`, as they vary together."""
    mean_weight: Interval
    """1 but for chance where propensities are right and everything the target shows has support."""
    effective_sample_size: float
    """Rounds of equal weight that would say as much: (sum of weights)² / sum of squares (Kish, 1965)."""
    largest_weight: float
    rounds: int
    units: int


def off_policy_value(
    rewards: ArrayLike,
    logged: ArrayLike,
    target: ArrayLike,
    units: ArrayLike,
    *,
    rounds: ArrayLike | None = None,
    confidence: float = 0.95,
) -> OffPolicyValue:
    """Value a target policy by a log of another one.

    Args:
        rewards: what each round brought, [rows], such as 1 for a click.
        logged: the probability with which the logging policy showed what it showed, [rows], in (0, 1].
        target: the probability with which the target policy shows the same there, [rows], in [0, 1].
        units: code of the unit of each round, [rows], any whole numbers; rounds of a unit belong together.
        rounds: how many rounds of one unit, with the same probabilities, a row stands for, [rows], at least 1; its
            reward is their sum. One each by default.
        confidence: coverage of the intervals, in (0, 1).

    Returns:
        The values; bounds are NaN where fewer than two units are logged. Ask `require_support` first.

    Raises:
        DataError: if lengths differ, no round is logged, a reward is not finite, or a probability out of its range.
    """
    columns = [np.asarray(values, dtype=np.float64) for values in (rewards, logged, target)]
    columns.append(np.ones(columns[0].shape) if rounds is None else np.asarray(rounds, dtype=np.float64))
    codes, unit = np.unique(np.asarray(units), return_inverse=True)
    _check(columns, unit)
    reward, propensity, wanted, count = columns
    weight = wanted / propensity

    def by_unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(unit, values, minlength=len(codes)).astype(np.float64)

    counts, weights = by_unit(count), by_unit(weight * count)
    gained, brought = by_unit(weight * reward), by_unit(reward)
    squares = float((weight**2 * count).sum())
    return OffPolicyValue(
        ips=_interval(moments(gained, counts), confidence),
        snips=_interval(moments(gained, weights), confidence),
        logged=_interval(moments(brought, counts), confidence),
        gain=_interval(moments(gained - brought, counts), confidence),
        mean_weight=_interval(moments(weights, counts), confidence),
        effective_sample_size=float(weights.sum()) ** 2 / squares if squares else 0.0,
        largest_weight=float(weight.max()),
        rounds=int(count.sum()),
        units=len(codes),
    )


def require_support(items: Sequence[str], logging: ArrayLike, target: ArrayLike, *, where: str = "slot") -> None:
    """Check that the logging policy may show whatever the target policy may.

    Args:
        items: names, [items].
        logging: the logging policy's probability of each item, [items] or [items, places].
        target: the target policy's, of the same shape.
        where: what a place is called, in the error.

    Raises:
        ExperimentError: naming the items and places that the target shows and the log cannot have.
        DataError: if shapes differ, or a probability is out of its range.
    """
    had, wanted = (np.asarray(values, dtype=np.float64) for values in (logging, target))
    if had.shape != wanted.shape or len(had) != len(items):
        message = (
            f"{len(items)} items, and probabilities of shapes {had.shape} and {wanted.shape}; they have one row an item"
        )
        raise DataError(message)
    had, wanted = (values.reshape(len(items), -1) for values in (had, wanted))
    for name, values in (("logging", had), ("target", wanted)):
        if not ((values >= 0) & (values <= 1)).all():
            message = f"the {name} policy has a probability outside [0, 1]; give those with which it shows each item"
            raise DataError(message)
    missing = [tuple(map(int, pair)) for pair in np.argwhere((wanted > 0) & (had == 0))]
    if missing:
        shown = ", ".join(
            f"{items[item]} in {where} {place + 1} ({wanted[item, place]:.3g})" for item, place in missing[:_NAMED]
        )
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        message = (
            f"the target policy shows what the logging policy never does: {shown}{more}; no log can value that: log an"
            " exploration slot that reaches these items, or leave them out of the target"
        )
        raise ExperimentError(message)


def _interval(unit_moments: Aggregates, confidence: float) -> Interval:
    """Return a ratio of sums over units, with the delta method's bounds."""
    ratio = ratio_of_means(unit_moments)
    if unit_moments.count() < _FEWEST_UNITS or not math.isfinite(ratio):
        return Interval(ratio, math.nan, math.nan)
    variance = float(unit_moments.ratio_var("numerator", "denominator")) / unit_moments.count()
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(variance, 0.0))
    return Interval(ratio, ratio - half, ratio + half)


def _check(columns: Sequence[NDArray[np.float64]], unit: NDArray[np.int64]) -> None:
    reward, propensity, wanted, count = columns
    lengths = {column.shape for column in (*columns, unit)}
    if len(lengths) != 1 or reward.ndim != 1 or not len(reward):
        message = (
            f"shapes are {sorted(lengths)}; rewards, probabilities and units have one value a round, and there is one"
        )
        raise DataError(message)
    if not np.isfinite(reward).all():
        message = "a reward is not finite; leave out rounds whose outcome is not known yet"
        raise DataError(message)
    if not ((propensity > 0) & (propensity <= 1)).all():
        number = int(np.flatnonzero(~((propensity > 0) & (propensity <= 1)))[0])
        message = (
            f"round {number} was logged with propensity {propensity[number]}; what was shown had one in (0, 1]:"
            " leave out lists of policies that log none"
        )
        raise DataError(message)
    if not ((wanted >= 0) & (wanted <= 1)).all():
        message = "the target policy has a probability outside [0, 1]; give that with which it shows the logged item"
        raise DataError(message)
    if not (count >= 1).all():
        message = "a row stands for no round; leave it out"
        raise DataError(message)
