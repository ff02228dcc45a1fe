"""Which feature values do the candidates of units have at the moment of their requests?

Rows of a unit and of its session are read once a view, item features are gathered from the matrix, rows of a
user × something or session × something view are matched to the candidates by number, and request-time features are
computed by the very functions that the training join uses.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.pool import unknown
from recsys.errors import FeatureError
from recsys.ports import FeatureSet, Groups, ViewInfo
from recsys.schema import ITEM, REQUEST_TIMESTAMP, SESSION, USER
from recsys.serving.computing import with_computed
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.lists import Lists
from recsys.serving.unit_rows import UnitRows

SECOND_KEY = 2
_DTYPES: Final[Mapping[str, Any]] = {"number": np.float64, "time": "datetime64[us]", "text": object}
_UNKNOWN: Final[Mapping[str, Any]] = {kind: unknown(kind, 1)[0] for kind in _DTYPES}


def assemble(
    wanted: FeatureSet,
    matrix: ItemMatrix,
    units: UnitRows,
    lists: Lists,
    at: datetime,
    given: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return the columns of a feature set for the candidates of some units.

    Args:
        wanted: the columns, and what has to be read for them.
        matrix: item features.
        units: their online rows.
        lists: the candidates of each unit, rows of the matrix.
        at: the moment of the requests.
        given: columns of [candidates] that the requests bring along, such as scores of sources.

    Returns:
        Column to [candidates] values, in the order of `wanted.columns`.

    Raises:
        FeatureError: if a view is keyed by something that requests do not have.
    """
    values: dict[str, NDArray[Any]] = {
        REQUEST_TIMESTAMP: np.full(len(lists.rows), np.datetime64(at.replace(tzinfo=None), "us")),
        **(given or {}),
    }
    for view in wanted.views:
        values.update(_columns(view, matrix, units, lists))
    whole = with_computed(values, wanted.transforms)
    return {name: whole[name] for name in wanted.columns}


def _columns(view: ViewInfo, matrix: ItemMatrix, units: UnitRows, lists: Lists) -> dict[str, NDArray[Any]]:
    if view.join_keys == (ITEM,):
        return {name: matrix.columns[name].take(lists.rows) for name in view.features}
    own = view.join_keys in ((USER,), (SESSION,))
    if not own and (len(view.join_keys) != SECOND_KEY or view.join_keys[0] not in (USER, SESSION)):
        message = (
            f"feature view {view.name}: keyed by {', '.join(view.join_keys)}; requests know {USER}, {SESSION},"
            f" {ITEM} and items' attributes"
        )
        raise FeatureError(message)
    rows = units.live(view)
    if rows is None:
        return {name: unknown(view.kinds[name], len(lists.rows)) for name in view.features}
    places = _newest(rows)[lists.owner] if own else _matched(view, matrix, units, rows, lists)
    return _gathered(view, rows.columns, int(rows.bounds[-1]), places)


def _newest(rows: Groups) -> NDArray[np.int64]:
    """Return the place of each unit's newest row, which is its last; behind all rows where it has none."""
    return np.where(np.diff(rows.bounds) > 0, rows.bounds[1:] - 1, rows.bounds[-1])


def _matched(view: ViewInfo, matrix: ItemMatrix, units: UnitRows, rows: Groups, lists: Lists) -> NDArray[np.int64]:
    """Return the place of the row of each candidate, by its unit and the number of its second key."""
    wanted = lists.rows if view.join_keys[1] == ITEM else matrix.pool.codes(view.join_keys[1]).take(lists.rows)
    codes = units.codes(view)
    if len(lists) > 1:
        width = 2 + max(int(codes.max()), int(wanted.max(initial=0)))  # codes count from -1
        codes = codes + width * np.repeat(np.arange(len(lists)), np.diff(rows.bounds))
        wanted = wanted + width * lists.owner
    order = codes.argsort(kind="stable")
    codes = codes.take(order)
    at = np.minimum(codes.searchsorted(wanted), len(codes) - 1)
    return np.where(codes.take(at) == wanted, order.take(at), len(codes))


def _gathered(
    view: ViewInfo, columns: Mapping[str, NDArray[Any]], count: int, places: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Return the values at some places of `count` rows; the place after the last one is unknown.

    Features of a kind are taken together: a request has dozens of them, and of each it takes a few values.
    """
    out: dict[str, NDArray[Any]] = {}
    for kind, names in view.by_kind.items():
        together = np.empty((len(names), count + 1), dtype=_DTYPES[kind])
        for column, name in zip(together, names, strict=True):
            column[:count] = columns[name]
        together[:, count] = _UNKNOWN[kind]
        out.update(zip(names, together.take(places, axis=1), strict=True))
    return out
