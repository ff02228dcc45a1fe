"""Which rows of a shop's data may come in? What is refused is counted and kept aside, with its reason.

Events are judged row by row, in this order: what must be there, ranges, times, then uniqueness: one row a version of an
event. What a version may restate is quantity, value and session; another time, user, item or type is another event.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from recsys.errors import DataError
from recsys.schema import (
    CREATED_TIMESTAMP,
    EVENT_ID,
    EVENT_TIMESTAMP,
    EVENT_TYPE,
    ITEM,
    QUANTITY,
    SUPERSEDED_TIMESTAMP,
    USER,
    VALUE,
)
from recsys.schema import EVENTS as EVENT_SCHEMA
from recsys.specs.environment import EventContract

REASON: Final = "reason"

_SAME: Final = (EVENT_TIMESTAMP, USER, ITEM, EVENT_TYPE)
"""What all versions of one event share."""

_ABSENT: Final = {QUANTITY: "1", VALUE: "0"}
"""What a column reads as that was not delivered at all."""


def typed_sql(table: str, found: pa.Schema, wanted: pa.Schema, required: Sequence[str]) -> str:
    """Return SQL that reads a delivered table with the columns and types of the house.

    Numbers become doubles, times UTC with microseconds (a time without a zone is read as UTC). Columns that are not
    required and not delivered are null, quantity 1 and value 0; what else was delivered is left out.

    Args:
        table: its name, in the query and in errors.
        found: its schema as delivered.
        wanted: the schema of the house.
        required: columns that must be delivered.

    Raises:
        DataError: naming a column that is missing or of another kind.
    """
    parts = []
    for field in wanted:
        kind = _kind(field.type)
        if field.name not in found.names:
            if field.name in required:
                message = f"{table}: column {field.name} ({kind}) is missing; it has {', '.join(found.names)}"
                raise DataError(message)
            parts.append(f"cast({_ABSENT.get(field.name, 'null')} as {_SQL_TYPES[kind]}) as {field.name}")
            continue
        given = _kind(found.field(field.name).type)
        if given not in {kind, "null"}:
            message = (
                f"{table}: column {field.name}: {found.field(field.name).type}; it has to be a {kind}: convert it where"
                " it is delivered"
            )
            raise DataError(message)
        parts.append(f"cast({field.name} as {_SQL_TYPES[kind]}) as {field.name}")
    return f"select {', '.join(parts)} from {table}"


def judged_events_sql(typed: str, contract: EventContract, latest: str | None) -> str:
    """Return SQL of all delivered events with `reason` (null: accepted) and `superseded_timestamp`.

    Args:
        typed: SQL of the events with the columns of `schema.EVENTS`.
        contract: ranges and kinds.
        latest: nothing may have become known after this (an ISO time); None where past data is replayed.
    """
    cases = " ".join(f"when {condition} then '{reason}'" for reason, condition in _rules(contract, latest).items())
    columns = ", ".join(EVENT_SCHEMA.names)
    order = f"{CREATED_TIMESTAMP}, {QUANTITY} desc, {VALUE} desc, {', '.join(_SAME)}, session_id"
    differs = " or ".join(f"{name} is distinct from first_{name}" for name in _SAME)
    firsts = ", ".join(f"first_value({name}) over versions as first_{name}" for name in _SAME)
    return f"""
with judged as (select *, case {cases} end as {REASON} from ({typed})),
repeated as (select {EVENT_ID} from judged where {REASON} is null group by {EVENT_ID} having count(*) > 1),
of_them as (select judged.* from judged semi join repeated using ({EVENT_ID}) where {REASON} is null),
numbered as (
    select *, row_number() over (partition by {EVENT_ID}, {CREATED_TIMESTAMP} order by {order}) as copy, {firsts}
    from of_them window versions as (partition by {EVENT_ID} order by {order})),
compared as (
    select {columns}, case when copy > 1 then 'the same version of an event twice'
                           when {differs} then 'restates another time, user, item or type' end as {REASON}
    from numbered)
select judged.{", judged.".join(EVENT_SCHEMA.names)}, {REASON}, cast(null as timestamptz) as {SUPERSEDED_TIMESTAMP}
from judged where {REASON} is not null or {EVENT_ID} not in (select {EVENT_ID} from repeated)
union all
select {columns}, {REASON}, null from compared where {REASON} is not null
union all
select {columns}, {REASON}, lead({CREATED_TIMESTAMP}) over (partition by {EVENT_ID} order by {CREATED_TIMESTAMP})
from compared where {REASON} is null
"""


def judged_rows_sql(typed: str, key: str, columns: Sequence[str]) -> str:
    """Return SQL of a catalogue's rows with `reason` (null: accepted): each key once."""
    return f"""
select *, case when {key} is null then '{key} is missing'
               when row_number() over (partition by {key} order by {", ".join(columns)}) > 1 then '{key} twice'
          end as {REASON}
from ({typed})
"""


def _rules(contract: EventContract, latest: str | None) -> Mapping[str, str]:
    """Return reasons and the conditions of a refusal; the first that holds counts."""
    missing = (EVENT_ID, EVENT_TYPE, USER, EVENT_TIMESTAMP, CREATED_TIMESTAMP)
    rules = {f"{name} is missing": f"{name} is null" for name in missing}
    if contract.event_types is not None:
        known = ", ".join("'" + name.replace("'", "''") + "'" for name in contract.event_types)
        rules["event_type is not in the contract"] = f"{EVENT_TYPE} not in ({known})" if known else "true"
    for name, maximum in ((QUANTITY, contract.maximum_quantity), (VALUE, contract.maximum_value)):
        # NaN is larger than every number in DuckDB, so it is out of range too.
        rules[f"{name} is missing or not in 0 to {maximum:,.0f}"] = (
            f"{name} is null or {name} < 0 or {name} > {maximum!r}"
        )
    rules["known before it happened"] = f"{CREATED_TIMESTAMP} < {EVENT_TIMESTAMP}"
    if latest is not None:
        rules["known in the future"] = f"{CREATED_TIMESTAMP} > timestamptz '{latest}'"
    return rules


_SQL_TYPES: Final = {"text": "varchar", "number": "double", "time": "timestamptz"}


def _kind(of: pa.DataType) -> str:
    if pa.types.is_dictionary(of):
        of = of.value_type
    if pa.types.is_string(of) or pa.types.is_large_string(of) or of == pa.string_view():
        return "text"
    if pa.types.is_timestamp(of):
        return "time"
    if pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of):
        return "number"
    return "null" if pa.types.is_null(of) else str(of)
