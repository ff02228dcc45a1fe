"""Is a model that got worse told from one that did not, and from weeks that were bad for everybody?"""

import math

import numpy as np
import pytest

from recsys.evaluation.quality import Quality, ratio_of_independent
from recsys.statistics.bootstrap import Interval, mean_interval

THEN = Interval(0.30, 0.28, 0.32)


def quality(now: Interval, over: Interval) -> Quality:
    """Return a model that was judged with .30."""
    return Quality("ndcg@10/user", "frequency", THEN, now, ratio_of_independent(now, THEN, 0.95), None, over)


@pytest.mark.parametrize(
    ("now", "over", "standing"),
    [
        (Interval(0.29, 0.27, 0.31), Interval(1.10, 1.05, 1.15), "good"),
        (Interval(0.20, 0.18, 0.22), Interval(1.10, 1.05, 1.15), "bad"),
        (Interval(0.29, 0.27, 0.31), Interval(0.90, 0.85, 0.95), "bad"),
        (Interval(0.29, 0.27, 0.31), Interval(1.02, 0.97, 1.07), "unclear"),
        (Interval(0.26, 0.24, 0.28), Interval(1.10, 1.05, 1.15), "good"),
    ],
)
def test_the_standing_follows_from_both_comparisons(now: Interval, over: Interval, standing: str) -> None:
    assert quality(now, over).standing(0.9) == standing


def test_the_bounds_of_a_ratio_hold_it_as_often_as_they_say() -> None:
    random = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        first, second = (random.gamma(4, mean / 4, size=200) for mean in (0.24, 0.30))
        one, other = (mean_interval(values, np.ones(200), resamples=300) for values in (first, second))
        held += ratio_of_independent(one, other, 0.95).holds(0.8)
    assert 0.92 <= held / 300 <= 0.98


def test_a_ratio_without_bounds_has_none() -> None:
    assert math.isnan(ratio_of_independent(Interval(0, 0, 0), THEN, 0.95).estimate)
    unsure = ratio_of_independent(Interval(0.3, math.nan, math.nan), THEN, 0.95)
    assert unsure.estimate == pytest.approx(1)
    assert math.isnan(unsure.upper)
