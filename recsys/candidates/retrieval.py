"""Which items may enter one unit's list? The union of the sources, the same for training, batch and requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.fitted import PoolModel
from recsys.candidates.history import Histories
from recsys.candidates.pool import ItemPool
from recsys.candidates.sources import NOTHING, Request, Standing, give
from recsys.specs.candidates import CandidateSource, Covisit, Ease, Personal, Popular, score_column
from recsys.specs.placement import Placement


@dataclass(frozen=True)
class Candidates:
    """What may enter one list."""

    rows: NDArray[np.int64]
    """[candidates] rows of the pool, in the sources' order and without duplicates."""
    sources: NDArray[np.int64]
    """[candidates] which sources gave each: bit i is the placement's i-th source."""
    scores: Mapping[str, NDArray[np.float64]]
    """Score column of each fitted source to [candidates] scores, whoever gave them; 0 where it has none."""

    def take(self, places: NDArray[np.int64]) -> "Candidates":
        """Return some of them, in another order or none."""
        scores = {name: values[places] for name, values in self.scores.items()}
        return Candidates(self.rows[places], self.sources[places], scores)


class Retrieval:
    """The sources and filters of a placement over one pool; what does not depend on the unit is made once."""

    def __init__(self, placement: Placement, pool: ItemPool, models: Mapping[str, PoolModel]) -> None:
        """Look the placement's declarations up in a pool.

        Args:
            placement: sources and filters.
            pool: the items of a moment.
            models: of the fitted sources, by source name; one without a model gives nothing.

        Raises:
            FeatureError: if a source or filter names a feature that the pool's view lacks.
        """
        self._placement = placement
        self._standing = Standing.of(placement, pool, models)
        self._read = {each.view for each in placement.candidates if isinstance(each, Personal | Covisit | Ease)}

    @property
    def models(self) -> Mapping[str, PoolModel]:
        """Return the models of the fitted sources, by source name."""
        return self._standing.models

    def candidates(self, histories: Histories, at: np.datetime64, given: Sequence[str] = ()) -> Candidates:
        """Return the union of the sources for one unit.

        Args:
            histories: the unit's rows in views.
            at: the moment of the request, in UTC.
            given: item ids that the caller passes.

        Raises:
            FeatureError: if a source or filter names a feature that its view lacks.
        """
        request = Request(self._placement, self._standing, histories, at, given)
        first, sources = self._asked(histories)
        gave = np.zeros(len(self._standing.pool), dtype=np.int64)
        fresh = []
        for bit, source in enumerate(sources, start=first):
            rows = give(source, request)
            fresh.append(rows[gave[rows] == 0])
            gave[rows] |= np.int64(1) << bit
        merged = np.concatenate(fresh)
        return Candidates(merged, gave[merged], _scores(request, merged))

    def scores(self, rows: NDArray[np.int64], histories: Histories) -> Mapping[str, NDArray[np.float64]]:
        """Return the score columns of some rows for one unit; -1 is an item that the pool lacks."""
        return _scores(Request(self._placement, self._standing, histories, np.datetime64("NaT", "us")), rows)

    def may_get(self, rows: NDArray[np.int64], histories: Histories, at: np.datetime64) -> NDArray[np.bool_]:
        """Return which rows of the pool the filters let into one unit's list."""
        return Request(self._placement, self._standing, histories, at).may_get(rows)

    def filtered(self, rows: NDArray[np.int64], histories: Histories, at: np.datetime64) -> NDArray[np.bool_]:
        """Return which rows are eligible, and kept out of one unit's list by the filters; -1 is never."""
        request = Request(self._placement, self._standing, histories, at)
        out = np.zeros(len(rows), dtype=bool)
        known = rows >= 0
        out[known] = self._standing.pool.eligible[rows[known]] & ~request.may_get(rows[known])
        return out

    def fallback(
        self, limit: int, histories: Histories | None, at: np.datetime64
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the first popular list that is declared, and the values it is ordered by; empty if none is.

        Args:
            limit: so many items at most, and no more than the source gives.
            histories: the unit's rows in views, for what it has seen; None where they cannot be read.
            at: the moment of the request, in UTC.
        """
        pool = self._standing.pool
        for source in self._placement.sources:
            if isinstance(source, Popular):
                request = Request(self._placement, self._standing, histories or _nobody, at)
                rows = give(source, request)[:limit]
                return rows, pool.columns[source.order_by][rows].astype(float)
        return NOTHING, np.empty(0)

    def _asked(self, histories: Histories) -> tuple[int, Sequence[CandidateSource]]:
        """Return the bit of the first source for a unit, and the sources."""
        placement = self._placement
        if placement.new_units and self._read and not any(_lives(histories, view) for view in self._read):
            return len(placement.candidates), placement.new_units
        return 0, placement.candidates


def _scores(request: Request, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    return {score_column(source): request.scored(source, rows) for source in request.placement.fitted}


def _lives(histories: Histories, view: str) -> bool:
    history = histories(view)
    return history is not None and bool(history.known.any())


def _nobody(_: str) -> None:
    return None
