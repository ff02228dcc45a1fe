"""Does a whole evaluation keep what it promises: from the rows of an event log to the verdict?

A shop of the `tests/evaluation` kind, drawn anew for each experiment: users hashed to arms by an experiment's own seed,
lists of five slots, purchases in their window and some of things that were not shown, four weeks before and four
within. Nothing is faked but the log, which is in memory.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import schema
from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.decision.verdict import VerdictName, decide
from recsys.evaluation.analysis import Analysis, analyse
from recsys.evaluation.health import check_health
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.experiment.routing import Router, window
from recsys.specs.environment import Limits
from recsys.specs.experiment import Experiment

USERS = 600
SLOTS = 5
WEEKS = 4
LIFT = 0.15
WEEK = timedelta(weeks=1)
Named = tuple[str, int, Callable[[np.random.Generator, int], Mapping[str, int]], Mapping[str, tuple[str, float]]]


def pipeline() -> list[Named]:
    """Return name, number of simulations, the simulation, and a bar for each thing that it counts."""
    null: dict[str, tuple[str, float]] = {
        "test sees a difference": ("is", 0.05),
        "verdict SHIP": ("is", 0.025),
        "verdict STOP in a weekly look": ("at most", 0.05),
        "health fails": ("at most", 0.02),
    }
    return [
        ("log to verdict, no effect", 600, whole(0.0), null),
        (
            f"log to verdict, effect {LIFT:+.0%}",
            600,
            whole(LIFT),
            {"relative interval holds the truth": ("is", 0.95), "health fails": ("at most", 0.02)},
        ),
    ]


def whole(lift: float) -> Callable[[np.random.Generator, int], dict[str, int]]:
    """Evaluate at each week's end while it runs, and once it is over."""

    def simulate(generator: np.random.Generator, count: int) -> dict[str, int]:
        engine = DuckDBEngine(Limits(memory="1GB", threads=1), Path(tempfile.gettempdir()) / "calibration")
        counted: Counter[str] = Counter()
        for _ in range(count):
            name = f"e{generator.integers(10**12)}"
            experiment = declared(name)
            start, end = window(experiment)
            log = generate(generator, name, experiment, lift)
            if lift == 0:
                running = (judged(engine, name, experiment, log, start + week * WEEK) for week in range(2, WEEKS))
                counted["verdict STOP in a weekly look"] += any(verdict is VerdictName.STOP for _, verdict in running)
            analysis, verdict = judged(engine, name, experiment, log, end)
            (primary,) = analysis.of("treatment", "primary")
            counted["test sees a difference"] += primary.effect.p_value < experiment.plan.alpha
            counted["relative interval holds the truth"] += primary.effect.relative.holds(lift)
            counted["verdict SHIP"] += verdict is VerdictName.SHIP
            counted["health fails"] += not analysis.health.healthy
        return dict(counted)

    return simulate


def judged(
    engine: DuckDBEngine, name: str, experiment: Experiment, log: LogTables, now: datetime
) -> tuple[Analysis, VerdictName]:
    """Do what `recsys evaluate` does."""
    metrics = unit_metrics(engine, name, experiment, log, now=now, horizon=WEEK, default_model="basket")
    health = check_health(engine, name, experiment, log.exposures, now=now)
    analysis = analyse(name, experiment, metrics, health)
    return analysis, decide(analysis, experiment, now).name


def declared(name: str) -> Experiment:
    """Declare an experiment with a seed of its own, so that each assigns anew."""
    arms = {
        "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.5},
        "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.5},
    }
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": f"{name}:",
            "arms": arms,
            "metrics": {"primary": {"name": "precision@5", "minimum_effect": 0.1}},
            "plan": {"units": 400, "start": "2017-12-04", "weeks": WEEKS},
        }
    )


@cache
def _users() -> pa.Array:
    return pa.array([f"household_{number}" for number in range(USERS)])


def generate(generator: np.random.Generator, name: str, experiment: Experiment, lift: float) -> LogTables:
    """Write eight weeks of a shop; a user comes once to three times a week, or not."""
    start, _ = window(experiment)
    treated = np.asarray(pc.equal(Router(name, experiment).route_many(_users()), "treatment"))
    habit, zeal = generator.beta(3, 9, USERS), generator.gamma(2.0, 0.5, USERS)
    visits = np.minimum(generator.poisson(zeal[:, np.newaxis], (USERS, 2 * WEEKS)), 3)
    user = np.repeat(np.arange(USERS), visits.sum(axis=1))
    week = np.concatenate([np.repeat(np.arange(-WEEKS, WEEKS), row) for row in visits])
    requests = len(user)
    moment = _micros(start) + (week * 7 * 86_400 + generator.integers(0, 6 * 86_400, requests)) * 1_000_000
    inside = week >= 0
    chance = habit[user] * np.where(treated[user] & inside, 1 + lift, 1.0)
    number = np.arange(requests)
    # A user's items are its request's own, so that a purchase belongs to one request, as its metric counts it.
    item = (number[:, np.newaxis] * SLOTS + np.arange(SLOTS)).ravel()
    bought = (generator.random((requests, SLOTS)) < chance[:, np.newaxis]).ravel()
    other = generator.integers(0, 2, requests) > 0
    request_of_slot = np.repeat(number, SLOTS)
    exposures = pa.table(
        {
            "request_id": _text("r", number),
            "user_id": _users().take(pa.array(user)),
            "session_id": pa.nulls(requests, pa.string()),
            "experiment": _where(inside, name),
            "arm": pc.if_else(
                pa.array(inside), _either(treated[user], "treatment", "control"), pa.scalar(None, pa.string())
            ),
            "overridden": pa.array(np.zeros(requests, dtype=bool)),
            "model_version": _either(treated[user] & inside, "basket/v2", "basket/v1"),
            "weights": pa.array(np.ones(requests, dtype=np.int64)),
            "fallback": pa.nulls(requests, pa.string()),
            "event_timestamp": pa.array(moment).cast(schema.TIMESTAMP),
        }
    )
    impressions = pa.table(
        {
            "request_id": _text("r", request_of_slot),
            "position": pa.array(np.tile(np.arange(1, SLOTS + 1), requests)),
            "item_id": _text("i", item),
        }
    )
    buyer = np.concatenate((user[request_of_slot[bought]], user[other]))
    at = np.concatenate((moment[request_of_slot[bought]], moment[other])) + 3_600_000_000
    bought_item = pa.concat_arrays([_text("i", item[bought]), _text("o", number[other])])
    outcomes = pa.table(
        {
            "user_id": _users().take(pa.array(buyer)),
            "session_id": pa.nulls(len(buyer), pa.string()),
            "event_type": pa.array([schema.PURCHASE] * len(buyer)),
            "item_id": bought_item,
            "quantity": pa.array(np.ones(len(buyer))),
            "event_timestamp": pa.array(at).cast(schema.TIMESTAMP),
        }
    )
    return LogTables(exposures, impressions, outcomes)


def _text(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _either(chosen: np.ndarray, yes: str, no: str) -> pa.Array:
    return pc.if_else(pa.array(chosen), pa.scalar(yes), pa.scalar(no))


def _where(chosen: np.ndarray, name: str) -> pa.Array:
    return pc.if_else(pa.array(chosen), pa.scalar(name), pa.scalar(None, pa.string()))


def _micros(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000
