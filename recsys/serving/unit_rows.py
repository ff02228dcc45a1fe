"""What does the online store know of some units at a moment? Each view is read once, whether for one unit or for many.

A request reads the rows of one unit, a batch those of hundreds; they lie one unit behind the other, and what is made
of them does not depend on how many there are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.history import History
from recsys.candidates.pool import codes_of
from recsys.ports import Groups, UnitColumns, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, SESSION, USER
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.reads import UnitReader


class UnitRows:
    """The rows of some units and their sessions in the online store, each view read at most once."""

    def __init__(
        self,
        features: UnitReader,
        matrix: ItemMatrix,
        units: Sequence[str],
        at: datetime,
        sessions: Sequence[str | None] | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            features: the online store.
            matrix: numbers items and their attributes.
            units: their ids.
            at: rows past their TTL at this moment are unknown.
            sessions: the visit of each; without one there is nothing in views keyed by the session.
        """
        self._features = features
        self._matrix = matrix
        self._keys: Mapping[str, Sequence[str | None]] = {USER: units, SESSION: sessions or [None] * len(units)}
        self._now = np.datetime64(at.replace(tzinfo=None), "us")
        self._rows: dict[str, Groups | None] = {}
        self._live: dict[str, Groups | None] = {}
        self._codes: dict[str, NDArray[np.int64]] = {}
        self._histories: dict[tuple[str, int], History | None] = {}
        self._of_session: set[str] = set()

    def session_watermarks(self, place: int = 0) -> dict[str, str]:
        """Return when the newest row that was read of a unit's session became known in each view, as ISO times."""
        found = {}
        for name in sorted(self._of_session):
            rows = self._rows[name]
            mine = slice(0, 0) if rows is None else _bounds(rows, place)
            if rows is not None and mine.stop > mine.start:
                clock = CREATED_TIMESTAMP if CREATED_TIMESTAMP in rows.columns else EVENT_TIMESTAMP
                newest: datetime = rows.columns[clock][mine].max().item()
                found[name] = newest.replace(tzinfo=UTC).isoformat()
        return found

    def known(self) -> bool:
        """Tell whether any row of any unit or session was found in the views that were read."""
        return any(rows is not None and rows.bounds[-1] > 0 for rows in self._rows.values())

    def fetch(self, views: Iterable[ViewInfo]) -> None:
        """Read what the units and their sessions have in some views, in one question; item views are passed over."""
        keys: dict[str, Sequence[str | None]] = {}
        for view in views:
            first = view.join_keys[0]
            if first in self._keys and view.name not in self._rows:
                self._rows[view.name] = None
                if first == SESSION:
                    self._of_session.add(view.name)
                keys[view.name] = self._keys[first]
        asked = {name: [key for key in some if key is not None] for name, some in keys.items()}
        if asked := {name: some for name, some in asked.items() if some}:
            for name, groups in self._features.online_groups(asked).items():
                self._rows[name] = _spread(groups, keys[name])

    def live(self, view: ViewInfo) -> Groups | None:
        """Return the rows of all units in a view that are not past its TTL, or None where there are none."""
        if view.name not in self._live:
            if view.name not in self._rows:
                self.fetch([view])
            rows = self._rows[view.name]
            self._live[view.name] = None if rows is None else self._of_now(rows, view)
        return self._live[view.name]

    def _of_now(self, rows: Groups, view: ViewInfo) -> Groups | None:
        stamps = rows.columns[EVENT_TIMESTAMP]
        live = stamps <= self._now
        if view.ttl:
            live &= stamps >= self._now - np.timedelta64(view.ttl)
        if live.all():
            return rows if len(stamps) else None
        if not live.any():
            return None
        bounds = np.concatenate([[0], np.cumsum(live)])[rows.bounds]
        return Groups(_Kept(rows.columns, live), bounds, None if rows.table is None else rows.table.filter(live))

    def codes(self, view: ViewInfo) -> NDArray[np.int64]:
        """Return what each live row of a unit × something view is about: the code of its second key."""
        if view.name not in self._codes:
            rows, pool, key = self.live(view), self._matrix.pool, view.join_keys[1]
            if rows is not None and rows.table is not None:
                self._codes[view.name] = pool.codes_in(key, rows.table[key])
            else:
                self._codes[view.name] = codes_of(pool.code_of(key), [] if rows is None else rows.columns[key].tolist())
        return self._codes[view.name]

    def history(self, view: ViewInfo, place: int = 0) -> History | None:
        """Return one unit's live rows in a unit × something view, or None.

        Args:
            view: the view.
            place: of the unit among the units.
        """
        if (view.name, place) not in self._histories:
            self._histories[view.name, place] = self._history(view, place)
        return self._histories[view.name, place]

    def _history(self, view: ViewInfo, place: int) -> History | None:
        rows = self.live(view)
        mine = slice(0, 0) if rows is None else _bounds(rows, place)
        if rows is None or mine.stop == mine.start:
            return None
        return History(self.codes(view)[mine], _Part(rows.columns, view.features, mine))


class _Kept(Mapping[str, NDArray[Any]]):
    """Columns of some of the rows; each is cut when it is first asked for."""

    def __init__(self, columns: UnitColumns, kept: NDArray[np.bool_]) -> None:
        self._columns = columns
        self._kept = kept
        self._cut: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._cut:
            self._cut[name] = self._columns[name][self._kept]
        return self._cut[name]


class _Part(Mapping[str, NDArray[Any]]):
    """Some columns of one unit's rows; each is taken when it is asked for."""

    def __init__(self, columns: UnitColumns, names: tuple[str, ...], mine: slice) -> None:
        self._columns = columns
        self._names = names
        self._mine = mine

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._columns[name][self._mine]


def _bounds(rows: Groups, place: int) -> slice:
    start, end = rows.bounds[place : place + 2].tolist()
    return slice(start, end)


def _spread(groups: Groups, keys: Sequence[str | None]) -> Groups:
    """Let the rows of keys that are there be those of all: a unit without a key has none."""
    if None not in keys:
        return groups
    there = np.fromiter((key is not None for key in keys), dtype=bool, count=len(keys))
    return replace(groups, bounds=groups.bounds[np.concatenate([[0], np.cumsum(there)])])
