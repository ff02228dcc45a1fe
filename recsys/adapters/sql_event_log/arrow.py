"""What is an Arrow table of the event log, on the way in and on the way out?"""

import math
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from recsys import schema
from recsys.errors import DataError

_NEVER_NULL: Final = (
    schema.EVENT_ID,
    schema.EVENT_TYPE,
    schema.USER,
    schema.EVENT_TIMESTAMP,
    schema.CREATED_TIMESTAMP,
)
"""Columns of `schema.EVENTS` that every outcome has."""


def checked_outcomes(outcomes: pa.Table) -> pa.Table:
    """Return outcomes as `schema.EVENTS`, ordered by id.

    Raises:
        DataError: if a column is missing, is of another type, or is null where it may not be.
    """
    missing = [name for name in schema.EVENTS.names if name not in outcomes.column_names]
    if missing:
        message = f"outcomes: column {missing[0]} is missing: they need {', '.join(schema.EVENTS.names)}"
        raise DataError(message)
    try:
        rows = outcomes.select(schema.EVENTS.names).cast(schema.EVENTS)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        message = f"outcomes: {str(error).splitlines()[0]}: the columns must be those of schema.EVENTS"
        raise DataError(message) from error
    for name in _NEVER_NULL:
        if rows[name].null_count:
            message = f"outcomes: {name} is null in {rows[name].null_count} rows: every outcome needs one"
            raise DataError(message)
    return rows.sort_by(schema.EVENT_ID)


def record_batch(rows: Sequence[Sequence[Any]], columns: pa.Schema) -> pa.RecordBatch:
    """Turn rows of a database into columns; times come as integer microseconds."""
    arrays = [_array(values, field) for values, field in zip(zip(*rows, strict=True), columns, strict=True)]
    return pa.record_batch(arrays, schema=columns)


def _array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if field.type == schema.TIMESTAMP:
        return pa.array(values, pa.int64()).cast(field.type)
    array = pa.array(values, field.type)
    # SQLite has no NaN and gives NULL; a slot always has a score, so there NULL can only be NaN.
    return array.fill_null(math.nan) if field.name in {schema.SCORE, schema.PROPENSITY} else array
