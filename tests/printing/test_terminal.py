"""Is a figure shown as briefly as it may be, and never as another one?"""

import pytest

from recsys.printing.terminal import interval, narrow, percent


@pytest.mark.parametrize(
    ("estimate", "lower", "upper", "shown"),
    [
        (0.30024, 0.28961, 0.30999, ".3002 [.290, .310]"),
        (0.0, 0.0, 0.0, ".0000 [.000, .000]"),
        (-0.25, -0.5, 0.125, "-.2500 [-.500, .125]"),
        (0.99996, 0.99, 1.0, "1.0000 [.990, 1.000]"),
        (12.5, 10.0, 14.25, "12.5000 [10.000, 14.250]"),
        (0.5, 0.25, None, ".5000 [.250, ∞)"),
        (0.5, None, None, ".5000"),
        (None, None, None, "not defined"),
    ],
)
def test_a_figure_of_a_table_takes_few_columns(
    estimate: float | None, lower: float | None, upper: float | None, shown: str
) -> None:
    assert narrow({"estimate": estimate, "lower": lower, "upper": upper}) == shown


def test_an_interval_without_an_upper_bound_is_open() -> None:
    open_ended = {"estimate": 0.5, "lower": -0.25, "upper": None}
    assert interval(open_ended, 2) == "0.50 [-0.25, ∞)"
    assert percent(open_ended) == "+50.0% [-25.0%, ∞)"
    assert percent(open_ended | {"lower": None}) == "not defined"
