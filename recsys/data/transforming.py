"""Which rows does a table's transform give for a step, or for some units at a moment? As Ibis tables of any engine."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from recsys.data.knowledge import known, literal
from recsys.data.steps import inputs_of, new_rows, newest_rows
from recsys.data.streams import checked, counted, first_events, stream_rows
from recsys.ports import FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP

Transform = Callable[..., Any]
"""A transform that is given every source by its name, and `until` where its table is not a stream's."""


def step_rows(
    transform: Transform,
    inputs: Mapping[str, Any],
    existing: Any | None,  # noqa: ANN401 - Ibis tables have no published types
    table: FeatureTable,
    step: Step,
) -> Any:  # noqa: ANN401 - as above
    """Return the rows that a step appends to a table, in the order of time, keys and when they were known.

    Args:
        transform: the table's.
        inputs: its sources as Ibis tables; `events` is one.
        existing: the rows of earlier steps, or None where there are none.
        table: which table.
        step: which periods, or which rows of a stream.
    """
    events = inputs["events"]
    if table.is_stream:
        rows = stream_rows(lambda handed: transform(**{**inputs, "events": handed}), events, table, step)
    else:
        made = transform(**{**inputs, "events": inputs_of(events, table, step)}, until=step.until)
        rows = new_rows(made, existing, events, table, step)
    return rows.order_by([EVENT_TIMESTAMP, *table.keys, CREATED_TIMESTAMP])


def rows_anew(
    transform: Transform, inputs: Mapping[str, Any], table: FeatureTable, at: datetime, units: pa.Array
) -> Any:  # noqa: ANN401 - Ibis tables have no published types
    """Return the newest row of each key at a moment, of nothing but the events of some units that were known then.

    Args:
        transform: the table's.
        inputs: its sources as Ibis tables; `events` is one.
        table: which table.
        at: the moment.
        units: values of its first key.
    """
    import ibis

    unit = table.keys[0]
    chosen = ibis.memtable(pa.table({unit: units}))
    if table.is_stream:
        mine = counted(inputs["events"].semi_join(chosen, unit), table)
        mine = first_events(mine.filter(mine[CREATED_TIMESTAMP] <= literal(at)), table)
        return checked(transform(**{**inputs, "events": mine}), table)
    events = known(inputs["events"], at).semi_join(chosen, unit)
    return newest_rows(transform(**{**inputs, "events": events}, until=at), table)
