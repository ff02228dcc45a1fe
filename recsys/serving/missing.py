"""Which items does a request name that the item matrix does not have yet, and what does the online store know of them?

A matrix is as old as the last poll: an item that came online since is missing for a moment. Where a caller's list or a
pin names such an item it is read by itself, and the answer is made over a matrix that has it too.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import ItemPool, build_pool, unknown
from recsys.candidates.retrieval import Retrieval
from recsys.serving.item_matrix import ItemMatrix, aligned
from recsys.serving.reads import Reads
from recsys.specs.placement import Placement
from recsys.specs.reranking import Pin

MOST: Final = 20
"""So many items of one request are read by themselves; what else is missing is left out until the next poll."""


_REMEMBERED: Final = 10_000
"""Ids that are known to be nobody's; whoever asks for ever new ones does not fill the memory."""


def missing_items(matrix: ItemMatrix, placement: Placement, given: Sequence[str]) -> tuple[str, ...]:
    """Return the items that a request or a pin names, that the matrix lacks, and that may be online by now."""
    named = [*given, *(item for stage in placement.rerank if isinstance(stage, Pin) for item in stage.items)]
    if not named:
        return ()
    lacking = (named[place] for place in np.flatnonzero(matrix.pool.rows_of(named) < 0).tolist())
    return tuple(dict.fromkeys(item for item in lacking if item not in matrix.absent))[:MOST]


def with_items(
    matrix: ItemMatrix, placement: Placement, items: Sequence[str], reader: Reads, at: datetime
) -> ItemMatrix:
    """Return a matrix that has some items too, as far as the online store knows them.

    Args:
        matrix: what was read at the last poll; items that the store does not know are noted in it, and not read again.
        placement: names the pool.
        items: which the matrix lacks.
        reader: of the online store.
        at: rows past their TTL at this moment are unknown.
    """
    own = placement.pool.view
    found: dict[str, pa.Table] = {}
    for item in items:
        rows = reader.online_group(own, item)
        if rows is not None:
            found[item] = rows
        elif not reader.missing and len(matrix.absent) < _REMEMBERED:
            matrix.absent.add(item)
    if not found:
        return matrix
    added = build_pool(
        pa.concat_tables(found.values(), promote_options="default"), placement.pool, at, matrix.views[own].ttl
    )
    columns = dict(added.columns)
    for name, view in matrix.views.items():
        if name != own:
            tables = [rows for item in found if (rows := reader.online_group(name, item)) is not None]
            if tables:
                columns |= aligned(pa.concat_tables(tables, promote_options="default"), view, added, at)
            else:
                columns |= {each: unknown(view.kinds[each], len(added)) for each in view.features}
    places = np.searchsorted(matrix.pool.ids, added.ids)
    pool = _inserted(matrix.pool, added, places)
    whole = {name: _insert(values, places, columns.get(name)) for name, values in matrix.columns.items()}
    return replace(matrix, pool=pool, columns=whole)


def retrieval_over(retrieval: Retrieval, placement: Placement, before: ItemPool, pool: ItemPool) -> Retrieval:
    """Return the sources and filters of a placement over a pool to which items came."""
    rows = pool.locate(pa.array(before.ids, pa.string()))
    models = {name: model.moved(rows, len(pool)) for name, model in retrieval.models.items()}
    return Retrieval(placement, pool, models)


def _inserted(pool: ItemPool, added: ItemPool, places: NDArray[np.int64]) -> ItemPool:
    ids = np.insert(pool.ids, places, added.ids)
    return ItemPool(
        ids=ids,
        columns={name: _insert(values, places, added.columns.get(name)) for name, values in pool.columns.items()},
        eligible=np.insert(pool.eligible, places, added.eligible),
        _row_of={item: row for row, item in enumerate(ids)},
        _index=pd.Index(ids),
    )


def _insert(values: NDArray[Any], places: NDArray[np.int64], added: NDArray[Any] | None) -> NDArray[Any]:
    if added is None:
        kind = {"O": "text", "M": "time"}.get(values.dtype.kind, "number")
        added = unknown(kind, len(places))
    return np.insert(values, places, added)
