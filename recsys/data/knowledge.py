"""What did the shop know at a moment?

An event may be restated: a row of the same `event_id` and `event_timestamp` with a later `created_timestamp` replaces
it from then on. A cancelled purchase is one restated with quantity 0. The event table keeps all versions; each says in
`superseded_timestamp` when the next one became known.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from recsys.ports import Engine
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, EVENT_TYPE, EVENTS, SUPERSEDED_TIMESTAMP


def known_sql(events: str, at: datetime) -> str:
    """Return SQL of the events known at a moment, each in its version of then.

    Args:
        events: name of the event table in the query.
        at: the moment.
    """
    moment = f"timestamptz '{at.isoformat()}'"
    return (
        f"select * from {events} where {CREATED_TIMESTAMP} <= {moment}"
        f" and ({SUPERSEDED_TIMESTAMP} is null or {SUPERSEDED_TIMESTAMP} > {moment})"
    )


def known(events: Any, at: datetime) -> Any:  # noqa: ANN401 - Ibis tables have no published types
    """Return the events that had happened and were known at a moment, each in its version of then, as Ibis tables."""
    moment = literal(at)
    superseded = events[SUPERSEDED_TIMESTAMP]
    return events.filter(
        (events[CREATED_TIMESTAMP] <= moment)
        & (events[EVENT_TIMESTAMP] < moment)
        & (superseded.isnull() | (superseded > moment))
    )


def fingerprint(engine: Engine, events: Path, at: datetime, types: Sequence[str] = ()) -> str:
    """Return a digest of all versions of events that were known at a moment; what comes later does not change it.

    Args:
        engine: runs the query.
        events: the event table.
        at: the moment.
        types: of these types only; of all by default.
    """
    columns = ", ".join(EVENTS.names)
    named = ", ".join("'" + name.replace("'", "''") + "'" for name in types)
    sql = (
        f"select count(*) as rows, cast(bit_xor(hash({columns})) as varchar) as hashed from events"
        f" where {CREATED_TIMESTAMP} <= timestamptz '{at.isoformat()}'"
        + (f" and {EVENT_TYPE} in ({named})" if types else "")
    )
    row = engine.query(sql, {"events": events}).to_pylist()[0]
    return f"{row['rows']}-{row['hashed']}"


def literal(moment: datetime) -> Any:  # noqa: ANN401 - an Ibis value
    """Return a moment as an Ibis value in UTC."""
    import ibis

    return ibis.literal(moment).cast("timestamp('UTC')")
