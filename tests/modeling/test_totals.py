"""Do predicted amounts add up to what came, by so many draws of the units?"""

import math

import numpy as np
import pytest

from recsys.modeling.offline_evaluation import total_ratio


def test_the_ratio_is_of_the_sums() -> None:
    units = np.array(["a", "a", "b"], dtype=object)
    found = total_ratio(np.array([1.0, 2.0, 3.0]), np.array([2, 2, 1]), units, resamples=200, confidence=0.95)
    assert found.estimate == pytest.approx(6 / 5)


def test_its_interval_draws_units_and_holds_the_truth_as_often_as_it_says() -> None:
    held = widths = 0.0
    for seed in range(200):
        random = np.random.default_rng(seed)
        codes = np.repeat(np.arange(80), 10)
        expected, came = random.gamma(2, 5, 80), random.gamma(1, 1, 80)
        observed = expected[codes] * came[codes]
        predicted = 1.2 * expected[codes]
        found = total_ratio(predicted, observed, codes.astype(str).astype(object), resamples=300, confidence=0.9)
        held += found.holds(1.2)
        widths += found.upper - found.lower
    assert 0.84 <= held / 200 <= 0.96
    assert widths / 200 > 0.3


def test_where_nothing_came_there_is_no_ratio() -> None:
    found = total_ratio(np.ones(4), np.zeros(4), np.array(list("abcd"), dtype=object), resamples=50, confidence=0.95)
    assert math.isnan(found.estimate)
