"""What do requests bring along with their candidates: which sources gave each, and how they score it?"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.modeling.moments import Moment, Moments, rows_by_unit
from recsys.ports import FeatureSet
from recsys.schema import ITEM, REQUEST_TIMESTAMP, USER
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
