"""How do a unit's candidates become a list? Features, score, order and the stages after the model, in time or not."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.history import Histories
from recsys.candidates.pool import instant
from recsys.candidates.retrieval import Candidates, Retrieval
from recsys.modeling.context import broadcast
from recsys.ports import ShownItem
from recsys.serving.assembly import UnitRows, assemble
from recsys.serving.deadline import Deadline, OutOfTimeError
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.reranking import Ranked, rerank
from recsys.serving.state import LoadedModel
from recsys.specs.candidates import SOURCES
from recsys.specs.reranking import Stage


@dataclass(frozen=True)
class Wanted:
    """What a request asks for."""

    slots: int
    at: datetime
    given: Sequence[str]
    request_id: str
    deadline: Deadline = field(default_factory=Deadline)
    session: str | None = None
    """The visit that it is made in."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """A value of every name that the placement's context declares."""


@dataclass(frozen=True)
class Asked:
    """What one list is made from."""

    matrix: ItemMatrix
    retrieval: Retrieval
    unit: UnitRows
    histories: Histories
    wanted: Wanted

    @property
    def instant(self) -> np.datetime64:
        """Return the moment of the request as numpy has it."""
        return instant(self.wanted.at)

    def may_get(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows of the pool the filters let into this list."""
        return self.retrieval.may_get(rows, self.histories, self.instant)


@dataclass(frozen=True)
class Scored:
    """A unit's candidates with what a model says of them."""

    found: Candidates
    columns: Mapping[str, NDArray[Any]]
    """Feature column to [candidates] values."""
    scores: NDArray[np.float64]
    """[candidates]."""
    order: NDArray[np.int64]
    """[candidates] places of the candidates, best first; of equal scores the smaller item id."""

    @property
    def ranked(self) -> Ranked:
        """Return the model's own order."""
        return Ranked.of(self.found.rows[self.order], self.scores[self.order])

    def places(self, chosen: Ranked) -> NDArray[np.int64]:
        """Return the places of those items of a list that were scored, in its order."""
        return self.order[chosen.ranks[chosen.ranks > 0] - 1]


@dataclass(frozen=True)
class Listed:
    """A list by a model."""

    items: list[ShownItem]
    digest: str
    """Of the feature values of its scored items."""
    features: Mapping[str, Sequence[Any]] | None
    """Those values, where they were wanted."""


def scored(asked: Asked, model: LoadedModel) -> Scored:
    """Return the candidates, their features and their scores.

    Raises:
        OutOfTimeError: if the request's time was up before a stage.
    """
    wanted = asked.wanted
    _in_time(wanted.deadline)
    found = asked.retrieval.candidates(asked.histories, asked.instant, wanted.given)
    _in_time(wanted.deadline)
    brought = {SOURCES: found.sources, **found.scores}
    if wanted.context:
        brought |= broadcast(wanted.context, len(found.rows))
    columns = assemble(model.features, asked.matrix, asked.unit, found.rows, wanted.at, brought)
    _in_time(wanted.deadline)
    scores = model.ranker.score(columns)
    order = np.lexsort((found.rows, -np.nan_to_num(scores, nan=-np.inf)))
    return Scored(found, columns, scores, order)


def ranked(asked: Asked, model: LoadedModel, stages: Sequence[Stage], *, with_features: bool = False) -> Listed:
    """Return the list by a model.

    Raises:
        OutOfTimeError: if the request's time was up before a stage.
    """
    wanted = asked.wanted
    made = scored(asked, model)
    best = made.ranked if stages else made.ranked.take(np.arange(min(wanted.slots, len(made.order))))
    chosen = rerank(stages, best, asked.matrix.pool, asked.may_get, wanted.slots, wanted.request_id)
    places = made.places(chosen)
    return Listed(
        shown(asked.matrix, chosen),
        feature_digest(made.columns, places),
        plain_features(made.columns, places) if with_features else None,
    )


def shown(matrix: ItemMatrix, chosen: Ranked) -> list[ShownItem]:
    """Return what stands in each slot."""
    columns = (matrix.pool.ids[chosen.rows], chosen.scores, chosen.propensities)
    slots = zip(*(column.tolist() for column in columns), strict=True)
    return [ShownItem(str(item), at, score, propensity) for at, (item, score, propensity) in enumerate(slots, start=1)]


def feature_digest(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> str:
    """Return a digest of the feature values of some rows: equal values, equal digest."""
    told: list[bytes] = []
    for name, values in columns.items():
        chosen = values.take(rows)
        told.append(name.encode())
        if chosen.dtype.kind in "OU":
            told.append("\x00".join(map(str, chosen)).encode())
        elif chosen.dtype.kind == "M":
            told.append(chosen.astype("int64").tobytes())
        else:
            told.append(chosen.astype(np.float32).tobytes())
    return hashlib.blake2b(b"".join(told), digest_size=8).hexdigest()


def row_digests(columns: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the digest of each row by itself, as `feature_digest` of that row alone."""
    told = []
    for name, values in columns.items():
        head = name.encode()
        if values.dtype.kind in "OU":
            told.append([head + str(value).encode() for value in values.tolist()])
            continue
        cells = values.astype("int64" if values.dtype.kind == "M" else np.float32)
        size, data = cells.itemsize, cells.tobytes()
        told.append([head + data[start : start + size] for start in range(0, len(data), size)])
    return [hashlib.blake2b(b"".join(row), digest_size=8).hexdigest() for row in zip(*told, strict=True)]


def plain_features(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> dict[str, list[Any]]:
    """Return the feature values of some rows as JSON has them: unknown numbers and times are None, times ISO times."""
    return {name: [_plain(value) for value in values[rows].tolist()] for name, values in columns.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a number, a text or a time
    if isinstance(value, datetime):
        return value.isoformat()
    return known(value) if isinstance(value, float) else value


def known(number: float) -> float | None:
    """Return a number as JSON has it: what is unknown is None, for JSON has no NaN."""
    return None if math.isnan(number) else number


def _in_time(deadline: Deadline) -> None:
    if deadline.over:
        raise OutOfTimeError
