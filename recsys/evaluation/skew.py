"""Are the features that requests were answered with those that the offline tables give, and if not, why?

Row by row: a logged value is compared with the value by the definition (the newest row that had happened and was known
at the request, within its TTL, then today's code), and where the two differ, with what each known cause would have
given. A cause is named where it gives the logged value, and by elimination only where nothing does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.pool import UNKNOWN
from recsys.modeling.clocks import RULES, same_values
from recsys.ports import Columns, FeatureSet, RequestTransform, ViewInfo
from recsys.serving.computing import with_computed

TOLERANCE: Final = 1e-9
"""Two numbers that differ by no more, absolutely and relatively, are the same."""


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


@dataclass(frozen=True)
class ViewRows:
    """What one stored view says of the logged rows, under each assumption; column to [rows] values."""

    due: Columns
    """By the definition: known at the request, within the TTL."""
    online: Columns
    """Up to the view's logged watermark."""
    endless: Columns
    """Known at the request, whatever its age."""
    today: Columns
    """Of the same time, as it is known today."""
    newer: NDArray[np.bool_]
    """[rows] whether the row by the definition happened or became known after the logged watermark."""
    origin: Sequence[str | None]
    """[rows] of `modeling.clocks.RULES`: which row of the table has the logged values; None where none has, or the
    view's values are not logged."""


@dataclass(frozen=True)
class Logged:
    """Rows that were shown with their features, all by one feature set and under one set of definitions."""

    features: FeatureSet
    columns: Columns
    """What was logged: feature column to [rows]."""
    views: Mapping[str, ViewRows]
    """Of each stored view that is not keyed by the session."""
    brought: Columns
    """Made again by `recsys why`: what requests brought along, and features of their sessions."""
    changed: Mapping[str, str]
    """View, stored or computed, to how it was changed since, such as `ttl 7d, now 1d`; unchanged ones are left out."""
    requests: Sequence[str]
    """[rows] request id."""
    rows: Sequence[str]
    """[rows] a row in words: its keys and its time."""


@dataclass(frozen=True)
class Finding:
    """One feature that differs for one cause."""

    cause: Cause
    view: str
    """Where the cause lies: the view that was late, changed or restated."""
    feature: str
    """The column that differs."""
    rows: int
    requests: int
    example: str
    """A row, its logged value and the one that it should be."""
    detail: str = ""
    """How the definition was changed, where it was."""


@dataclass(frozen=True)
class Skew:
    """What a sample of logged rows shows."""

    requests: int
    rows: int
    """Shown items with logged features."""
    skewed_rows: int
    """Rows with a value that serving got wrong: all causes but restated data."""
    restated_rows: int
    """Rows of which a value is known to be otherwise today."""
    findings: tuple[Finding, ...] = ()
    """By cause, view and feature; most rows first."""

    @property
    def skewed_share(self) -> float:
        """The share of rows that serving got wrong."""
        return self.skewed_rows / self.rows if self.rows else 0.0

    @property
    def restated_share(self) -> float:
        """The share of rows of which a value is known to be otherwise today."""
        return self.restated_rows / self.rows if self.rows else 0.0


def compare(groups: Sequence[Logged]) -> Skew:
    """Compare logged rows with the offline tables, and name the cause of each difference.

    Args:
        groups: rows by feature set and definitions.
    """
    tally = _Tally()
    rows = skewed = restated = 0
    requests: set[str] = set()
    for logged in groups:
        causes = _Comparison(logged).run(tally)
        rows += len(logged.rows)
        requests.update(logged.requests)
        skewed += int(causes.wrong.any(axis=0).sum()) if causes.wrong.size else 0
        restated += int(causes.restated.any(axis=0).sum()) if causes.restated.size else 0
    return Skew(len(requests), rows, skewed, restated, tally.findings())


@dataclass
class _Found:
    rows: int = 0
    requests: set[str] = field(default_factory=set)
    example: str = ""


class _Tally:
    """Counts differences by cause, view, feature and detail."""

    def __init__(self) -> None:
        self._found: dict[tuple[Cause, str, str, str], _Found] = {}

    def add(self, cause: Cause, view: str, feature: str, detail: str, request: str, example: str) -> None:
        found = self._found.setdefault((cause, view, feature, detail), _Found())
        found.rows += 1
        found.requests.add(request)
        found.example = found.example or example

    def findings(self) -> tuple[Finding, ...]:
        made = [
            Finding(cause, view, feature, found.rows, len(found.requests), found.example, detail)
            for (cause, view, feature, detail), found in self._found.items()
        ]
        return tuple(sorted(made, key=lambda each: (-each.rows, each.cause, each.view, each.feature)))


@dataclass(frozen=True)
class _Causes:
    wrong: NDArray[np.bool_]
    """[columns, rows] values that serving got wrong."""
    restated: NDArray[np.bool_]


class _Comparison:
    """One group of rows."""

    def __init__(self, logged: Logged) -> None:
        self._logged = logged
        self._due, self._online, self._endless, self._today = (
            self._assumed(name) for name in ("due", "online", "endless", "today")
        )
        self._late = {name: _differing(rows.due, rows.online, len(logged.rows)) for name, rows in logged.views.items()}

    def run(self, tally: _Tally) -> _Causes:
        """Count every difference; stored views first, for computed features follow from them."""
        features = self._logged.features
        count, names = len(self._logged.rows), features.columns
        wrong, restated = np.zeros((len(names), count), dtype=bool), np.zeros((len(names), count), dtype=bool)
        proven: dict[tuple[str, int], Cause] = {}
        owners = self._owners()
        for place in sorted(range(len(names)), key=lambda at: isinstance(owners[names[at]], RequestTransform)):
            column = names[place]
            due = self._due[column]
            said = self._said(column, due)
            differs = ~same_values(said, due, TOLERANCE)
            moved = ~differs & ~same_values(due, self._today[column], TOLERANCE)
            for row in np.flatnonzero(differs | moved).tolist():
                cause, view = (
                    self._cause(owners[column], column, row, said, proven)
                    if differs[row]
                    else (Cause.RESTATED, self._restated(owners[column], row))
                )
                proven.setdefault((view, row), cause)
                (restated if cause in BENIGN else wrong)[place, row] = True
                detail = self._logged.changed.get(view, "") if cause in {Cause.TTL, Cause.CHANGED} else ""
                other, what = (due, "should be") if differs[row] else (self._today[column], "known today as")
                example = f"{self._logged.rows[row]}: {_told(said[row])}, {what} {_told(other[row])}"
                tally.add(cause, view, column, detail, self._logged.requests[row], example)
        return _Causes(wrong, restated)

    def _cause(
        self,
        owner: ViewInfo | RequestTransform,
        column: str,
        row: int,
        said: NDArray[Any],
        proven: Mapping[tuple[str, int], Cause],
    ) -> tuple[Cause, str]:
        """Name the cause of one difference, and the view in which it lies."""
        return self._shown(owner, column, row, said) or self._left(owner, row, said, proven)

    def _shown(
        self, owner: ViewInfo | RequestTransform, column: str, row: int, said: NDArray[Any]
    ) -> tuple[Cause, str] | None:
        """Return the cause that gives the logged value, if one does."""
        read = self._read(owner)
        if _same_at(said, self._online[column], row) and (late := [name for name in read if self._late[name][row]]):
            return Cause.LATE, late[0]
        if _same_at(said, self._endless[column], row):
            return Cause.TTL, next((name for name in read if "ttl" in self._logged.changed.get(name, "")), read[0])
        if isinstance(owner, ViewInfo) and read:
            rows = self._logged.views[owner.name]
            if rows.origin[row] == RULES[0] and rows.newer[row]:
                return Cause.LATE, owner.name
        return None

    def _left(
        self,
        owner: ViewInfo | RequestTransform,
        row: int,
        said: NDArray[Any],
        proven: Mapping[tuple[str, int], Cause],
    ) -> tuple[Cause, str]:
        """Return what is left where no cause gives the value: a change that is known, or that of what it reads."""
        changed, read = self._logged.changed, self._read(owner)
        by_ttl = [(Cause.TTL, name) for name in read if "ttl" in changed.get(name, "") and _unknown(said[row])]
        by_change = [(Cause.CHANGED, name) for name in (owner.name, *read) if name in changed]
        followed = [(proven[name, row], name) for name in read if name != owner.name and (name, row) in proven]
        rewritten = [(Cause.RESTATED, owner.name)] * (owner.name in self._logged.views and not _unknown(said[row]))
        return [*by_ttl, *by_change, *followed, *rewritten, (Cause.UNEXPLAINED, owner.name)][0]

    def _restated(self, owner: ViewInfo | RequestTransform, row: int) -> str:
        """Return the view of which a row is known to be otherwise today."""
        views = self._logged.views
        for name in self._read(owner):
            if _differing(views[name].due, views[name].today, len(self._logged.rows))[row]:
                return name
        return owner.name

    def _owners(self) -> dict[str, ViewInfo | RequestTransform]:
        features = self._logged.features
        found: dict[str, ViewInfo | RequestTransform] = {
            name: view for view in features.views for name in view.features
        }
        return found | {name: transform for transform in features.transforms for name in transform.outputs}

    def _read(self, owner: ViewInfo | RequestTransform) -> tuple[str, ...]:
        """Return the stored views behind a column, without those of sessions."""
        if isinstance(owner, ViewInfo):
            return (owner.name,) if owner.name in self._logged.views else ()
        inputs = set(owner.inputs)
        views = self._logged.features.views
        return tuple(view.name for view in views if view.name in self._logged.views and inputs & set(view.features))

    def _assumed(self, assumption: str) -> dict[str, NDArray[Any]]:
        """Return every column as it would be under an assumption of what stood online, by today's functions."""
        values: dict[str, NDArray[Any]] = dict(self._logged.brought)
        for rows in self._logged.views.values():
            values |= getattr(rows, assumption)
        with np.errstate(all="ignore"):
            whole = with_computed(values, self._logged.features.transforms)
        return {name: np.asarray(whole[name]) for name in self._logged.features.columns}

    def _said(self, column: str, like: NDArray[Any]) -> NDArray[Any]:
        said = self._logged.columns[column]
        return said if like.dtype.kind in "OM" else said.astype(np.float64)


def _differing(one: Columns, other: Columns, rows: int) -> NDArray[np.bool_]:
    out = np.zeros(rows, dtype=bool)
    for name, values in one.items():
        out |= ~same_values(values, other[name], TOLERANCE)
    return out


def _same_at(one: NDArray[Any], other: NDArray[Any], row: int) -> bool:
    return bool(same_values(one[row : row + 1], other[row : row + 1], TOLERANCE)[0])


def _unknown(value: Any) -> bool:  # noqa: ANN401 - a number, a text or a time
    return bool(value == UNKNOWN) if isinstance(value, str) else bool(value != value)  # noqa: PLR0124 - NaN, NaT


def _told(value: Any) -> str:  # noqa: ANN401 - a number, a text or a time
    if _unknown(value):
        return "unknown"
    return f"{value:g}" if isinstance(value, float) else str(value)
