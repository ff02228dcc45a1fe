"""The effect up to the last day is the effect, and each day's is that of an evaluation of the requests so far."""

from datetime import timedelta
from typing import Any

import pytest

from recsys.evaluation.analysis import Analysis, analyse
from recsys.evaluation.cumulative import with_cumulative
from recsys.evaluation.health import Health
from recsys.evaluation.part import Part
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.experiment.routing import window
from recsys.specs.online_metric import OnlineMetric
from tests.evaluation.test_experiment_end_to_end import EXPERIMENT, generate
from tests.fakes.engine import FakeEngine

START, END = window(EXPERIMENT)
WEEK = timedelta(weeks=1)
HEALTHY = Health({}, {}, 1.0, 0, 0.0, 0, {}, {}, ())
SPENT = OnlineMetric.model_validate(
    {
        "description": "pieces",
        "numerator": {"event": "purchase", "of": "any", "count": "quantity"},
        "denominator": "units",
        "winsorise": 0.95,
    }
)


@pytest.fixture(scope="module")
def log() -> LogTables:
    return generate(0.25, 300)


def evaluate(log: LogTables, primary: str, **options: Any) -> Analysis:
    metrics = EXPERIMENT.metrics
    named = metrics.primary.model_copy(update={"name": primary})
    experiment = EXPERIMENT.model_copy(update={"metrics": metrics.model_copy(update={"primary": named})})
    options = {"default_model": "basket", "declared": {"spent": SPENT}, **options}
    measured = unit_metrics(FakeEngine(), "e", experiment, log, now=END, horizon=WEEK, **options)
    return with_cumulative(analyse("e", experiment, measured, HEALTHY), experiment, measured)


@pytest.mark.parametrize("primary", ["precision@5", "spent"])
def test_each_day_is_an_evaluation_of_the_requests_so_far(log: LogTables, primary: str) -> None:
    whole = evaluate(log, primary, by_day=True)
    assert [point.end[:10] for point in whole.cumulative] == ["2017-12-05", "2017-12-12", "2017-12-19", "2017-12-26"]
    (found,) = whole.of("treatment", "primary")
    last = whole.cumulative[-1]
    assert last.units == found.effect.control_units + found.effect.treatment_units
    for point in whole.cumulative:
        end = START + timedelta(days=1) + whole.cumulative.index(point) * WEEK
        (then,) = evaluate(log, primary, part=Part(START, end)).of("treatment", "primary")
        for name in ("estimate", "lower", "upper"):
            assert getattr(point.relative, name) == pytest.approx(getattr(then.effect.relative, name))
            assert getattr(point.always_relative, name) == pytest.approx(getattr(then.always_relative, name))
    assert evaluate(log, primary).cumulative == ()


def test_a_funnel_counts_the_items_shown_and_what_came_of_them(log: LogTables) -> None:
    analysis = evaluate(log, "precision@5", stages=("add {to} 'cart'", "click", "purchase"))
    for arm in analysis.arms:
        assert arm.funnel["impressions"] == 5 * arm.requests
        assert list(arm.funnel) == ["impressions", "add {to} 'cart'", "click", "purchase"]
        assert arm.funnel["click"] == 0
        assert arm.funnel["purchase"] == pytest.approx(arm.means["precision@5"] * 5 * arm.requests)
