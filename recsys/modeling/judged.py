"""On what are rankers judged: which past decisions, between which candidates, and what came of them?

Two kinds. Lists: a request is a unit at a decision time, its rows are candidate items. Units: a request is one decision
time, its rows are the units that could be reached, in one list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.errors import ModelError
from recsys.modeling.requests import ITEM_ROW, REQUEST
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, USER
from recsys.specs.problem import Problem

RELEVANT: Final = "relevant"
HISTORY: Final = "history"
SOURCES: Final = "sources"

Splits = Mapping[str, Sequence[np.datetime64]]
"""Name to test decision times."""


@dataclass(frozen=True)
class Rows:
    """What is ranked: contiguous by request, ascending."""

    label: NDArray[np.float32]
    """[rows] what came of it; above 0 is a hit."""
    request: NDArray[np.int64]
    """[rows] place of the request among the requests."""
    item_row: NDArray[np.int64]
    """[rows] decides between equal scores of one request: the smaller one stands first."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.label)


@dataclass(frozen=True)
class Items:
    """What is known of the items that were candidates or taken."""

    segment: NDArray[np.object_]
    """[items] such as the department; None where there is none."""
    buyers: NDArray[np.int64]
    """[items] how many units took it before the first test decision."""
    units: int
    """Units that took anything before the first test decision."""
    pool_size: int
    """Items that were eligible at some decision time."""


@dataclass(frozen=True)
class TakenItems:
    """Everything that was taken after the requests, candidates or not."""

    request: NDArray[np.int64]
    """[taken] place of the request."""
    item: NDArray[np.int64]
    """[taken] place of the item in `Items`."""
    new: NDArray[np.bool_]
    """[taken] whether the item was then first sold less than 28 days before."""


@dataclass(frozen=True)
class JudgedLists:
    """Lists of items, one a unit and decision time."""

    rows: Rows
    item: NDArray[np.int64]
    """[rows] place of the item in `items`."""
    sources: NDArray[np.int64] | None
    """[rows] bit mask of the candidate sources that gave it; None where that was not kept."""
    users: NDArray[np.object_]
    """[requests] the unit."""
    moments: NDArray[np.datetime64]
    """[requests] the decision time."""
    relevant: NDArray[np.float64]
    """[requests] how many items were taken, candidates or not; a request without any is left out of all means."""
    history: NDArray[np.int64]
    """[requests] how often the unit had taken something before."""
    taken: TakenItems
    items: Items
    splits: Splits = field(default_factory=dict)
    """Oldest first; told apart where there are several."""


@dataclass(frozen=True)
class JudgedUnits:
    """One list of units a decision time."""

    rows: Rows
    users: NDArray[np.object_]
    """[rows] the unit."""
    history: NDArray[np.int64]
    """[rows] how often the unit had acted before."""
    moments: NDArray[np.datetime64]
    """[requests] the decision time."""
    relevant: NDArray[np.float64]
    """[requests] sum of all units' labels, of those outside the audience too."""
    measured: bool
    """Whether labels are counts or amounts; otherwise they are 0 or 1."""
    splits: Splits = field(default_factory=dict)
    """Oldest first; told apart where there are several."""


Judged = JudgedLists | JudgedUnits


def judged(
    problem: Problem,
    test: pa.Table | Path,
    requests: pa.Table | Path,
    taken: pa.Table | Path,
    items: pa.Table | Path,
    *,
    units: int,
    pool_size: int,
    splits: Mapping[str, Sequence[datetime]] | None = None,
) -> Judged:
    """Make what rankers are judged on from the tables of a training set.

    Args:
        problem: tells whether items or units are ranked, and what a label is.
        test: rows; request (int64, contiguous, ascending), user_id, label (float32), item_row (int64), and for lists
            item_id and `sources` (int64 bit mask; may be missing), for units `history` (int64).
        requests: the test requests; other parts are dropped by `part`, where there is such a column. request, user_id
            (null for units), event_timestamp, relevant (float64), history (int64; null for units).
        taken: request, item_id, new (bool); not read for units.
        items: item_id, segment (string, null where there is none), buyers (int64); not read for units.
        units: how many units took anything before the first test decision.
        pool_size: how many items (or units) were eligible at some decision time.
        splits: name to test decision times, oldest split first.

    Raises:
        ModelError: if the tables do not belong together.
    """
    rows_table, asked = _table(test), _table(requests)
    if "part" in asked.column_names:
        asked = asked.filter(pc.equal(asked["part"], "test"))
    asked = asked.sort_by(REQUEST)
    numbers = _integers(asked[REQUEST])
    rows = Rows(
        label=np.asarray(rows_table[LABEL].to_numpy(), dtype=np.float32),
        request=_places(_integers(rows_table[REQUEST]), numbers, "test rows"),
        item_row=_integers(rows_table[ITEM_ROW]),
    )
    if np.any(np.diff(rows.request) < 0):
        message = "test rows: request numbers descend; the rows of one request are neighbours, in ascending order"
        raise ModelError(message)
    shared: dict[str, Any] = {
        "moments": to_numpy(asked[EVENT_TIMESTAMP]),
        "relevant": np.asarray(to_numpy(asked[RELEVANT]), dtype=np.float64),
        "splits": {name: [_utc(time) for time in times] for name, times in (splits or {}).items()},
    }
    if not problem.lists:
        return JudgedUnits(
            rows=rows,
            users=to_numpy(rows_table[USER]),
            history=_integers(rows_table[HISTORY]),
            measured=problem.target.measure != "event",
            **shared,
        )
    items_table, taken_table = _table(items), _table(taken)
    known = items_table[ITEM].combine_chunks()
    of = TakenItems(
        request=_places(_integers(taken_table[REQUEST]), numbers, "taken items"),
        item=_item_places(taken_table[ITEM], known, "taken items"),
        new=np.asarray(pc.fill_null(taken_table["new"], fill_value=False).to_numpy(), dtype=np.bool_),
    )
    _same_counts(of, shared["relevant"])
    return JudgedLists(
        rows=rows,
        item=_item_places(rows_table[ITEM], known, "test rows"),
        sources=_integers(rows_table[SOURCES]) if SOURCES in rows_table.column_names else None,
        users=to_numpy(asked[USER]),
        history=_integers(asked[HISTORY]),
        taken=of,
        items=Items(
            segment=np.array(items_table["segment"].to_pylist(), dtype=object),
            buyers=_integers(items_table["buyers"]),
            units=units,
            pool_size=pool_size,
        ),
        **shared,
    )


def _utc(time: datetime) -> np.datetime64:
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time, "us")


def _table(source: pa.Table | Path) -> pa.Table:
    return pq.read_table(source) if isinstance(source, Path) else source


def _integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(column, 0).to_numpy(), dtype=np.int64)


def _places(wanted: NDArray[np.int64], numbers: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    """Return where each request number stands among the ascending numbers of the requests."""
    places: NDArray[np.int64] = np.searchsorted(numbers, wanted)
    stray = wanted[~np.isin(wanted, numbers)]
    if len(stray):
        message = f"{what}: request {stray[0]} is not among the {len(numbers):,} test requests; build the set anew"
        raise ModelError(message)
    return places


def _item_places(wanted: pa.ChunkedArray, known: pa.Array, what: str) -> NDArray[np.int64]:
    found = pc.index_in(wanted, value_set=known)
    if found.null_count:
        stray = wanted.filter(pc.is_null(found))[0].as_py()
        message = f"{what}: item {stray!r} is not in the table of items; build the set anew"
        raise ModelError(message)
    return np.asarray(found.to_numpy(), dtype=np.int64)


def _same_counts(taken: TakenItems, relevant: NDArray[np.float64]) -> None:
    counted = np.bincount(taken.request, minlength=len(relevant))
    differ = np.flatnonzero(counted != relevant)
    if len(differ):
        place = differ[0]
        message = (
            f"test request {place}: relevant is {relevant[place]:g}, and {counted[place]} items were taken; recall"
            " divides by all that was taken: build the set anew"
        )
        raise ModelError(message)
