"""The clustered bootstrap agrees with closed forms and keeps requests of a unit together."""

import numpy as np
import pytest
import scipy.stats

from recsys.errors import DataError
from recsys.statistics.bootstrap import Interval, bootstrap_means, mean_interval, ratio_interval


def test_equal_seeds_give_equal_draws() -> None:
    sums, counts = np.arange(50.0), np.ones(50)
    first = bootstrap_means(sums, counts, resamples=20, seed=1)
    assert np.array_equal(first, bootstrap_means(sums, counts, resamples=20, seed=1))
    assert not np.array_equal(first, bootstrap_means(sums, counts, resamples=20, seed=2))
    assert first.shape == (20, 1)


def test_columns_share_their_draws() -> None:
    rng = np.random.default_rng(0)
    sums = rng.normal(size=(40, 1))
    means = bootstrap_means(np.hstack((sums, 2 * sums + 3)), np.ones(40), resamples=30)
    assert means[:, 1] == pytest.approx(2 * means[:, 0] + 3)


def test_spread_equals_the_standard_error() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, size=400)
    means = bootstrap_means(values, np.ones(400), resamples=4_000)[:, 0]
    assert means.std() == pytest.approx(values.std() / np.sqrt(400), rel=0.05)
    interval = mean_interval(values, np.ones(400), resamples=4_000)
    assert interval.estimate == pytest.approx(values.mean())
    low, high = scipy.stats.norm.interval(0.95, values.mean(), values.std(ddof=1) / np.sqrt(400))
    assert (interval.lower, interval.upper) == pytest.approx((low, high), rel=0.02)


def test_requests_of_a_unit_are_one_draw() -> None:
    # Ten equal requests a unit say no more than one does.
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    once = mean_interval(values, np.ones(200), resamples=500)
    tenfold = mean_interval(10 * values, np.full(200, 10), resamples=500)
    assert (tenfold.lower, tenfold.upper) == pytest.approx((once.lower, once.upper))


def test_paired_ratio_cancels_what_units_share() -> None:
    rng = np.random.default_rng(0)
    base = rng.gamma(2.0, size=300)
    counts = rng.integers(1, 5, size=300)
    exact = ratio_interval(1.1 * base, base, counts, resamples=200)
    assert (exact.estimate, exact.lower, exact.upper) == pytest.approx((1.1, 1.1, 1.1))
    noisy = ratio_interval(base + rng.normal(0, 0.1, 300), base, counts, resamples=500)
    assert noisy.upper - noisy.lower < 0.05
    assert noisy.holds(1.0)


def test_coverage_is_about_nominal() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        counts = rng.integers(1, 6, size=150)
        sums = rng.binomial(counts, 0.3)
        covered += mean_interval(sums, counts, resamples=300, seed=seed).holds(0.3)
    assert 0.89 <= covered / 200 <= 0.985


def test_chunks_do_not_change_the_shape() -> None:
    assert bootstrap_means(np.ones((3_000, 2)), np.ones(3_000), resamples=1_500).shape == (1_500, 2)


@pytest.mark.parametrize(
    ("sums", "counts", "message"),
    [
        ([1.0], [1.0, 2.0], "one row a unit"),
        ([1.0, float("nan")], [1.0, 1.0], "not finite"),
        ([0.0, 0.0], [0.0, 0.0], "needs a request"),
        ([0.0, 0.0], [-1.0, 2.0], "needs a request"),
        ([], [], "needs a request"),
    ],
)
def test_refuses(sums: list[float], counts: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        bootstrap_means(sums, counts)


def test_ratio_needs_a_baseline() -> None:
    with pytest.raises(DataError, match="baseline above 0"):
        ratio_interval([1.0, 1.0], [0.0, 0.0], [1.0, 1.0])


def test_holds_is_false_without_bounds() -> None:
    assert Interval(0.0, -1.0, 1.0).holds(0.0)
    assert not Interval(0.0, float("nan"), float("nan")).holds(0.0)
