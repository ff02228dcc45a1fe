"""How long does an experiment in a made-up shop really have to be, and how long does the planner say?"""

import math
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtri

from recsys import schema
from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.experiment.bucketing import BUCKETS, buckets
from recsys.problem.chain import chained_sql
from recsys.problem.counts import count
from recsys.problem.figures import Reading, reading
from recsys.problem.rows import Stages, span_of
from recsys.simulation.shop import Shop
from recsys.simulation.truth import Truth
from recsys.specs.environment import Limits
from recsys.specs.funnel import Planning
from recsys.specs.simulation import Simulation
from recsys.statistics.effects import effect, moments

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
STAGES: Final = (schema.PAGEVIEW, schema.CLICK, schema.TRANSFER, schema.PURCHASE)
BEFORE_DAYS: Final = 28
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Scenario:
    """A kind of shop, and what is tested in it."""

    name: str
    users: int
    days: int
    """That an experiment runs at most; the past that the planner reads is as long."""
    lift: float
    """True relative effect on clicks, and so on all that follows them."""
    within: timedelta | None
    """None: by session; otherwise by unit."""
    fields: dict[str, Any]
    """Of the simulation, where they are not the defaults."""

    @property
    def stages(self) -> Stages:
        """Return the stages that the planner reads."""
        return Stages(STAGES, self.within)

    @property
    def planning(self) -> Planning:
        """Return the experiment that it plans."""
        return Planning(minimum_effect=self.lift, covariate_weeks=BEFORE_DAYS // 7)


def engine() -> DuckDBEngine:
    """Return what runs the queries."""
    return DuckDBEngine(Limits(memory="2GB", threads=1), Path(tempfile.gettempdir()) / "funnel")


def events_of(scenario: Scenario, seed: int, *, trial: bool, larger: int = 1) -> pa.Table:
    """Return the events of one shop, all known when they happened; with a trial, from the end of the pre-period on."""
    fields: dict[str, Any] = {
        "seed": seed,
        "users": scenario.users * larger,
        "days": BEFORE_DAYS + scenario.days,
        "start": START,
        "exposures": False,
        "season": {"yearly": 0.0, "trend": 0.0},
        "orders": {"late": 0.0, "cancelled": 0.0},
    }
    if trial:
        arms = {"control": {"ratio": 0.5}, "treatment": {"ratio": 0.5, "effects": {"click": scenario.lift}}}
        fields["trial"] = {"seed": f"trial-{seed}:", "start": START + BEFORE_DAYS * _DAY, "arms": arms}
    simulation = Simulation.model_validate({**fields, **scenario.fields})
    shop, truth = Shop(simulation), Truth(simulation)
    parts = [rows.events for block in range(shop.blocks) for rows in shop.rows(shop.users(block), block, truth)]
    events = pa.concat_tables(parts)
    return events.append_column(schema.SUPERSEDED_TIMESTAMP, pa.nulls(len(events), schema.TIMESTAMP))


def predicted(run: DuckDBEngine, scenario: Scenario, seed: int, *, larger: int = 1) -> Reading:
    """Return what the planner says by the past of one shop, so many times as large, of an experiment on its share."""
    begin, end = START + BEFORE_DAYS * _DAY, START + (BEFORE_DAYS + scenario.days) * _DAY
    planning = scenario.planning.model_copy(update={"traffic": 1 / larger})
    span = span_of(scenario.stages, begin, end, end, covariate_weeks=planning.covariate_weeks, settle=timedelta(0))
    events = events_of(scenario, seed, trial=False, larger=larger)
    chained = run.query(chained_sql(scenario.stages, span), {"events": events})
    (counted,) = count(run, chained, scenario.stages, span, measure="event", once=False)
    return reading(counted, scenario.stages, span, planning)


def found(scenario: Scenario, days: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Run one experiment: whether each stage's effect is seen at each day's end, (stages after the first, days)."""
    log = events_of(scenario, seed, trial=True)
    counts = ", ".join(f"count(*) filter (event_type = '{name}') as {name}" for name in STAGES)
    begin = f"timestamptz '{(START + BEFORE_DAYS * _DAY).isoformat()}'"
    sql = f"""
select user_id, date_diff('day', {begin}, event_timestamp) as day, count(distinct session_id) as sessions, {counts}
from log group by all
"""
    rows = engine().query(sql, {"log": log})
    users, number = np.unique(np.asarray(rows["user_id"]), return_inverse=True)
    treated = buckets(f"trial-{seed}:", pa.array(users, pa.string())) >= BUCKETS // 2
    day = np.asarray(rows["day"])
    columns = ("sessions", *STAGES[1:])
    values = {name: np.asarray(rows[name], dtype=np.float64) for name in columns}

    def summed(name: str, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(number[inside], values[name][inside], minlength=len(users))

    before = {name: summed(name, day < 0) for name in columns}
    seen = np.zeros((len(STAGES) - 1, len(days)), dtype=np.bool_)
    for place, last in enumerate(days):
        within = {name: summed(name, (day >= 0) & (day < last)) for name in columns}
        came = within["sessions"] > 0
        visits = within["sessions"] if scenario.within is None else came.astype(np.float64)
        visits_before = before["sessions"] if scenario.within is None else (before["sessions"] > 0).astype(np.float64)
        for stage, name in enumerate(STAGES[1:]):
            kept = (within[name], visits, before[name], visits_before)
            arms = [moments(*(each[came & (treated == arm)] for each in kept)) for arm in (False, True)]
            tested = effect(name, *arms)
            seen[stage, place] = tested.p_value < scenario.planning.alpha and tested.absolute.estimate > 0
    return seen


def days_with_power(days: NDArray[np.int64], power: NDArray[np.float64], wanted: float) -> float:
    """Return the day at which a power curve passes the wanted power: a line through its probits over log days."""
    near = (power > 0.5) & (power < 0.97)  # noqa: PLR2004 - where probits are known well
    slope, level = np.polyfit(np.log(days[near]), ndtri(power[near]), 1)
    return float(np.exp((ndtri(wanted) - level) / slope))


def day_looks(expected: list[float], most: int) -> NDArray[np.int64]:
    """Return the days to look at: around each of the expected ones."""
    looks = [round(day * factor) for day in expected if day <= most for factor in (0.6, 0.75, 0.9, 1.0, 1.15, 1.3, 1.5)]
    return np.unique(np.clip(looks, 1, most)).astype(np.int64)


def expected_days(of: Reading, scenario: Scenario) -> list[float]:
    """Return the predicted days of each stage after the first, the window taken off."""
    window = 0 if scenario.within is None else -(-scenario.within // _DAY)
    needs = [stage.need for stage in of.stages[1:]]
    return [float("inf") if need is None or need.days is None else need.days - window for need in needs]


def bounded_past(scenario: Scenario, seed: int) -> list[list[float]]:
    """Return what `bounded_days` does of the past of one shop."""
    return bounded_days(predicted(engine(), scenario, seed))


def bounded_days(of: Reading) -> list[list[float]]:
    """Return lower bound, days and upper bound of each stage after the first, infinite for never."""
    needs = [stage.need for stage in of.stages[1:]]
    if any(need is None or need.days_bounds is None for need in needs):
        message = "a shop whose past says nothing has no place in this benchmark"
        raise ValueError(message)
    return [
        [
            math.inf if each is None else float(each)
            for each in (need.days_bounds.lower, need.days, need.days_bounds.upper)
        ]
        for need in needs
        if need is not None and need.days_bounds is not None
    ]
