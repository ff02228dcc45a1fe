"""Which logged values are not those of the offline tables, in how many rows, and why?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.skew.causes import BENIGN, Causes, is_unknown
from recsys.evaluation.skew.findings import Skew, Tally
from recsys.evaluation.skew.rows import Logged
from recsys.evaluation.skew.worlds import TOLERANCE, Worlds
from recsys.modeling.clocks import same_values
from recsys.ports import RequestTransform


def compare(groups: Sequence[Logged]) -> Skew:
    """Compare logged rows with the offline tables, and name the causes of each difference.

    Args:
        groups: rows by feature set and definitions.
    """
    tally = Tally()
    rows = skewed = restated = 0
    requests: set[str] = set()
    for logged in groups:
        wrong, otherwise = _compared(logged, tally)
        rows += len(logged.rows)
        requests.update(logged.requests)
        skewed += int(wrong.sum())
        restated += int(otherwise.sum())
    return Skew(len(requests), rows, skewed, restated, tally.findings())


def _compared(logged: Logged, tally: Tally) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Count every difference; return the [rows] that serving got wrong, and those that were restated since."""
    worlds = Worlds(logged)
    causes = Causes(logged, worlds)
    wrong, restated = np.zeros(len(logged.rows), dtype=bool), np.zeros(len(logged.rows), dtype=bool)
    for column in _stored_first(logged):
        due, today = worlds.columns("due")[column], worlds.columns("today")[column]
        said = _said(logged, column, due)
        differs = ~same_values(said, due, TOLERANCE)
        moved = ~differs & ~same_values(due, today, TOLERANCE)
        for row in np.flatnonzero(differs | moved).tolist():
            because = causes.of_difference(column, row, said) if differs[row] else causes.of_restatement(column, row)
            other, what = (due, "should be") if differs[row] else (today, "known today as")
            example = f"{logged.rows[row]}: {_told(said[row])}, {what} {_told(other[row])}"
            for cause, view in because:
                (restated if cause in BENIGN else wrong)[row] = True
                tally.add(cause, view, column, causes.detail(cause, view), logged.requests[row], example)
    return wrong, restated


def _stored_first(logged: Logged) -> Sequence[str]:
    return sorted(logged.features.columns, key=lambda name: isinstance(logged.owners[name], RequestTransform))


def _said(logged: Logged, column: str, like: NDArray[Any]) -> NDArray[Any]:
    said = logged.columns[column]
    return said if like.dtype.kind in "OM" else said.astype(np.float64)


def _told(value: Any) -> str:  # noqa: ANN401 - a number, a text or a time
    if is_unknown(value):
        return "unknown"
    return f"{value:g}" if isinstance(value, float) else str(value)
