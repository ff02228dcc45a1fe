"""What did each unit of an experiment see, and what did it buy afterwards?

Requests become one row a unit, so that everything behind this file treats units, not requests, as
independent. The SQL reads the event log's columns (ports.EventLog) and compares times as microseconds since
1970.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys import schema
from recsys.evaluation.metric_definition import MetricDefinition, metric_definitions
from recsys.experiment.routing import window
from recsys.ports import Engine
from recsys.specs.experiment import Experiment

_NUMERATORS: Final[Mapping[str, str]] = {
    "precision": "count(*) FILTER (slot <= {k}) / {k}.0",
    "recall": "count(*) FILTER (slot <= {k}) / greatest(count(*) FILTER (item_id <> ''), 1)",
    "hit_rate": "CAST(coalesce(min(slot) <= {k}, false) AS DOUBLE)",
    "mrr": "coalesce(1.0 / min(slot) FILTER (slot <= {k}), 0.0)",
    "order_rate": "1.0",
}
"""What a request with a purchase adds, over the distinct items bought in its window; `slot` is where an item
was shown, or null."""
_FIXED_POINT: Final = 10**12
"""Numerators are summed as whole numbers of this part, so that threads may add them in any order with one
result."""
_WITH_PURCHASE: Final = frozenset({"recall"})
"""Metrics that leave out requests without a purchase, as their offline namesakes do; all others count such a
request as 0."""


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
    """How long after a request an outcome counted."""


def unit_metrics(
    engine: Engine,
    name: str,
    experiment: Experiment,
    log: LogTables,
    *,
    now: datetime,
    horizon: timedelta,
    event_type: str = schema.PURCHASE,
    default_model: str | None = None,
) -> UnitMetrics:
    """Attribute outcomes to requests and sum them by unit.

    An outcome belongs to every request of its unit with request time < outcome time <= request time +
    horizon; one of quantity 0 or less is none. The covariate rests on requests outside any experiment whose
    whole window lies in the `covariate_weeks` before the start, so that the treatment cannot reach it.

    Args:
        engine: runs the SQL.
        name: the experiment's name.
        experiment: its declaration.
        log: exposures, impressions and outcomes of its placement, back to `covariate_weeks` before the start.
        now: the environment's time.
        horizon: how long after a request an outcome may follow.
        event_type: the outcome that counts.
        default_model: the placement's registered model, or one model version; the covariate takes its answers
            only. None takes every answer outside experiments.

    Returns:
        Unit rows, daily sums and weight versions.

    Raises:
        ExperimentError: if a metric does not exist.
    """
    definitions = metric_definitions(experiment)
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
                "ends": [_micros(until)],
                "horizon": [round(horizon / timedelta(microseconds=1))],
            }
        ),
    }
    grouped = engine.query(_sql(experiment.unit, definitions), tables)
    of_days = grouped["of_days"]
    return UnitMetrics(
        definitions=definitions,
        units=_units(grouped.filter(pc.equal(of_days, 0)), definitions),
        days=_days(grouped.filter(pc.equal(of_days, 1)), definitions),
        weights=engine.query((_REQUESTS + _WEIGHTS).format(unit=experiment.unit), tables),
        until=until,
        horizon=horizon,
    )


_REQUESTS: Final = """
WITH requests AS (
    SELECT e.request_id, e.{unit} AS unit, e.arm, epoch_us(e.event_timestamp) AS moment,
           e.experiment IS NULL AS is_before, epoch_us(e.event_timestamp) + p.horizon AS closes,
           (epoch_us(e.event_timestamp) - p.starts) // 86400000000 AS day, p.starts, p.ends,
           e.model_version, e.weights
    FROM exposures e CROSS JOIN parameters p
    WHERE e.{unit} IS NOT NULL AND (
        (e.experiment = p.experiment AND e.arm IS NOT NULL AND NOT e.overridden
         AND epoch_us(e.event_timestamp) >= p.starts AND epoch_us(e.event_timestamp) < p.ends)
        OR (e.experiment IS NULL
            AND epoch_us(e.event_timestamp) >= p.pre_start
            AND epoch_us(e.event_timestamp) + p.horizon <= least(p.starts, p.ends)
            AND (p.default_model IS NULL OR e.model_version = p.default_model
                 OR starts_with(e.model_version, p.default_model || '/')))
    )
)"""

_METRICS: Final = """, purchases AS (
    SELECT o.{unit} AS unit, coalesce(o.item_id, '') AS item_id, epoch_us(o.event_timestamp) AS moment
    FROM outcomes o CROSS JOIN parameters p
    WHERE o.event_type = p.event_type AND o.quantity > 0 AND o.{unit} IS NOT NULL
), found AS (
    SELECT r.request_id, b.item_id, min(i.position) AS slot
    FROM requests r
    JOIN purchases b ON r.unit = b.unit AND b.moment > r.moment AND b.moment <= r.closes
    LEFT JOIN impressions i ON r.request_id = i.request_id AND b.item_id = i.item_id
    WHERE r.closes <= r.ends
    GROUP BY r.request_id, b.item_id
), scored AS (
    SELECT request_id AS scored_request, {numerators}
    FROM found GROUP BY request_id
), request_rows AS (
    SELECT r.unit, r.arm, r.arm AS arm_of_day, r.day, r.moment, r.is_before,
           r.closes <= r.ends AND NOT r.is_before AS counts, s.*
    FROM requests r LEFT JOIN scored s ON r.request_id = s.scored_request
)
SELECT grouping(unit) AS of_days, unit, arm_of_day, day,
       arg_min(arm, moment) FILTER (NOT is_before) AS arm, min(arm) <> max(arm) AS several_arms,
       min(moment) FILTER (NOT is_before) AS first_exposure, count(*) FILTER (NOT is_before) AS exposures,
       count(*) FILTER (counts) AS requests, {sums}
FROM request_rows
GROUP BY GROUPING SETS ((unit), (arm_of_day, day))
HAVING count(*) FILTER (NOT is_before) > 0
ORDER BY of_days, unit, arm_of_day, day
"""

_WEIGHTS: Final = """
SELECT arm, model_version, weights, count(*) AS exposures
FROM requests WHERE NOT is_before GROUP BY ALL ORDER BY ALL
"""


def _sql(unit: str, definitions: Sequence[MetricDefinition]) -> str:
    numerators = [
        f'round(({_NUMERATORS[metric.kind].format(k=metric.k)}) * {_FIXED_POINT})::BIGINT AS "{metric.name}"'
        for metric in definitions
    ]
    sums = []
    for metric in definitions:
        counted = "scored_request" if metric.kind in _WITH_PURCHASE else "*"
        for column, condition in ((metric.numerator, "counts"), (metric.covariate_numerator, "is_before")):
            total = f'coalesce(sum("{metric.name}") FILTER ({condition}), 0)'
            sums.append(f'{total}::DOUBLE / {_FIXED_POINT} AS "{column}"')
        for column, condition in (
            (metric.denominator, "counts"),
            (metric.covariate_denominator, "is_before"),
        ):
            sums.append(f'(count({counted}) FILTER ({condition}))::DOUBLE AS "{column}"')
    # Names of metrics and units come from closed sets, never from a caller's text.
    return (_REQUESTS + _METRICS).format(unit=unit, numerators=", ".join(numerators), sums=", ".join(sums))


def _units(rows: pa.Table, definitions: Sequence[MetricDefinition]) -> pa.Table:
    columns = {
        "unit": rows["unit"],
        "arm": rows["arm"],
        "several_arms": rows["several_arms"],
        "first_exposure": rows["first_exposure"].cast(schema.TIMESTAMP),
        "exposures": rows["exposures"],
        "requests": rows["requests"],
    }
    for metric in definitions:
        for name in (
            metric.numerator,
            metric.denominator,
            metric.covariate_numerator,
            metric.covariate_denominator,
        ):
            columns[name] = rows[name]
    return pa.table(columns)


def _days(rows: pa.Table, definitions: Sequence[MetricDefinition]) -> pa.Table:
    columns = {"arm": rows["arm_of_day"], "day": rows["day"], "requests": rows["requests"]}
    for metric in definitions:
        columns |= {name: rows[name] for name in (metric.numerator, metric.denominator)}
    return pa.table(columns)


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
