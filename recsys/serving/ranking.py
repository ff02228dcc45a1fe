"""How do the candidates of units become lists? Features, score, order and the stages after the model, in time or not.

One request is a batch of one: the same functions make the list of a request and those of a batch.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.history import Histories
from recsys.candidates.pool import instant
from recsys.candidates.retrieval import Candidates, Retrieval
from recsys.modeling.context import broadcast
from recsys.ports import Columns, ShownItem, ViewInfo
from recsys.serving.assembly import assemble
from recsys.serving.deadline import Deadline, OutOfTimeError
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.lists import Best, Lists
from recsys.serving.reranking import MayGet, Ranked, rerank
from recsys.serving.scoring import first_of
from recsys.serving.state import LoadedModel
from recsys.serving.unit_rows import UnitRows
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
    """What some lists of one moment are made from."""

    matrix: ItemMatrix
    retrieval: Retrieval
    units: UnitRows
    views: Mapping[str, ViewInfo]
    """The unit × item and session × item views that candidates are drawn from, by name."""
    wanted: Sequence[Wanted]
    """The request of each unit; all of one moment, and for as many slots."""

    @property
    def at(self) -> datetime:
        """Return the moment of the requests."""
        return self.wanted[0].at

    @property
    def slots(self) -> int:
        """Return how many items each request asks for."""
        return self.wanted[0].slots

    @cached_property
    def instant(self) -> np.datetime64:
        """Return the moment of the requests as numpy has it."""
        return instant(self.at)

    def histories(self, place: int = 0) -> Histories:
        """Return what is known of one unit's past, by view."""
        return lambda view: self.units.history(self.views[view], place)

    def may_get(self, place: int = 0) -> MayGet:
        """Return what tells which rows of the pool the filters let into one unit's list."""
        return lambda rows: self.retrieval.may_get(rows, self.histories(place), self.instant)


@dataclass(frozen=True)
class Scored:
    """The candidates of some units with what a model says of them."""

    found: Sequence[Candidates]
    """What may enter each list."""
    lists: Lists
    """The same, one list behind the other."""
    columns: Columns
    """Feature column to [candidates] values."""
    scores: NDArray[np.float64]
    """[candidates]."""
    best: Best
    """The first of each list, or all of them in their order."""

    def ranked(self, place: int = 0) -> Ranked:
        """Return one list in the model's own order."""
        mine = self._order(place)
        return Ranked.of(self.lists.rows[mine], self.scores[mine])

    def places(self, chosen: Ranked, place: int = 0) -> NDArray[np.int64]:
        """Return the places among all candidates of those items of a list that were scored, in its order."""
        return self._order(place)[chosen.ranks[chosen.ranks > 0] - 1]

    def _order(self, place: int) -> NDArray[np.int64]:
        start, end = self.best.bounds[place : place + 2].tolist()
        return self.best.places[start:end]


@dataclass(frozen=True)
class Listed:
    """Lists by a model, one behind the other."""

    items: Ranked
    bounds: NDArray[np.int64]
    """[lists + 1] list i is the items from `bounds[i]` up to `bounds[i + 1]`."""
    digests: Sequence[str]
    """Of the feature values of each list's scored items."""
    features: Mapping[int, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    """Place of a list to those values, of the lists of which they were wanted."""


def scored(asked: Asked, model: LoadedModel, k: int | None = None) -> Scored:
    """Return the candidates of some units, their features and their scores.

    Args:
        asked: the units and their requests.
        model: scores all candidates in one call.
        k: so many of each list are put in order; all if None.

    Raises:
        OutOfTimeError: if a request's time was up before a stage.
    """
    _in_time(asked)
    found = [
        asked.retrieval.candidates(asked.histories(place), asked.instant, wanted.given)
        for place, wanted in enumerate(asked.wanted)
    ]
    _in_time(asked)
    lists = Lists.of([each.rows for each in found])
    columns = assemble(model.features, asked.matrix, asked.units, lists, asked.at, _brought(asked, found))
    _in_time(asked)
    kept = first_of(model.ranker, columns, lists, k)
    return Scored(found, lists, columns, kept.scores, kept.best)


def _brought(asked: Asked, found: Sequence[Candidates]) -> dict[str, NDArray[Any]]:
    """Return the columns that requests bring along: sources, their scores, and what callers said."""
    each = [
        {SOURCES: mine.sources, **mine.scores, **broadcast(wanted.context, len(mine.rows))}
        for mine, wanted in zip(found, asked.wanted, strict=True)
    ]
    return each[0] if len(each) == 1 else {name: np.concatenate([mine[name] for mine in each]) for name in each[0]}


def ranked(asked: Asked, model: LoadedModel, stages: Sequence[Stage], *, features_of: Sequence[int] = ()) -> Listed:
    """Return the lists by a model.

    Args:
        asked: the units and their requests.
        model: scores.
        stages: what happens to each list then.
        features_of: the places of the lists of which the feature values are returned.

    Raises:
        OutOfTimeError: if a request's time was up before a stage.
    """
    made = scored(asked, model, None if stages else asked.slots)
    if stages:
        chosen = [
            rerank(stages, made.ranked(place), asked.matrix.pool, asked.may_get(place), asked.slots, wanted.request_id)
            for place, wanted in enumerate(asked.wanted)
        ]
        items, bounds = Ranked.joined(*chosen), np.cumsum([0, *map(len, chosen)])
        places = [made.places(mine, place) for place, mine in enumerate(chosen)]
        known, of_list = np.concatenate(places), np.cumsum([0, *map(len, places)])
    else:
        known, of_list = made.best.places, made.best.bounds
        bounds = of_list
        items = Ranked(made.lists.rows[known], made.scores[known], made.best.ranks, np.ones(len(known)))
    digests = feature_digests(made.columns, known, of_list)
    features = {at: plain_features(made.columns, known[of_list[at] : of_list[at + 1]]) for at in features_of}
    return Listed(items, bounds, digests, features)


def shown(matrix: ItemMatrix, chosen: Ranked) -> list[ShownItem]:
    """Return what stands in each slot."""
    columns = (matrix.pool.ids[chosen.rows], chosen.scores, chosen.propensities)
    slots = zip(*(column.tolist() for column in columns), strict=True)
    return [ShownItem(str(item), at, score, propensity) for at, (item, score, propensity) in enumerate(slots, start=1)]


def feature_digest(columns: Columns, rows: NDArray[np.int64]) -> str:
    """Return a digest of the feature values of some rows: equal values, equal digest."""
    return feature_digests(columns, rows, np.array([0, len(rows)]))[0]


def feature_digests(columns: Columns, rows: NDArray[np.int64], bounds: NDArray[np.int64]) -> list[str]:
    """Return a digest of the feature values of the rows of each list: equal values, equal digest.

    Args:
        columns: by name.
        rows: which of their rows, list after list.
        bounds: [lists + 1] list i has `rows[bounds[i]:bounds[i + 1]]`.
    """
    lists = list(pairwise(bounds.tolist()))
    told: list[list[bytes]] = [[] for _ in lists]
    for name, values in columns.items():
        chosen, named = values.take(rows), name.encode()
        if chosen.dtype.kind in "OU":
            for mine, (start, end) in zip(told, lists, strict=True):
                mine.extend((named, "\x00".join(map(str, chosen[start:end])).encode()))
            continue
        plain = chosen.astype("int64") if chosen.dtype.kind == "M" else chosen.astype(np.float32)
        width, whole = plain.itemsize, plain.tobytes()
        for mine, (start, end) in zip(told, lists, strict=True):
            mine.extend((named, whole[start * width : end * width]))
    return [hashlib.blake2b(b"".join(mine), digest_size=8).hexdigest() for mine in told]


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


def _in_time(asked: Asked) -> None:
    if any(wanted.deadline.over for wanted in asked.wanted):
        raise OutOfTimeError
