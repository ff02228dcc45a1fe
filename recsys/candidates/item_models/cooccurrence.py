"""Which items do the same units take? Cosine neighbours of each item."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.candidates.item_models.model import ItemModel, check_finite
from recsys.errors import FeatureError

_ENTRIES_AT_ONCE: Final = 4_000_000
"""Bounds memory: so many entries of X'X are looked at together, or one row of it where that has more."""

Pairs = tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]], NDArray[np.float32]]
"""An item, another item, and how similar they are."""


def covisitation(
    matrix: Any,  # noqa: ANN401 - scipy has no types
    *,
    neighbours: int,
    minimum: int = 2,
    shrinkage: float = 10.0,
) -> ItemModel:
    """Fit item-item similarity by the units two items have in common.

    The similarity of items i and j with columns x_i and x_j is x_i·x_j / (‖x_i‖ ‖x_j‖ + shrinkage): the cosine of
    item-based collaborative filtering (Sarwar et al., WWW 2001; Linden et al., IEEE Internet Computing 2003), shrunk
    where little was seen as in Ferrari Dacrema et al. (RecSys 2019, section 3.2). With weights of 1 the numerator is
    the number of common units and the norms are roots of the items' units.

    Time is that of X'X, Σ over units of (items of the unit)², some 150 million of them a second. X'X is made some
    rows at a time, at most 4 million entries or one row, at up to 80 bytes an entry (320 MB) whatever the catalogue;
    beside that stand copies of the matrix, at up to 60 bytes a weight, and the result, at up to 40 bytes a neighbour.

    Args:
        matrix: [units, items] csr_array of weights above 0.
        neighbours: how many of each item's strongest neighbours are kept; ties fall to the smaller item code.
        minimum: units that must have both items.
        shrinkage: added to the denominator, in units of squared weight; 0 is the cosine itself.

    Returns:
        A sparse model: row i holds item i's neighbours, in ascending order of their codes.

    Raises:
        FeatureError: if a parameter is out of its range, or a weight is not finite or not above 0.
    """
    if neighbours < 1 or minimum < 1 or not 0 <= shrinkage < np.inf:
        message = (
            f"covisitation: neighbours {neighbours}, minimum {minimum}, shrinkage {shrinkage}:"
            " at least 1, at least 1, and finite, not below 0"
        )
        raise FeatureError(message)
    check_finite(matrix)
    if matrix.nnz and matrix.data.min() <= 0:
        message = f"covisitation: a weight is {matrix.data.min()}: each must be above 0; leave out or clip such pairs"
        raise FeatureError(message)
    squares = np.asarray(matrix.astype(np.float64).power(2).sum(axis=0))
    taken: list[Pairs] = []
    for first, counts, products in _gram_rows(matrix):
        taken.append(_strongest(_similar(first, counts, products, squares, minimum, shrinkage), neighbours))
    return ItemModel(_collected(taken, matrix.shape[1]))


def _gram_rows(matrix: Any) -> Iterator[tuple[int, Any, Any]]:  # noqa: ANN401 - scipy has no types
    """Yield X'X some rows at a time: the first row, its pairs' common units, its pairs' sums of products.

    Both have their entries in the same places: a sum of products above 0 is above 0 in float64, because the weights
    are float32.
    """
    pattern = sparse.csr_array((np.ones(matrix.nnz, dtype=np.int32), matrix.indices, matrix.indptr), matrix.shape)
    binary = bool((matrix.data == 1).all())
    weighted = pattern if binary else matrix.astype(np.float64)
    patterns_of, weights_of = (each.T.tocsr() for each in (pattern, weighted))
    # A row of X'X has at most one entry for each item that each of its units has.
    entries = np.minimum(patterns_of @ np.diff(pattern.indptr).astype(np.int64), matrix.shape[1])
    total = np.concatenate([[0], np.cumsum(entries)])
    first = 0
    while first < matrix.shape[1]:
        end = max(first + 1, int(np.searchsorted(total, total[first] + _ENTRIES_AT_ONCE, side="right")) - 1)
        counts = patterns_of[first:end] @ pattern
        yield first, counts, counts if binary else weights_of[first:end] @ weighted
        first = end


def _similar(
    first: int,
    counts: Any,  # noqa: ANN401 - scipy has no types
    products: Any,  # noqa: ANN401 - scipy has no types
    squares: NDArray[np.float64],
    minimum: int,
    shrinkage: float,
) -> Pairs:
    """Return the similarity of each pair that enough units have in common, without the diagonal."""
    rows = np.arange(first, first + counts.shape[0], dtype=counts.indices.dtype)
    item = np.repeat(rows, np.diff(counts.indptr))
    kept = (counts.data >= minimum) & (counts.indices != item)
    item, other = item[kept], counts.indices[kept]
    denominator = squares[item]
    denominator *= squares[other]
    np.sqrt(denominator, out=denominator)
    denominator += shrinkage
    return item, other, (products.data[kept] / denominator).astype(np.float32)


def _strongest(pairs: Pairs, neighbours: int) -> Pairs:
    """Keep each item's strongest neighbours; `item` ascends, the neighbours of one item are in no order."""
    item, other, similarity = pairs
    keep = np.ones(len(item), dtype=bool)
    borders = np.flatnonzero(np.diff(item, prepend=-1, append=-1))
    for start, end in pairwise(borders.tolist()):
        if end - start > neighbours:
            values = similarity[start:end]
            weakest = np.partition(values, len(values) - neighbours)[len(values) - neighbours]
            above = values > weakest
            equal = np.flatnonzero(values == weakest)
            by_code = equal[np.argsort(other[start:end][equal])]
            above[by_code[: neighbours - int(above.sum())]] = True
            keep[start:end] = above
    return item[keep], other[keep], similarity[keep]


def _collected(taken: Sequence[Pairs], items: int) -> Any:  # noqa: ANN401 - scipy has no types
    if not taken:
        return sparse.csr_array((items, items), dtype=np.float32)
    item, other, similarity = (np.concatenate(part) for part in zip(*taken, strict=True))
    weights = sparse.csr_array((similarity, other, np.searchsorted(item, np.arange(items + 1))), shape=(items, items))
    weights.sort_indices()
    return weights
