"""What may a shop's pages send, and how much of it?"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import pyarrow as pa
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)

from recsys import schema
from recsys.modeling.context import LARGEST_NUMBER, LONGEST_TEXT
from recsys.specs.placement import MOST_CONTEXT, ContextName
from recsys.web.problems import FieldProblem

LONGEST_ID: Final = 256
MOST_SLOTS: Final = 1_000
MOST_CANDIDATES: Final = 10_000
MOST_EVENTS: Final = 1_000
_SKEW: Final = timedelta(minutes=5)
"""Clocks of two machines may differ by so much."""
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]+$")]
"""An id of the shop's: any text without the character 0, which not every store can keep."""


def _written(value: object) -> object:
    """Refuse a number for a time: seconds, milliseconds or days, nobody knows."""
    if value is None or isinstance(value, str | datetime):
        return value
    message = "a time is a text, such as 2017-12-04T10:00:00Z"
    raise ValueError(message)


def _said(value: object) -> object:
    """Refuse what no context has; whether it is what the placement declares, the resolver knows."""
    if isinstance(value, str):
        if 0 < len(value) <= LONGEST_TEXT and "\x00" not in value:
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER:
        return value
    message = f"a number to {LARGEST_NUMBER:g}, or a text of 1 to {LONGEST_TEXT} characters without the character 0"
    raise ValueError(message)


_Said = Annotated[
    Any,
    PlainValidator(_said),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER},
                {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT, "pattern": r"^[^\x00]+$"},
            ]
        }
    ),
]

_Moment = Annotated[AwareDatetime, Field(ge=_EARLIEST)]


def _example(**body: Any) -> ConfigDict:  # noqa: ANN401 - of any body
    """Return what lets the OpenAPI document show a body that may be tried: nothing reads an event of its type."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class RecommendRequest(_Body):
    """Who asks for which list."""

    model_config = _example(placement="home", user_id="example", k=5)

    placement: Annotated[str, Field(min_length=1, max_length=100)]
    """A placement declared under registry/placements/."""
    user_id: Identifier
    """Whose list; a user that nobody knows gets one too."""
    session_id: Identifier | None = None
    """The visit: what happened in it is read by it, and experiments whose unit is the session need it."""
    k: Annotated[int, Field(ge=1, le=MOST_SLOTS, strict=True)] | None = None
    """Slots; the placement's by default."""
    request_id: Identifier | None = None
    """The answer's id, random by default; a retry with the same one is logged once."""
    candidates: Annotated[tuple[Identifier, ...], Field(max_length=MOST_CANDIDATES)] = ()
    """Item ids for the placement's `given` source; ids that it does not know are left out."""
    context: Annotated[
        dict[ContextName, _Said],
        Field(max_length=MOST_CONTEXT, json_schema_extra={"additionalProperties": False}),
    ] = Field(default_factory=dict)
    """What only the caller knows at this moment, as the placement's `context` declares it, such as the device: numbers,
    texts, and times as ISO texts with their offset. What is not given is unknown."""


class Event(_Body):
    """One thing that a user did."""

    event_id: Identifier
    """The same id is written once, however often it is sent."""
    event_type: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    """Such as click or purchase."""
    user_id: Identifier
    """Who did it."""
    item_id: Identifier | None = None
    """With which item; null of what concerns none, such as a visit."""
    session_id: Identifier | None = None
    """In which visit; features of the session follow it."""
    quantity: Annotated[float, Field(ge=0, le=1e9, strict=True)] = 1.0
    """Units; 0 of a cancelled purchase."""
    value: Annotated[float, Field(ge=0, le=1e12, strict=True)] = 0.0
    """Money in the shop's currency."""
    event_timestamp: Annotated[_Moment | None, BeforeValidator(_written)] = None
    """When it happened, with its offset from UTC; when it was received by default."""


class Events(_Body):
    """What happened, in one batch: all of it is written, or nothing."""

    model_config = _example(
        events=[{"event_id": "example-1", "event_type": "example", "user_id": "example", "item_id": "1"}]
    )

    events: Annotated[tuple[Event, ...], Field(min_length=1, max_length=MOST_EVENTS)]
    """In any order."""


def outcome_rows(events: tuple[Event, ...], now: datetime) -> pa.Table:
    """Return events as rows of `schema.EVENTS`, each id once.

    Args:
        events: one batch.
        now: the service's time, when they become known.

    Raises:
        FieldProblem: if one lies in the future, or differs from an earlier one of its id.
    """
    rows: dict[str, dict[str, Any]] = {}
    for number, event in enumerate(events):
        happened = event.event_timestamp or now
        if happened > now + _SKEW:
            rule = f"lies after the service's time, {now.isoformat()}"
            raise FieldProblem(("events", number, schema.EVENT_TIMESTAMP), rule)
        if event.event_id in rows and rows[event.event_id]["of"] != event:
            rule = "an earlier event of this batch has the same id and differs"
            raise FieldProblem(("events", number, schema.EVENT_ID), rule)
        happened = min(happened, now)
        rows[event.event_id] = {
            **event.model_dump(),
            schema.EVENT_TIMESTAMP: happened,
            schema.CREATED_TIMESTAMP: now,
            "of": event,
        }
    columns = {name: [row[name] for row in rows.values()] for name in schema.EVENTS.names}
    return pa.table(columns, schema=schema.EVENTS)
