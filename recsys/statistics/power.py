"""How many units does it take to see an effect, and which effect do so many units show?

Both answers are tea-tasting's, for a metric that is a ratio of sums over units, with CUPED where the sample
has a covariate. The treatment is expected to have the variance of a compound Poisson sum of its mean (Tweedie's
of power 1.5: Jorgensen, The Theory of Dispersion Models, 1997): between that of counts, which grows with the
mean, and that of a scale, which grows with its square. To plan with the control's variance in both arms promises
a power of 80 % and gives 77 % for an effect of 8 %, and 69 % for one of 30 % (benchmarks/calibration.py).
"""

import math
from typing import Final

from tea_tasting.aggr import Aggregates
from tea_tasting.metrics import RatioOfMeans

from recsys.errors import DataError
from recsys.statistics.effects import comparable, metric_columns, ratio_of_means

_SPREAD: Final = 1.5
"""The power of the mean with which a variance grows."""
_MOST_STEPS: Final = 1_000


def minimum_detectable_effect(
    sample: Aggregates, units: int, *, ratio: float = 1.0, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest relative effect that a test of this size would see.

    Args:
        sample: `moments` of units like those to come; CUPED is counted on where it has covariates.
        units: units over control and treatment together.
        ratio: treatment units for each control unit.
        alpha: two-sided error.
        power: chance to see the effect.

    Returns:
        The effect as a share of the control's mean, above 0.

    Raises:
        DataError: if the sample says nothing: fewer than two units, a mean or a variance of 0.
    """
    _check_sample(sample)
    metric = _metric(sample, alpha=alpha, power=power, ratio=ratio, n_obs=units)
    even = float(metric.solve_power_from_aggregates(sample, "rel_effect_size")[0].rel_effect_size)
    found = even
    for _ in range(_MOST_STEPS):  # a contraction: its slope is below _SPREAD / 2
        found, before = even * math.sqrt(_spread(found, ratio)), found
        if math.isclose(found, before, rel_tol=1e-12):
            break
    return found


def units_for_effect(
    sample: Aggregates, relative_effect: float, *, ratio: float = 1.0, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return how many units, over control and treatment together, it takes to see a relative effect.

    Args:
        sample: as in `minimum_detectable_effect`.
        relative_effect: share of the control's mean, above -1 and not 0.
        ratio: treatment units for each control unit.
        alpha: two-sided error.
        power: chance to see the effect.

    Raises:
        DataError: if the effect is out of its range, or the sample says nothing.
    """
    _check_sample(sample)
    if relative_effect == 0 or relative_effect <= -1 or not math.isfinite(relative_effect):
        message = (
            f"relative effect {relative_effect}: no number of units shows it; give the smallest worth shipping, above"
            " -1 and not 0"
        )
        raise DataError(message)
    fewest = math.ceil(2 * (1 + ratio) / min(1.0, ratio))  # two in each arm
    even = abs(relative_effect) / math.sqrt(_spread(relative_effect, ratio))
    metric = _metric(sample, alpha=alpha, power=power, ratio=ratio, n_obs=fewest)
    if float(metric.solve_power_from_aggregates(sample, "rel_effect_size")[0].rel_effect_size) <= even:
        return fewest  # tea-tasting finds nothing below its smallest sample
    metric = _metric(sample, alpha=alpha, power=power, ratio=ratio, rel_effect_size=even)
    return int(metric.solve_power_from_aggregates(sample, "n_obs")[0].n_obs)


def _spread(relative_effect: float, ratio: float) -> float:
    """Return the variance of the difference of both means, by what it is without an effect."""
    return float((ratio + (1 + relative_effect) ** _SPREAD) / (ratio + 1))


def _metric(sample: Aggregates, **settings: float) -> RatioOfMeans:
    """Return tea-tasting's metric by the normal distribution: its solver fails on Student's t where an arm is small."""
    return RatioOfMeans(*metric_columns(sample), use_t=False, **settings)


def _check_sample(sample: Aggregates) -> None:
    if not comparable(sample):
        message = (
            f"a sample of {sample.count()} units with a mean of {ratio_of_means(sample)} says nothing about power;"
            " it needs two units, a mean above 0 and values that differ"
        )
        raise DataError(message)
