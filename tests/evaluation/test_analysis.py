"""An analysis from log to digest, over generated shops whose truth is known."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.evaluation.analysis import Analysis, analyse, decision_cut
from recsys.evaluation.health import Health
from recsys.evaluation.metric_definition import metric_definitions
from recsys.evaluation.unit_metrics import UnitMetrics
from recsys.schema import TIMESTAMP
from recsys.specs.experiment import Experiment

START = datetime(2017, 12, 4, tzinfo=UTC)
WEEK = timedelta(weeks=1)
END = START + 4 * WEEK


def declare(arms: int = 2, **plan: object) -> Experiment:
    """Return an experiment with one treatment, or as many as `arms` says."""
    width = 1 / arms
    names = ["control", *(f"treatment_{number}" for number in range(1, arms))]
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": "home:",
            "arms": {
                name: {"model_version": f"basket/v{i}", "slot": [i * width, (i + 1) * width], "ratio": width}
                for i, name in enumerate(names)
            },
            "metrics": {
                "primary": {"name": "precision@10", "minimum_effect": 0.08},
                "guardrails": [{"name": "mrr@10", "margin": 0.05}],
                "secondary": ["recall@10"],
            },
            "plan": {"units": 400, "start": "2017-12-04", "weeks": 4} | plan,
        }
    )


def measured(experiment: Experiment, until: datetime, lift: float = 0.5, size: int = 300) -> UnitMetrics:
    """Return unit rows of every arm, the treatments better by `lift`."""
    rng = np.random.default_rng(1)
    definitions = metric_definitions(experiment)
    columns: dict[str, Any] = {name: [] for name in ("unit", "arm")}
    metrics: dict[str, list[float]] = {}
    for arm in experiment.arms:
        for number in range(size):
            columns["unit"].append(f"{arm}-{number}")
            columns["arm"].append(arm)
            habit, requests = rng.beta(2, 6), int(rng.integers(1, 4))
            chance = min(1.0, habit * (1 + (lift if arm != experiment.control else 0.0)))
            for metric in definitions:
                metrics.setdefault(metric.numerator, []).append(rng.binomial(10 * requests, chance) / 10)
                metrics.setdefault(metric.denominator, []).append(requests)
                metrics.setdefault(metric.covariate_numerator, []).append(rng.binomial(20, habit) / 10)
                metrics.setdefault(metric.covariate_denominator, []).append(2.0)
    total = len(columns["unit"])
    requests_made = np.array(metrics[definitions[0].denominator], dtype=np.int64)
    units = pa.table(
        columns
        | {
            "several_arms": [False] * total,
            "first_exposure": pa.array([START] * total, TIMESTAMP),
            "exposures": requests_made + 1,
            "requests": requests_made,
        }
        | {name: np.asarray(values, dtype=np.float64) for name, values in metrics.items()}
    )
    day_names = [name for metric in definitions for name in (metric.numerator, metric.denominator)]
    days = pa.table(
        {"arm": ["control"] * 3, "day": [0, 6, 7], "requests": [1, 1, 2]}
        | {name: [0.5, 0.5, 1.0] for name in day_names}
    )
    weights = pa.table(
        {
            "arm": ["control"],
            "model_version": ["basket/v0"],
            "weights": pa.array([3]),
            "exposures": pa.array([9]),
        }
    )
    return UnitMetrics(definitions, units, days, weights, until, WEEK)


HEALTHY = Health({}, {}, 1.0, 0, 0.0, 0, {}, {}, ())


def run(experiment: Experiment, until: datetime = END, *, lift: float = 0.5) -> Analysis:
    """Analyse generated unit rows."""
    return analyse("e", experiment, measured(experiment, until, lift), HEALTHY)


def test_effects_of_every_role() -> None:
    analysis = run(declare())
    roles = [(found.role, found.effect.metric) for found in analysis.effects]
    assert roles == [
        ("primary", "precision@10"),
        ("guardrail", "mrr@10"),
        ("secondary", "recall@10"),
        ("check", "order_rate"),
    ]
    (primary,) = analysis.of("treatment_1", "primary")
    assert primary.effect.cuped
    assert primary.effect.relative.lower > 0.2
    assert primary.effect.relative.holds(0.5)
    assert primary.always_relative.lower < primary.effect.relative.lower
    assert primary.always_absolute.upper > primary.effect.absolute.upper
    assert analysis.confidence == 0.95


def test_treatments_share_the_error() -> None:
    analysis = run(declare(arms=4))
    assert analysis.confidence == pytest.approx(1 - 0.05 / 3)
    assert len(analysis.effects) == 3 * 4


def test_states() -> None:
    assert run(declare(), START + WEEK).state == "running"
    assert run(declare(), START + WEEK).cut is None
    over = run(declare())
    assert (over.state, over.cut) == ("cut", END.isoformat())
    short = run(declare(units=4_000))
    assert (short.state, short.cut, short.exposed_units) == ("ended", None, 600)


def test_cut_needs_units_and_weeks() -> None:
    exposed = pa.chunked_array([pa.array([START, START + WEEK, END], TIMESTAMP)])
    assert decision_cut(declare(units=2), exposed, now=END) == END
    assert decision_cut(declare(units=2), exposed, now=END + WEEK) == END
    assert decision_cut(declare(units=2), exposed, now=END - WEEK) is None
    assert decision_cut(declare(units=3), exposed, now=END) is None
    assert decision_cut(declare(units=2), exposed[:0], now=END) is None


def test_open_windows_and_mixed_units_are_left_out_and_counted() -> None:
    experiment = declare()
    metrics = measured(experiment, END)
    units = metrics.units
    several = [number < 3 for number in range(units.num_rows)]
    requests = [0 if 3 <= number < 8 else count for number, count in enumerate(units["requests"].to_pylist())]
    units = units.set_column(units.schema.get_field_index("several_arms"), "several_arms", pa.array(several))
    units = units.set_column(units.schema.get_field_index("requests"), "requests", pa.array(requests))
    analysis = analyse("e", experiment, replace(metrics, units=units), HEALTHY)
    assert analysis.exposed_units == 600
    assert analysis.left_out_units == 8
    assert analysis.left_out_requests == sum(units["exposures"].to_pylist()) - sum(requests)
    assert [arm.units for arm in analysis.arms] == [292, 300]


def test_series_and_weights() -> None:
    analysis = run(declare())
    assert [(point.start[:10], point.requests) for point in analysis.daily] == [
        ("2017-12-04", 1),
        ("2017-12-10", 1),
        ("2017-12-11", 2),
    ]
    assert [(point.start[:10], point.requests) for point in analysis.weekly] == [
        ("2017-12-04", 2),
        ("2017-12-11", 2),
    ]
    assert analysis.weekly[0].means["precision@10"] == 1.0
    assert analysis.arms[0].weights == ({"model_version": "basket/v0", "weights": 3, "exposures": 9},)
    assert analysis.arms[1].weights == ()


def test_digest_is_of_the_content() -> None:
    first, again = run(declare()), run(declare())
    assert first.digest() == again.digest()
    assert first.digest() != run(declare(), lift=0.4).digest()
    content = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert content["digest"] == first.digest()
    assert len(content["digest"]) == 64
    assert content["health"]["healthy"] is True


def test_no_units_at_all() -> None:
    experiment = declare()
    metrics = measured(experiment, START + WEEK)
    empty = replace(metrics, units=metrics.units[:0], days=metrics.days[:0], weights=metrics.weights[:0])
    analysis = analyse("e", experiment, empty, HEALTHY)
    assert analysis.exposed_units == 0
    assert math.isnan(analysis.effects[0].effect.absolute.lower)
    assert analysis.to_dict()["effects"][0]["always_relative"]["lower"] is None
