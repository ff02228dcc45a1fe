"""What has one unit done so far, as far as a unit × something view knows?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.pool import UNKNOWN


@dataclass(frozen=True)
class History:
    """What one unit has rows for in a unit × something view."""

    codes: NDArray[np.int64]
    """What each row is about: an item's row in the pool, or the code of an item attribute; -1 if the pool lacks it."""
    columns: Mapping[str, NDArray[Any]]
    """Features, one value a row."""
    whole: bool = True
    """Whether `columns` are all of the view's features; where they are not, rows that say nothing were left out."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which rows say something: where all purchases were cancelled, every feature of a row is unknown."""
        return known_rows(self.columns, len(self)) if self.whole else np.ones(len(self), dtype=bool)


Histories = Callable[[str], History | None]
"""View name to the unit's rows in it, or None when it has none."""


def known_rows(columns: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.bool_]:
    """Return which of so many rows have a value in at least one column; a row without columns says nothing."""
    found = np.zeros(count, dtype=bool)
    for values in columns.values():
        if values.dtype.kind == "O":
            found |= values != UNKNOWN
        elif values.dtype.kind == "M":
            found |= ~np.isnat(values)
        else:
            found |= ~np.isnan(values)
        if found.all():
            break
    return found
