"""Which items may enter one unit's list? The same sources, in the same order, for training, batch and requests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.pool import ItemPool
from recsys.errors import FeatureError
from recsys.specs.placement import CandidateSource, Personal


@dataclass(frozen=True)
class History:
    """What one unit has rows for in a unit × something view."""

    codes: NDArray[np.int64]
    """What each row is about: an item's row in the pool, or the code of an item attribute; -1 if the pool lacks it."""
    columns: Mapping[str, NDArray[Any]]
    """Features, one value a row."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes)


Histories = Callable[[str], History | None]
"""View name to the unit's rows in it, or None when it has none."""


def candidates(sources: Sequence[CandidateSource], pool: ItemPool, histories: Histories) -> NDArray[np.int64]:
    """Return the union of the sources as rows of the pool, in the sources' order and without duplicates."""
    parts = [
        _personal(source, pool, histories) if isinstance(source, Personal) else pool.popular(source)
        for source in sources
    ]
    merged = np.concatenate(parts) if len(parts) > 1 else parts[0]
    _, first = np.unique(merged, return_index=True)
    return merged[np.sort(first)]


def _personal(source: Personal, pool: ItemPool, histories: Histories) -> NDArray[np.int64]:
    history = histories(source.view)
    if history is None:
        return np.empty(0, dtype=np.int64)
    known = np.flatnonzero(history.codes >= 0)
    known = known[pool.eligible[history.codes[known]]]
    # Where nothing is left of a history, all its purchases cancelled, its features are unknown.
    alive = [~np.isnan(history.columns[name][known]) for name in source.order_by if name in history.columns]
    known = known[np.any(alive, axis=0)] if alive else known
    rows = history.codes[known]
    keys: list[NDArray[Any]] = [rows]
    for name in reversed(source.order_by):
        if name not in history.columns:
            message = (
                f"personal candidates: order_by {name!r} is not a feature of view {source.view}:"
                f" {', '.join(history.columns)}"
            )
            raise FeatureError(message)
        keys.append(-np.nan_to_num(history.columns[name][known], nan=-np.inf))
    return rows[np.lexsort(keys)][: source.limit]
