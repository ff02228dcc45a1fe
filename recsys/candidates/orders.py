"""Which items come first, whoever asks? Orders over a pool, made once and cut for each unit."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys.candidates.pool import ItemPool
from recsys.errors import FeatureError
from recsys.specs.candidates import Newest, Popular


class PopularOrder:
    """The allowed items by one feature, largest first, on request so many of each value of another feature."""

    def __init__(self, source: Popular, pool: ItemPool, allowed: NDArray[np.bool_]) -> None:
        """Order the items of a pool.

        Args:
            source: what to order by, and how many.
            pool: the items.
            allowed: [items] which of them may stand in a list.

        Raises:
            FeatureError: if the pool's view lacks a feature.
        """
        rows = np.flatnonzero(allowed)
        values = np.nan_to_num(_column(pool, source.order_by, "popular", "order_by").astype(float)[rows], nan=-np.inf)
        self._source = source
        self._rows = rows[np.argsort(-values, kind="stable")]
        self._groups: NDArray[np.int64] | None = None
        if source.by is not None:
            codes, _ = pd.factorize(_column(pool, source.by, "popular", "by"), use_na_sentinel=False)
            self._groups = codes.astype(np.int64)

    def first(self, seen: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Return the first rows that are not seen, at most the source's limit.

        Args:
            seen: [items] what one unit may not get; nothing if None.
        """
        limit = self._source.limit
        if seen is None:
            return self._unseen[:limit]
        if self._groups is not None:
            return self._of_each_value(seen)[:limit]
        within = self._rows[: limit + int(seen.sum())]
        return within[~seen[within]][:limit]

    @cached_property
    def _unseen(self) -> NDArray[np.int64]:
        return self._rows if self._groups is None else self._rows[self._ranks < (self._source.per_value or 0)]

    @cached_property
    def _ranks(self) -> NDArray[np.int64]:
        groups = np.empty(0, dtype=np.int64) if self._groups is None else self._groups[self._rows]
        return ranks_within(groups)

    def _of_each_value(self, seen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Leave out what is seen, then cut each value's items; only those that could move up are looked at."""
        groups, most = self._groups, self._source.per_value or 0
        if groups is None:
            return self._rows
        left_out = np.bincount(groups[np.flatnonzero(seen)], minlength=int(groups.max(initial=-1)) + 1)
        near = self._rows[self._ranks < most + left_out[groups[self._rows]]]
        near = near[~seen[near]]
        return near[ranks_within(groups[near]) < most]


@dataclass(frozen=True)
class NewestOrder:
    """The allowed items by a time, newest first."""

    source: Newest
    rows: NDArray[np.int64]
    times: NDArray[np.datetime64]
    """Of each row, descending."""

    @classmethod
    def of(cls, source: Newest, pool: ItemPool, allowed: NDArray[np.bool_]) -> "NewestOrder":
        """Order the items of a pool; one whose time is unknown is left out.

        Raises:
            FeatureError: if the pool's view lacks the time, or it is none.
        """
        values = _column(pool, source.order_by, "newest", "order_by")
        if values.dtype.kind != "M":
            message = f"newest candidates: order_by {source.order_by!r} is {values.dtype}, and has to be a time"
            raise FeatureError(message)
        rows = np.flatnonzero(allowed & ~np.isnat(values))
        rows = rows[np.argsort(-values[rows].astype(np.int64), kind="stable")]
        return cls(source, rows, values[rows])

    def first(self, seen: NDArray[np.bool_] | None, at: np.datetime64) -> NDArray[np.int64]:
        """Return the newest rows of before a moment that are not seen."""
        ages = at - self.times
        lived = ages >= np.timedelta64(0, "us")
        rows = self.rows[lived & (ages <= np.timedelta64(self.source.within))]
        if seen is not None:
            rows = rows[~seen[rows]]
        return rows[: self.source.limit]


def ranks_within(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at which place each element comes among the earlier ones of its group, counted from 0."""
    order = np.argsort(groups, kind="stable")
    sorted_groups = groups[order]
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    lengths = np.diff(np.append(starts, len(groups)))
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return ranks


def _column(pool: ItemPool, feature: str, source: str, field: str) -> NDArray[Any]:
    if feature not in pool.columns:
        message = (
            f"{source} candidates: {field} {feature!r} is not a feature of the pool's view: {', '.join(pool.columns)}"
        )
        raise FeatureError(message)
    return pool.columns[feature]
