"""What does an item-item model say of the items of a pool, and what is it fitted on?

One function fits for training and for requests alike: the same rows and the same pool give the same weights, and the
same history the same scores.
"""

import copy
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from recsys.candidates.history import History
from recsys.candidates.item_models import ItemModel, covisitation, ease, ease_memory, interactions
from recsys.candidates.pool import ItemPool
from recsys.errors import FeatureError
from recsys.ports import ItemWeights
from recsys.specs.candidates import Covisit, FittedSource, label
from recsys.specs.catalog import digest
from recsys.specs.placement import Pool

_GB: Final = 1e9


def model_key(source: FittedSource, pool: Pool) -> str:
    """Return the name of a source's model: the same for all sources whose models are fitted alike."""
    asked = source.model_dump(mode="json", exclude={"name", "limit", "strength", "own"})
    return f"{source.source}-{digest([asked, pool.model_dump(mode='json')])}"


def fit(
    source: FittedSource,
    pool: ItemPool,
    units: NDArray[np.int64],
    items: NDArray[np.int64],
    at: datetime,
    memory: int | None = None,
) -> ItemWeights:
    """Fit a source's model on the rows of its view as they stood at a moment.

    Items take part that may be shown then and that enough units have; which of them are filtered makes no difference.

    Args:
        source: which model, and its parameters.
        pool: the items of that moment.
        units: [rows] codes of units from 0.
        items: [rows] rows of the pool, -1 where it lacks the item; one row a unit and item.
        at: the moment.
        memory: bytes that a dense model may take while it is fitted; None for no limit.

    Raises:
        FeatureError: if the model does not fit into memory.
    """
    taking_part = items >= 0
    taking_part[taking_part] = pool.eligible[items[taking_part]]
    units, items = units[taking_part], items[taking_part]
    kept = np.flatnonzero(np.bincount(items, minlength=len(pool)) >= source.minimum)
    if not len(kept):
        return ItemWeights(pool.ids[kept], np.zeros((0, 0), dtype=np.float32), at)
    code = np.full(len(pool), -1, dtype=np.int64)
    code[kept] = np.arange(len(kept))
    known = code[items] >= 0
    shape = (int(units.max()) + 1, len(kept))
    matrix = interactions(units[known], code[items[known]], np.ones(int(known.sum())), shape)
    return ItemWeights(pool.ids[kept], _fitted(source, matrix, memory).weights, at)


def _fitted(source: FittedSource, matrix: Any, memory: int | None) -> ItemModel:  # noqa: ANN401 - scipy has no types
    if isinstance(source, Covisit):
        return covisitation(matrix, neighbours=source.neighbours, minimum=source.together, shrinkage=source.shrinkage)
    needed = ease_memory(matrix.shape[1])
    if memory is not None and needed > memory:
        message = (
            f"candidates {label(source)}: {matrix.shape[1]:,} items have {source.minimum} units or more, and EASE^R of"
            f" them takes {needed / _GB:.1f} GB; limits.memory of the environment is {memory / _GB:.1f} GB: raise the"
            " source's minimum, raise the limit, or declare covisit, which has no such bound"
        )
        raise FeatureError(message)
    return ease(matrix, l2=source.l2, memory_limit=None)


class PoolModel:
    """A fitted model over the items of a pool, whichever of them it knows."""

    def __init__(self, fitted: ItemWeights, pool: ItemPool) -> None:
        """Number the model's items as the pool does.

        Args:
            fitted: the model; its items need not be in the pool any more.
            pool: the items of now.
        """
        self.at = fitted.at
        self.nbytes = fitted.nbytes
        self.row_of_item = pool.locate(pa.array(fitted.items, pa.string()))
        """[items of the model] their rows of the pool, -1 where it lacks one."""
        self.item_of_row = np.full(len(pool), -1, dtype=np.int64)
        """[rows of the pool] the model's item, -1 where it knows none."""
        found = self.row_of_item >= 0
        self.item_of_row[self.row_of_item[found]] = np.flatnonzero(found)
        self._model = ItemModel(fitted.weights)

    def moved(self, rows: NDArray[np.int64], size: int) -> "PoolModel":
        """Return the same model over a pool to which items came that it does not know.

        Args:
            rows: [rows of the pool before] the rows of now.
            size: of the pool now.
        """
        after = copy.copy(self)
        known = self.row_of_item >= 0
        after.row_of_item = self.row_of_item.copy()
        after.row_of_item[known] = rows[self.row_of_item[known]]
        after.item_of_row = np.full(size, -1, dtype=np.int64)
        after.item_of_row[rows] = self.item_of_row
        return after

    def scores(self, history: History | None, strength: str | None) -> NDArray[np.float64] | None:
        """Score the model's items for one unit.

        Args:
            history: the unit's rows of the model's view.
            strength: the feature that says how much each counts; all the same if None.

        Returns:
            [items of the model], or None where the model knows nothing of the unit's own items.
        """
        if history is None or not self._model.items:
            return None
        counts = np.flatnonzero(history.known & (history.codes >= 0))
        items = self.item_of_row[history.codes[counts]]
        asked = items >= 0
        strengths = None
        if strength is not None:
            strengths = _strengths(history, strength)[counts]
            asked &= strengths != 0
            strengths = strengths[asked]
        return self._summed(items[asked], strengths) if asked.any() else None

    def _summed(self, items: NDArray[np.int64], strengths: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Add up strength × row of the weights, in the order of the items: sums of fractions depend on theirs."""
        order = np.argsort(items)
        items = items[order]
        strengths = None if strengths is None else strengths[order]
        weights = self._model.weights
        if not sparse.issparse(weights):
            dense = self._model.scores(items, np.ones(len(items)) if strengths is None else strengths)
            return dense.astype(np.float64)
        # For one history this is twice as fast as scipy's product of two sparse matrices.
        starts = weights.indptr[items]
        counts = weights.indptr[items + 1] - starts
        entries = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        values = weights.data[entries]
        if strengths is not None:
            values = values * np.repeat(strengths, counts)
        summed = np.bincount(weights.indices[entries], values, self._model.items)
        return np.asarray(summed, dtype=np.float64)


def _strengths(history: History, name: str) -> NDArray[np.float64]:
    if name not in history.columns:
        message = f"candidates: strength {name!r} is not a feature of the view: {', '.join(history.columns)}"
        raise FeatureError(message)
    return np.nan_to_num(np.asarray(history.columns[name], dtype=np.float64))
