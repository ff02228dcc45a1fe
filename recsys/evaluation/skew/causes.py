"""Why is a logged value not the one of the offline tables, and in which views does that lie?"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from numpy.typing import NDArray

from recsys.candidates.pool import UNKNOWN
from recsys.evaluation.skew.rows import Logged, Owner
from recsys.evaluation.skew.worlds import World, Worlds, same_at
from recsys.modeling.clocks import RULES
from recsys.ports import ViewInfo


class Cause(StrEnum):
    """Why a logged value is not the one of the offline tables."""

    LATE = "late materialize"
    """The online store was behind: the value is the one of an older row, or of none yet."""
    TTL = "TTL"
    """A row past its view's TTL was served, or one within it was not."""
    CHANGED = "changed code or definition"
    """The view, its table's code or the request-time function is not the one that answered."""
    RESTATED = "restated data"
    """What was served was known then, and is known to be otherwise now; or no version of the table has it any more."""
    UNEXPLAINED = "unexplained"
    """None of these gives the value."""


BENIGN: Final = frozenset({Cause.RESTATED})
"""What is no fault of serving: training sets as known then have the same values."""

_TTL: Final = "ttl "
"""What a change of a view's TTL begins with."""
_WORLDS: Final[tuple[World, ...]] = ("online", "endless", "stood")
"""What serving would have given: from a store that is behind, without the TTL, and both."""

Because = Sequence[tuple[Cause, str]]
"""Causes of one difference, each with the view that it lies in; one at least."""


class Causes:
    """Names the causes of differences, one value at a time.

    Stored columns are to be asked before computed ones: where nothing gives a computed value, it follows from what was
    found in the same row of the views behind it.
    """

    def __init__(self, logged: Logged, worlds: Worlds) -> None:
        """Nothing is found yet."""
        self._logged = logged
        self._worlds = worlds
        self._proven: dict[tuple[str, int], Cause] = {}

    def of_difference(self, column: str, row: int, said: NDArray[Any]) -> Because:
        """Name why a logged value is not the one by the definition.

        Args:
            column: of the feature set.
            row: which of the logged ones.
            said: [rows] what was logged of the column.
        """
        owner = self._logged.owners[column]
        return self._found(row, self._shown(owner, column, row, said) or self._left(owner, row, said[row]))

    def of_restatement(self, column: str, row: int) -> Because:
        """Name the views of which a value that was right is known to be otherwise today."""
        owner = self._logged.owners[column]
        views = self._blamed(owner, column, row, "today") or [owner.name]
        return self._found(row, [(Cause.RESTATED, name) for name in views])

    def detail(self, cause: Cause, view: str) -> str:
        """Return how a view was changed, where the cause is that it was."""
        said = self._logged.changed.get(view, ()) if cause in {Cause.TTL, Cause.CHANGED} else ()
        return "; ".join(said)

    def _found(self, row: int, because: Because) -> Because:
        for cause, view in because:
            self._proven.setdefault((view, row), cause)
        return because

    def _shown(self, owner: Owner, column: str, row: int, said: NDArray[Any]) -> Because:
        """Return the causes that give the logged value; none if none do."""
        for world in _WORLDS:
            if same_at(said, self._worlds.columns(world)[column], row):
                return [(self._of_view(name, row, world), name) for name in self._blamed(owner, column, row, world)]
        if isinstance(owner, ViewInfo) and owner.name in self._logged.views:
            rows = self._logged.views[owner.name]
            if rows.origin[row] == RULES[0] and rows.newer[row]:
                return [(Cause.LATE, owner.name)]
        return []

    def _blamed(self, owner: Owner, column: str, row: int, world: World) -> Sequence[str]:
        """Return the views but for which a column would not have a world's value; all, where any one will do."""
        differing = [name for name in self._logged.read(owner) if self._worlds.differing(name, "due", world)[row]]
        value = self._worlds.columns(world)[column]
        needed = [
            name for name in differing if not same_at(value, self._worlds.columns(world, right=name)[column], row)
        ]
        return needed or differing

    def _of_view(self, view: str, row: int, world: World) -> Cause:
        """Return what was wrong with a view's row in a world that gives the value."""
        behind = world == "online" or (world == "stood" and self._worlds.differing(view, "endless", "stood")[row])
        return Cause.LATE if behind else Cause.TTL

    def _left(self, owner: Owner, row: int, said: Any) -> Because:  # noqa: ANN401 - a number, a text or a time
        """Return what is left where no cause gives the value: changes that are known, or those of what it reads."""
        read = self._logged.read(owner)
        by_ttl = [(Cause.TTL, name) for name in read if self._ttl_changed(name) and is_unknown(said)]
        by_change = [
            (Cause.CHANGED, name) for name in dict.fromkeys((owner.name, *read)) if self._otherwise_changed(name)
        ]
        followed = [
            (self._proven[name, row], name) for name in read if name != owner.name and (name, row) in self._proven
        ]
        rewritten = [(Cause.RESTATED, owner.name)] * (owner.name in self._logged.views and not is_unknown(said))
        return by_ttl[:1] or by_change[:1] or followed or rewritten or [(Cause.UNEXPLAINED, owner.name)]

    def _ttl_changed(self, view: str) -> bool:
        return any(each.startswith(_TTL) for each in self._logged.changed.get(view, ()))

    def _otherwise_changed(self, view: str) -> bool:
        return any(not each.startswith(_TTL) for each in self._logged.changed.get(view, ()))


def is_unknown(value: Any) -> bool:  # noqa: ANN401 - a number, a text or a time
    """Tell whether a value is the one that stands for none."""
    return bool(value == UNKNOWN) if isinstance(value, str) else bool(value != value)  # noqa: PLR0124 - NaN, NaT
