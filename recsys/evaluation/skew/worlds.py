"""What would each column be, had the online store stood otherwise?"""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.skew.rows import Logged
from recsys.modeling.clocks import same_values
from recsys.ports import Columns
from recsys.serving.computing import with_computed

TOLERANCE: Final = 1e-9
"""Two numbers that differ by no more, absolutely and relatively, are the same."""

World = Literal["due", "online", "endless", "stood", "today"]
"""An assumption of `ViewRows`, of all views at once."""


class Worlds:
    """Some logged rows as they would be under each assumption, by today's functions; each is computed once."""

    def __init__(self, logged: Logged) -> None:
        """Compute nothing yet."""
        self._logged = logged
        self._columns: dict[tuple[World, str | None], Columns] = {}
        self._differing: dict[tuple[str, World, World], NDArray[np.bool_]] = {}

    def columns(self, world: World, right: str | None = None) -> Columns:
        """Return every column of the feature set.

        Args:
            world: the assumption.
            right: a view that is as by the definition all the same.
        """
        key = (world, right)
        if key not in self._columns:
            values: dict[str, NDArray[Any]] = dict(self._logged.brought)
            for name, rows in self._logged.views.items():
                values |= rows.due if name == right else getattr(rows, world)
            with np.errstate(all="ignore"):
                whole = with_computed(values, self._logged.features.transforms)
            self._columns[key] = {name: np.asarray(whole[name]) for name in self._logged.features.columns}
        return self._columns[key]

    def differing(self, view: str, one: World, other: World) -> NDArray[np.bool_]:
        """Return the [rows] in which a view has another value of any feature under two assumptions."""
        key = (view, one, other)
        if key not in self._differing:
            rows, out = self._logged.views[view], np.zeros(len(self._logged.rows), dtype=bool)
            others: Columns = getattr(rows, other)
            for name, values in getattr(rows, one).items():
                out |= ~same_values(values, others[name], TOLERANCE)
            self._differing[key] = out
        return self._differing[key]


def same_at(one: NDArray[Any], other: NDArray[Any], row: int) -> bool:
    """Tell whether two columns have the same value in a row; unknown values are equal to each other."""
    return bool(same_values(one[row : row + 1], other[row : row + 1], TOLERANCE)[0])
