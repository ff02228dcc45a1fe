"""Which feature values do a unit's candidates have at the moment of a request?

Rows of the user and of the session are read once a view and request, item features are gathered from the matrix, rows
of a user × something or session × something view are matched to the candidates by number, and request-time features are
computed by the very functions that the training join uses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.history import History
from recsys.candidates.pool import codes_of, unknown
from recsys.errors import FeatureError
from recsys.ports import FeatureSet, UnitColumns, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, REQUEST_TIMESTAMP, SESSION, USER
from recsys.serving.computing import with_computed
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.reads import UnitReader

SECOND_KEY = 2
_DTYPES: Final[Mapping[str, Any]] = {"number": np.float64, "time": "datetime64[us]", "text": object}
_UNKNOWN: Final[Mapping[str, Any]] = {kind: unknown(kind, 1)[0] for kind in _DTYPES}


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
        self._rows: dict[str, UnitColumns | None] = {}
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

    def fetch(self, views: Iterable[ViewInfo]) -> None:
        """Read what the unit and its session have in some views, in one read; item views are passed over."""
        keys: dict[str, str] = {}
        for view in views:
            first = view.join_keys[0]
            if first in self._keys and view.name not in self._rows:
                self._rows[view.name] = None
                if first == SESSION:
                    self._of_session.add(view.name)
                key = self._keys[first]
                if key is not None:
                    keys[view.name] = key
        if keys:
            self._rows.update(self._features.online_columns(keys))

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
        codes = codes_of(self._matrix.pool.code_of(key), rows[key].tolist())
        if live.all():
            return History(codes, _Some(rows, view.features))
        return History(codes[live], _Some(rows, view.features, live))

    def _read(self, view: ViewInfo) -> tuple[UnitColumns | None, NDArray[np.bool_]]:
        if view.name not in self._rows:
            self.fetch([view])
        rows = self._rows[view.name]
        if rows is None:
            return None, np.empty(0, dtype=bool)
        stamps = rows[EVENT_TIMESTAMP]
        live = stamps <= self._now
        if view.ttl:
            live &= stamps >= self._now - np.timedelta64(view.ttl)
        return rows, live


class _Some(Mapping[str, NDArray[Any]]):
    """Some columns of a unit's rows, some of the rows; each column is taken when it is asked for."""

    def __init__(self, rows: UnitColumns, names: tuple[str, ...], live: NDArray[np.bool_] | None = None) -> None:
        self._rows = rows
        self._names = names
        self._live = live

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        values = self._rows[name]
        return values if self._live is None else values[self._live]


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
    whole = with_computed(values, wanted.transforms)
    return {name: whole[name] for name in wanted.columns}


def _columns(view: ViewInfo, matrix: ItemMatrix, unit: UnitRows, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    if view.join_keys == (ITEM,):
        return {name: matrix.columns[name].take(rows) for name in view.features}
    if view.join_keys in ((USER,), (SESSION,)):
        row = unit.row(view)
        if row is None:
            return {name: unknown(view.kinds[name], len(rows)) for name in view.features}
        return _gathered(view, {name: [value] for name, value in row.items()}, 1, np.zeros(len(rows), dtype=np.int64))
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
    if history is None:
        return {name: unknown(view.kinds[name], len(rows)) for name in view.features}
    wanted = rows if view.join_keys[1] == ITEM else matrix.pool.codes(view.join_keys[1]).take(rows)
    order = history.codes.argsort(kind="stable")
    codes = history.codes.take(order)
    at = np.minimum(codes.searchsorted(wanted), len(codes) - 1)
    nothing = len(codes)
    places = np.where(codes.take(at) == wanted, order.take(at), nothing)
    return _gathered(view, history.columns, nothing, places)


def _gathered(
    view: ViewInfo, columns: Mapping[str, Sequence[Any] | NDArray[Any]], count: int, places: NDArray[np.int64]
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
