"""Which events of a log are the funnel's, and which part of the log is looked at?

Each event counts once, by its id, in the version known at the moment of asking; a cancelled one (quantity 0) is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from recsys.errors import DataError
from recsys.schema import (
    CREATED_TIMESTAMP,
    EVENT_ID,
    EVENT_TIMESTAMP,
    EVENT_TYPE,
    ITEM,
    QUANTITY,
    SESSION,
    SUPERSEDED_TIMESTAMP,
    USER,
    VALUE,
)
from recsys.specs.base import format_duration

EVENTS: Final = "events"
USERS: Final = "users"
ITEMS: Final = "items"
SEEN: Final = "any event"
"""The stage before the target where no funnel is declared: any event of the unit."""
UNKNOWN: Final = "(unknown)"
"""The segment of units or items that have none."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Stages:
    """The stages of a funnel and when one follows another."""

    names: tuple[str, ...]
    """Event types from the widest to the narrowest; the first may be `SEEN`."""
    window: timedelta | None
    """So long after the latest event of the first stage, or None: in the same session."""

    @property
    def final(self) -> int:
        """The number of the last stage."""
        return len(self.names) - 1

    @property
    def any_event(self) -> bool:
        """Whether the first stage is any event at all."""
        return self.names[0] == SEEN


@dataclass(frozen=True)
class Span:
    """Which part of a log is looked at; events happen in [start, end)."""

    start: datetime
    end: datetime
    known: datetime
    """As known then."""
    covariate: datetime
    """The pre-period is [covariate, start)."""
    until: datetime
    """Who enters from here on is left out: what follows may still come."""
    first: datetime
    """Nothing earlier is read: an event of the first stage before it leads to nothing in the span."""

    @property
    def days(self) -> int:
        """Whole days in which units enter."""
        return (self.until - self.start) // _DAY


@dataclass(frozen=True)
class Segments:
    """By which column a funnel is told apart."""

    column: str
    table: Literal["users", "items"]


def span_of(
    stages: Stages, start: datetime, end: datetime, known: datetime, *, covariate_weeks: int, settle: timedelta
) -> Span:
    """Return the part of a log between two moments, with what has to be read before it.

    Args:
        stages: of the funnel.
        start: its first moment.
        end: its last; moved to `known` where that is earlier.
        known: what became known later is not used.
        covariate_weeks: of the pre-period.
        settle: how long an event may still be restated.

    Raises:
        DataError: if no whole day is left in which units enter.
    """
    end = min(end, known)
    window = stages.window or timedelta(0)
    until, covariate = end - window - settle, start - timedelta(weeks=covariate_weeks)
    span = Span(start, end, known, covariate, until, min(covariate, start - window))
    if span.days < 1:
        message = (
            f"funnel from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}: no whole day is left before the end once what"
            f" follows has {in_words(window)} to come and {in_words(settle)} to settle; look at more: an earlier --from"
            " or a later --to"
        )
        raise DataError(message)
    return span


def rows_sql(stages: Stages, span: Span, segments: Segments | None = None) -> str:
    """Return SQL of a funnel's events: segment, user_id, session_id, stage (0 the widest), happened, quantity, value.

    A value that is missing, not finite or below 0 is 0. By items, stages whose events have none are left out.
    """
    types = "true" if stages.any_event else f"{EVENT_TYPE} in ({', '.join(map(quoted, stages.names))})"
    columns = f"{EVENT_ID}, {EVENT_TYPE}, {USER}, {SESSION}, {ITEM}, {QUANTITY}, {VALUE}, happened, {CREATED_TIMESTAMP}"
    newest = (
        f"{CREATED_TIMESTAMP} desc, {QUANTITY} desc, {VALUE} desc, happened, {USER}, {EVENT_TYPE}, {ITEM}, {SESSION}"
    )
    return f"""
with usable as (
    select *, {EVENT_TIMESTAMP} as happened from {EVENTS}
    where {readable_sql(span)} and {EVENT_TIMESTAMP} >= {moment(span.first)} and {types}),
repeated as (select hash({EVENT_ID}) as hashed from usable group by hashed having count(*) > 1),
once as (
    select {columns} from usable where hash({EVENT_ID}) not in (from repeated)
    union all
    select {columns} from usable where hash({EVENT_ID}) in (from repeated)
    qualify row_number() over (partition by {EVENT_ID} order by {newest}) = 1),
events_once as (from once where {counts_sql()})
select {_segment(segments)} as segment, {USER}, {SESSION}, stage, happened, {QUANTITY},
       case when isfinite({VALUE}) and {VALUE} > 0 then {VALUE} else 0 end as {VALUE}
from ({_staged(stages)}) as staged {_joined(segments)}
"""


def readable_sql(span: Span) -> str:
    """Return the condition that an event says who, what and when, in its version known at the span's moment."""
    return (
        f"{whole_sql()} and {CREATED_TIMESTAMP} <= {moment(span.known)}"
        f" and ({SUPERSEDED_TIMESTAMP} is null or {SUPERSEDED_TIMESTAMP} > {moment(span.known)})"
        f" and {EVENT_TIMESTAMP} < {moment(span.end)}"
    )


def whole_sql() -> str:
    """Return the condition that nothing is missing that an event needs."""
    needed = (EVENT_ID, EVENT_TYPE, USER, EVENT_TIMESTAMP, CREATED_TIMESTAMP)
    return " and ".join([*(f"{name} is not null" for name in needed), f"isfinite({QUANTITY})"])


def counts_sql() -> str:
    """Return the condition that an event was not cancelled."""
    return f"{QUANTITY} > 0"


def in_words(length: timedelta) -> str:
    """Return a length of time as people say it: 7 days, 1 day, 12h."""
    if length % _DAY:
        return format_duration(length)
    days = length // _DAY
    return f"{days:,} {'day' if days == 1 else 'days'}"


def moment(at: datetime) -> str:
    """Return a moment as SQL."""
    return f"timestamptz '{at.isoformat()}'"


def quoted(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def _staged(stages: Stages) -> str:
    if stages.any_event:
        target = quoted(stages.names[-1])
        return (
            "select *, 0 as stage from events_once"
            f" union all select *, 1 as stage from events_once where {EVENT_TYPE} = {target}"
        )
    cases = " ".join(f"when {quoted(name)} then {number}" for number, name in enumerate(stages.names))
    return f"select *, case {EVENT_TYPE} {cases} end as stage from events_once"


def _segment(segments: Segments | None) -> str:
    return "''" if segments is None else f"coalesce(segment_of, {quoted(UNKNOWN)})"


def _joined(segments: Segments | None) -> str:
    if segments is None:
        return ""
    key = USER if segments.table == USERS else ITEM
    column = '"' + segments.column.replace('"', '""') + '"'
    named = f"select {key}, min(cast({column} as varchar)) as segment_of from {segments.table} group by {key}"
    only = "" if segments.table == USERS else f" where {ITEM} is not null"
    return f"left join ({named}) as named using ({key}){only}"


def with_items(stages: Stages, named: Sequence[int]) -> Stages:
    """Return the stages without those before the first one whose events have items.

    Args:
        stages: of the funnel.
        named: events with an item, by stage.

    Raises:
        DataError: if no event of the last stage has an item.
    """
    if not named[-1]:
        message = (
            f"funnel by a column of items: no event {stages.names[-1]} has an {ITEM}; take a column of users, or none"
        )
        raise DataError(message)
    first = next(number for number, count in enumerate(named) if count)
    return Stages(stages.names[first:], stages.window)
