"""What do all declarations have in common?"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from recsys.errors import SpecError

_DURATION: Final = re.compile(r"^(\d+)\s*(ms|[smhdw])$")
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Spec(BaseModel):
    """A frozen, closed declaration: unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class PlacedError(ValueError):
    """A rule over several fields that is broken by the value of one, which a validator of all of them finds.

    Attributes:
        where: the path to the field, from the declaration whose validator raises it.
        value: what stands there.
    """

    def __init__(self, where: Sequence[str], value: Any, rule: str) -> None:  # noqa: ANN401 - any value of a YAML
        """Keep where it is; the message is the rule."""
        self.where = tuple(where)
        self.value = value
        super().__init__(rule)


def parse_duration(value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever stands in the YAML
    """Read `7d`, `12h`, `30m`, `45s`, `300ms` or `2w` as a `timedelta`."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(str(value).strip())
    if match is None:
        message = "a duration is a whole number and a unit, one of ms, s, m, h, d, w (7d)"
        raise ValueError(message)
    try:
        return timedelta(milliseconds=int(match[1]) * _MILLISECONDS[match[2]])
    except OverflowError as error:
        message = "a duration is shorter than three million years"
        raise ValueError(message) from error


def format_duration(value: timedelta) -> str:
    """Write a `timedelta` the way it is declared, in the largest unit that divides it."""
    total = value // timedelta(milliseconds=1)
    for unit in ("w", "d", "h", "m"):
        if total and total % _MILLISECONDS[unit] == 0:
            return f"{total // _MILLISECONDS[unit]}{unit}"
    return f"{total}ms" if total % _MILLISECONDS["s"] else f"{total // _MILLISECONDS['s']}s"


def parse_moment(value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever stands in the YAML
    """Read a date or a time as UTC; a bare date is its midnight, a time without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            message = "a moment is a date (2017-12-04) or an ISO time (2017-12-04T06:00:00Z)"
            raise ValueError(message) from error
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    message = "a moment is a date (2017-12-04) or an ISO time (2017-12-04T06:00:00Z)"
    raise ValueError(message)


def read_moment(text: str) -> datetime:
    """Read a date or an ISO time given by hand.

    Raises:
        SpecError: if it is neither.
    """
    try:
        moment: datetime = parse_moment(text)
    except ValueError as error:
        raise SpecError([f"{text}: {error}"]) from error
    return moment


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]
"""A length of time, declared as `7d`, `12h`, `30m`, `45s`, `300ms` or `2w`."""

Moment = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    PlainSerializer(lambda value: value.isoformat(), return_type=str),
]
"""A point in time, declared as a date or an ISO time; UTC unless it says otherwise."""
