"""Which lists were really shown, and what was taken of them?

A row a slot of a logged exposure. Unlike the placement's candidates these carry the bias of the policy that showed
them; what was shown and not taken is a stronger negative than what might have been shown.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.candidates.pool import UNKNOWN, to_numpy
from recsys.modeling.context import NO_CONTEXT, Kinds, remembered, said_column
from recsys.modeling.given import given_of
from recsys.modeling.moments import Moments
from recsys.modeling.requests import ITEM_ROW, REQUEST, Requests
from recsys.ports import EventLog
from recsys.schema import (
    EVENT_TIMESTAMP,
    ITEM,
    LABEL,
    POSITION,
    REQUEST_ID,
    REQUEST_TIMESTAMP,
    SESSION,
    TIMESTAMP,
    USER,
)
from recsys.specs.candidates import SOURCES
from recsys.specs.placement import Placement


def shown_slots(log: EventLog, placement: str, start: datetime, end: datetime, context: Kinds = NO_CONTEXT) -> pa.Table:
    """Return the slots that a placement showed with start <= t < end, without those of testers.

    Args:
        log: exposures and their slots.
        placement: its name.
        start: the first moment.
        end: the moment after the last.
        context: what features read of what requests say, by name to kind.

    Returns:
        request_id, user_id, session_id, item_id, event_timestamp, position, and what the request said of every name of
        the context; ordered by time, request and position.
    """
    exposures = log.exposures(placement, start, end)
    exposures = exposures.filter(pc.invert(exposures["overridden"])).select(
        [REQUEST_ID, USER, SESSION, EVENT_TIMESTAMP]
    )
    slots = log.impressions(placement, start, end).select([REQUEST_ID, POSITION, ITEM])
    joined = slots.join(exposures, REQUEST_ID, join_type="inner")
    ordered = joined.sort_by([(EVENT_TIMESTAMP, "ascending"), (REQUEST_ID, "ascending"), (POSITION, "ascending")])
    slots = ordered.select([REQUEST_ID, USER, SESSION, ITEM, EVENT_TIMESTAMP, POSITION])
    if not context:
        return slots
    logged = log.contexts(placement, start, end)
    pairs = zip(logged[REQUEST_ID].to_pylist(), logged["context"].to_pylist(), strict=True)
    said = {request: remembered(context, json.loads(text)) for request, text in pairs}
    mine = [said.get(request, {}) for request in slots[REQUEST_ID].to_pylist()]
    for name, kind in context.items():
        slots = slots.append_column(name, said_column(kind, [each.get(name) for each in mine]))
    return slots


def shown_requests(
    moments: Moments,
    placement: Placement,
    slots: pa.Table,
    taken: pa.Table,
    every: timedelta,
    join_keys: Sequence[str],
    context: Sequence[str] = (),
) -> Requests:
    """Make requests of what was shown, with what was taken of it as positives.

    Args:
        moments: what stood online then; item attributes that are join keys come from there.
        placement: pool and candidate sources.
        slots: as `shown_slots` returns them.
        taken: request_id and item_id of the slots that led to the target event.
        every: item attributes are read at whole multiples of it.
        join_keys: item attributes (features of the pool's view) that feature views are keyed by, and session_id where
            some are keyed by it.
        context: columns of `slots` with what the requests said.
    """
    requests, first = np.unique(_texts(slots[REQUEST_ID]), return_index=True)
    requests = requests[np.argsort(first)]
    number = {name: row for row, name in enumerate(requests)}
    numbers = np.array([number[name] for name in _texts(slots[REQUEST_ID])], dtype=np.int64)
    pairs = set(zip(_texts(taken[REQUEST_ID]), _texts(taken[ITEM]), strict=True))
    label = np.array([pair in pairs for pair in zip(_texts(slots[REQUEST_ID]), _texts(slots[ITEM]), strict=True)])
    stamps = slots[EVENT_TIMESTAMP].cast(TIMESTAMP)
    attributes = [key for key in join_keys if key != SESSION]
    columns, eligible = _columns(moments, placement, slots, every, attributes)
    columns[SESSION] = slots[SESSION]
    rows = pa.table(
        {
            REQUEST: pa.array(numbers, pa.int64()),
            USER: slots[USER],
            ITEM: slots[ITEM],
            **{key: columns[key] for key in join_keys},
            EVENT_TIMESTAMP: stamps,
            REQUEST_TIMESTAMP: stamps,
            LABEL: pa.array(label.astype(np.float32)),
            ITEM_ROW: pc.rank(slots[ITEM], tiebreaker="dense").cast(pa.int64()),
            **{name: columns[name] for name in (SOURCES, *placement.score_columns)},
            **{name: slots[name] for name in context},
        }
    )
    users = _texts(slots[USER])[np.sort(first)] if len(slots) else np.empty(0, dtype=object)
    relevant = np.bincount(numbers, weights=label, minlength=len(requests)).astype(np.float64)
    when = to_numpy(stamps)[np.sort(first)]
    return Requests(rows=rows, users=users, moments=when, relevant=relevant, eligible=eligible)


def _columns(
    moments: Moments, placement: Placement, slots: pa.Table, every: timedelta, join_keys: Sequence[str]
) -> tuple[dict[str, pa.Array], frozenset[str]]:
    """Look up item attributes, and which sources give an item with which scores, as it stood when it was shown."""
    from recsys.data.steps import period_end

    items, units = pa.array(_texts(slots[ITEM]), pa.string()), _texts(slots[USER])
    stood = [period_end(at, every) for at in slots[EVENT_TIMESTAMP].to_pylist()]
    values: dict[str, np.ndarray] = {key: np.full(len(items), UNKNOWN, dtype=object) for key in join_keys}
    values[SOURCES] = np.zeros(len(items), dtype=np.int64)
    values |= {name: np.zeros(len(items)) for name in placement.score_columns}
    eligible: set[str] = set()
    for moment in sorted(set(stood)):
        known = moments.at(placement, moment)
        pool = known.pool
        eligible.update(pool.ids[pool.eligible])
        mine = np.flatnonzero([at == moment for at in stood])
        rows = pool.locate(items.take(pa.array(mine)))
        for key in join_keys:
            values[key][mine] = np.where(rows >= 0, pool.columns[key][rows], UNKNOWN)
        for unit in dict.fromkeys(units[mine]):
            of_unit = units[mine] == unit
            for name, column in given_of(known, unit, rows[of_unit]).items():
                values[name][mine[of_unit]] = column
    kinds = dict.fromkeys(join_keys, pa.string())
    return {name: pa.array(column, kinds.get(name)) for name, column in values.items()}, frozenset(eligible)


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_pylist(), dtype=object)
