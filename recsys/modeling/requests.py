"""Which past requests are learned from and judged on: unit, moment, candidates, and what was taken?

Candidates come from the same sources as online, over the features that a materialize at that moment would have put
online.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.candidates.retrieval import Candidates
from recsys.modeling.moments import Moment, Moments, rows_by_unit
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, REQUEST_TIMESTAMP, SESSION, TIMESTAMP, USER
from recsys.specs.candidates import SOURCES
from recsys.specs.placement import Placement

REQUEST: Final = "request"
ITEM_ROW: Final = "item_row"

_NOTHING_TAKEN: Final = pa.schema([(EVENT_TIMESTAMP, TIMESTAMP), (USER, pa.string()), (ITEM, pa.string())])


@dataclass(frozen=True)
class Requests:
    """Past requests and their candidate rows, contiguous by request."""

    rows: pa.Table
    """request (int64), user_id, item_id, item attributes and session_id if they are join keys, event_timestamp,
    request_timestamp, label (float32), item_row (int64: ascends with the item id within a request). Of lists of items
    also sources (int64: bit i is the placement's i-th source, which gave the item) and a score column (float64) of
    every source with an item-item model."""
    users: NDArray[np.object_]
    """[requests] the unit of each; None where a request is one list of units."""
    moments: NDArray[np.datetime64]
    """[requests] when each was, datetime64[us] in UTC."""
    relevant: NDArray[np.float64]
    """[requests] how many distinct items the unit took after it, candidates or not, without those that the placement's
    filters keep out; of a list of units, the sum of all units' labels, in the list or not."""
    eligible: frozenset[str]
    """Items (or units, of lists of units) that were eligible at some decision time."""
    taken: pa.Table = field(default_factory=_NOTHING_TAKEN.empty_table)
    """What `relevant` counts, of requests that are not shown lists: event_timestamp, user_id, item_id."""

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.users)


@dataclass(frozen=True)
class Sampling:
    """How many candidates that were not taken are kept; None keeps all."""

    per_request: int | None = None
    seed: int = 0


def build_requests(
    moments: Moments,
    placement: Placement,
    positives: pa.Table,
    decision_times: Sequence[datetime],
    sampling: Sampling,
    join_keys: Sequence[str],
) -> Requests:
    """Make the requests of those units that took something that the filters let into a list, at each decision time.

    Args:
        moments: what would have stood online then.
        placement: pool and candidate sources.
        positives: event_timestamp, user_id, item_id, label of what was taken after each decision time.
        decision_times: ascending.
        sampling: of candidates that were not taken; a sampled request without a positive is left out.
        join_keys: item attributes (features of the pool's view) that feature views are keyed by, and session_id where
            some are keyed by it: null, for requests of decision times have no session.
    """
    parts = [_requests_at(moments, placement, positives, moment, sampling, join_keys) for moment in decision_times]
    offset = 0
    tables = []
    for part in parts:
        shifted = pc.add(part.rows[REQUEST], pa.scalar(offset, pa.int64()))
        tables.append(part.rows.set_column(part.rows.column_names.index(REQUEST), REQUEST, shifted))
        offset += len(part)
    return Requests(
        rows=pa.concat_tables(tables).combine_chunks(),
        users=np.concatenate([part.users for part in parts]),
        moments=np.concatenate([part.moments for part in parts]),
        relevant=np.concatenate([part.relevant for part in parts]),
        eligible=frozenset().union(*(part.eligible for part in parts)),
        taken=pa.concat_tables([part.taken for part in parts]).combine_chunks(),
    )


def _requests_at(
    moments: Moments,
    placement: Placement,
    positives: pa.Table,
    moment: datetime,
    sampling: Sampling,
    join_keys: Sequence[str],
) -> Requests:
    known = moments.at(placement, moment)
    taken = positives.filter(pc.equal(positives[EVENT_TIMESTAMP], pa.scalar(moment, TIMESTAMP)))
    items_taken, measured = known.pool.locate(taken[ITEM]), taken[LABEL].to_numpy()
    random = np.random.default_rng([sampling.seed, int(moment.timestamp())])

    users: list[str] = []
    counted: list[NDArray[np.int64]] = []
    chosen: list[Candidates] = []
    labels: list[NDArray[np.float32]] = []
    for user, all_mine in rows_by_unit(taken[USER]).items():
        histories = known.histories_of(user)
        mine = all_mine[~known.retrieval.filtered(items_taken[all_mine], histories, known.instant)]
        if not len(mine):
            continue
        items = items_taken[mine]
        found = known.retrieval.candidates(histories, known.instant)
        label = _labels(found.rows, items, measured[mine])
        if sampling.per_request is not None:
            if not label.any():
                continue
            others = np.flatnonzero(label == 0)
            kept = random.permutation(others)[: sampling.per_request]
            keep = np.sort(np.concatenate([np.flatnonzero(label), kept]))
            found, label = found.take(keep), label[keep]
        users.append(user)
        counted.append(mine)
        chosen.append(found)
        labels.append(label)
    return Requests(
        rows=_rows(known, placement, users, chosen, labels, join_keys),
        users=np.array(users, dtype=object),
        moments=np.full(len(users), known.instant),
        relevant=np.array([len(mine) for mine in counted], dtype=np.float64),
        eligible=frozenset(known.pool.ids[known.pool.eligible]),
        taken=taken.select(_NOTHING_TAKEN.names).take(pa.array(_joined(counted, np.int64))),
    )


def _rows(
    known: Moment,
    placement: Placement,
    users: Sequence[str],
    chosen: Sequence[Candidates],
    labels: Sequence[NDArray[np.float32]],
    join_keys: Sequence[str],
) -> pa.Table:
    pool = known.pool
    rows = _joined([found.rows for found in chosen], np.int64)
    numbers = np.repeat(np.arange(len(users)), [len(found.rows) for found in chosen])
    stamps = pa.array(np.full(len(rows), known.instant)).cast(TIMESTAMP)
    columns = {
        REQUEST: pa.array(numbers, pa.int64()),
        USER: pa.array(users, pa.string()).take(pa.array(numbers)),
        ITEM: pa.array(pool.ids, pa.string()).take(pa.array(rows)),
        **{
            # Nobody browsed at a decision time.
            key: pa.nulls(len(rows), pa.string())
            if key == SESSION
            else pa.array(pool.columns[key], pa.string()).take(pa.array(rows))
            for key in join_keys
        },
        EVENT_TIMESTAMP: stamps,
        REQUEST_TIMESTAMP: stamps,
        LABEL: pa.array(_joined(labels, np.float32)),
        ITEM_ROW: pa.array(rows, pa.int64()),
        SOURCES: pa.array(_joined([found.sources for found in chosen], np.int64)),
        **{
            name: pa.array(_joined([found.scores[name] for found in chosen], np.float64))
            for name in placement.score_columns
        },
    }
    return pa.table(columns)


def _labels(rows: NDArray[np.int64], items: NDArray[np.int64], measured: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return each candidate's label: what was measured of an item that was taken, 0 of another."""
    order = np.argsort(items)
    nearest = order[np.minimum(np.searchsorted(items, rows, sorter=order), len(items) - 1)]
    return np.where(items[nearest] == rows, measured[nearest], 0.0).astype(np.float32)


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=kind), *parts]).astype(kind)
