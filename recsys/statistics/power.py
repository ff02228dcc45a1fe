"""How many units does it take to see an effect, and which effect do so many units show?

Both answers are tea-tasting's, for a metric that is a ratio of sums over units, with CUPED where the sample
has a covariate.
"""

import math

from tea_tasting.aggr import Aggregates
from tea_tasting.metrics import RatioOfMeans

from recsys.errors import DataError
from recsys.statistics.effects import comparable, metric_columns, ratio_of_means


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
        The effect as a share of the control's mean.

    Raises:
        DataError: if the sample says nothing: fewer than two units, a mean or a variance of 0.
    """
    _check_sample(sample)
    metric = RatioOfMeans(*metric_columns(sample), alpha=alpha, power=power, ratio=ratio, n_obs=units)
    return float(metric.solve_power_from_aggregates(sample, "rel_effect_size")[0].rel_effect_size)


def units_for_effect(
    sample: Aggregates, relative_effect: float, *, ratio: float = 1.0, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return how many units, over control and treatment together, it takes to see a relative effect.

    Args:
        sample: as in `minimum_detectable_effect`.
        relative_effect: share of the control's mean, not 0.
        ratio: treatment units for each control unit.
        alpha: two-sided error.
        power: chance to see the effect.

    Raises:
        DataError: if the effect is 0, or the sample says nothing.
    """
    _check_sample(sample)
    if relative_effect == 0 or not math.isfinite(relative_effect):
        message = f"relative effect {relative_effect}: no number of units shows it; give the smallest worth shipping"
        raise DataError(message)
    metric = RatioOfMeans(
        *metric_columns(sample), alpha=alpha, power=power, ratio=ratio, rel_effect_size=relative_effect
    )
    return int(metric.solve_power_from_aggregates(sample, "n_obs")[0].n_obs)


def _check_sample(sample: Aggregates) -> None:
    if not comparable(sample):
        message = (
            f"a sample of {sample.count()} units with a mean of {ratio_of_means(sample)} says nothing about power;"
            " it needs two units, a mean above 0 and values that differ"
        )
        raise DataError(message)
