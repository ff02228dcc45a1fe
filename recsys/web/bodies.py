"""What may a shop's pages send, and how much of it?"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

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

from recsys.modeling.context import LARGEST_NUMBER, LONGEST_TEXT
from recsys.specs.placement import MOST_CONTEXT, ContextName

LONGEST_ID: Final = 256
MOST_SLOTS: Final = 1_000
MOST_CANDIDATES: Final = 10_000
MOST_EVENTS: Final = 1_000
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


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RecommendRequest(_Body):
    """Who asks for which list."""

    placement: Annotated[str, Field(min_length=1, max_length=100)]
    """A placement declared under registry/placements/."""
    user_id: Identifier
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
    item_id: Identifier | None = None
    session_id: Identifier | None = None
    quantity: Annotated[float, Field(ge=0, le=1e9, strict=True)] = 1.0
    """Units; 0 of a cancelled purchase."""
    value: Annotated[float, Field(ge=0, le=1e12, strict=True)] = 0.0
    """Money in the shop's currency."""
    event_timestamp: Annotated[_Moment | None, BeforeValidator(_written)] = None
    """When it happened, with its offset from UTC; when it was received by default."""


class Events(_Body):
    """What happened, in one batch: all of it is written, or nothing."""

    events: Annotated[tuple[Event, ...], Field(min_length=1, max_length=MOST_EVENTS)]
