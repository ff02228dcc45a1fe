"""How does a funnel read, event by event? An oracle in plain Python that shares nothing with the SQL."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from recsys import schema
from recsys.problem.rows import Span, Stages, span_of

Row = dict[str, Any]
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
STAGES: Final = ("view", "click", "order")
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


def event(number: int, kind: str, hours: float, **changes: Any) -> Row:
    """Return an event so many hours after the start, known at once."""
    at = START + hours * HOUR
    return {
        "event_id": f"e{number}",
        "event_type": kind,
        "user_id": "u1",
        "item_id": "i1",
        "session_id": "s1",
        "quantity": 1.0,
        "value": 0.0,
        "event_timestamp": at,
        "created_timestamp": at,
        "superseded_timestamp": None,
    } | changes


def table(rows: list[Row]) -> pa.Table:
    """Return rows as the event table has them."""
    return pa.Table.from_pylist(rows, schema.EVENT_TABLE)


def span(stages: Stages, days: float = 4, **changes: Any) -> Span:
    """Return a span from the first day's end on, whose pre-period is that day."""
    fields = {"covariate_weeks": 1, "settle": timedelta(0)} | changes
    return span_of(stages, START + DAY, START + DAY + days * DAY, START + 90 * DAY, **fields)


@dataclass(frozen=True)
class Naive:
    """What the oracle counts."""

    events: list[int]
    users: list[int]
    visits: list[int] | None
    loose: list[int]
    value_after: list[float]
    value: float


def read(rows: list[Row], stages: Stages, within: Span) -> Naive:
    """Count one funnel by its definition."""
    kept = sorted(_kept(rows, stages, within), key=lambda row: row["event_timestamp"])
    entered = [_entry(row, kept, stages) for row in kept]
    counted = [
        (row, entry) for row, entry in zip(kept, entered, strict=True) if entry and within.start <= entry < within.until
    ]
    inside = [(row, entry) for row, entry in zip(kept, entered, strict=True) if row["event_timestamp"] >= within.start]
    finals = [row for row, _ in inside if row["event_type"] == stages.names[-1]]
    by_stage = [[row for row, _ in counted if row["event_type"] == name] for name in stages.names]
    return Naive(
        events=[len(of) for of in by_stage],
        users=[len({row["user_id"] for row in of}) for of in by_stage],
        visits=None
        if stages.window is not None
        else [len({(row["user_id"], row["session_id"]) for row in of}) for of in by_stage],
        loose=[sum(row["event_type"] == name and entry is None for row, entry in inside) for name in stages.names],
        value_after=[
            sum(row["value"] for row in finals if _reached(row, kept, name, stages)) for name in stages.names[:-1]
        ],
        value=sum(row["value"] for row in finals),
    )


def _kept(rows: list[Row], stages: Stages, within: Span) -> Iterator[Row]:
    seen = set()
    for row in rows:
        if row["event_type"] not in stages.names or row["event_id"] in seen:
            continue
        seen.add(row["event_id"])
        if row["quantity"] > 0 and within.first <= row["event_timestamp"] < within.end:
            yield row


def _together(one: Row, other: Row, stages: Stages) -> bool:
    if one["user_id"] != other["user_id"]:
        return False
    return stages.window is not None or (one["session_id"] is not None and one["session_id"] == other["session_id"])


def _entry(row: Row, kept: list[Row], stages: Stages) -> datetime | None:
    place = stages.names.index(row["event_type"])
    if place == 0:
        return row["event_timestamp"] if stages.window is not None or row["session_id"] is not None else None
    before = [
        _entry(other, kept, stages)
        for other in kept
        if other["event_type"] == stages.names[place - 1]
        and other["event_timestamp"] <= row["event_timestamp"]
        and _together(row, other, stages)
    ]
    latest = max((each for each in before if each is not None), default=None)
    if latest is None or (stages.window is not None and row["event_timestamp"] - latest > stages.window):
        return None
    return latest


def _reached(row: Row, kept: list[Row], name: str, stages: Stages) -> bool:
    return any(
        other["event_type"] == name
        and other["event_timestamp"] <= row["event_timestamp"]
        and _together(row, other, stages)
        and (stages.window is None or row["event_timestamp"] - other["event_timestamp"] <= stages.window)
        for other in kept
    )
