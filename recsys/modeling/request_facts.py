"""What is known of the units and items of past requests beside their features: enough to tell results apart by them.

How much a unit had done before it was asked for, which of the items it took were new, to which segment an item
belongs, and how many units ever took it.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa

from recsys.data.knowledge import known_sql
from recsys.errors import ModelError
from recsys.ports import Engine
from recsys.schema import EVENT_TIMESTAMP, ITEM, TIMESTAMP, USER
from recsys.specs.problem import Problem

NEW_FOR: Final = timedelta(days=28)
"""An item is new so long after its first target event."""

NO_ITEMS_TAKEN: Final = pa.schema([("request", pa.int64()), (ITEM, pa.string()), ("new", pa.bool_())])
ITEM_FACTS: Final = pa.schema([(ITEM, pa.string()), ("segment", pa.string()), ("buyers", pa.int64())])
"""What a problem without items has no row of."""

_HISTORY: Final = """
select r.number, count(distinct coalesce(e.session_id, e.event_id)) as history
from requests r join events e on e.user_id = r.user_id
  and e.event_timestamp <= r.moment and e.created_timestamp <= r.moment
  and (e.superseded_timestamp is null or e.superseded_timestamp > r.moment)
where e.event_type = '{event}' and e.quantity > 0
group by r.number
"""

_TAKEN: Final = """
with first_taken as (
    select item_id, min(event_timestamp) as first_timestamp from ({events})
    where event_type = '{event}' and quantity > 0 and item_id is not null group by item_id)
select r.number as request, p.item_id, f.first_timestamp > r.moment - interval {new} second as new
from positives p join requests r on p.user_id = r.user_id and p.event_timestamp = r.moment
left join first_taken f on f.item_id = p.item_id
order by request, p.item_id
"""

_ITEMS: Final = """
with buyers as (
    select item_id, count(distinct user_id) as buyers from ({events})
    where event_type = '{event}' and quantity > 0 and event_timestamp < {before} group by item_id)
select a.item_id, {segment} as segment, coalesce(b.buyers, 0)::bigint as buyers
from asked a left join items i using (item_id) left join buyers b using (item_id)
order by a.item_id
"""

_UNITS: Final = """
select count(distinct user_id) as units from ({events})
where event_type = '{event}' and quantity > 0 and event_timestamp < {before}
"""


def histories(
    engine: Engine, events: Path, event: str, users: pa.Array | pa.ChunkedArray, moments: pa.Array | pa.ChunkedArray
) -> pa.Array:
    """Return in how many visits each unit had an event before each moment, as known at that moment.

    A visit is a session; an event without one is a visit of its own.

    Args:
        engine: runs the query.
        events: parquet of `schema.EVENT_TABLE`.
        event: its type.
        users: [requests] unit ids.
        moments: [requests] timestamps.

    Returns:
        [requests] int64.
    """
    requests = _requests(users, moments)
    found = engine.query(_HISTORY.format(event=_quoted(event)), {"requests": requests, "events": events})
    counts = [0] * len(requests)
    for number, count in zip(found["number"].to_pylist(), found["history"].to_pylist(), strict=True):
        counts[number] = count
    return pa.array(counts, pa.int64())


def taken_items(
    engine: Engine,
    events: Path,
    event: str,
    positives: pa.Table,
    users: pa.Array,
    moments: pa.Array,
    known_at: datetime,
) -> pa.Table:
    """Return every item taken after each request, candidate or not.

    Args:
        engine: runs the query.
        events: parquet of `schema.EVENT_TABLE`.
        event: its type.
        positives: event_timestamp, user_id, item_id of what was taken after each decision time.
        users: [requests] unit ids.
        moments: [requests] decision times.
        known_at: events created after this moment do not exist yet.

    Returns:
        request (int64), item_id, new (bool): whether the item was first taken by anybody less than 28 days before the
        request, or after it.
    """
    sql = _TAKEN.format(events=known_sql("events", known_at), event=_quoted(event), new=int(NEW_FOR.total_seconds()))
    taken = positives.select([EVENT_TIMESTAMP, USER, ITEM])
    return engine.query(sql, {"events": events, "positives": taken, "requests": _requests(users, moments)})


def item_facts(
    engine: Engine, tables: Path, problem: Problem, items: pa.Array, before: datetime, known_at: datetime
) -> pa.Table:
    """Return the segment of each item, and how many units took it before a moment.

    Args:
        engine: runs the query.
        tables: the folder of events.parquet and items.parquet.
        problem: names the event and the column of the item table that is the segment.
        items: distinct ids.
        before: the moment.
        known_at: events created after this moment do not exist yet.

    Returns:
        item_id, segment (string, null where there is none), buyers (int64), by item id.

    Raises:
        ModelError: if the item table has no such column.
    """
    segment = "null::varchar"
    if problem.item_segment is not None:
        columns = engine.query("select * from items limit 0", {"items": tables / "items.parquet"}).column_names
        if problem.item_segment not in columns:
            message = (
                f"item_segment {problem.item_segment!r}: the item table has no such column; it has {', '.join(columns)}"
            )
            raise ModelError(message)
        segment = f'i."{problem.item_segment}"::varchar'
    sql = _ITEMS.format(
        events=known_sql("events", known_at),
        event=_quoted(problem.target.event),
        before=_literal(before),
        segment=segment,
    )
    asked = pa.table({ITEM: items.cast(pa.string())})
    sources = {"events": tables / "events.parquet", "items": tables / "items.parquet", "asked": asked}
    return engine.query(sql, sources)


def count_units(engine: Engine, events: Path, event: str, before: datetime, known_at: datetime) -> int:
    """Return how many units had an event before a moment."""
    sql = _UNITS.format(events=known_sql("events", known_at), event=_quoted(event), before=_literal(before))
    return int(engine.query(sql, {"events": events})["units"][0].as_py())


def _requests(users: pa.Array, moments: pa.Array) -> pa.Table:
    numbers = pa.array(range(len(users)), pa.int64())
    return pa.table({"number": numbers, USER: users, "moment": moments.cast(TIMESTAMP)})


def _literal(moment: datetime) -> str:
    return f"timestamptz '{moment.isoformat()}'"


def _quoted(text: str) -> str:
    return text.replace("'", "''")
