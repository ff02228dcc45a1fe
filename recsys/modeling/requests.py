"""Which past requests are learned from and judged on: unit, moment, candidates, and what was taken?

Candidates come from the same sources as online, over the features that a materialize at that moment would have put
online.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.candidates.pool import ItemPool
from recsys.candidates.sources import candidates
from recsys.modeling.moments import Moments, rows_by_unit
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.specs.placement import Placement

REQUEST: Final = "request"
ITEM_ROW: Final = "item_row"


@dataclass(frozen=True)
class Requests:
    """Past requests and their candidate rows, contiguous by request."""

    rows: pa.Table
    """request (int64), user_id, item_id, item attributes that are join keys, event_timestamp, request_timestamp,
    label (float32), item_row (int64: ascends with the item id within a request)."""
    users: NDArray[np.object_]
    """The unit of each request."""
    relevant: NDArray[np.int64]
    """How many distinct items the unit took after each request, candidates or not."""
    eligible: frozenset[str]
    """Items that were eligible at some decision time."""

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
    """Make the requests of those units that took something, at each decision time.

    Args:
        moments: what would have stood online then.
        placement: pool and candidate sources.
        positives: event_timestamp, user_id, item_id of what was taken after each decision time.
        decision_times: ascending.
        sampling: of candidates that were not taken; a sampled request without a positive is left out.
        join_keys: item attributes (features of the pool's view) that feature views are keyed by.
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
        relevant=np.concatenate([part.relevant for part in parts]),
        eligible=frozenset().union(*(part.eligible for part in parts)),
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
    pool, histories = known.pool, known.histories
    taken = positives.filter(pc.equal(positives[EVENT_TIMESTAMP], pa.scalar(moment, TIMESTAMP)))
    items_taken = pool.locate(taken[ITEM])
    random = np.random.default_rng([sampling.seed, int(moment.timestamp())])

    users: list[str] = []
    relevant: list[int] = []
    chosen: list[NDArray[np.int64]] = []
    labels: list[NDArray[np.bool_]] = []
    for user, mine in rows_by_unit(taken[USER]).items():
        items = items_taken[mine]
        rows = candidates(placement.candidates, pool, lambda name, user=user: histories[name].get(user))  # type: ignore[misc]
        label = np.isin(rows, items)
        if sampling.per_request is not None:
            if not label.any():
                continue
            others = np.flatnonzero(~label)
            kept = random.permutation(others)[: sampling.per_request]
            keep = np.sort(np.concatenate([np.flatnonzero(label), kept]))
            rows, label = rows[keep], label[keep]
        users.append(user)
        relevant.append(len(items))
        chosen.append(rows)
        labels.append(label)
    return Requests(
        rows=_rows(pool, users, chosen, labels, moment, join_keys),
        users=np.array(users, dtype=object),
        relevant=np.array(relevant, dtype=np.int64),
        eligible=frozenset(pool.ids[pool.eligible]),
    )


def _rows(
    pool: ItemPool,
    users: Sequence[str],
    chosen: Sequence[NDArray[np.int64]],
    labels: Sequence[NDArray[np.bool_]],
    moment: datetime,
    join_keys: Sequence[str],
) -> pa.Table:
    counts = [len(rows) for rows in chosen]
    rows = np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)
    label = np.concatenate(labels) if labels else np.empty(0, dtype=np.bool_)
    numbers = np.repeat(np.arange(len(users)), counts)
    stamps = pa.array(np.full(len(rows), np.datetime64(moment.replace(tzinfo=None), "us"))).cast(TIMESTAMP)
    user_column = pa.array(users, pa.string()).take(pa.array(numbers))
    columns = {
        REQUEST: pa.array(numbers, pa.int64()),
        USER: user_column,
        ITEM: pa.array(pool.ids, pa.string()).take(pa.array(rows)),
        **{key: pa.array(pool.columns[key], pa.string()).take(pa.array(rows)) for key in join_keys},
        EVENT_TIMESTAMP: stamps,
        REQUEST_TIMESTAMP: stamps,
        LABEL: pa.array(label.astype(np.float32)),
        ITEM_ROW: pa.array(rows, pa.int64()),
    }
    return pa.table(columns)
