"""What is compared of the rows of both sides: features, scores, labels and candidate sources, as columns?

The reference are the test rows of the newest split of the training set: all candidates of the last weeks before the
weights were trained, as the recent rows are all candidates of the weeks since. (What was learned from is a sample of
negatives, which would differ by the sampling alone; and rows of older splits are among what the newest fit learned
from, whose scores of them are better than they will ever be.)
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.evaluation.drift import Sample
from recsys.modeling.decision_times import TEST
from recsys.modeling.judged import Judged, JudgedLists
from recsys.modeling.offline_evaluation import drawn_rows
from recsys.modeling.training_set import PART, REQUESTS, TrainingSet
from recsys.ports import Ranker
from recsys.schema import EVENT_TIMESTAMP, LABEL, TIMESTAMP, USER
from recsys.specs.candidates import SOURCES

SCORE: Final = "score"
TAKEN: Final = "taken items"
"""Of a request, candidates or not."""
GIVEN: Final = "candidate sources"
ROWS: Final = 200_000
"""Rows of a side that distributions are made of at most, drawn by a seed."""


def reference_rows(dataset: TrainingSet, part: str = TEST) -> pa.Table:
    """Return the test rows of the newest split, or its test requests.

    Args:
        dataset: of the weights.
        part: test or requests.
    """
    rows = dataset.rows(part)
    if part == REQUESTS:
        rows = rows.filter(pc.equal(rows[PART], TEST))
    first = pa.scalar(dataset.splits[-1].test[0], TIMESTAMP)
    return rows.filter(pc.greater_equal(rows[EVENT_TIMESTAMP], first))


def drawn(rows: pa.Table) -> pa.Table:
    """Return the rows that distributions are made of."""
    return rows.take(pa.array(drawn_rows(len(rows), ROWS)))


def sample_of(rows: pa.Table, features: Sequence[str], ranker: Ranker, sources: Sequence[str]) -> Sample:
    """Return features, scores, and candidate sources or, where units are selected, what they did (`label`), by row.

    Args:
        rows: user_id, event_timestamp, label, the features, and of lists `sources` (a bit mask).
        features: columns that the model's service gives.
        ranker: scores rows.
        sources: candidate sources in the order of the bits; empty where units are selected.
    """
    columns = {name: _comparable(to_numpy(rows[name]), rows) for name in features}
    columns[SCORE] = ranker.score({name: to_numpy(rows[name]) for name in ranker.columns})
    if not sources:
        columns[LABEL] = rows[LABEL].to_numpy().astype(np.float64)
    elif SOURCES in rows.column_names:
        columns[GIVEN] = _given(rows[SOURCES].to_numpy(), sources)
    return Sample(columns, to_numpy(rows[USER]), to_numpy(rows[EVENT_TIMESTAMP]))


def taken_before(dataset: TrainingSet) -> Sample:
    """Return how many items each unit of the reference took."""
    requests = reference_rows(dataset, REQUESTS)
    columns = {TAKEN: to_numpy(requests["relevant"])}
    return Sample(columns, to_numpy(requests[USER]), to_numpy(requests[EVENT_TIMESTAMP]))


def taken_now(judged: Judged) -> Sample | None:
    """Return how many items each unit took since; None where units are selected."""
    if not isinstance(judged, JudgedLists):
        return None
    return Sample({TAKEN: judged.relevant}, judged.users, judged.moments)


def _comparable(values: NDArray[Any], rows: pa.Table) -> NDArray[Any]:
    """Return a time as its age in days at the decision: a date would drift by itself."""
    if values.dtype.kind != "M":
        return values
    age = (to_numpy(rows[EVENT_TIMESTAMP]) - values) / np.timedelta64(1, "D")
    return np.where(np.isnat(values), math.nan, age)


def _given(bits: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.object_]:
    """Return which sources gave each row, in words."""
    words = {
        int(mask): "+".join(name for place, name in enumerate(names) if int(mask) >> place & 1) or "none"
        for mask in np.unique(bits)
    }
    return np.array([words[int(mask)] for mask in bits], dtype=object)
