"""Whom could a campaign have reached at a past moment, and who acted then? One list of units a decision time.

Units come from the same view as online: those that a materialize at that moment would have made eligible.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.candidates.pool import instant
from recsys.errors import FeatureError
from recsys.modeling.requests import ITEM_ROW, REQUEST, Requests
from recsys.ports import FeatureReader, FeatureSet
from recsys.schema import EVENT_TIMESTAMP, LABEL, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.specs.placement import Audience, Pool

HISTORY: Final = "history"
"""How often a unit had acted before, as known at the decision time."""

Histories = Callable[[pa.ChunkedArray, pa.ChunkedArray], pa.Array]
"""Counts earlier visits (int64) of units before moments, as known then."""


def audience_requests(
    features: FeatureReader,
    audience: Audience,
    labels: pa.Table,
    decision_times: Sequence[datetime],
    histories: Histories | None = None,
) -> Requests:
    """Make one request a decision time: all eligible units, with what each did after it.

    Args:
        features: as known at each moment.
        audience: who is eligible.
        labels: event_timestamp (a decision time), user_id, label of the units that acted; the others have 0.
        decision_times: ascending.
        histories: counts what a unit had done before; without it rows have no `history`.

    Returns:
        Requests whose rows are: request (int64), user_id, event_timestamp, request_timestamp (both the decision time),
        label (float32), item_row (int64: ascends with user_id within a request), history (int64). `relevant` sums the
        labels of all units, in the audience or not.

    Raises:
        FeatureError: if the audience's view is not one of units, or has no such feature.
    """
    view = features.view(audience.units.view)
    if view.join_keys != (USER,):
        message = (
            f"audience units: view {view.name} is keyed by {', '.join(view.join_keys)}: name a view of {USER} alone"
        )
        raise FeatureError(message)
    tables, relevant = [_rows(pa.array([], pa.string()), labels[:0], 0, None)], []
    eligible: set[str] = set()
    for number, moment in enumerate(decision_times):
        units = eligible_units(features.snapshot(view.name, moment), audience.units, moment, view.ttl)
        acted = labels.filter(pc.equal(labels[EVENT_TIMESTAMP].cast(TIMESTAMP), pa.scalar(moment, TIMESTAMP)))
        tables.append(_rows(units, acted, number, moment))
        relevant.append(float(pc.sum(acted[LABEL]).as_py() or 0.0))
        eligible.update(units.to_pylist())
    rows = pa.concat_tables(tables).combine_chunks()
    if histories is not None:
        rows = rows.append_column(HISTORY, histories(rows[USER], rows[EVENT_TIMESTAMP]))
    return Requests(
        rows=rows,
        users=np.full(len(decision_times), None, dtype=object),
        moments=np.array([instant(moment) for moment in decision_times], dtype="datetime64[us]"),
        relevant=np.array(relevant, dtype=np.float64),
        eligible=frozenset(eligible),
    )


def eligible_units(rows: pa.Table, units: Pool, at: datetime, ttl: timedelta | None) -> pa.Array:
    """Return the units that may be reached at a moment, ascending by id; arguments as for `units_of`."""
    ids = units_of(rows, units, at, ttl)
    return ids.take(pc.sort_indices(ids))


def units_of(rows: pa.Table, units: Pool, at: datetime, ttl: timedelta | None) -> pa.Array:
    """Return the units that have a live row at a moment with a feature that is large enough, as they come.

    Args:
        rows: user_id, event_timestamp and features of the units' view, one row a unit.
        units: which feature has to be how large.
        at: the moment; rows after it do not exist yet.
        ttl: of the view; older rows are not live. None or zero for no limit.

    Raises:
        FeatureError: if the view has no such feature.
    """
    if units.feature not in rows.column_names:
        known = ", ".join(name for name in rows.column_names if name not in {USER, EVENT_TIMESTAMP})
        message = f"audience units: {units.feature!r} is not a feature of view {units.view}: {known}"
        raise FeatureError(message)
    stamps = rows[EVENT_TIMESTAMP].cast(TIMESTAMP)
    kept = pc.less_equal(stamps, pa.scalar(at, TIMESTAMP))
    if ttl:
        kept = pc.and_(kept, pc.greater_equal(stamps, pa.scalar(at - ttl, TIMESTAMP)))
    enough = pc.greater_equal(rows[units.feature].cast(pa.float64()), pa.scalar(units.minimum, pa.float64()))
    kept = pc.and_(kept, pc.fill_null(enough, False))
    return rows[USER].cast(pa.string()).filter(kept).combine_chunks()


def check_units_alone(features: FeatureSet) -> None:
    """Refuse features of items: the rows of an audience have none.

    Raises:
        FeatureError: naming the view and its keys.
    """
    for view in features.views:
        if view.join_keys != (USER,):
            message = (
                f"features {features.name}: view {view.name} is keyed by {', '.join(view.join_keys)}, and the problem"
                f" selects units: its features are of {USER} alone"
            )
            raise FeatureError(message)


def _rows(units: pa.Array, acted: pa.Table, number: int, moment: datetime | None) -> pa.Table:
    count = len(units)
    of_unit = dict(zip(acted[USER].to_pylist(), acted[LABEL].to_pylist(), strict=True))
    stamps = pa.array([moment] * count, TIMESTAMP)
    return pa.table(
        {
            REQUEST: pa.array([number] * count, pa.int64()),
            USER: units.cast(pa.string()),
            EVENT_TIMESTAMP: stamps,
            REQUEST_TIMESTAMP: stamps,
            LABEL: pa.array([of_unit.get(unit, 0.0) for unit in units.to_pylist()], pa.float32()),
            ITEM_ROW: pa.array(range(count), pa.int64()),
        }
    )
