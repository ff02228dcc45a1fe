"""Is a correlation that turned told, and from one that moved by chance?"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from recsys.evaluation.correlation_drift import correlations, spread
from recsys.evaluation.drift import Sample

Floats = NDArray[np.float64]


def sample(columns: dict[str, Floats], units: NDArray[np.object_] | None = None) -> Sample:
    """Return rows of one week, by default each of a unit of its own."""
    count = len(next(iter(columns.values())))
    mine = np.array([f"u{row}" for row in range(count)], dtype=object) if units is None else units
    return Sample(columns, mine, np.full(count, np.datetime64("2024-01-01", "us")))


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_a_correlation_that_turned_is_first(seed: int) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, 3000).astype(float)
    steady, turned = label + random.normal(size=3000), label + random.normal(size=3000)
    now = sample({"steady": steady, "turned": -turned})
    found = correlations(sample({"steady": steady, "turned": turned}), label, now, label)
    assert found[0].column == "turned"
    assert found[0].now == pytest.approx(-found[0].before)
    assert found[0].moved(1e-6)
    assert found[-1].change == pytest.approx(0)
    assert found[-1].adjusted_p_value == pytest.approx(1)


def test_pairs_that_became_strongly_correlated_are_told() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=500), random.normal(size=500)
    label = random.integers(0, 2, 500).astype(float)
    now = sample({"one": one, "other": one + 1e-3 * other})
    found = correlations(sample({"one": one, "other": other}), label, now, label)
    (pair,) = [each for each in found if each.other != "label"]
    assert (pair.column, pair.other) == ("one", "other")
    assert math.isnan(pair.before)
    assert pair.now > 0.99
    assert not pair.moved(1.0)


def shop(random: np.random.Generator, units: int = 60) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return a column, labels and units whose rows are alike: some take much and are seen often."""
    codes = np.repeat(np.arange(units), random.integers(1, 60, units))
    zeal, taste = random.normal(size=units), random.normal(size=units)
    label = (random.random(len(codes)) < 1 / (1 + np.exp(2.5 - zeal[codes]))).astype(float)
    return taste[codes] + 0.3 * zeal[codes] + 0.3 * random.normal(size=len(codes)), label, codes


def test_the_spread_is_the_one_of_shops_drawn_anew() -> None:
    drawn = [shop(np.random.default_rng(seed)) for seed in range(300)]
    true = np.std([spearmanr(values, label).statistic for values, label, _ in drawn])
    told = np.mean([spread(*each) for each in drawn])
    as_if_independent = np.mean([1 / math.sqrt(len(values)) for values, _, _ in drawn])
    assert told == pytest.approx(true, rel=0.15)
    assert as_if_independent < 0.5 * true


def test_of_shops_that_go_on_as_before_few_have_a_correlation_that_moved() -> None:
    alarms = far = 0
    shops = 200
    for seed in range(shops):
        random = np.random.default_rng(seed)
        sides = [shop(random) for _ in range(2)]
        first, second = (sample({"c": values}, codes.astype(str).astype(object)) for values, _, codes in sides)
        (found,) = correlations(first, sides[0][1], second, sides[1][1])
        alarms += found.moved(0.05)
        far += abs(found.change) > 0.1
    assert alarms / shops <= 0.10  # 5 % and three of its standard errors
    assert far / shops > 0.15, "so many would alert by the size of the change alone"


ONES = np.ones(40)
LABEL = np.array([0.0, 1.0] * 20)
RISING = np.arange(40.0)


@pytest.mark.parametrize(
    ("before", "now", "old", "new"),
    [
        pytest.param(ONES, RISING, LABEL, LABEL, id="constant before"),
        pytest.param(RISING, ONES, LABEL, LABEL, id="constant now"),
        pytest.param(RISING, np.full(40, np.nan), LABEL, LABEL, id="unknown now"),
        pytest.param(RISING, RISING, LABEL, 0 * LABEL, id="nobody did anything"),
        pytest.param(RISING, RISING, 0 * LABEL, 0 * LABEL, id="nobody ever did anything"),
    ],
)
def test_a_correlation_that_is_not_there_has_not_moved(before: Floats, now: Floats, old: Floats, new: Floats) -> None:
    (found,) = correlations(sample({"c": before}), old, sample({"c": now}), new)
    assert math.isnan(found.change)
    assert math.isnan(found.adjusted_p_value)
    assert not found.moved(1.0)


def test_a_single_unit_says_nothing_of_chance() -> None:
    units = np.array(["one"] * 40, dtype=object)
    (found,) = correlations(sample({"c": RISING}, units), LABEL, sample({"c": -RISING}, units), LABEL)
    assert found.change != 0
    assert not found.moved(1.0)


def test_equal_ranks_have_no_spread_and_a_turn_of_them_is_sure() -> None:
    """A column that is the label is perfectly correlated with it, on either side."""
    (same,) = correlations(sample({"c": LABEL}), LABEL, sample({"c": LABEL}), LABEL)
    (turned,) = correlations(sample({"c": LABEL}), LABEL, sample({"c": -LABEL}), LABEL)
    assert not same.moved(0.99)
    assert turned.moved(1e-9)
