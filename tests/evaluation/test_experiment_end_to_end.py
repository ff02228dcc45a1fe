"""From a generated log to a verdict: the truth is known, and nothing between is faked but the engine."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys import schema
from recsys.decision.verdict import VerdictName, decide
from recsys.evaluation.analysis import Analysis, analyse
from recsys.evaluation.health import check_health
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.experiment.routing import Router, window
from recsys.specs.experiment import Experiment
from tests.fakes.engine import FakeEngine

DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
EXPERIMENT = Experiment.model_validate(
    {
        "hypothesis": "better",
        "placement": "home",
        "seed": "home:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.5},
            "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.5},
        },
        "metrics": {
            "primary": {"name": "precision@5", "minimum_effect": 0.08},
            "guardrails": [{"name": "mrr@5", "margin": 0.1}],
        },
        "plan": {"units": 600, "start": "2017-12-04", "weeks": 4},
    }
)
START, END = window(EXPERIMENT)


def generate(lift: float, households: int = 700) -> LogTables:
    """Return eight Mondays of a shop whose treatment hits more often by `lift`; purchases do not depend on lists."""
    rng = np.random.default_rng(2)
    router = Router("e", EXPERIMENT)
    exposures: list[dict[str, Any]] = []
    slots: list[dict[str, Any]] = []
    outcomes: list[dict[str, Any]] = []
    for number in range(households):
        user, habit = f"household_{number}", rng.beta(3, 9)
        for week in range(-4, 4):
            at, request = START + week * WEEK, f"{user}:{week}"
            found = router.route(user) if router.active(at) else None
            arm = found.arm if found else None
            chance = habit * (1 + (lift if arm == "treatment" else 0.0))
            exposures.append(
                {
                    "request_id": request,
                    "user_id": user,
                    "session_id": None,
                    "experiment": "e" if arm else None,
                    "arm": arm,
                    "overridden": False,
                    "model_version": found.model_version if found else "basket/v1",
                    "weights": 1,
                    "fallback": None,
                    "event_timestamp": at,
                }
            )
            for position in range(1, 6):
                hit = rng.random() < chance
                item = f"{request}:{position}" if hit else "never"
                slots.append({"request_id": request, "position": position, "item_id": item})
                if hit:
                    outcomes.append(_purchase(user, item, at + position * DAY))
            if rng.random() < 0.9:
                outcomes.append(_purchase(user, f"{request}:other", at + 6 * DAY))
    return LogTables(_exposures(exposures), pa.Table.from_pylist(slots), pa.Table.from_pylist(outcomes, schema.EVENTS))


def evaluate(log: LogTables, now: datetime) -> Analysis:
    """Run what the evaluate command will run."""
    engine = FakeEngine()
    metrics = unit_metrics(engine, "e", EXPERIMENT, log, now=now, horizon=WEEK, default_model="basket")
    return analyse("e", EXPERIMENT, metrics, check_health(engine, "e", EXPERIMENT, log.exposures, now=now))


@pytest.fixture(scope="module")
def better() -> LogTables:
    """Return a shop whose treatment is better by a quarter."""
    return generate(0.25)


def test_a_better_treatment_ships(better: LogTables) -> None:
    analysis = evaluate(better, END)
    found = decide(analysis, EXPERIMENT, END)
    assert (found.name, found.treatment_arm, found.model_version) == (
        VerdictName.SHIP,
        "treatment",
        "basket/v2",
    )
    (primary,) = analysis.of("treatment", "primary")
    assert primary.effect.cuped
    assert primary.effect.relative.holds(0.25)
    assert sum(arm.requests for arm in analysis.arms) == 700 * 4
    assert analysis.left_out_requests == 0
    assert [point.requests for point in analysis.weekly if point.arm == "control"] == [analysis.arms[0].units] * 4


def test_later_looks_give_the_same_evidence(better: LogTables) -> None:
    assert evaluate(better, END).digest() == evaluate(better, END + 10 * WEEK).digest()


def test_a_running_experiment_waits(better: LogTables) -> None:
    now = START + 2 * WEEK + DAY
    analysis = evaluate(better, now)
    assert decide(analysis, EXPERIMENT, now).name == VerdictName.WAIT
    assert sum(arm.requests for arm in analysis.arms) == 700 * 2
    assert analysis.left_out_requests == 700


def test_no_difference_is_not_shipped() -> None:
    analysis = evaluate(generate(0.0), END)
    assert decide(analysis, EXPERIMENT, END).name in {VerdictName.STOP, VerdictName.UNDERPOWERED}
    (check,) = analysis.of("treatment", "check")
    assert check.effect.p_value > 0.01


def test_a_harmful_treatment_is_stopped_while_running() -> None:
    now = START + 3 * WEEK
    found = decide(evaluate(generate(-0.5), now), EXPERIMENT, now)
    assert found.name == VerdictName.STOP
    assert "valid at every look" in found.reason


def _purchase(user: str, item: str, at: datetime) -> dict[str, Any]:
    return {
        "event_id": f"{user}:{item}",
        "event_type": "purchase",
        "user_id": user,
        "item_id": item,
        "quantity": 1.0,
        "event_timestamp": at,
    }


def _exposures(rows: list[dict[str, Any]]) -> pa.Table:
    text = ("request_id", "user_id", "session_id", "experiment", "arm", "model_version", "fallback")
    fields = {name: pa.string() for name in text}
    fields |= {"overridden": pa.bool_(), "weights": pa.int64(), "event_timestamp": schema.TIMESTAMP}
    return pa.Table.from_pylist(rows, pa.schema(list(fields.items())))
