"""What is known of every item right now? One columnar matrix a process, swapped whole after each materialize."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.pool import ItemPool, build_pool, to_numpy, unknown
from recsys.ports import FeatureReader, ViewInfo
from recsys.schema import EVENT_TIMESTAMP, ITEM
from recsys.specs.placement import Placement


@dataclass(frozen=True)
class ItemMatrix:
    """The pool of a placement, and the item features that models read beside it."""

    pool: ItemPool
    columns: Mapping[str, NDArray[Any]]
    """Item features by name, aligned with the pool's rows."""
    watermarks: Mapping[str, datetime | None]
    """Up to when each view it was read from had been materialized."""


def read_matrix(features: FeatureReader, placement: Placement, views: Iterable[ViewInfo], at: datetime) -> ItemMatrix:
    """Read the pool's view and all other item views from the online store.

    Args:
        features: the online store.
        placement: names the pool.
        views: item views that models need; the pool's own may be among them.
        at: rows past their TTL at this moment are unknown.
    """
    declared = features.view(placement.pool.view)
    watermarks = {declared.name: features.watermark(declared.name)}
    pool = build_pool(features.online_all(declared.name), placement.pool, at, declared.ttl)
    columns = dict(pool.columns)
    for view in views:
        if view.name != declared.name:
            watermarks[view.name] = features.watermark(view.name)
            columns.update(_aligned(features, view, pool, at))
    return ItemMatrix(pool, columns, watermarks)


def _aligned(features: FeatureReader, view: ViewInfo, pool: ItemPool, at: datetime) -> dict[str, NDArray[Any]]:
    table = features.online_all(view.name)
    stamps = to_numpy(table[EVENT_TIMESTAMP])
    now = np.datetime64(at.replace(tzinfo=None), "us")
    live = stamps <= now
    if view.ttl:
        live &= stamps >= now - np.timedelta64(int(view.ttl.total_seconds() * 1e6), "us")
    rows = pool.locate(table[ITEM])
    kept = (rows >= 0) & live
    out: dict[str, NDArray[Any]] = {}
    for name in view.features:
        column = unknown(view.kinds[name], len(pool))
        column[rows[kept]] = to_numpy(table[name])[kept]
        out[name] = column
    return out
