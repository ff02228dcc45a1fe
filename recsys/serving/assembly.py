"""Which feature values do a unit's candidates have at the moment of a request?

Rows of the user and of the session are read once a view and request, item features are gathered from the matrix, rows
of a user × something or session × something view are matched to the candidates by number, and request-time features are
computed by the very functions that the training join uses.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.history import History
from recsys.candidates.pool import unknown
from recsys.errors import FeatureError
from recsys.ports import FeatureSet, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, REQUEST_TIMESTAMP, SESSION, USER
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.reads import UnitReader

SECOND_KEY = 2
Rows = Mapping[str, NDArray[Any]]
"""A unit's rows in a view, by column."""


class UnitRows:
    """The rows of one unit and its session in the online store, each view read at most once."""

    def __init__(
        self, features: UnitReader, matrix: ItemMatrix, unit: str, at: datetime, session: str | None = None
    ) -> None:
        """Read nothing yet.

        Args:
            features: the online store.
            matrix: numbers items and their attributes.
            unit: the unit's id.
            at: rows past their TTL at this moment are unknown.
            session: the visit's id; without one there is nothing in views keyed by the session.
        """
        self._features = features
        self._matrix = matrix
        self._keys = {USER: unit, SESSION: session}
        self._now = np.datetime64(at.replace(tzinfo=None), "us")
        self._rows: dict[str, Rows | None] = {}
        self._of_session: set[str] = set()
        self._histories: dict[str, History | None] = {}

    @property
    def session_watermarks(self) -> dict[str, str]:
        """Return when the newest row that was read of each session view became known, as ISO times."""
        found = {}
        for name in sorted(self._of_session):
            rows = self._rows[name]
            if rows is not None and len(rows[EVENT_TIMESTAMP]):
                clock = CREATED_TIMESTAMP if CREATED_TIMESTAMP in rows else EVENT_TIMESTAMP
                newest: datetime = rows[clock].max().item()
                found[name] = newest.replace(tzinfo=UTC).isoformat()
        return found

    def row(self, view: ViewInfo) -> dict[str, Any] | None:
        """Return the unit's one row in a view, by feature, or None."""
        rows, live = self._read(view)
        if rows is None or not live.any():
            return None
        newest = np.flatnonzero(live)[-1]
        return {name: rows[name][newest] for name in view.features}

    def history(self, view: ViewInfo) -> History | None:
        """Return the unit's rows in a unit × something view, or None."""
        if view.name not in self._histories:
            self._histories[view.name] = self._history(view)
        return self._histories[view.name]

    def _history(self, view: ViewInfo) -> History | None:
        rows, live = self._read(view)
        if rows is None or not live.any():
            return None
        key = view.join_keys[1]
        if key == ITEM:
            codes = self._matrix.pool.rows_of(rows[key].tolist())
        else:
            code_of, _ = self._matrix.pool.codes(key)
            codes = np.array([code_of.get(value, -1) for value in rows[key].tolist()], dtype=np.int64)
        if live.all():
            return History(codes, _Some(rows, view.features))
        return History(codes[live], _Some(rows, view.features, live))

    def _read(self, view: ViewInfo) -> tuple[Rows | None, NDArray[np.bool_]]:
        if view.name not in self._rows:
            key = self._keys[view.join_keys[0]]
            self._rows[view.name] = None if key is None else self._features.online_columns(view.name, key)
            if view.join_keys[0] == SESSION:
                self._of_session.add(view.name)
        rows = self._rows[view.name]
        if rows is None:
            return None, np.empty(0, dtype=bool)
        stamps = rows[EVENT_TIMESTAMP]
        live = stamps <= self._now
        if view.ttl:
            live &= stamps >= self._now - np.timedelta64(int(view.ttl.total_seconds() * 1e6), "us")
        return rows, live


class _Some(Mapping[str, NDArray[Any]]):
    """Some columns of a unit's rows, some of the rows; each column is taken when it is asked for."""

    def __init__(self, rows: Rows, names: tuple[str, ...], live: NDArray[np.bool_] | None = None) -> None:
        self._rows = rows
        self._names = names
        self._live = live
        self._found: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        if self._live is None:
            return self._rows[name]
        if name not in self._found:
            self._found[name] = self._rows[name][self._live]
        return self._found[name]


def assemble(
    wanted: FeatureSet,
    matrix: ItemMatrix,
    unit: UnitRows,
    rows: NDArray[np.int64],
    at: datetime,
    given: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return the columns of a feature set for a unit's candidates.

    Args:
        wanted: the columns, and what has to be read for them.
        matrix: item features.
        unit: the unit's online rows.
        rows: [candidates] rows of the matrix.
        at: the moment of the request.
        given: columns of [candidates] that the request brings along, such as scores of sources.

    Returns:
        Column to [candidates] values, in the order of `wanted.columns`.

    Raises:
        FeatureError: if a view is keyed by something that requests do not have.
    """
    values: dict[str, NDArray[Any]] = {
        REQUEST_TIMESTAMP: np.full(len(rows), np.datetime64(at.replace(tzinfo=None), "us")),
        **(given or {}),
    }
    for view in wanted.views:
        values.update(_columns(view, matrix, unit, rows))
    for transform in wanted.transforms:
        absent = [name for name in transform.inputs if name not in values]
        if absent:
            message = (
                f"request-time features {transform.name}: input {absent[0]!r} is neither a feature nor what the"
                f" request brings along ({', '.join([REQUEST_TIMESTAMP, *(given or {})])})"
            )
            raise FeatureError(message)
        values.update(transform.function({name: values[name] for name in transform.inputs}))
    return {name: values[name] for name in wanted.columns}


def _columns(view: ViewInfo, matrix: ItemMatrix, unit: UnitRows, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    if view.join_keys == (ITEM,):
        return {name: matrix.columns[name][rows] for name in view.features}
    if view.join_keys in ((USER,), (SESSION,)):
        row = unit.row(view)
        if row is None:
            return {name: unknown(view.kinds[name], len(rows)) for name in view.features}
        return {
            name: np.full(len(rows), row[name], dtype=object if view.kinds[name] == "text" else None)
            for name in view.features
        }
    if len(view.join_keys) == SECOND_KEY and view.join_keys[0] in (USER, SESSION):
        return _matched(view, matrix, unit.history(view), rows)
    message = (
        f"feature view {view.name}: keyed by {', '.join(view.join_keys)}; requests know {USER}, {SESSION},"
        f" {ITEM} and items' attributes"
    )
    raise FeatureError(message)


def _matched(
    view: ViewInfo, matrix: ItemMatrix, history: History | None, rows: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Match a unit's rows to candidates by the number of the second key."""
    out = {name: unknown(view.kinds[name], len(rows)) for name in view.features}
    if history is None:
        return out
    _, code_of_item = matrix.pool.codes(view.join_keys[1])
    wanted = code_of_item[rows]
    order = np.argsort(history.codes, kind="stable")
    codes = history.codes[order]
    at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    found = codes[at] == wanted
    source = order[at[found]]
    for name, column in out.items():
        column[found] = history.columns[name][source]
    return out
