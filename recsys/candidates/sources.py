"""What does each source give one unit?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.filters import allowed_items, seen_items
from recsys.candidates.fitted import PoolModel
from recsys.candidates.history import Histories
from recsys.candidates.orders import NewestOrder, PopularOrder
from recsys.candidates.pool import ItemPool
from recsys.errors import FeatureError
from recsys.specs.candidates import (
    CandidateSource,
    Covisit,
    Ease,
    FittedSource,
    Given,
    Newest,
    Personal,
    Popular,
    label,
)
from recsys.specs.placement import Placement

NOTHING: Final = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Standing:
    """What a placement's sources know whoever asks."""

    pool: ItemPool
    allowed: NDArray[np.bool_]
    """[items] which may stand in a list, by eligibility and the filters of items."""
    popular: Mapping[str, PopularOrder]
    newest: Mapping[str, NewestOrder]
    models: Mapping[str, PoolModel]
    """Of the fitted sources, by name; one without a model gives nothing."""
    barred: Mapping[str, NDArray[np.int64]]
    """The items of each model that may not stand in a list."""

    @classmethod
    def of(cls, placement: Placement, pool: ItemPool, models: Mapping[str, PoolModel]) -> "Standing":
        """Look a placement's declarations up in a pool.

        Raises:
            FeatureError: if a source or a filter names a feature that the pool's view lacks.
        """
        allowed = allowed_items(placement.filters, pool)
        sources = {label(source): source for source in placement.sources}
        return cls(
            pool=pool,
            allowed=allowed,
            popular={n: PopularOrder(s, pool, allowed) for n, s in sources.items() if isinstance(s, Popular)},
            newest={n: NewestOrder.of(s, pool, allowed) for n, s in sources.items() if isinstance(s, Newest)},
            models=models,
            barred={
                n: np.flatnonzero((m.row_of_item < 0) | ~np.append(allowed, False)[m.row_of_item])
                for n, m in models.items()
            },
        )


@dataclass(frozen=True)
class Request:
    """One unit's request for candidates; what several sources need is worked out once."""

    placement: Placement
    standing: Standing
    histories: Histories
    at: np.datetime64
    """The moment of the request, in UTC."""
    given: Sequence[str] = ()
    """Item ids that the caller passes."""
    _scores: dict[str, NDArray[np.float64] | None] = field(default_factory=dict)

    @cached_property
    def seen_rows(self) -> NDArray[np.int64] | None:
        """Rows of the pool that the unit may not get; None where it may get any."""
        rows = seen_items(self.placement.filters, self.histories, self.at)
        return rows if len(rows) else None

    @cached_property
    def seen(self) -> NDArray[np.bool_] | None:
        """[items] what the unit may not get; None where it may get anything."""
        if self.seen_rows is None:
            return None
        mask = np.zeros(len(self.standing.pool), dtype=bool)
        mask[self.seen_rows] = True
        return mask

    def may_get(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows of the pool the unit may get."""
        allowed = self.standing.allowed[rows]
        return allowed if self.seen is None else allowed & ~self.seen[rows]

    def scored(self, source: FittedSource, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return a fitted source's score of some rows; 0 where it has none, and for -1, an item the pool lacks."""
        scores = self.model_scores(source)
        out = np.zeros(len(rows))
        if scores is not None:
            items = np.where(rows >= 0, self.standing.models[label(source)].item_of_row[rows], -1)
            out[items >= 0] = scores[items[items >= 0]]
        return out

    def model_scores(self, source: FittedSource) -> NDArray[np.float64] | None:
        """Return a fitted source's score of every item of its model, or None where there is none."""
        name = label(source)
        if name not in self._scores:
            model = self.standing.models.get(name)
            history = None if model is None else self.histories(source.view)
            self._scores[name] = None if model is None else model.scores(history, source.strength)
        return self._scores[name]


def give(source: CandidateSource, request: Request) -> NDArray[np.int64]:
    """Return the rows of the pool that a source gives, in its order, without duplicates and within its limit.

    Raises:
        FeatureError: if it names a feature that its view lacks.
    """
    return _GIVES[type(source)](source, request)


def _personal(source: Personal, request: Request) -> NDArray[np.int64]:
    history = request.histories(source.view)
    if history is None:
        return NOTHING
    known = np.flatnonzero(history.codes >= 0)
    known = known[request.may_get(history.codes[known])]
    # Where nothing is left of a history, all its purchases cancelled, its features are unknown.
    alive = [~np.isnan(history.columns[name][known]) for name in source.order_by if name in history.columns]
    known = known[np.any(alive, axis=0)] if alive else known
    rows = history.codes[known]
    keys: list[NDArray[Any]] = [rows]
    for name in reversed(source.order_by):
        if name not in history.columns:
            message = (
                f"personal candidates: order_by {name!r} is not a feature of view {source.view}:"
                f" {', '.join(history.columns)}"
            )
            raise FeatureError(message)
        keys.append(-np.nan_to_num(history.columns[name][known], nan=-np.inf))
    return rows[np.lexsort(keys)][: source.limit]


def _popular(source: Popular, request: Request) -> NDArray[np.int64]:
    return request.standing.popular[label(source)].first(request.seen)


def _newest(source: Newest, request: Request) -> NDArray[np.int64]:
    return request.standing.newest[label(source)].first(request.seen, request.at)


def _given(source: Given, request: Request) -> NDArray[np.int64]:
    rows = request.standing.pool.rows_of(request.given)
    rows = rows[rows >= 0]
    rows = rows[request.may_get(rows)]
    return np.array(list(dict.fromkeys(rows.tolist())), dtype=np.int64)[: source.limit]


def _fitted(source: FittedSource, request: Request) -> NDArray[np.int64]:
    scores = request.model_scores(source)
    if scores is None:
        return NOTHING
    model = request.standing.models[label(source)]
    scores = scores.copy()
    scores[request.standing.barred[label(source)]] = 0
    if request.seen_rows is not None:
        _forget(scores, model, request.seen_rows)
    if not source.own:
        history = request.histories(source.view)
        _forget(scores, model, NOTHING if history is None else history.codes[history.known])
    items = np.flatnonzero(scores > 0)
    return _largest(model.row_of_item[items], scores[items], source.limit)


def _forget(scores: NDArray[np.float64], model: PoolModel, rows: NDArray[np.int64]) -> None:
    items = model.item_of_row[rows[rows >= 0]]
    scores[items[items >= 0]] = 0


def _largest(rows: NDArray[np.int64], values: NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Return the rows of the largest values, largest first; ties fall to the smaller row."""
    if len(rows) > limit:
        least = np.partition(values, len(values) - limit)[len(values) - limit]
        near = values >= least
        rows, values = rows[near], values[near]
    return rows[np.lexsort((rows, -values))][:limit]


_GIVES: Final[Mapping[type, Callable[[Any, Request], NDArray[np.int64]]]] = {
    Personal: _personal,
    Popular: _popular,
    Covisit: _fitted,
    Ease: _fitted,
    Newest: _newest,
    Given: _given,
}
