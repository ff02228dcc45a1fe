"""How do a unit's candidates become a list? Features, score, order and the stages after the model, in time or not."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.history import Histories
from recsys.candidates.pool import instant
from recsys.candidates.retrieval import Retrieval
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


def ranked(asked: Asked, model: LoadedModel, stages: Sequence[Stage]) -> tuple[list[ShownItem], str]:
    """Return the list by a model, and the digest of the feature values of its scored items.

    Raises:
        OutOfTimeError: if the request's time was up before a stage.
    """
    wanted = asked.wanted
    _in_time(wanted.deadline)
    found = asked.retrieval.candidates(asked.histories, asked.instant, wanted.given)
    _in_time(wanted.deadline)
    brought = {SOURCES: found.sources, **found.scores}
    columns = assemble(model.features, asked.matrix, asked.unit, found.rows, wanted.at, brought)
    _in_time(wanted.deadline)
    scores = model.ranker.score(columns)
    order = np.lexsort((found.rows, -np.nan_to_num(scores, nan=-np.inf)))
    if not stages:
        order = order[: wanted.slots]
    best = Ranked.of(found.rows[order], scores[order])
    chosen = rerank(stages, best, asked.matrix.pool, asked.may_get, wanted.slots, wanted.request_id)
    return shown(asked.matrix, chosen), feature_digest(columns, order[chosen.ranks[chosen.ranks > 0] - 1])


def shown(matrix: ItemMatrix, chosen: Ranked) -> list[ShownItem]:
    """Return what stands in each slot."""
    slots = zip(chosen.rows, chosen.scores, chosen.propensities, strict=True)
    return [
        ShownItem(str(matrix.pool.ids[row]), position, float(score), float(propensity))
        for position, (row, score, propensity) in enumerate(slots, start=1)
    ]


def feature_digest(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> str:
    """Return a digest of the feature values of some rows: equal values, equal digest."""
    state = hashlib.blake2b(digest_size=8)
    for name, values in columns.items():
        state.update(name.encode())
        chosen = values[rows]
        if chosen.dtype.kind in "OU":
            state.update("\x00".join(map(str, chosen)).encode())
        elif chosen.dtype.kind == "M":
            state.update(chosen.astype("int64").tobytes())
        else:
            state.update(np.ascontiguousarray(chosen, dtype=np.float32).tobytes())
    return state.hexdigest()


def _in_time(deadline: Deadline) -> None:
    if deadline.over:
        raise OutOfTimeError
