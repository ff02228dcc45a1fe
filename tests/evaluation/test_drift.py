"""Does drift say how far columns moved, and only of those that did?"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from recsys.evaluation.drift import Sample, correlations, drift, one_row_a_unit, psi, two_sample

MONDAYS = np.array(["2024-01-01", "2024-01-08"], dtype="datetime64[us]")


def sample(columns: dict[str, NDArray[np.float64]], units: NDArray[np.object_], seed: int = 0) -> Sample:
    """Return rows of two weeks."""
    return Sample(columns, units, np.random.default_rng(seed).choice(MONDAYS, len(units)))


def test_the_index_is_the_sum_over_bins_by_hand() -> None:
    before = np.array(["a"] * 50 + ["b"] * 50, dtype=object)
    now = np.array(["a"] * 80 + ["b"] * 20, dtype=object)
    by_hand = (0.8 - 0.5) * math.log(0.8 / 0.5) + (0.2 - 0.5) * math.log(0.2 / 0.5)
    assert psi(before, now) == pytest.approx(by_hand, abs=1e-4)  # and half a row of the categories that nobody has


def test_what_becomes_unknown_counts_as_a_bin() -> None:
    values = np.arange(100.0)
    half = np.where(np.arange(100) % 2, np.nan, values)
    assert psi(values, half) > 1
    assert psi(values, values) == pytest.approx(0, abs=1e-12)
    assert psi(np.full(10, np.nan), np.full(10, np.nan)) == pytest.approx(0, abs=1e-12)


@given(arrays.arrays(float, st.integers(1, 60), elements=st.floats(-1e6, 1e6)), st.integers(0, 5))
def test_the_index_is_never_below_0_and_0_of_the_same_rows(values: NDArray[np.float64], seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(values)
    assert psi(values, shuffled) == pytest.approx(0, abs=1e-9)
    assert psi(values, values + 10.0) >= -1e-9


def test_a_unit_gives_one_row() -> None:
    units = np.array(["b", "a", "b", "c", "a"], dtype=object)
    for seed in range(5):
        rows = one_row_a_unit(units, seed)
        assert sorted(units[rows]) == ["a", "b", "c"]
        assert (np.diff(rows) > 0).all()


def test_rows_of_a_unit_that_are_alike_are_no_drift() -> None:
    """Of shops in which nothing moved, at most a share of the rate says so; with all rows as evidence most would."""
    alarms = naive = 0
    shops = 120
    for seed in range(shops):
        random = np.random.default_rng(seed)
        sides = []
        for side in range(2):
            units = np.repeat([f"{side}-{unit}" for unit in range(60)], 40).astype(object)
            tastes = np.repeat(random.normal(size=(60, 3)), 40, axis=0) + 0.1 * random.normal(size=(2400, 3))
            sides.append(sample({f"c{number}": tastes[:, number] for number in range(3)}, units, seed))
        alarms += any(each.moved(0.05) for each in drift(*sides))
        naive += two_sample(sides[0].columns["c0"], sides[1].columns["c0"])[1] < 0.05
    assert alarms / shops <= 0.10  # 5 % and three of its standard errors
    assert naive / shops > 0.6


def test_a_column_that_moved_is_told_from_those_that_did_not() -> None:
    random = np.random.default_rng(1)
    units = np.array([f"u{row % 400}" for row in range(4000)], dtype=object)
    before = {name: random.normal(size=4000) for name in ("same", "moved")}
    now = {"same": random.normal(size=4000), "moved": random.normal(0.8, size=4000)}
    same, moved = drift(sample(before, units), sample(now, units))
    assert not same.moved(0.01)
    assert same.psi < 0.05
    assert moved.moved(0.01)
    assert moved.psi > 0.25
    assert list(moved.by_week) == ["2024-01-01", "2024-01-08"]
    assert min(moved.by_week.values()) > 0.25
    assert (moved.test, moved.missing_before, moved.missing_now) == ("ks", 0, 0)


def test_categories_are_compared_by_chi_square_and_rare_ones_together() -> None:
    before = np.array(["a"] * 500 + ["b"] * 500 + ["rare"], dtype=object)
    now = np.array(["a"] * 480 + ["b"] * 520 + ["new"], dtype=object)
    test, p_value = two_sample(before, now)
    assert (test, p_value > 0.05) == ("chi2", True)
    assert two_sample(before, np.array(["a"] * 900 + ["b"] * 100, dtype=object))[1] < 1e-6
    assert two_sample(before[:5], before[:5]) == ("chi2", 1.0)
    assert two_sample(before[:0], before)[0] == "none"


def test_numbers_that_became_unknown_moved_though_the_known_ones_did_not() -> None:
    values = np.random.default_rng(0).normal(size=400)
    half = np.where(np.arange(400) % 2, np.nan, values)
    assert two_sample(values, half)[1] < 1e-6
    assert two_sample(half, half) == ("ks", 1.0)
    assert two_sample(values, np.full(400, np.nan))[1] < 1e-6
    assert two_sample(np.full(5, np.nan), np.full(5, np.nan)) == ("ks", 1.0)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_a_correlation_that_turned_is_first(seed: int) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, 3000).astype(float)
    steady, turned = label + random.normal(size=3000), label + random.normal(size=3000)
    found = correlations({"steady": steady, "turned": turned}, label, {"steady": steady, "turned": -turned}, label)
    assert found[0].column == "turned"
    assert found[0].now == pytest.approx(-found[0].before)
    assert found[-1].change == pytest.approx(0)


def test_pairs_that_became_strongly_correlated_are_told() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=500), random.normal(size=500)
    label = random.integers(0, 2, 500).astype(float)
    found = correlations({"one": one, "other": other}, label, {"one": one, "other": one + 1e-3 * other}, label)
    (pair,) = [each for each in found if each.other != "label"]
    assert (pair.column, pair.other) == ("one", "other")
    assert math.isnan(pair.before)
    assert pair.now > 0.99
