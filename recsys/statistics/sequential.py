"""Between which bounds does an effect lie, however often one looks while units still arrive?

An asymptotic confidence sequence holds the true difference at all times at once with probability 1 - alpha,
so that a running experiment may be looked at every day. It is wider than a fixed interval, least so at the
number of units it is tuned to.

Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and asymptotic
confidence sequences, Annals of Statistics, 2024, arXiv 2103.06476, theorem 2.2: after t units with mean m and
standard deviation s,

    m ± s · sqrt( 2 (t ρ² + 1) / (t² ρ²) · log( sqrt(t ρ² + 1) / alpha ) ).

With the standard error s / sqrt(t) taken out, what remains depends on t ρ² and alpha alone: `multiplier`.
"""

import math

from recsys.errors import DataError
from recsys.statistics.bootstrap import Interval


def always_valid(
    difference: float, standard_error: float, units: int, *, planned_units: int, alpha: float = 0.05
) -> Interval:
    """Return bounds of a mean difference that hold at every look.

    Args:
        difference: treatment minus control now, by any estimator that is a mean of unit contributions in the
            limit (delta method, CUPED).
        standard_error: its standard error now.
        units: units over both arms that it rests on now.
        planned_units: units at which the bounds are narrowest; fixed before the start.
        alpha: two-sided error over all looks together.

    Returns:
        The difference and its bounds, in units of the difference; NaN bounds where the standard error is NaN.

    Raises:
        DataError: if a number is out of its range.
    """
    half = standard_error * multiplier(units, planned_units=planned_units, alpha=alpha)
    return Interval(difference, difference - half, difference + half)


def multiplier(units: int, *, planned_units: int, alpha: float = 0.05) -> float:
    """Return the half-width in standard errors after `units` units: what 1.96 is to a single look.

    Raises:
        DataError: if a number is out of its range.
    """
    if units < 1 or planned_units < 1 or not 0 < alpha < 1:
        message = f"units {units}, planned units {planned_units}, alpha {alpha}: at least 1, 1, and inside (0, 1)"
        raise DataError(message)
    spread = units * mixing_variance(planned_units, alpha)
    return math.sqrt(2 * (spread + 1) / spread * math.log(math.sqrt(spread + 1) / alpha))


def mixing_variance(planned_units: int, alpha: float) -> float:
    """Return ρ², the variance of Robbins' normal mixture that makes the bounds narrowest at `planned_units`.

    Setting the derivative of the squared multiplier by x = t ρ² to 0 gives (x + 1) exp(-(x + 1)) = alpha² /
    e, so that x = -W(-alpha² / e) - 1 on the lower branch of Lambert's W (section 2.3 and appendix of the
    paper give the same, with an approximation). Solved by iteration of y = 1 - 2 log(alpha) + log(y), a
    contraction for y = x + 1 > 1.
    """
    y = 1 - 2 * math.log(alpha)
    for _ in range(100):
        y = 1 - 2 * math.log(alpha) + math.log(y)
    return (y - 1) / planned_units
