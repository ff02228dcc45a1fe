"""Do intervals of a difference of shares hold it, where one of the groups is a handful of units too?"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DataError
from recsys.statistics.proportions import SharesCompared, calibration_p_value, compare_shares, wilson

counts = st.integers(1, 300).flatmap(lambda units: st.tuples(st.integers(0, units), st.just(units)))


def compared(control: tuple[int, int], treatment: tuple[int, int]) -> SharesCompared:
    (y, n), (x, m) = control, treatment
    found = compare_shares((y / n, n), (x / m, m))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("treatment", "control", "bounds"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
    ],
)
def test_bounds_of_the_difference_are_those_that_newcombe_printed(
    treatment: tuple[int, int], control: tuple[int, int], bounds: tuple[float, float]
) -> None:
    """Table II of his paper, method 10."""
    found = compared(control, treatment).absolute
    assert (found.lower, found.upper) == pytest.approx(bounds, abs=5e-5)


@given(counts, counts)
def test_the_ratio_excludes_1_exactly_when_the_difference_excludes_0(
    control: tuple[int, int], treatment: tuple[int, int]
) -> None:
    found = compared(control, treatment)
    absolute, relative = found.absolute, found.relative
    assert -1 <= absolute.lower <= absolute.estimate <= absolute.upper <= 1
    if control[0] == 0:
        assert math.isnan(relative.lower)
        return
    assert -1 <= relative.lower <= relative.estimate + 1e-12
    assert relative.estimate <= relative.upper + 1e-12
    if min(abs(absolute.lower), abs(absolute.upper)) > 1e-9:
        assert (relative.lower > 0, relative.upper < 0) == (absolute.lower > 0, absolute.upper < 0)


@given(counts, counts)
def test_exchanged_groups_give_the_same_bounds_turned_round(one: tuple[int, int], other: tuple[int, int]) -> None:
    forth, back = compared(one, other).absolute, compared(other, one).absolute
    assert (forth.lower, forth.upper) == pytest.approx((-back.upper, -back.lower))


@pytest.mark.parametrize(("reached", "held", "truly", "without"), [(475, 25, 0.05, 0.05), (1900, 100, 0.08, 0.05)])
def test_the_interval_holds_the_truth_where_few_are_held_out(
    reached: int, held: int, truly: float, without: float
) -> None:
    """Of 4,000 draws at least 94 % hold it; by each group's own spread (Wald) it is fewer than 93 % of them."""
    generator = np.random.default_rng(45)
    acted, did = generator.binomial(reached, truly, 4_000), generator.binomial(held, without, 4_000)
    pairs = list(zip(did.tolist(), acted.tolist(), strict=True))
    truth = truly - without
    holds = np.mean([compared((y, held), (x, reached)).absolute.holds(truth) for y, x in pairs])
    assert holds >= 0.94
    p, q = acted / reached, did / held
    half = 1.96 * np.sqrt(p * (1 - p) / reached + q * (1 - q) / held)
    assert np.mean(np.abs(p - q - truth) <= half) < 0.93


def test_a_share_that_is_none_is_refused_and_no_units_give_nothing() -> None:
    with pytest.raises(DataError, match=r"a share is 1\.2; it lies between 0 and 1: count each unit's acts in one"):
        wilson(1.2, 10)
    assert compare_shares((0.0, 0), (0.1, 10)) is None


def test_right_probabilities_are_called_wrong_as_often_as_the_level_says() -> None:
    """And those that are half of what they should be nearly always."""
    generator = np.random.default_rng(7)
    probabilities = generator.beta(1, 9, size=(2_000, 400))
    acted = generator.random(probabilities.shape) < probabilities
    values = np.array([calibration_p_value(p, a) for p, a in zip(probabilities, acted, strict=True)])
    assert 0.035 <= np.mean(values < 0.05) <= 0.065
    wrong = np.array([calibration_p_value(p / 2, a) for p, a in zip(probabilities[:200], acted[:200], strict=True)])
    assert np.mean(wrong < 0.05) > 0.95
    assert math.isnan(calibration_p_value([], []))
    assert math.isnan(calibration_p_value([0.5, 0.5], [0, 1]))
