"""What did a unit do within the horizon after a decision, as known at some moment: with which items, or at all?"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from recsys.data.knowledge import known_sql
from recsys.errors import ModelError
from recsys.ports import Engine
from recsys.schema import TIMESTAMP
from recsys.specs.problem import Target

_POSITIVES: Final = """
select d.decision_time as event_timestamp, e.user_id, e.item_id, sum(e.quantity) as quantity,
       {measured}::double as label
from ({events}) e join decisions d
  on e.event_timestamp > d.decision_time and e.event_timestamp <= d.window_end
where e.event_type = '{event}' and e.item_id is not null
group by 1, 2, 3 having sum(e.quantity) > 0
order by 1, 2, 3
"""

_UNITS: Final = """
select d.decision_time as event_timestamp, e.user_id, {measured}::double as label
from ({events}) e join decisions d
  on e.event_timestamp > d.decision_time and e.event_timestamp <= d.window_end
where e.event_type = '{event}'
group by 1, 2 having sum(e.quantity) > 0
order by 1, 2
"""

# Sums of integers are the same in every order: of whole cents, of millionths of a unit.
MEASURES: Final = {
    "event": "1",
    "count": "coalesce(sum(round(e.quantity * 1000000)::bigint), 0) / 1000000",
    "amount": "coalesce(sum(round(e.value * 100)::bigint), 0) / 100",
}
"""What a label is, over the target events `e` of one unit (and item) within the horizon."""

# An event is credited once: to the last time its item was shown to its unit before it.
_ATTRIBUTED: Final = """
with taken as (select * from ({events}) where event_type = '{event}' and quantity > 0 and item_id is not null),
credited as (
    select s.request_id, s.item_id, e.quantity,
           row_number() over (partition by e.event_id order by s.event_timestamp desc, s.request_id desc) as place
    from taken e join shown s on e.user_id = s.user_id and e.item_id = s.item_id
      and e.event_timestamp > s.event_timestamp and e.event_timestamp <= s.window_end)
select request_id, item_id, sum(quantity) as quantity from credited where place = 1 group by all order by all
"""

_SO_FAR: Final = """
select count(*) as rows from ({events}) e
where e.event_type = '{event}' and e.quantity > 0 and e.event_timestamp > {after}
"""


def positives(
    engine: Engine, events: Path, target: Target, decision_times: Sequence[datetime], known_at: datetime
) -> pa.Table:
    """Return what was taken: one row per decision time, unit and item with the target event in (t, t + horizon].

    A cancelled event counts until its cancellation is known.

    Args:
        engine: runs the query.
        events: parquet of `schema.EVENT_TABLE`.
        target: event, measure, horizon and settle delay.
        decision_times: moments t, all mature at `known_at`.
        known_at: events created after this moment do not exist yet.

    Returns:
        event_timestamp (the decision time), user_id, item_id, quantity (float64), label (float64: 1, or the quantity or
        amount that the target measures).

    Raises:
        ModelError: if a decision time is immature: part of its outcome is still to come.
    """
    return _labelled(_POSITIVES, engine, events, target, decision_times, known_at)


def unit_labels(
    engine: Engine, events: Path, target: Target, decision_times: Sequence[datetime], known_at: datetime
) -> pa.Table:
    """Return which units acted: one row per decision time and unit with the target event in (t, t + horizon].

    The event may be of an item or of none. A cancelled event counts until its cancellation is known.

    Args:
        engine: runs the query.
        events: parquet of `schema.EVENT_TABLE`.
        target: event, measure, horizon and settle delay.
        decision_times: moments t, all mature at `known_at`.
        known_at: events created after this moment do not exist yet.

    Returns:
        event_timestamp (the decision time), user_id, label (float64: 1, or the sum of what the target measures).

    Raises:
        ModelError: if a decision time is immature: part of its outcome is still to come.
    """
    return _labelled(_UNITS, engine, events, target, decision_times, known_at)


def _labelled(
    query: str, engine: Engine, events: Path, target: Target, decision_times: Sequence[datetime], known_at: datetime
) -> pa.Table:
    wait = target.horizon + target.settle_delay
    young = [moment for moment in decision_times if moment + wait > known_at]
    if young:
        message = (
            f"labels of {young[0]:%Y-%m-%d}: immature until {young[0] + wait:%Y-%m-%d %H:%M}, and it is"
            f" {known_at:%Y-%m-%d %H:%M};"
            " choose earlier decision times"
        )
        raise ModelError(message)
    decisions = pa.table(
        {
            "decision_time": pa.array(decision_times, TIMESTAMP),
            "window_end": pa.array([t + target.horizon for t in decision_times], TIMESTAMP),
        }
    )
    sql = query.format(
        events=known_sql("events", known_at), event=_quoted(target.event), measured=MEASURES[target.measure]
    )
    return engine.query(sql, {"events": events, "decisions": decisions})


def attributed(engine: Engine, events: Path, target: Target, shown: pa.Table, known_at: datetime) -> pa.Table:
    """Return what was taken of what was shown: each event credited to the last exposure of its item before it.

    Args:
        engine: runs the query.
        events: parquet of `schema.EVENT_TABLE`.
        target: event and horizon.
        shown: request_id, user_id, item_id, event_timestamp (when it was shown), all mature at `known_at`.
        known_at: events created after this moment do not exist yet.

    Returns:
        request_id, item_id, quantity (float64) of the slots that led to a target event.
    """
    ends = pa.array([at + target.horizon for at in shown["event_timestamp"].to_pylist()], TIMESTAMP)
    query = _ATTRIBUTED.format(events=known_sql("events", known_at), event=_quoted(target.event))
    return engine.query(query, {"events": events, "shown": shown.append_column("window_end", ends)})


def count_after(engine: Engine, events: Path, target: Target, after: datetime, known_at: datetime) -> int:
    """Return how many target events after a moment are known: what immature decision times leave out so far."""
    query = _SO_FAR.format(
        events=known_sql("events", known_at),
        event=_quoted(target.event),
        after=f"timestamptz '{after.isoformat()}'",
    )
    return int(engine.query(query, {"events": events})["rows"][0].as_py())


def _quoted(text: str) -> str:
    return text.replace("'", "''")
