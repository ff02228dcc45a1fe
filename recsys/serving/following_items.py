"""What is online by now: the items and their features, the item-item models, and how new all of it is?"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from recsys.candidates.fitted import PoolModel, model_key
from recsys.candidates.retrieval import Retrieval
from recsys.ports import Clock, ViewInfo
from recsys.schema import ITEM, SESSION
from recsys.serving.item_matrix import ItemMatrix, read_matrix
from recsys.serving.state import LoadedModel, Online, ServingState
from recsys.specs.candidates import FittedSource, label
from recsys.specs.placement import Placement

LOGGER = logging.getLogger(__name__)


class ItemsFollower:
    """Reads the items of one placement, and again what has changed."""

    def __init__(self, placement: Placement, online: Online, clock: Clock) -> None:
        """Read nothing yet."""
        self._placement = placement
        self._features = online.features
        self._item_models = online.item_models
        self._clock = clock

    def follow(self, state: ServingState) -> ServingState:
        """Read items, item-item models and watermarks for the models of a state."""
        reading = list(state.loaded.values())
        views = {name: self._features.view(name) for name in self._placement.history_views}
        declared = [*views.values(), *(view for model in reading for view in model.features.views)]
        # What stands online of a session changes with every event: a request says itself what it read of it.
        read = {view.name for view in declared if view.join_keys[0] != SESSION} | {self._placement.pool.view}
        matrix = self._matrix(reading, state.matrix)
        retrieval, generations = self._retrieval(matrix, state)
        moments = {} if retrieval is None else {name: model.at for name, model in retrieval.models.items()}
        return replace(
            state,
            matrix=matrix,
            retrieval=retrieval,
            generations=generations,
            views=views,
            watermarks={name: self._features.watermark(name) for name in sorted(read)}
            | {f"candidates/{name}": at for name, at in moments.items()},
        )

    def _matrix(self, models: Sequence[LoadedModel], before: ItemMatrix | None) -> ItemMatrix | None:
        """Read the items again when their rows changed, a row went past its TTL, or a model needs another view."""
        views = item_views(models)
        now = self._clock.now()
        if before is not None and {self._placement.pool.view, *views} <= set(before.generations):
            same = all(self._features.generation(name) == number for name, number in before.generations.items())
            if same and (before.expires is None or now <= before.expires):
                return before
        if not self._features.generation(self._placement.pool.view):
            return None
        return read_matrix(self._features, self._placement, views.values(), now)

    def _retrieval(
        self, matrix: ItemMatrix | None, before: ServingState
    ) -> tuple[Retrieval | None, Mapping[str, str | None]]:
        """Look sources and filters up in the pool again when it or a model is another."""
        if matrix is None:
            return None, {}
        sources = {label(source): source for source in self._placement.fitted}
        generations = {name: self._item_models.generation(self._key(source)) for name, source in sources.items()}
        if matrix is before.matrix and generations == before.generations:
            return before.retrieval, generations
        models = {}
        for name, source in sources.items():
            fitted = self._item_models.read(self._key(source))
            if fitted is not None:
                models[name] = PoolModel(fitted, matrix.pool)
            elif before.retrieval is None or name in before.retrieval.models:
                LOGGER.warning(
                    "candidates %s: no item-item model was made as it is declared: it gives nothing until `recsys"
                    " features build` has made one",
                    name,
                )
        return Retrieval(self._placement, matrix.pool, models), generations

    def _key(self, source: FittedSource) -> str:
        return model_key(source, self._placement.pool)


def item_views(models: Sequence[LoadedModel]) -> dict[str, ViewInfo]:
    """Return the item views that some models read, by name."""
    return {view.name: view for model in models for view in model.features.views if view.join_keys == (ITEM,)}
