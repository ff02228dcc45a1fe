"""Which list does a unit get where something cannot be had? Rung by rung: a model, the popular list, an empty list.

The last good state; the model without what only the unit's rows tell; the popular list; an empty list. The answer names
the rung that it comes from.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.candidates.retrieval import Retrieval
from recsys.errors import StoreError
from recsys.serving.deadline import OutOfTimeError
from recsys.serving.feature_sample import sampled
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.missing import missing_items, retrieval_over, with_items
from recsys.serving.ranking import Asked, Listed, Wanted, ranked
from recsys.serving.reads import Reads
from recsys.serving.reranking import Ranked
from recsys.serving.state import LoadedModel, ServingState
from recsys.serving.unit_rows import UnitRows
from recsys.specs.placement import Placement

LOGGER = logging.getLogger(__name__)

LAST_GOOD: Final = "last good model: a store could not be followed"
UNIT_UNKNOWN: Final = "user features missing: the online store could not be read in time"
POPULAR: Final = "popular list: no model could answer"
NOTHING: Final = "empty list: no model could answer and the placement declares no popular list"
EMPTY: Final = "empty list: no items are materialized"
NO_CANDIDATES: Final = "empty list: no source and filter leave an item"

BY_A_MODEL: Final = frozenset({None, LAST_GOOD, UNIT_UNKNOWN, NO_CANDIDATES})
"""The rungs on which a model's scores are shown, if it was given anything to score."""


@dataclass(frozen=True)
class Laddered:
    """Some units' lists, and the rung that each comes from."""

    matrix: ItemMatrix | None
    """What the lists' rows are of; None where there are no items."""
    listed: Listed
    rungs: Sequence[str | None]
    """One a list; None where nothing was in the way."""
    units: UnitRows | None
    """What was read of the units."""


class Ladder:
    """Makes the lists of one placement."""

    def __init__(self, name: str, placement: Placement, feature_rows: float = 0.0) -> None:
        """Hold the declaration.

        Args:
            name: the placement's name.
            placement: its declaration.
            feature_rows: the share of requests whose shown items' features are returned.
        """
        self._name = name
        self._placement = placement
        self._feature_rows = feature_rows

    def lists(
        self,
        state: ServingState,
        model: LoadedModel | None,
        units: Sequence[str],
        wanted: Sequence[Wanted],
        reads: Reads,
    ) -> Laddered:
        """Return the lists of some units.

        Args:
            state: what they are made from.
            model: scores; None where there is none.
            units: their ids.
            wanted: the request of each; all of one moment, for as many slots, and with the same given items.
            reads: of the online store.
        """
        if state.matrix is None or state.retrieval is None:
            return Laddered(None, _nothing(len(units)), [EMPTY] * len(units), None)
        matrix, retrieval = self._with_missing(state.matrix, state.retrieval, reads, wanted[0])
        rows = UnitRows(reads, matrix, units, wanted[0].at, [each.session for each in wanted])
        asked = Asked(matrix, retrieval, rows, state.views, wanted)
        if model is not None:
            try:
                rows.fetch([*state.views.values(), *model.features.views])
                kept = [at for at, each in enumerate(wanted) if sampled(each.request_id, self._feature_rows)]
                listed = ranked(asked, model, self._placement.rerank, features_of=kept)
            except OutOfTimeError:
                LOGGER.warning(
                    "placement %s: request %s: no time is left for a model", self._name, wanted[0].request_id
                )
            except StoreError:  # of plain reads; guarded ones raise none
                raise
            except Exception:
                if len(units) > 1:
                    return self._each_alone(state, model, units, wanted, reads)
                LOGGER.exception("placement %s: %s could not answer", self._name, model.weights.model_version)
            else:
                rung = UNIT_UNKNOWN if reads.missing else None if state.current else LAST_GOOD
                empty = rung if reads.missing else NO_CANDIDATES
                return Laddered(matrix, listed, [rung if n else empty for n in np.diff(listed.bounds)], rows)
        lists = [self._popular(asked, place) for place in range(len(units))]
        return Laddered(matrix, _popular(lists), [POPULAR if len(each) else NOTHING for each in lists], rows)

    def _each_alone(
        self,
        state: ServingState,
        model: LoadedModel,
        units: Sequence[str],
        wanted: Sequence[Wanted],
        reads: Reads,
    ) -> Laddered:
        """Make the lists one by one, so that the one that cannot be made by a model takes no other with it."""
        LOGGER.info("placement %s: %d lists are made one by one: together they could not be", self._name, len(units))
        alone = [self.lists(state, model, [unit], [each], reads) for unit, each in zip(units, wanted, strict=True)]
        lists = [each.listed.items for each in alone]
        listed = Listed(
            Ranked.joined(*lists),
            np.cumsum([0, *map(len, lists)]),
            [digest for each in alone for digest in each.listed.digests],
            {at: each.listed.features[0] for at, each in enumerate(alone) if each.listed.features},
        )
        return Laddered(alone[0].matrix, listed, [rung for each in alone for rung in each.rungs], None)

    def _with_missing(
        self, matrix: ItemMatrix, retrieval: Retrieval, reads: Reads, wanted: Wanted
    ) -> tuple[ItemMatrix, Retrieval]:
        """Return what a list is made over: with items that came online after the matrix was read, if any is named."""
        items = missing_items(matrix, self._placement, wanted.given)
        if not items or wanted.deadline.over:
            return matrix, retrieval
        try:
            more = with_items(matrix, self._placement, items, reads, wanted.at)
            return more, (
                retrieval if more is matrix else retrieval_over(retrieval, self._placement, matrix.pool, more.pool)
            )
        except StoreError:
            raise
        except Exception:
            LOGGER.exception("placement %s: items that the matrix lacks are left out", self._name)
            return matrix, retrieval

    def _popular(self, asked: Asked, place: int) -> Ranked:
        if self._placement.fallback != "popular":
            return Ranked.none()
        try:
            rows, values = asked.retrieval.fallback(asked.slots, asked.histories(place), asked.instant)
        except StoreError:
            raise
        except Exception:
            LOGGER.exception(
                "placement %s: the popular list is shown without what only the unit's rows tell", self._name
            )
            rows, values = asked.retrieval.fallback(asked.slots, None, asked.instant)
        return Ranked.of(rows, values)


def _popular(lists: Sequence[Ranked]) -> Listed:
    return Listed(Ranked.joined(*lists), np.cumsum([0, *map(len, lists)]), [""] * len(lists))


def _nothing(count: int) -> Listed:
    return Listed(Ranked.none(), np.zeros(count + 1, dtype=np.int64), [""] * count)
