"""Which items of the pool may not stand in a list, whoever asks, and which may not for one unit?"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.history import Histories
from recsys.candidates.pool import ItemPool
from recsys.errors import FeatureError
from recsys.specs.candidates import Filter, Items, Seen, Stock, Values

_NOTHING = np.empty(0, dtype=np.int64)


def allowed_items(filters: Sequence[Filter], pool: ItemPool) -> NDArray[np.bool_]:
    """Return which items may stand in a list: the eligible ones that no filter takes away, whoever asks.

    Raises:
        FeatureError: if a filter names a feature that the pool's view does not have, or one of another kind.
    """
    allowed = pool.eligible.copy()
    for declared in filters:
        if isinstance(declared, Items):
            if declared.allow is not None:
                allowed &= _among(pool, declared.allow)
            allowed &= ~_among(pool, declared.deny)
        elif isinstance(declared, Values):
            values = _column(pool, declared.feature, "O", "values")
            if declared.allow is not None:
                allowed &= _holds(values, declared.allow)
            allowed &= ~_holds(values, declared.deny)
        elif isinstance(declared, Stock):
            values = _column(pool, declared.feature, "f", "stock")
            allowed &= np.nan_to_num(values, nan=-np.inf) >= declared.minimum
    return allowed


def seen_items(filters: Sequence[Filter], histories: Histories, at: np.datetime64) -> NDArray[np.int64]:
    """Return the rows of the pool that one unit has seen and is not to see again; one may be named twice.

    Args:
        filters: of the placement; only `seen` counts here.
        histories: the unit's rows in views.
        at: the moment of the request, in UTC.

    Raises:
        FeatureError: if a filter names a time that its view does not have.
    """
    parts = [_seen(declared, histories, at) for declared in filters if isinstance(declared, Seen)]
    return np.concatenate(parts) if parts else _NOTHING


def _seen(declared: Seen, histories: Histories, at: np.datetime64) -> NDArray[np.int64]:
    history = histories(declared.view)
    if history is None:
        return _NOTHING
    counts = history.known & (history.codes >= 0)
    if declared.by is not None and declared.within is not None:
        if declared.by not in history.columns:
            message = (
                f"filter seen: by {declared.by!r} is not a feature of view {declared.view}:"
                f" {', '.join(history.columns)}"
            )
            raise FeatureError(message)
        counts = counts & (history.columns[declared.by] >= at - np.timedelta64(declared.within))
    return history.codes[counts]


def _among(pool: ItemPool, items: Sequence[str]) -> NDArray[np.bool_]:
    rows = pool.locate(pa.array(items, pa.string()))
    found = np.zeros(len(pool), dtype=bool)
    found[rows[rows >= 0]] = True
    return found


def _holds(values: NDArray[Any], wanted: Iterable[str]) -> NDArray[np.bool_]:
    among = frozenset(wanted)
    return np.fromiter((value in among for value in values), dtype=bool, count=len(values))


def _column(pool: ItemPool, feature: str, kind: str, what: str) -> NDArray[Any]:
    if feature not in pool.columns:
        message = f"filter {what}: {feature!r} is not a feature of the pool's view, which has {', '.join(pool.columns)}"
        raise FeatureError(message)
    values = pool.columns[feature]
    if values.dtype.kind != kind:
        needed = "a text" if kind == "O" else "a number"
        message = f"filter {what}: {feature!r} is {values.dtype}, and has to be {needed}"
        raise FeatureError(message)
    return values
