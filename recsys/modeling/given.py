"""What do requests bring along with their candidates: which sources gave each, and how they score it?"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import UNKNOWN
from recsys.modeling.moments import Moment, Moments, rows_by_unit
from recsys.ports import FeatureSet
from recsys.schema import EVENT_TIMESTAMP, ITEM, REQUEST_TIMESTAMP, SESSION, USER
from recsys.specs.candidates import SOURCES
from recsys.specs.placement import Placement


def given_columns(rows: pa.Table, features: FeatureSet) -> tuple[str, ...]:
    """Return the columns of a table that request-time features read and no view gives, beside the time."""
    stored = {name for view in features.views for name in view.features} | {REQUEST_TIMESTAMP}
    read = dict.fromkeys(name for transform in features.transforms for name in transform.inputs)
    return tuple(name for name in read if name not in stored and name in rows.column_names)


def given_at(moments: Moments, placement: Placement, rows: pa.Table, moment: datetime) -> Mapping[str, NDArray[Any]]:
    """Return what requests would have brought along with some rows of one decision time.

    Args:
        moments: the past; one that has read nothing yet derives everything anew.
        placement: its sources.
        rows: user_id and item_id.
        moment: their decision time.

    Returns:
        `sources`, and the score column of each fitted source, to [rows].
    """
    known = moments.at(placement, moment)
    places = known.pool.locate(rows[ITEM])
    out: dict[str, NDArray[Any]] = {name: np.zeros(len(rows)) for name in placement.score_columns}
    out[SOURCES] = np.zeros(len(rows), dtype=np.int64)
    for unit, mine in rows_by_unit(rows[USER]).items():
        for name, values in given_of(known, unit, places[mine]).items():
            out[name][mine] = values
    return out


def completed(
    moments: Moments, placement: Placement, rows: pa.Table, join_keys: Sequence[str], columns: Sequence[str]
) -> pa.Table:
    """Give rows of another version's requests what this placement's requests would have had beside them.

    Args:
        moments: the past.
        placement: its pool has the item attributes, its sources the scores.
        rows: user_id, item_id and event_timestamp, the decision time.
        join_keys: item attributes (features of the pool's view) to add, where they lack; session_id is null.
        columns: score columns of fitted sources to add, where they lack.
    """
    keys = [key for key in join_keys if key not in rows.column_names and key != SESSION]
    scores = [name for name in columns if name not in rows.column_names]
    values: dict[str, NDArray[Any]] = {key: np.full(len(rows), UNKNOWN, dtype=object) for key in keys}
    values |= {name: np.zeros(len(rows)) for name in scores}
    decided = np.array(rows[EVENT_TIMESTAMP].to_pylist(), dtype=object)
    for moment in sorted(set(decided)) if values else ():
        mine = np.flatnonzero(decided == moment)
        pool = moments.at(placement, moment).pool
        places = pool.locate(rows[ITEM].take(pa.array(mine)))
        for key in keys:
            values[key][mine] = np.where(places >= 0, pool.columns[key][places], UNKNOWN)
        if scores:
            given = given_at(moments, placement, rows.take(pa.array(mine)), moment)
            for name in scores:
                values[name][mine] = given[name]
    if SESSION in join_keys and SESSION not in rows.column_names:
        rows = rows.append_column(SESSION, pa.nulls(len(rows), pa.string()))
    for name, column in values.items():
        rows = rows.append_column(name, pa.array(column, pa.string() if name in keys else None))
    return rows


def given_of(known: Moment, unit: str, rows: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
    """Return what one unit's request brings along with some rows of the pool; -1 is an item that it lacks.

    Returns:
        `sources`, 0 where none gives the row, and the score column of each fitted source, to [rows].
    """
    histories = known.histories_of(unit)
    found = known.retrieval.candidates(histories, known.instant)
    gave = np.zeros(len(known.pool) + 1, dtype=np.int64)
    gave[found.rows] = found.sources
    return {SOURCES: gave[rows], **known.retrieval.scores(rows, histories)}
