"""Adjusted p-values are those of the two procedures, written out here and computed by scipy."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
from hypothesis import given

from recsys.statistics.multiplicity import adjusted_p_values

P_VALUES = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=12)


@given(P_VALUES)
def test_fdr_is_scipys(p_values: list[float]) -> None:
    expected = scipy.stats.false_discovery_control(p_values, method="bh")
    assert adjusted_p_values(p_values, "fdr") == pytest.approx(expected)


@given(P_VALUES)
def test_fwer_is_holms(p_values: list[float]) -> None:
    order = np.argsort(p_values, kind="stable")
    steps = [min(1.0, p_values[place] * (len(p_values) - rank)) for rank, place in enumerate(order)]
    expected = np.empty(len(p_values))
    expected[order] = np.maximum.accumulate(steps)
    assert adjusted_p_values(p_values, "fwer") == pytest.approx(expected)


def test_what_could_not_be_tested_is_no_hypothesis() -> None:
    first, unknown, second = adjusted_p_values([0.01, math.nan, 0.04], "fwer")
    assert (first, second) == (pytest.approx(0.02), pytest.approx(0.04))
    assert math.isnan(unknown)
    assert adjusted_p_values([], "fdr") == ()
