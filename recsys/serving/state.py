"""What are answers made from, and what has to be read anew when models, items or features change?"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recsys.candidates.fitted import PoolModel, model_key
from recsys.candidates.retrieval import Retrieval
from recsys.experiment.routing import Router
from recsys.ports import Clock, FeatureReader, FeatureSet, ItemModelStore, ModelRegistry, Ranker, ViewInfo, Weights
from recsys.schema import ITEM, SESSION
from recsys.serving.item_matrix import ItemMatrix, read_matrix
from recsys.specs.candidates import FittedSource, label
from recsys.specs.placement import Placement

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """Weights in memory and the features they read."""

    weights: Weights
    ranker: Ranker
    features: FeatureSet


@dataclass(frozen=True)
class ServingState:
    """All that answers are made from; replaced as a whole."""

    matrix: ItemMatrix | None
    retrieval: Retrieval | None
    """The placement's sources and filters over the matrix's pool, with their item-item models."""
    generations: Mapping[str, str | None]
    """Fitted source to what changes with its model; None where it has none."""
    models: Mapping[str, LoadedModel]
    """Logic (basket/v2) to its weights in service."""
    champion: LoadedModel | None
    routers: Sequence[Router]
    views: Mapping[str, ViewInfo]
    """The unit × item and session × item views that candidates are drawn from."""
    watermarks: Mapping[str, datetime | None]
    """Newest event time online of every view that answers read, without those of sessions, and the moment of every
    item-item model, as `candidates/<source>`."""

    @classmethod
    def empty(cls, routers: Sequence[Router]) -> "ServingState":
        """Return the state before anything was read."""
        return cls(None, None, {}, {}, None, routers, {}, {})

    def differs(self, other: "ServingState") -> bool:
        """Return whether answers may differ between the two."""
        return (
            self.retrieval is not other.retrieval or self.matrix is not other.matrix or _served(self) != _served(other)
        )


def _served(state: ServingState) -> tuple[Any, ...]:
    champion = state.champion.weights.number if state.champion else None
    return champion, {name: model.weights.number for name, model in state.models.items()}


@dataclass(frozen=True)
class Online:
    """What `recsys features build` keeps for requests."""

    features: FeatureReader
    """Rows of units and items."""
    item_models: ItemModelStore
    """The item-item models of candidate sources."""


class Follower:
    """Reads what one placement's answers are made from, and again what has changed."""

    def __init__(
        self,
        placement: Placement,
        online: Online,
        registry: ModelRegistry,
        champion_of: Callable[[str], Weights | None],
        routers: Sequence[Router],
        clock: Clock,
        feature_service_of: Callable[[str], str],
    ) -> None:
        """Hold the collaborators; nothing is read yet. The arguments are those of `Resolver`."""
        self._placement = placement
        self._features = online.features
        self._item_models = online.item_models
        self._registry = registry
        self._champion_of = champion_of
        self._routers = tuple(routers)
        self._clock = clock
        self._feature_service_of = feature_service_of

    def follow(self, before: ServingState) -> ServingState:
        """Return the state of now; what has not changed is taken over."""
        loaded = {
            (model.weights.model, model.weights.number): model
            for model in (*before.models.values(), before.champion)
            if model is not None
        }
        versions = {arm.model_version for router in self._routers for arm in router.experiment.arms.values()}
        models: dict[str, LoadedModel] = {}
        for version in sorted(versions):
            model, _, logic = version.partition("/")
            weights = self._registry.resolve(model, f"logic-{logic}")
            if weights is not None:
                models[version] = self._loaded(weights, loaded)
        weights = self._champion_of(self._placement.model)
        champion = None if weights is None else self._loaded(weights, loaded)
        reading = [*models.values(), *([champion] if champion else [])]
        views = {name: self._features.view(name) for name in self._placement.history_views}
        declared = [*views.values(), *(view for model in reading for view in model.features.views)]
        # What stands online of a session changes with every event: a request says itself what it read of it.
        read = {view.name for view in declared if view.join_keys[0] != SESSION} | {self._placement.pool.view}
        matrix = self._matrix(reading, before.matrix)
        retrieval, generations = self._retrieval(matrix, before)
        moments = {} if retrieval is None else {name: model.at for name, model in retrieval.models.items()}
        return ServingState(
            matrix=matrix,
            retrieval=retrieval,
            generations=generations,
            models=models,
            champion=champion,
            routers=self._routers,
            views=views,
            watermarks={name: self._features.watermark(name) for name in sorted(read)}
            | {f"candidates/{name}": at for name, at in moments.items()},
        )

    def _loaded(self, weights: Weights, loaded: dict[tuple[str, int], LoadedModel]) -> LoadedModel:
        key = (weights.model, weights.number)
        if key not in loaded:
            features = self._features.feature_set(self._feature_service_of(weights.model_version))
            loaded[key] = LoadedModel(weights, self._registry.load(weights), features)
        return loaded[key]

    def _matrix(self, models: Sequence[LoadedModel], before: ItemMatrix | None) -> ItemMatrix | None:
        """Read the items again when their rows changed, a row went past its TTL, or a model needs another view."""
        views = {view.name: view for model in models for view in model.features.views if view.join_keys == (ITEM,)}
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
