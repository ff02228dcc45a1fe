"""By how much does a treatment differ from the control in one metric?

A metric is a ratio of sums over units (hits over slots, orders over requests); the unit is what was assigned,
so requests of one unit never count as independent. Variances are tea-tasting's: the delta method (Deng,
Knoblich and Lu, Applying the Delta Method in Metric Analytics, KDD 2018) and CUPED (Deng, Xu, Kohavi and
Walker, WSDM 2013). Bounds of the relative effect are Fieller's (Some problems in interval estimation, JRSS B, 1954):
tea-tasting's, on the log of the ratio, exclude no effect in 6.0 % of experiments without one where revenue is
heavy-tailed, these in 5.1 % (benchmarks/calibration.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike
from tea_tasting.aggr import Aggregates
from tea_tasting.metrics import RatioOfMeans

from recsys.errors import DataError
from recsys.statistics.bootstrap import Interval

_NUMERATOR: Final = "numerator"
_DENOMINATOR: Final = "denominator"
_COVARIATE_NUMERATOR: Final = "covariate_numerator"
_COVARIATE_DENOMINATOR: Final = "covariate_denominator"
_COLUMNS: Final = (_NUMERATOR, _DENOMINATOR, _COVARIATE_NUMERATOR, _COVARIATE_DENOMINATOR)
_FEWEST_UNITS: Final = 2


@dataclass(frozen=True)
class Effect:
    """One treatment arm against the control, in one metric.

    Where a mean is 0, a variance is 0 or an arm has fewer than two units, intervals and p-value are NaN:
    nothing follows.
    """

    metric: str
    control: float
    """The control's mean, after CUPED where that was used."""
    treatment: float
    absolute: Interval
    """treatment - control."""
    relative: Interval
    """treatment / control - 1; bounds by Fieller's theorem, which exclude 0 where the p-value does. Where the control's
    mean is not surely above 0 there is no upper bound (infinity), or none at all."""
    p_value: float
    """Two-sided, of no difference."""
    cuped: bool
    """True where the pre-period covariate took part."""
    control_units: int
    treatment_units: int
    standard_error: float
    """Of the absolute effect."""
    log_standard_error: float
    """Of log(treatment / control)."""


def moments(
    numerator: ArrayLike,
    denominator: ArrayLike,
    covariate_numerator: ArrayLike | None = None,
    covariate_denominator: ArrayLike | None = None,
) -> Aggregates:
    """Reduce one arm's units to what every function here needs.

    Args:
        numerator: the metric's numerator of each unit, [units].
        denominator: its denominator, [units].
        covariate_numerator: the same metric's numerator in the pre-period, [units]; 0 for a unit that was not
            there.
        covariate_denominator: and its denominator.

    Returns:
        Count, means, variances and covariances (n - 1), as tea-tasting takes them.

    Raises:
        DataError: if lengths differ, or a value is not finite.
    """
    given = (numerator, denominator, covariate_numerator, covariate_denominator)
    columns = [np.asarray(values, dtype=np.float64) for values in given if values is not None]
    lengths = {column.shape for column in columns}
    if len(lengths) != 1 or len(columns) not in {2, 4}:
        message = f"shapes are {sorted(lengths)}; every column has one value a unit, and covariates come in pairs"
        raise DataError(message)
    matrix = np.column_stack(columns)
    if not np.isfinite(matrix).all():
        message = "a numerator or denominator is not finite; every unit has both: leave out units without requests"
        raise DataError(message)
    names = _COLUMNS[: len(columns)]
    count = len(matrix)
    means = matrix.mean(axis=0) if count else np.full(len(names), math.nan)
    spread = np.cov(matrix, rowvar=False) if count >= _FEWEST_UNITS else np.full((len(names), len(names)), math.nan)
    return Aggregates(
        count_=count,
        mean_={name: float(means[i]) for i, name in enumerate(names)},
        var_={name: float(spread[i, i]) for i, name in enumerate(names)},
        cov_={(a, b): float(spread[i, j]) for i, a in enumerate(names) for j, b in enumerate(names) if i < j},
    )


def effect(metric: str, control: Aggregates, treatment: Aggregates, *, confidence: float = 0.95) -> Effect:
    """Compare one treatment arm with the control.

    Args:
        metric: the metric's name, kept in the result.
        control: `moments` of the control's units.
        treatment: `moments` of the treatment's units; CUPED is used where both have covariates that vary.
        confidence: coverage of both intervals, in (0, 1).

    Returns:
        The effect; its intervals rest on Welch's t-distribution.
    """
    names = metric_columns(control, treatment)
    means = (ratio_of_means(control), ratio_of_means(treatment))
    if not comparable(control, treatment):
        return _undefined(metric, means, (control.count(), treatment.count()))
    variances = _variances_of_means(names, control, treatment)
    if not sum(variances) > 0:  # a covariate that explains everything leaves nothing to judge by
        return _undefined(metric, means, (control.count(), treatment.count()))
    try:
        result = RatioOfMeans(*names, confidence_level=confidence, use_t=True).analyze_aggregates(control, treatment)
    except OverflowError:  # a mean next to 0 has a relative bound that no float holds
        return _undefined(metric, means, (control.count(), treatment.count()))
    if min(result.control, result.treatment) <= 0:  # CUPED may push a small mean below 0, where no ratio exists
        return _undefined(metric, means, (control.count(), treatment.count()))
    adjusted = float(result.control), float(result.treatment)
    return Effect(
        metric=metric,
        control=adjusted[0],
        treatment=adjusted[1],
        absolute=_interval(result, "effect_size"),
        relative=_relative(adjusted, variances, (control.count(), treatment.count()), confidence),
        p_value=result.pvalue,
        cuped=names == _COLUMNS,
        control_units=control.count(),
        treatment_units=treatment.count(),
        standard_error=math.sqrt(sum(variances)),
        log_standard_error=math.hypot(
            *(math.sqrt(variance) / mean for variance, mean in zip(variances, adjusted, strict=True))
        ),
    )


def sample_ratio_p_value(units: Mapping[str, int], ratios: Mapping[str, float]) -> float:
    """Return how likely so uneven a split is, were units assigned by the declared ratios.

    Args:
        units: units seen in each arm; an arm that is missing had none.
        ratios: the declared share of each arm, of any sum.

    Returns:
        The p-value of Pearson's chi-square test; 1 where no unit was seen or one arm is declared.

    Raises:
        DataError: if units were seen in an arm without a declared ratio.
    """
    strange = sorted(units.keys() - ratios.keys())
    if strange:
        message = f"units were seen in arm {strange[0]!r}, which is not declared; the arms are {', '.join(ratios)}"
        raise DataError(message)
    observed = np.array([units.get(arm, 0) for arm in ratios], dtype=np.float64)
    shares = np.array(list(ratios.values()), dtype=np.float64)
    if observed.sum() == 0 or len(shares) < _FEWEST_UNITS:
        return 1.0
    return float(scipy.stats.chisquare(observed, observed.sum() * shares / shares.sum()).pvalue)


def metric_columns(*arms: Aggregates) -> tuple[str, ...]:
    """Return the columns tea-tasting is given; the covariate's where all arms have one that varies."""
    return _COLUMNS if all(map(_has_covariate, arms)) else _COLUMNS[:2]


def uses_covariate(*arms: Aggregates) -> bool:
    """Tell whether CUPED takes part."""
    return metric_columns(*arms) == _COLUMNS


def ratio_of_means(arm: Aggregates) -> float:
    """Return the metric's plain mean: sum of numerators over sum of denominators, NaN where that is 0."""
    denominator = arm.mean(_DENOMINATOR)
    return float(arm.mean(_NUMERATOR) / denominator) if denominator > 0 else math.nan


def comparable(*arms: Aggregates) -> bool:
    """Tell whether every arm has two units and a mean above 0, and values differ in one of them."""
    return all(arm.count() >= _FEWEST_UNITS and ratio_of_means(arm) > 0 for arm in arms) and any(
        arm.ratio_var(_NUMERATOR, _DENOMINATOR) > 0 for arm in arms
    )


def _variances_of_means(names: tuple[str, ...], *arms: Aggregates) -> list[float]:
    """Return the variance of each arm's mean, after CUPED with one coefficient for all arms where names have it."""
    metric, covariate = names[:2], names[2:]
    if not covariate:
        return [arm.ratio_var(*metric) / arm.count() for arm in arms]
    total = sum(arms[1:], start=arms[0])
    theta = total.ratio_cov(*metric, *covariate) / total.ratio_var(*covariate)
    return [
        max(
            arm.ratio_var(*metric)
            + theta * (theta * arm.ratio_var(*covariate) - 2 * arm.ratio_cov(*metric, *covariate)),
            0.0,  # of a covariate that explains everything, rounding may leave less
        )
        / arm.count()
        for arm in arms
    ]


def _has_covariate(arm: Aggregates) -> bool:
    if _COVARIATE_DENOMINATOR not in arm.mean_ or not arm.mean_[_COVARIATE_DENOMINATOR] > 0:
        return False
    return bool(arm.ratio_var(_COVARIATE_NUMERATOR, _COVARIATE_DENOMINATOR) > 0)


def _interval(result: Any, name: str) -> Interval:  # noqa: ANN401 - a named tuple of an untyped package
    bounds = (getattr(result, f"{name}{suffix}") for suffix in ("", "_ci_lower", "_ci_upper"))
    return Interval(*(float(value) for value in bounds))


def _relative(
    means: tuple[float, float], variances: Sequence[float], units: tuple[int, int], confidence: float
) -> Interval:
    """Return treatment / control - 1 with Fieller's bounds: of the ratios q where treatment - q control may be 0.

    That is where its square is at most t² times its variance, a quadratic in q. Welch's degrees of freedom are those of
    no effect, so that q = 1 is in when the test does not see a difference.
    """
    control, treatment = means
    freedom = sum(variances) ** 2 / sum(one**2 / (count - 1) for one, count in zip(variances, units, strict=True))
    squared = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) ** 2
    square = control**2 - squared * variances[0]
    product = control * treatment
    constant = treatment**2 - squared * variances[1]
    root = math.sqrt(max(product**2 - square * constant, 0.0))
    lower, upper = math.nan, math.nan
    if square > 0:
        lower, upper = (product - root) / square - 1, (product + root) / square - 1
    elif square < 0 < constant:
        lower, upper = (product - root) / square - 1, math.inf
    return Interval(treatment / control - 1, lower, upper)


def _undefined(metric: str, means: tuple[float, float], units: tuple[int, int]) -> Effect:
    control, treatment = means
    difference = treatment - control
    relative = treatment / control - 1 if control > 0 else math.nan
    return Effect(
        metric=metric,
        control=control,
        treatment=treatment,
        absolute=Interval(difference, math.nan, math.nan),
        relative=Interval(relative, math.nan, math.nan),
        p_value=math.nan,
        cuped=False,
        control_units=units[0],
        treatment_units=units[1],
        standard_error=math.nan,
        log_standard_error=math.nan,
    )
