"""Did events come to an end before the labels of past decisions were complete?

A decision whose horizon is over has its label by the clock. If no events came since, because they were not ingested or
are no longer sent, that label says that nobody did anything. A shop that is closed on some days has silences too: only
one that is longer than all of the half year before counts.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from recsys.data.knowledge import known_sql
from recsys.ports import Engine
from recsys.schema import EVENT_TYPE

_HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SILENCE: Final = """
with hours as (select distinct cast(floor(epoch(event_timestamp) / 3600) as bigint) as hour from ({known}) {where}),
gaps as (select hour, hour - lag(hour) over (order by hour) as gap from hours)
select max(hour) as newest, coalesce(max(gap) filter (hour > (select max(hour) from hours) - {back}), 0) as longest
from gaps
"""
_BACK: Final = 26 * 7 * 24
"""Hours before the newest event: what a shop was like when it began says nothing of now."""


@dataclass(frozen=True)
class Silence:
    """How long some events have not come."""

    of: str
    """An event type; `event` where all types count."""
    newest: datetime
    """The end of the hour of the newest one."""
    longest: timedelta
    """The longest time between two of them in the half year before the newest, to the hour."""
    now: datetime

    @property
    def days(self) -> float:
        """Return for how long none came."""
        return (self.now - self.newest) / timedelta(days=1)

    @property
    def longest_days(self) -> float:
        """Return the longest silence before."""
        return self.longest / timedelta(days=1)

    def covers(self, until: datetime) -> bool:
        """Say whether a time up to `until` has its events, as far as past silences tell."""
        return until <= self.newest + self.longest


def silence(engine: Engine, events: Path, now: datetime, event_type: str | None = None) -> Silence | None:
    """Return since when no events came, as known now; None where there never was one.

    Args:
        engine: runs the query.
        events: parquet of `schema.EVENT_TABLE`.
        now: events that are created later do not exist yet.
        event_type: such as purchase; by default events of any type count.
    """
    quoted = None if event_type is None else event_type.replace("'", "''")
    where = "" if quoted is None else f"where {EVENT_TYPE} = '{quoted}'"
    sql = _SILENCE.format(known=known_sql("events", now), where=where, back=_BACK)
    (row,) = engine.query(sql, {"events": events}).to_pylist()
    if row["newest"] is None:
        return None
    newest = _EPOCH + _HOUR * (row["newest"] + 1)
    return Silence(event_type or "event", newest, _HOUR * row["longest"], now)
