"""What did each unit of an experiment see, and what did it do afterwards?

Requests become one row a unit, so that everything behind this file treats units, not requests, as independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys import schema
from recsys.evaluation.attribution import ANY_DRAWN, drawn_slots_sql, explored_sql, units_sql, weights_sql
from recsys.evaluation.metric_definition import MetricDefinition, metric_definitions
from recsys.evaluation.part import Part
from recsys.evaluation.terms import UNITS, Term, stage_terms, terms_of, window_of
from recsys.experiment.routing import window
from recsys.ports import Engine
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import OnlineMetric


@dataclass(frozen=True)
class LogTables:
    """The part of the event log an evaluation reads; a path is a parquet file or a folder of them."""

    exposures: pa.Table | Path
    """Exposures of the placement, from the pre-period's start to now, as `EventLog.exposures` gives them."""
    impressions: pa.Table | Path
    outcomes: pa.Table | Path


@dataclass(frozen=True)
class UnitMetrics:
    """What an analysis starts from."""

    definitions: tuple[MetricDefinition, ...]
    units: pa.Table
    """One row a unit: unit, arm (of the first exposure), several_arms (bool), first_exposure (timestamp[us,
    UTC]), exposures, requests (whose window is closed), and float64 columns of every definition. Testers with
    an override are not in it."""
    days: pa.Table
    """One row an arm and day: arm, day (whole days since the start), requests, and numerators and
    denominators."""
    weights: pa.Table
    """One row a version that answered: arm, model_version, weights, exposures."""
    until: datetime
    """A request counts when its whole window lies before this: the planned end, or now while that is to
    come."""
    horizon: timedelta
    """How long after a request any outcome counted: the problem's horizon, or the longest `within` of a metric."""
    part: Part | None = None
    """The requests that were looked at, where not all were."""
    stages: tuple[str, ...] = ()
    """Stages of the funnel, from the widest; the column of each in `units` is `funnel_column`."""
    by_day: pa.Table | None = None
    """Of the first metric, one row a unit and day, in any order: unit, day, numerator and denominator (float64). None
    where they were not asked for."""
    drawn_slots: pa.Table | None = None
    """One row an arm and slot that was drawn by chance: arm, position, likeliest (the largest propensity below 1)."""
    explored: pa.Table | None = None
    """Of the first metric, one row a unit, arm and chance of its lists: unit, arm, logged (float64, the propensity of
    all slots together), own (bool, whether each slot shows the likelier item), requests, reward (float64, the sum of
    its numerator). None where no slot was drawn, or they were not asked for."""

    @property
    def analysed(self) -> pa.Table:
        """Return the units that are compared: with a request that counts, and seen in one arm only."""
        return self.units.filter(pc.and_(pc.greater(self.units["requests"], 0), pc.invert(self.units["several_arms"])))

    @property
    def denominates_units(self) -> bool:
        """Whether the first metric is a mean over units, so that its denominator does not grow by the day."""
        return terms_of(self.definitions[0])[1] == UNITS


IMPRESSIONS: Final = "impressions"
"""The widest stage of a funnel: slots of lists."""


def funnel_column(stage: str) -> str:
    """Return the column of a stage's count."""
    return f"funnel:{stage}"


def unit_metrics(  # noqa: PLR0913 - all that a count rests on stands in one place
    engine: Engine,
    name: str,
    experiment: Experiment,
    log: LogTables,
    *,
    now: datetime,
    horizon: timedelta,
    event_type: str = schema.PURCHASE,
    default_model: str | None = None,
    declared: Mapping[str, OnlineMetric] | None = None,
    part: Part | None = None,
    stages: Sequence[str] = (),
    by_day: bool = False,
    exploration: bool = False,
) -> UnitMetrics:
    """Attribute outcomes to requests and sum them by unit.

    An outcome belongs to every request of its unit with request time < outcome time <= request time + horizon, or to
    the latest of these where a metric is declared so; one of quantity 0 or less is none. Requests count once the
    longest window of any metric is over, so that all metrics rest on the same requests. The covariate rests on requests
    outside any experiment whose whole window lies in the `covariate_weeks` before the start, so that the treatment
    cannot reach it.

    Args:
        engine: runs the SQL.
        name: the experiment's name.
        experiment: its declaration.
        log: exposures, impressions and outcomes of its placement, back to `covariate_weeks` before the start.
        now: the environment's time.
        horizon: how long after a request an outcome may follow, where a metric does not say.
        event_type: the outcome that built-in metrics count.
        default_model: the placement's registered model, or one model version; the covariate takes its answers
            only. None takes every answer outside experiments.
        declared: registry/metrics/, by name.
        part: the requests that are looked at; all of the experiment by default.
        stages: event types of the funnel, from the widest; impressions come before them.
        by_day: whether the first metric is asked for by unit and day too.
        exploration: whether it is asked for by what was drawn too; impressions then have their propensities.

    Returns:
        Unit rows, daily sums and weight versions.

    Raises:
        ExperimentError: if a metric does not exist.
    """
    definitions = metric_definitions(experiment, declared)
    longest = window_of(horizon, definitions)
    start, end = window(experiment)
    until = min(now, end)
    tables = {
        "exposures": log.exposures,
        "impressions": log.impressions,
        "outcomes": log.outcomes,
        "parameters": pa.table(
            {
                "experiment": [name],
                "event_type": [event_type],
                "default_model": pa.array([default_model], pa.string()),
                "pre_start": [_micros(start - timedelta(weeks=experiment.metrics.covariate_weeks))],
                "starts": [_micros(start)],
                "first": [_micros(part.start if part else start)],
                "last": [_micros(min(until, part.end) if part else until)],
                "ends": [_micros(until)],
                "horizon": [round(horizon / timedelta(microseconds=1))],
                "window_length": [round(longest / timedelta(microseconds=1))],
            }
        ),
    }
    funnel = stage_terms(stages)
    terms = tuple(dict.fromkeys([*(term for metric in definitions for term in terms_of(metric)), *funnel]))
    first = terms_of(definitions[0])
    grouped = engine.query(units_sql(experiment.unit, terms, first if by_day else ()), tables)
    of_days = grouped["of_days"]
    of_units = grouped.filter(pc.equal(of_days, 0))
    counted = {
        funnel_column(stage): of_units[f"term_{terms.index(term)}:counts"]
        for stage, term in zip((IMPRESSIONS, *stages), funnel, strict=False)
    }
    units = _units(of_units, definitions, terms)
    # Asked first, as the slots of millions of lists are not joined to learn that nothing was drawn.
    explores = exploration and engine.query(ANY_DRAWN, {"impressions": log.impressions}).num_rows > 0
    return UnitMetrics(
        definitions=definitions,
        units=pa.table({**dict(zip(units.column_names, units.columns, strict=True)), **counted}),
        days=_days(grouped.filter(pc.equal(of_days, 1)), definitions, terms),
        weights=engine.query(weights_sql(experiment.unit), tables),
        until=until,
        horizon=longest,
        part=part,
        stages=(IMPRESSIONS, *stages) if stages else (),
        by_day=_by_day(grouped.filter(pc.equal(of_days, 2)), first, terms) if by_day else None,
        drawn_slots=engine.query(drawn_slots_sql(experiment.unit), tables) if explores else None,
        explored=engine.query(explored_sql(experiment.unit, first[0]), tables) if explores else None,
    )


def _units(rows: pa.Table, definitions: Sequence[MetricDefinition], terms: Sequence[Term]) -> pa.Table:
    columns = {
        "unit": rows["unit"],
        "arm": rows["arm"],
        "several_arms": rows["several_arms"],
        "first_exposure": rows["first_exposure"].cast(schema.TIMESTAMP),
        "exposures": rows["exposures"],
        "requests": rows["requests"],
    }
    for metric in definitions:
        numbers = [terms.index(term) for term in terms_of(metric)]
        sums = [f"term_{number}:{when}" for when in ("counts", "before") for number in numbers]
        columns |= {name: rows[summed] for name, summed in zip(metric.columns, sums, strict=True)}
    return pa.table(columns)


def _days(rows: pa.Table, definitions: Sequence[MetricDefinition], terms: Sequence[Term]) -> pa.Table:
    columns = {"arm": rows["arm_of_day"], "day": rows["day"], "requests": rows["requests"]}
    for metric in definitions:
        numerator, denominator = (f"term_{terms.index(term)}:counts" for term in terms_of(metric))
        columns |= {metric.numerator: rows[numerator], metric.denominator: rows[denominator]}
    return pa.table(columns)


def _by_day(rows: pa.Table, parts: tuple[Term, Term], terms: Sequence[Term]) -> pa.Table:
    numerator, denominator = (rows[f"term_{terms.index(part)}:counts"] for part in parts)
    return pa.table({"unit": rows["unit"], "day": rows["day"], "numerator": numerator, "denominator": denominator})


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
