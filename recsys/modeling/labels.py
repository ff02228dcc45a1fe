"""What did a unit do within the horizon after a decision, as known at some moment?"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from recsys.errors import ModelError
from recsys.ports import Engine
from recsys.specs.problem import Target

_POSITIVES = """
select d.decision_time as event_timestamp, e.user_id, e.item_id, sum(e.quantity) as quantity
from events e join decisions d
  on e.event_timestamp > d.decision_time and e.event_timestamp <= d.window_end
where e.event_type = '{event}' and e.created_timestamp <= timestamptz '{known_at}' and e.item_id is not null
group by all having sum(e.quantity) > 0
order by all
"""


def positives(
    engine: Engine, events: Path, target: Target, decision_times: Sequence[datetime], known_at: datetime
) -> pa.Table:
    """Return what was taken: one row per decision time, unit and item with the target event in (t, t + horizon].

    Args:
        engine: runs the query.
        events: parquet of `schema.EVENTS`.
        target: event, horizon and settle delay.
        decision_times: moments t, all mature at `known_at`.
        known_at: events created after this moment do not exist yet.

    Returns:
        event_timestamp (the decision time), user_id, item_id, quantity (float64).

    Raises:
        ModelError: if a decision time is immature: part of its outcome is still to come.
    """
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
            "decision_time": pa.array(decision_times, pa.timestamp("us", tz="UTC")),
            "window_end": pa.array([t + target.horizon for t in decision_times], pa.timestamp("us", tz="UTC")),
        }
    )
    query = _POSITIVES.format(event=target.event.replace("'", "''"), known_at=known_at.isoformat())
    return engine.query(query, {"events": events, "decisions": decisions})
