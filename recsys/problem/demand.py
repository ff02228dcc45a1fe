"""How much of a stage happens within one horizon: how many units act, and on how many items each?"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from recsys.ports import Engine
from recsys.problem.rows import EVENTS, Span, counts_sql, moment, quoted, readable_sql
from recsys.schema import EVENT_TIMESTAMP, EVENT_TYPE, ITEM, USER


@dataclass(frozen=True)
class Demand:
    """What one horizon brings; means over the span's whole horizons."""

    units: float
    """Units with such an event."""
    items: float | None
    """Different items of a unit that has any; None where events have no item."""


def demand(engine: Engine, events: Path, stage: str, span: Span, horizon: timedelta) -> Demand:
    """Count a stage's units and items by horizon.

    Args:
        engine: runs the SQL.
        events: parquet of `schema.EVENT_TABLE`.
        stage: an event type.
        span: which part of the log; one shorter than a horizon is one.
        horizon: the target's.
    """
    horizons = max(1, (span.end - span.start) // horizon)
    end = min(span.end, span.start + horizons * horizon)
    micros = horizon // timedelta(microseconds=1)
    sql = f"""
select coalesce(sum(units), 0) / {horizons} as units, sum(pairs) / sum(buyers) as items from (
    select count(distinct {USER}) as units, count(distinct ({USER}, {ITEM})) filter ({ITEM} is not null) as pairs,
           count(distinct {USER}) filter ({ITEM} is not null) as buyers
    from {EVENTS}
    where {EVENT_TYPE} = {quoted(stage)} and {readable_sql(span)} and {counts_sql()}
      and {EVENT_TIMESTAMP} >= {moment(span.start)} and {EVENT_TIMESTAMP} < {moment(end)}
    group by date_diff('microsecond', {moment(span.start)}, {EVENT_TIMESTAMP}) // {micros})
"""
    (row,) = engine.query(sql, {EVENTS: events}).to_pylist()
    return Demand(float(row["units"]), None if row["items"] is None else float(row["items"]))
