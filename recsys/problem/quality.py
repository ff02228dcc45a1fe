"""What of a log does not count in its funnel, and why?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.ports import Engine
from recsys.problem.rows import EVENTS, Span, Stages, counts_sql, moment, quoted, readable_sql, whole_sql
from recsys.schema import EVENT_ID, EVENT_TIMESTAMP, EVENT_TYPE, SESSION, VALUE

_DROPPED: Final = {
    "missing": "no id, user, time or quantity: left out",
    "unknown": "another version of it counts, or it became known later: left out",
    "repeated": "the same event again: counted once",
    "cancelled": "quantity is 0: cancelled",
    "homeless": "no session: follows nothing, and nothing follows it",
    "worthless": "no value: counted as an event, worth nothing",
}


@dataclass(frozen=True)
class Dropped:
    """Events of one stage that do not count, or not in full."""

    stage: str
    rows: int
    read: int
    """Rows of the stage in the span."""
    why: str


def dropped(engine: Engine, events: Path, stages: Stages, span: Span) -> tuple[Dropped, ...]:
    """Return what was left out of the span, by stage and reason, and what counts as less than it might.

    Args:
        engine: runs the SQL.
        events: parquet of `schema.EVENT_TABLE`.
        stages: of the funnel.
        span: which part of the log; a row without a time is of it, too.
    """
    names = stages.names[1:] if stages.any_event else stages.names
    rows = {row["stage"]: row for row in engine.query(_sql(names, stages, span), {EVENTS: events}).to_pylist()}
    found = []
    for name in names:
        row = rows.get(name, {})
        reasons = [each for each in _DROPPED if each != "worthless" or (name == names[-1] and row.get("valued"))]
        found += [
            Dropped(name, int(row[reason]), int(row["read"]), _DROPPED[reason]) for reason in reasons if row.get(reason)
        ]
    return tuple(found)


def _sql(names: tuple[str, ...], stages: Stages, span: Span) -> str:
    readable = readable_sql(span)
    counted = f"{readable} and {counts_sql()}"
    homeless = f"{counted} and {SESSION} is null" if stages.window is None else "false"
    worth = f"isfinite({VALUE}) and {VALUE} > 0"
    return f"""
with inside as (
    select * from {EVENTS}
    where {EVENT_TYPE} in ({", ".join(map(quoted, names))}) and ({EVENT_TIMESTAMP} is null
          or {EVENT_TIMESTAMP} >= {moment(span.start)} and {EVENT_TIMESTAMP} < {moment(span.end)}))
select {EVENT_TYPE} as stage, count(*) as read,
       count(*) filter (not coalesce({whole_sql()}, false)) as missing,
       count(*) filter (coalesce({whole_sql()}, false) and not coalesce({readable}, false)) as unknown,
       count(*) filter ({readable}) - count(distinct hash({EVENT_ID})) filter ({readable}) as repeated,
       count(*) filter ({readable} and not {counts_sql()}) as cancelled,
       count(*) filter ({homeless}) as homeless,
       count(*) filter ({counted} and not coalesce({worth}, false)) as worthless,
       count(*) filter ({counted} and {worth}) > 0 as valued
from inside group by {EVENT_TYPE}
"""
