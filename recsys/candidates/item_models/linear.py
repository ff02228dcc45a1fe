"""Which items tell of an item, beside all others? EASE^R, the linear model with a closed form."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from recsys.candidates.item_models.model import ItemModel, check_finite
from recsys.errors import FeatureError

_ENTRIES_AT_ONCE: Final = 1_000_000
"""Bounds memory: X'X is made from sparse rows of at most so many entries, or one row where that has more."""
_MIRRORED_AT_ONCE: Final = 512
"""Rows and columns of the blocks in which a triangle becomes a whole matrix."""


def ease_memory(items: int) -> int:
    """Return how many bytes `ease` has at its peak, beside the matrix and its transpose: 4 items² and a few rows."""
    return 4 * items * items + 12 * max(_ENTRIES_AT_ONCE, items) + 64 * items


def ease(matrix: Any, *, l2: float, memory_limit: int | None) -> ItemModel:  # noqa: ANN401 - scipy has no types
    """Fit EASE^R: min ‖X - X B‖² + l2 ‖B‖² with diag(B) = 0.

    The closed form is B = I - P diag(P)⁻¹ with P = (X'X + l2 I)⁻¹ (Steck, Embarrassingly shallow autoencoders for
    sparse data, WWW 2019, arXiv 1905.03375, equation 8).

    All of it is one float32 matrix: X'X, its Cholesky factor, the inverse and B take each other's place. In float64 it
    would take three times the memory (the result is float32) and twice the time, and change nothing a list shows: of
    100,000 units × 3,000 items, the weights differed by 1.5e-6 of their size at l2 = 50 and 500, and no unit's first
    100 items did.

    Args:
        matrix: [units, items] csr_array of finite weights.
        l2: above 0; larger means weaker weights.
        memory_limit: bytes that `ease_memory` may not exceed; None for no limit.

    Returns:
        A dense model. Time grows with items³.

    Raises:
        FeatureError: if l2 is not above 0, a weight is not finite, the catalogue is too large for the limit, or X'X
            is too ill-conditioned to be factorised.
    """
    items = matrix.shape[1]
    if not 0 < l2 < np.inf:
        message = f"ease: l2 {l2}: it must be finite and above 0, or items without events make X'X singular"
        raise FeatureError(message)
    if memory_limit is not None and ease_memory(items) > memory_limit:
        message = (
            f"ease: {items} items need {ease_memory(items)} bytes, the limit is {memory_limit}: raise the source's"
            " minimum support so that fewer items take part, or raise the limit; covisitation has no such bound"
        )
        raise FeatureError(message)
    check_finite(matrix)
    weights = _inverse(_gram(matrix, l2), l2)
    # With W = P, column by column: B_ij = -P_ij / P_jj.
    weights /= -np.diagonal(weights).copy()
    np.fill_diagonal(weights, 0.0)
    return ItemModel(weights)


def _gram(matrix: Any, l2: float) -> NDArray[np.float32]:  # noqa: ANN401 - scipy has no types
    """Return X'X + l2 I as a dense matrix."""
    items = matrix.shape[1]
    gram = np.empty((items, items), dtype=np.float32)
    weights = matrix.astype(np.float32, copy=False)
    transposed = weights.T.tocsr()
    step = max(1, _ENTRIES_AT_ONCE // max(1, items))
    for first in range(0, items, step):
        (transposed[first : first + step] @ weights).toarray(out=gram[first : first + step])
    gram[np.diag_indices(items)] += np.float32(l2)
    return gram


def _inverse(gram: NDArray[np.float32], l2: float) -> NDArray[np.float32]:
    """Invert a symmetric positive definite matrix in its own memory, by its Cholesky factor."""
    if not len(gram):
        return gram
    # LAPACK counts by columns: its lower triangle is the upper one of these rows.
    factor, failed = lapack.spotrf(gram.T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        factor, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        message = f"ease: X'X + {l2} I cannot be factorised in float32: raise l2, or scale the weights down"
        raise FeatureError(message)
    inverse: NDArray[np.float32] = factor.T
    for row in range(0, len(inverse), _MIRRORED_AT_ONCE):
        rows = slice(row, row + _MIRRORED_AT_ONCE)
        inverse[rows, rows] = np.triu(inverse[rows, rows]) + np.triu(inverse[rows, rows], 1).T
        inverse[rows.stop :, rows] = inverse[rows, rows.stop :].T
    return inverse
