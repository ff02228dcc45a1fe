"""What is known of every item right now? One columnar matrix a process, swapped whole after each materialize."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import ItemPool, build_pool, to_numpy, unknown
from recsys.ports import OnlineFeatures, ViewInfo
from recsys.schema import EVENT_TIMESTAMP, ITEM
from recsys.specs.placement import Placement


@dataclass(frozen=True)
class ItemMatrix:
    """The pool of a placement, and the item features that models read beside it."""

    pool: ItemPool
    columns: Mapping[str, NDArray[Any]]
    """Item features by name, aligned with the pool's rows."""
    generations: Mapping[str, int]
    """Of each view it was read from, at the time of reading."""
    expires: datetime | None
    """When the first row that is live now goes past its TTL; the matrix has to be read again then."""
    views: Mapping[str, ViewInfo] = field(default_factory=dict)
    """The item views that it was read from."""
    absent: set[str] = field(default_factory=set)
    """Items that were asked for since, and that the online store does not have either."""


def read_matrix(features: OnlineFeatures, placement: Placement, views: Iterable[ViewInfo], at: datetime) -> ItemMatrix:
    """Read the pool's view and all other item views from the online store.

    Args:
        features: the online store.
        placement: names the pool.
        views: item views that models need; the pool's own may be among them.
        at: rows past their TTL at this moment are unknown.
    """
    declared = features.view(placement.pool.view)
    known = {declared.name: declared}
    generations = {declared.name: features.generation(declared.name)}
    items = features.online_all(declared.name)
    pool = build_pool(items, placement.pool, at, declared.ttl)
    columns = dict(pool.columns)
    expiries = [_expiry(to_numpy(items[EVENT_TIMESTAMP]), declared, at)]
    for view in views:
        if view.name != declared.name:
            known[view.name] = view
            generations[view.name] = features.generation(view.name)
            rows = features.online_all(view.name)
            columns.update(aligned(rows, view, pool, at))
            expiries.append(_expiry(to_numpy(rows[EVENT_TIMESTAMP]), view, at))
    expires = min((moment for moment in expiries if moment), default=None)
    return ItemMatrix(pool, columns, generations, expires, known)


def _live(stamps: NDArray[Any], view: ViewInfo, at: datetime) -> NDArray[np.bool_]:
    now = np.datetime64(at.replace(tzinfo=None), "us")
    live: NDArray[np.bool_] = stamps <= now
    if view.ttl:
        live &= stamps >= now - np.timedelta64(view.ttl)
    return live


def _expiry(stamps: NDArray[Any], view: ViewInfo, at: datetime) -> datetime | None:
    live = stamps[_live(stamps, view, at)]
    if not view.ttl or not len(live):
        return None
    oldest: datetime = live.min().item()
    return oldest.replace(tzinfo=UTC) + view.ttl


def aligned(table: pa.Table, view: ViewInfo, pool: ItemPool, at: datetime) -> dict[str, NDArray[Any]]:
    """Return a view's features, one value an item of the pool; rows that are not live at a moment are unknown."""
    rows = pool.locate(table[ITEM])
    kept = (rows >= 0) & _live(to_numpy(table[EVENT_TIMESTAMP]), view, at)
    out: dict[str, NDArray[Any]] = {}
    for name in view.features:
        column = unknown(view.kinds[name], len(pool))
        column[rows[kept]] = to_numpy(table[name])[kept]
        out[name] = column
    return out
