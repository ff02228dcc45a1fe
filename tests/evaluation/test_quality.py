"""Is a model that got worse told from one that did not, and from weeks that were bad for everybody?"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.evaluation.quality import Quality, calibration, ratio_of_independent
from recsys.statistics.bootstrap import Interval, mean_interval

Calibrated = tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.object_]]
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


def campaign(random: np.random.Generator, factor: float, units: int = 400) -> Calibrated:
    """Return probabilities, what came of each four times over, and units; the truth is so many times as likely."""
    codes = np.repeat(np.arange(units), 4)
    probabilities = random.beta(2, 18, units)[codes]
    acts = (random.random(units) < np.clip(probabilities[::4] * factor, 0, 1))[codes]
    return probabilities, acts.astype(np.float32), codes.astype(str).astype(object)


def test_probabilities_that_are_right_are_seldom_said_to_be_off() -> None:
    """A unit's rows are alike: taken for independent ones they would be called off in most campaigns."""
    drawn = [campaign(np.random.default_rng(seed), 1.0) for seed in range(200)]
    found = [calibration(*each) for each in drawn]
    alone = [np.arange(len(probabilities)).astype(object) for probabilities, _, _ in drawn]
    naive = [
        calibration(probabilities, labels, rows) for (probabilities, labels, _), rows in zip(drawn, alone, strict=True)
    ]
    assert np.mean([each.p_value <= 0.05 for each in found]) <= 0.10  # 5 % and three of its standard errors
    assert np.mean([each.p_value <= 0.05 for each in naive]) > 0.5


def test_probabilities_that_are_off_are_said_to_be() -> None:
    found = [calibration(*campaign(np.random.default_rng(seed), 2.0)) for seed in range(50)]
    assert np.mean([each.p_value <= 0.01 for each in found]) > 0.95
    assert np.mean([each.error for each in found]) == pytest.approx(0.1, abs=0.02)


def test_of_too_few_nothing_is_said() -> None:
    found = calibration(np.full(20, 0.01), np.zeros(20, dtype=np.float32), np.arange(20).astype(object))
    assert found.error == pytest.approx(0.01)
    assert math.isnan(found.p_value)
