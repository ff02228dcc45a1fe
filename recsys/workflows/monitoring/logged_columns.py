"""How are the values that were logged read as columns, and handed to the feature tables?"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy, unknown
from recsys.ports import Exposure, FeatureSet
from recsys.schema import TIMESTAMP


def logged_columns(features: FeatureSet, exposures: Sequence[Exposure]) -> dict[str, NDArray[Any]]:
    """Return the logged columns of all exposures one below the other; one that was not logged is unknown."""
    kinds = {name: kind for view in features.views for name, kind in view.kinds.items()}
    columns = {}
    for name in features.columns:
        values: list[Any] = []
        for each in exposures:
            scored = sum(not math.isnan(item.score) for item in each.items)
            values += (each.features or {}).get(name) or [None] * scored
        columns[name] = _READERS[kinds.get(name, _kind_of(values))](values)
    return columns


def _kind_of(values: Sequence[Any]) -> str:
    return "text" if any(isinstance(value, str) for value in values) else "number"


def _numbers(values: Sequence[Any]) -> NDArray[Any]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _texts(values: Sequence[Any]) -> NDArray[Any]:
    return to_numpy(pa.array(values, pa.string()))


def _times(values: Sequence[Any]) -> NDArray[Any]:
    stamps = [None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC) for value in values]
    return to_numpy(pa.array(stamps, TIMESTAMP))


_READERS: Final[Mapping[str, Callable[[Sequence[Any]], NDArray[Any]]]] = {
    "number": _numbers,
    "text": _texts,
    "time": _times,
}


def as_stored(values: NDArray[Any], kind: str) -> pa.Array:
    """Return logged values as the feature tables have them: what is unknown is null."""
    if kind == "number":
        return pa.array(values, pa.float64(), mask=np.isnan(values))
    if kind == "time":
        return pa.array(values, pa.timestamp("us")).cast(TIMESTAMP)
    return pa.array([None if value == unknown(kind, 1)[0] else value for value in values], pa.string())
