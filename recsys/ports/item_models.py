"""Where do the item-item models of candidate sources stand, so that all workers of an environment share them?"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ItemWeights:
    """An item-item model as it was fitted: which items, and how much each speaks for every other."""

    items: NDArray[np.object_]
    """[items] ids, ascending."""
    weights: Any
    """[items, items] float32, a `scipy.sparse.csr_array` or a dense array: row i is what item i in a history adds to
    the scores of all items."""
    at: datetime
    """It knows nothing of what came after this moment."""

    @property
    def nbytes(self) -> int:
        """Return the size of the weights in bytes."""
        if isinstance(self.weights, np.ndarray):
            return self.weights.nbytes
        return int(self.weights.data.nbytes + self.weights.indices.nbytes + self.weights.indptr.nbytes)


class ItemModelStore(Protocol):
    """Item-item models by key, each replaced as a whole.

    What `read` gave stays readable whatever is written or removed later.
    """

    def write(self, key: str, model: ItemWeights) -> None:
        """Put a model in the place of the key's present one.

        Args:
            key: lower-case letters, digits, `-` and `_`.
            model: the model; a reader finds the whole of it or the one before.

        Raises:
            StoreError: if it cannot be written.
        """
        ...

    def read(self, key: str) -> ItemWeights | None:
        """Return the key's present model, or None where there is none or it cannot be read."""
        ...

    def generation(self, key: str) -> str | None:
        """Return what changes whenever the key's model does; None where there is none."""
        ...

    def keep(self, keys: frozenset[str]) -> None:
        """Remove every model of another key, and what killed writers left."""
        ...
