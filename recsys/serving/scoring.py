"""Which k items does each unit get, by one model? Arrow batches in, Arrow batches out, and nothing else is read.

The function is pure: it holds the item matrix and the ranker, opens no store, and can be pickled. So it runs in a
process beside others, or in `DataFrame.mapInArrow` of Spark, as it does in threads here.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.ports import Columns, Ranker, RequestTransform
from recsys.schema import ITEM, SCORE, USER
from recsys.serving.computing import with_computed
from recsys.serving.lists import Best, Lists, best

CANDIDATES: Final = "candidates"
RANK: Final = "rank"
SCORED: Final = pa.schema([(USER, pa.string()), (RANK, pa.int32()), (ITEM, pa.string()), (SCORE, pa.float64())])
"""One row an item of a unit's list; a unit without candidates has none."""


@dataclass(frozen=True)
class ListScorer:
    """Scores batches of units with their candidates, and keeps the first k of each list."""

    ranker: Ranker
    ids: pa.StringArray
    """[items] item ids, ascending: the rows of the item matrix."""
    items: Columns
    """Item features by name, [items] values each."""
    k: int
    transforms: Sequence[RequestTransform] = ()
    """Features that are computed from other columns."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score batch after batch: what `mapInArrow` calls."""
        return map(self.score, batches)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the list of each unit of a batch.

        Args:
            batch: one row a unit: `user_id`; `candidates`, a list of rows of the item matrix, null or empty where there
                are none; and features: a plain column holds the unit's value, a list column one value a candidate.
                Rows that the matrix lacks are left out.

        Returns:
            Rows of `SCORED`, in the order of the units and of their lists.

        Raises:
            FeatureError: if a column that the ranker or a transform reads is in neither the batch nor the matrix, or a
                list of features has another length than the candidates.
        """
        asked = _Asked.of(batch, len(self.ids))
        columns = with_computed(Gathered(self.items, asked), self.transforms)
        kept = first_of(self.ranker, columns, asked.lists, self.k)
        return pa.record_batch(
            [
                batch.column(USER).cast(pa.string()).take(pa.array(asked.lists.owner[kept.best.places])),
                pa.array(kept.best.ranks.astype(np.int32)),
                self.ids.take(pa.array(asked.lists.rows[kept.best.places])),
                pa.array(kept.scores[kept.best.places]),
            ],
            schema=SCORED,
        )

    def score_all(self, batches: Iterable[pa.RecordBatch], threads: int) -> Iterator[pa.RecordBatch]:
        """Score batches in threads and yield what comes of them in their order.

        CatBoost and numpy's gathers let other threads run, so each batch takes one core. At most `threads` + 1
        batches are held at once.
        """
        waiting: deque[Future[pa.RecordBatch]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="scoring") as pool:
            for batch in batches:
                waiting.append(pool.submit(self.score, batch))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


@dataclass(frozen=True)
class Kept:
    """What lists keep, and what the model says of every candidate."""

    scores: NDArray[np.float64]
    """[candidates]."""
    best: Best


def first_of(ranker: Ranker, columns: Columns, lists: Lists, k: int | None = None) -> Kept:
    """Score the candidates of many lists in one call of the ranker and return the first of each list.

    Args:
        ranker: the model.
        columns: what it reads, [candidates] values each.
        lists: the candidates.
        k: so many of each list; all if None.
    """
    scores = ranker.score(columns) if len(lists.rows) else np.empty(0)
    return Kept(scores, best(lists, scores, k))


@dataclass(frozen=True)
class _Asked:
    """A batch as numpy has it: its lists, and its features by what they are of."""

    lists: Lists
    of_units: Columns
    """[units] values."""
    of_candidates: Columns
    """[candidates] values."""

    @classmethod
    def of(cls, batch: pa.RecordBatch, items: int) -> "_Asked":
        named, bounds = _flat(batch.column(CANDIDATES))
        rows = named.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
        lists = Lists(rows, bounds)
        known = (rows >= 0) & (rows < items)
        whole = bool(known.all())
        units: dict[str, NDArray[Any]] = {}
        candidates: dict[str, NDArray[Any]] = {}
        for name in batch.schema.names:
            column = batch.column(name)
            if name in (USER, CANDIDATES):
                continue
            if not _is_list(column.type):
                units[name] = to_numpy(column)
                continue
            values, of_each = _flat(column)
            if not np.array_equal(np.diff(of_each), lists.lengths):
                message = f"scoring: column {name} is of lists of other lengths than the candidates': it needs the same"
                raise FeatureError(message)
            candidates[name] = to_numpy(values) if whole else to_numpy(values)[known]
        return cls(lists if whole else lists.where(known), units, candidates)


class Gathered(Mapping[str, NDArray[Any]]):
    """Feature columns of candidates, each gathered when it is asked for, from where it is known."""

    def __init__(self, items: Columns, asked: _Asked) -> None:
        """Gather nothing yet.

        Args:
            items: the item matrix; a batch's own column of the same name goes before it.
            asked: the batch.
        """
        self._items = items
        self._asked = asked

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return one column, [candidates] values."""
        asked = self._asked
        if name in asked.of_candidates:
            return asked.of_candidates[name]
        if name in asked.of_units:
            return asked.of_units[name].take(asked.lists.owner)
        if name in self._items:
            return self._items[name].take(asked.lists.rows)
        message = (
            f"scoring: column {name} is neither in the batch ({', '.join([*asked.of_units, *asked.of_candidates])})"
            f" nor in the item matrix ({', '.join(self._items)}): it has to be read with the others"
        )
        raise FeatureError(message)

    def __contains__(self, name: object) -> bool:
        """Tell whether a column is known, without gathering it."""
        return name in self._asked.of_candidates or name in self._asked.of_units or name in self._items

    def __iter__(self) -> Iterator[str]:
        """Return the names of all columns."""
        return iter(dict.fromkeys([*self._asked.of_candidates, *self._asked.of_units, *self._items]))

    def __len__(self) -> int:
        """Return their number."""
        return sum(1 for _ in self)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _flat(column: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return the values of lists, one behind the other, and the bounds of each; a null list is empty."""
    if not _is_list(column.type):
        message = f"scoring: column {CANDIDATES} is of {column.type}: it holds a list of rows of the item matrix a unit"
        raise FeatureError(message)
    lengths = np.asarray(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    return column.flatten(), np.concatenate([[0], np.cumsum(lengths)])
