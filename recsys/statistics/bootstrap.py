"""How far could a mean over requests be off, when the requests of one unit belong together?

Units are drawn with replacement, each with all of its requests: the percentile bootstrap for clustered data
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; Field and Welsh, Bootstrapping
clustered data, JRSS B, 2007).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.errors import DataError

_DRAWS_AT_ONCE: Final = 2_000_000
"""Bounds memory: draws and weights of one chunk take 32 MB."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds that hold it at some confidence."""

    estimate: float
    lower: float
    upper: float

    def holds(self, value: float) -> bool:
        """Tell whether the interval contains a value; never where a bound is not a number."""
        return self.lower <= value <= self.upper


def mean_interval(
    sums: ArrayLike, counts: ArrayLike, *, resamples: int = 1_000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean over all requests, with its unit-clustered percentile interval.

    Args:
        sums: sum of the metric over each unit's requests, [units].
        counts: number of each unit's requests, [units].
        resamples: how often the units are drawn.
        confidence: coverage, in (0, 1).
        seed: equal seeds give equal intervals.

    Returns:
        Σ sums / Σ counts and its bounds.

    Raises:
        DataError: if shapes differ, nothing was counted, or a value is not finite.
    """
    numerator, denominator = _columns(sums, counts)
    means = bootstrap_means(numerator, denominator, resamples=resamples, seed=seed)[:, 0]
    return _percentiles(float(numerator.sum() / denominator.sum()), means, confidence)


def ratio_interval(
    sums_a: ArrayLike,
    sums_b: ArrayLike,
    counts: ArrayLike,
    *,
    resamples: int = 1_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of `a` over the mean of `b` on the same requests, with its paired percentile interval.

    Args:
        sums_a: sum of the first metric over each unit's requests, [units].
        sums_b: sum of the second metric, [units].
        counts: number of each unit's requests, [units].
        resamples: how often the units are drawn; both metrics see the same draw.
        confidence: coverage, in (0, 1).
        seed: equal seeds give equal intervals.

    Returns:
        The ratio (1 where both are alike) and its bounds.

    Raises:
        DataError: if shapes differ, nothing was counted, a value is not finite, or `b` is 0 on all units.
    """
    numerator, denominator = _columns(np.column_stack((np.asarray(sums_a), np.asarray(sums_b))), counts)
    total_a, total_b = numerator.sum(axis=0)
    if total_b == 0:
        message = "the metric to compare with is 0 on every unit; a ratio needs a baseline above 0: compare differences"
        raise DataError(message)
    means = bootstrap_means(numerator, denominator, resamples=resamples, seed=seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = means[:, 0] / means[:, 1]
    return _percentiles(float(total_a / total_b), ratios[~np.isnan(ratios)], confidence)


def bootstrap_means(
    sums: ArrayLike, counts: ArrayLike, *, resamples: int = 1_000, seed: int = 0
) -> NDArray[np.float64]:
    """Draw the units with replacement and return the mean of every metric in every draw.

    All metrics see the same draws, so that differences and ratios of the columns are paired.

    Args:
        sums: sum of each metric over each unit's requests, [units] or [units, metrics].
        counts: number of each unit's requests, [units], or one column a metric, [units, metrics].
        resamples: how often the units are drawn.
        seed: equal seeds give equal draws.

    Returns:
        [resamples, metrics], float64; NaN where a draw counted nothing.

    Raises:
        DataError: if shapes differ, nothing was counted, or a value is not finite.
    """
    numerator, denominator = _columns(sums, counts)
    metrics = numerator.shape[1]
    drawn = bootstrap_sums(np.hstack((numerator, denominator)), resamples=resamples, seed=seed)
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = drawn[:, :metrics] / drawn[:, metrics:]
    return means


def bootstrap_sums(columns: NDArray[np.float64], *, resamples: int = 1_000, seed: int = 0) -> NDArray[np.float64]:
    """Draw the units with replacement and return the sum of every column in every draw.

    Args:
        columns: what is summed over units, [units, columns].
        resamples: how often the units are drawn.
        seed: equal seeds and numbers of units give equal draws.

    Returns:
        [resamples, columns], float64.
    """
    return np.vstack([weights @ columns for weights in unit_weights(len(columns), resamples, seed)])


def unit_weights(units: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each unit was drawn, [some resamples, units]: rows of a multinomial.

    Equal seeds and numbers of units give equal draws, whatever is done with them: figures that are not sums pair with
    those of `bootstrap_means`.
    """
    generator = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // units)
    for first in range(0, resamples, step):
        rows = min(step, resamples - first)
        draws = generator.integers(0, units, size=(rows, units))
        draws += units * np.arange(rows)[:, np.newaxis]
        yield np.bincount(draws.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def _columns(sums: ArrayLike, counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    numerator, denominator = (_column(values) for values in (sums, counts))
    if len(numerator) != len(denominator) or denominator.shape[1] not in {1, numerator.shape[1]}:
        message = f"sums are {numerator.shape} and counts {denominator.shape}; they have one row a unit"
        raise DataError(message)
    if not (np.isfinite(numerator).all() and np.isfinite(denominator).all()):
        message = "sums or counts hold values that are not finite; leave out such units before a bootstrap"
        raise DataError(message)
    if (denominator < 0).any() or not (denominator.sum(axis=0) > 0).all():
        message = f"counts add up to {denominator.sum(axis=0).tolist()}; a mean needs a request, and no count below 0"
        raise DataError(message)
    return numerator, denominator


def _column(values: ArrayLike) -> NDArray[np.float64]:
    array: NDArray[Any] = np.asarray(values, dtype=np.float64)
    return array[:, np.newaxis] if array.ndim == 1 else array


def _percentiles(estimate: float, draws: NDArray[np.float64], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(draws, [tail, 1 - tail])
    return Interval(estimate, float(lower), float(upper))
