"""A ramp of one arm alone does not read as an effect, and a ramp in proportion changes nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys import schema
from recsys.evaluation.analysis import Analysis, analyse
from recsys.evaluation.cumulative import with_cumulative
from recsys.evaluation.health import check_health
from recsys.evaluation.ramps import STRATUM, with_strata
from recsys.evaluation.unit_metrics import LogTables, UnitMetrics, unit_metrics
from recsys.experiment.epochs import Epoch
from recsys.experiment.routing import Router
from recsys.specs.experiment import Experiment
from tests.fakes.engine import FakeEngine

START = datetime(2017, 12, 4, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
END = START + 2 * WEEK


def declare(treatment: float, control: float = 0.5) -> Experiment:
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": "home:",
            "arms": {
                "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": control},
                "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": treatment},
            },
            "metrics": {"primary": {"name": "hit_rate@1", "minimum_effect": 0.08}, "covariate_weeks": 0},
            "plan": {"units": 100, "start": "2017-12-04", "weeks": 2},
        }
    )


def live(first: Experiment, second: Experiment, units: int = 6_000, lift: float = 0.0) -> LogTables:
    """Return two weeks: the zealous come in both and take much, the others in one, and all take more in the second."""
    rng = np.random.default_rng(5)
    routers = [Router("e", first), Router("e", second)]
    exposures: list[dict[str, Any]] = []
    outcomes: list[dict[str, Any]] = []
    for number in range(units):
        user, zealous = f"u{number}", rng.random() < 0.3
        weeks = (0, 1) if zealous else (int(rng.random() < 0.5),)
        for week in weeks:
            found = routers[week].route(user)
            request, at = f"{user}:{week}", START + week * WEEK + timedelta(hours=1)
            exposures.append(
                {
                    "request_id": request,
                    "user_id": user,
                    "experiment": "e" if found else None,
                    "arm": found.arm if found else None,
                    "overridden": False,
                    "model_version": found.model_version if found else "basket/v1",
                    "event_timestamp": at,
                }
            )
            chance = (0.5 if zealous else 0.2) + 0.15 * week
            if rng.random() < chance * (1 + (lift if found and found.arm == "treatment" else 0.0)):
                bought = {
                    "event_id": request,
                    "event_type": "purchase",
                    "user_id": user,
                    "item_id": "a",
                    "quantity": 1.0,
                }
                outcomes.append(bought | {"event_timestamp": at + DAY})
    slots = [{"request_id": each["request_id"], "position": 1, "item_id": "a"} for each in exposures]
    return LogTables(
        pa.Table.from_pylist(exposures, schema.EXPOSURES),
        pa.Table.from_pylist(slots, schema.IMPRESSIONS),
        pa.Table.from_pylist(outcomes, schema.EVENTS),
    )


def epochs_of(first: Experiment, second: Experiment) -> tuple[Epoch, ...]:
    def ratios(experiment: Experiment) -> dict[str, int]:
        return {name: arm.bucket_range()[1] - arm.bucket_range()[0] for name, arm in experiment.arms.items()}

    return Epoch(START, START + WEEK, ratios(first)), Epoch(START + WEEK, END, ratios(second))


def evaluate(first: Experiment, second: Experiment, log: LogTables, *, epochs: bool) -> tuple[Analysis, UnitMetrics]:
    engine, known = FakeEngine(), epochs_of(first, second) if epochs else ()
    measured = unit_metrics(engine, "e", second, log, now=END, horizon=2 * DAY, by_day=True)
    measured = with_strata(engine, Router("e", second), log.exposures, measured, known)
    health = check_health(engine, "e", second, log.exposures, now=END, epochs=known)
    return with_cumulative(analyse("e", second, measured, health), second, measured), measured


def test_a_lopsided_ramp_is_no_effect() -> None:
    first, second = declare(0.05), declare(0.5)
    log = live(first, second)
    pooled, _ = evaluate(first, second, log, epochs=False)
    (naive,) = pooled.of("treatment", "primary")
    assert not naive.effect.relative.holds(0.0)
    assert not pooled.health.healthy
    analysis, measured = evaluate(first, second, log, epochs=True)
    (found,) = analysis.of("treatment", "primary")
    assert found.effect.relative.holds(0.0)
    assert analysis.health.healthy
    assert analysis.compared_by_epoch
    assert 0 < analysis.uncompared_units < measured.units.num_rows / 2
    assert analysis.cumulative[-1].relative == found.effect.relative


def test_late_units_of_arms_that_grew_together_are_compared_with_one_another() -> None:
    first, second = declare(0.05, 0.3), declare(0.5, 0.5)
    log = live(first, second)
    analysis, measured = evaluate(first, second, log, epochs=True)
    (found,) = analysis.of("treatment", "primary")
    assert analysis.compared_by_epoch
    assert found.effect.relative.holds(0.0)
    strata = measured.units[STRATUM].to_numpy()
    assert (strata > 1).any(), "beyond both epochs: had come before, and were reached by the ramp"
    assert analysis.uncompared_units == 0
    naive, _ = evaluate(first, second, log, epochs=False)
    assert not naive.of("treatment", "primary")[0].effect.relative.holds(0.0)


def test_a_true_effect_is_found_by_epochs() -> None:
    first, second = declare(0.05), declare(0.5)
    analysis, _ = evaluate(first, second, live(first, second, 12_000, lift=0.3), epochs=True)
    (found,) = analysis.of("treatment", "primary")
    assert found.effect.relative.lower > 0
    assert found.effect.relative.holds(0.3)


def test_a_ramp_in_proportion_is_pooled() -> None:
    first, second = declare(0.1, 0.1), declare(0.5, 0.5)
    log = live(first, second, 2_000)
    analysis, measured = evaluate(first, second, log, epochs=True)
    pooled, _ = evaluate(first, second, log, epochs=False)
    assert STRATUM not in measured.units.column_names
    assert (analysis.compared_by_epoch, analysis.uncompared_units) == (False, 0)
    assert analysis.effects == pooled.effects


def test_epochs_without_a_pair_of_units_say_nothing() -> None:
    first, second = declare(0.05), declare(0.5)
    log = live(first, second, 400)
    early = log.exposures.filter([each.as_py() < START + WEEK for each in log.exposures["event_timestamp"]])  # type: ignore[union-attr]
    only = LogTables(
        early.filter([arm == "control" for arm in early["arm"].to_pylist()]), log.impressions, log.outcomes
    )
    analysis, _ = evaluate(first, second, only, epochs=True)
    (found,) = analysis.of("treatment", "primary")
    assert analysis.to_dict()["effects"][0]["effect"]["relative"]["lower"] is None
    assert found.effect.p_value != pytest.approx(0.05)
