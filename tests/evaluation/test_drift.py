"""Does drift say how far columns moved, and only of those that did?"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from recsys.evaluation.drift import Sample, drift, one_row_a_unit, psi, two_sample

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


def test_a_move_to_either_side_of_a_value_that_most_rows_have_is_seen() -> None:
    """Of a constant column too, and of one that most rows share with its smallest or its largest value."""
    constant = np.full(1000, 3.0)
    assert psi(constant, constant) == pytest.approx(0, abs=1e-12)
    assert psi(constant, constant - 1) > 1
    assert psi(constant, constant + 1) > 1
    full = np.where(np.arange(1000) < 950, 1.0, np.linspace(0, 0.9, 1000))
    assert psi(full, np.where(full == 1.0, 0.95, full)) > 1
    assert psi(full, np.zeros(1000)) > 1


@given(st.integers(1, 8), st.integers(0, 100))
def test_whole_numbers_are_bins_of_their_own_and_gaps_between_them_count_nothing(levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = np.repeat(np.arange(levels, dtype=float), 500)
    assert psi(values, random.permutation(values)) == pytest.approx(0, abs=1e-12)
    counts = np.bincount(random.integers(0, levels, 400), minlength=levels)
    q = np.maximum(counts, 0.5) / 400
    by_hand = float(np.sum((q - 1 / levels) * np.log(q * levels)))
    assert psi(values, np.repeat(np.arange(levels, dtype=float), counts)) == pytest.approx(by_hand)


NOTHING = np.full(300, np.nan)
NUMBERS = np.random.default_rng(0).normal(size=300)
WORDS = np.array(["a", "b", "c"] * 100, dtype=object)


@pytest.mark.parametrize(
    ("before", "now", "moved", "far"),
    [
        pytest.param(np.full(300, 2.0), np.full(300, 2.0), False, False, id="constant"),
        pytest.param(np.full(300, 2.0), np.full(300, 1.0), True, True, id="another constant"),
        pytest.param(NOTHING, NOTHING, False, False, id="never known"),
        pytest.param(NUMBERS, NOTHING, True, True, id="not known any more"),
        pytest.param(NOTHING, NUMBERS, True, True, id="known from now on"),
        pytest.param(WORDS, np.array(["new"] * 300, dtype=object), True, True, id="a category never seen"),
        pytest.param(WORDS, np.array(["unknown"] * 300, dtype=object), True, True, id="no category any more"),
        pytest.param(WORDS, np.where(np.arange(300) < 1, "new", WORDS), False, False, id="one row of a new one"),
        pytest.param(NUMBERS, np.where(np.arange(300) < 1, np.inf, NUMBERS), False, False, id="one row without bounds"),
    ],
)
def test_columns_that_make_no_sense_get_a_figure_that_does(
    before: NDArray[np.object_], now: NDArray[np.object_], moved: bool, far: bool
) -> None:
    units = np.array([f"u{row}" for row in range(300)], dtype=object)
    (found,) = drift(sample({"column": before}, units), sample({"column": now}, units))
    assert found.moved(0.01) is moved
    assert (found.psi > 0.25) is far
    assert math.isfinite(found.psi)
    assert math.isfinite(found.adjusted_p_value)
    assert all(math.isfinite(each) for each in found.by_week.values())


def test_of_a_single_unit_nothing_is_said_to_have_moved() -> None:
    units = np.array(["one"] * 50, dtype=object)
    (found,) = drift(sample({"c": np.zeros(50)}, units), sample({"c": np.ones(50)}, units))
    assert found.psi > 1
    assert not found.moved(0.05)
