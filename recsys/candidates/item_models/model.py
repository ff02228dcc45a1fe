"""What is an item-item model, what is it fitted on, and how does it score?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.errors import FeatureError


@dataclass(frozen=True, eq=False)
class ItemModel:
    """How much each item of a history speaks for every item."""

    weights: Any
    """[items, items] float32, a `scipy.sparse.csr_array` or dense: row i is what item i in a history adds to the scores
    of all items; the diagonal is 0."""

    @property
    def items(self) -> int:
        """Return how many items it knows; they are numbered from 0."""
        return int(self.weights.shape[0])

    def scores(self, items: NDArray[np.int64], strengths: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Score all items for one unit: Σ strength × row over its history.

        Args:
            items: [history] item codes in any order.
            strengths: [history] how much each counts.

        Returns:
            [items]; the same to the last bit as the unit's row of `scores_many`, if no item is named twice.

        Raises:
            FeatureError: if an item is unknown, or the lengths differ.
        """
        if len(items) != len(strengths):
            message = f"history: {len(items)} items and {len(strengths)} strengths: every item has one strength"
            raise FeatureError(message)
        _check_codes("history: item", items, self.items)
        # In the order of a canonical matrix, because float32 sums depend on their order.
        order = np.argsort(items, kind="stable")
        row = sparse.csr_array(
            (np.asarray(strengths, dtype=np.float32)[order], np.asarray(items)[order], [0, len(items)]),
            shape=(1, self.items),
        )
        return np.asarray(self.scores_many(row)[0], dtype=np.float32)

    def scores_many(self, matrix: Any) -> NDArray[np.float32]:  # noqa: ANN401 - scipy has no types
        """Score all items for many units.

        Args:
            matrix: [units, items] csr_array of strengths, such as `interactions` makes.

        Returns:
            [units, items], dense: the caller says how many units fit.

        Raises:
            FeatureError: if the matrix has another number of items.
        """
        if matrix.shape[1] != self.items:
            message = f"histories of {matrix.shape[1]} items, a model of {self.items}: both number the same items"
            raise FeatureError(message)
        product = matrix.astype(np.float32, copy=False) @ self.weights
        dense = product.toarray() if sparse.issparse(product) else product
        return np.asarray(dense, dtype=np.float32)


def interactions(
    units: NDArray[np.int64],
    items: NDArray[np.int64],
    weights: NDArray[np.floating[Any]],
    shape: tuple[int, int],
) -> Any:  # noqa: ANN401 - scipy has no types
    """Return units × items as a canonical `scipy.sparse.csr_array` of float32.

    Args:
        units: [events] unit codes from 0. A unit may be a user, a session or a basket.
        items: [events] item codes from 0.
        weights: [events] how much each event counts; those of one pair are added up, and sums of 0 left out.
        shape: how many units and items there are.

    Raises:
        FeatureError: if a code is outside the shape, lengths differ, or a weight is not finite.
    """
    if not len(units) == len(items) == len(weights):
        message = f"interactions: {len(units)} units, {len(items)} items, {len(weights)} weights: one of each an event"
        raise FeatureError(message)
    _check_codes("interactions: unit", units, shape[0])
    _check_codes("interactions: item", items, shape[1])
    # Added up as float64, so that the order of the events makes no difference worth the name.
    matrix = sparse.coo_array((np.asarray(weights, dtype=np.float64), (units, items)), shape=shape).tocsr()
    check_finite(matrix)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix.astype(np.float32)


def _check_codes(what: str, codes: NDArray[np.int64], limit: int) -> None:
    """Refuse codes that scipy would read beyond its arrays with."""
    if len(codes) and not (codes.min() >= 0 and codes.max() < limit):
        message = f"{what} codes run from {codes.min()} to {codes.max()}: they must be from 0 to {limit - 1}"
        raise FeatureError(message)


def check_finite(matrix: Any) -> None:  # noqa: ANN401 - scipy has no types
    """Refuse weights that no sum survives."""
    if not np.isfinite(matrix.data).all():
        message = "item-item model: a weight is not finite: leave out such events or give them a number"
        raise FeatureError(message)
