"""Which list does this request get? Route, candidates, features, score, rank, log, answer.

What one answer reads (item matrix, models, routers) hangs on one reference that `refresh` swaps, so that no answer
mixes versions.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.sources import candidates
from recsys.experiment.routing import Assignment, Router
from recsys.ports import Clock, Exposure, FeatureReader, FeatureSet, ModelRegistry, Ranker, ShownItem, ViewInfo, Weights
from recsys.schema import ITEM
from recsys.serving.assembly import UnitRows, assemble
from recsys.serving.item_matrix import ItemMatrix, read_matrix
from recsys.specs.placement import Personal, Placement, Popular

LOGGER = logging.getLogger(__name__)

POPULAR = "popular list: no model could answer"
NOTHING = "empty list: no model could answer and the placement declares no popular list"
EMPTY = "empty list: no items are materialized"


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
    models: Mapping[str, LoadedModel]
    """Logic (basket/v2) to its weights in service."""
    champion: LoadedModel | None
    routers: Sequence[Router]
    views: Mapping[str, ViewInfo]
    """The unit × item views that candidates are drawn from."""
    watermarks: Mapping[str, datetime | None]
    """Newest event time online of every view that answers read."""


@dataclass(frozen=True)
class Answer:
    """One answered request."""

    exposure: Exposure
    """What is logged of it: the list, the arm, the weights."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        shown = self.exposure
        return {
            "request_id": shown.request_id,
            "placement": shown.placement,
            "user_id": shown.user_id,
            "items": [{"item_id": item.item_id, "score": item.score} for item in shown.items],
            "experiment": shown.experiment,
            "arm": shown.arm,
            "model_version": shown.model_version,
            "weights": shown.weights,
            "fallback": shown.fallback,
        }


class Resolver:
    """Answers the requests of one placement."""

    def __init__(
        self,
        name: str,
        placement: Placement,
        features: FeatureReader,
        registry: ModelRegistry,
        champion_of: Callable[[str], Weights | None],
        routers: Sequence[Router],
        clock: Clock,
        feature_service_of: Callable[[str], str],
    ) -> None:
        """Hold the collaborators; call `refresh` before the first request.

        Args:
            name: the placement's name.
            placement: its declaration.
            features: the online store.
            registry: aliases and weights.
            champion_of: registered model to the weights that serve by default, or None.
            routers: of the experiments on this placement.
            clock: the environment's time.
            feature_service_of: logic (basket/v2) to its feature service.
        """
        self._name = name
        self._placement = placement
        self._features = features
        self._registry = registry
        self._champion_of = champion_of
        self._routers = tuple(routers)
        self._clock = clock
        self._feature_service_of = feature_service_of
        self._state = ServingState(None, {}, None, self._routers, {}, {})

    @property
    def state(self) -> ServingState:
        """Return what answers are made from right now."""
        return self._state

    # ------------------------------------------------------------ following the registry and the online store

    def refresh(self) -> bool:
        """Follow aliases and materializations; returns whether anything changed."""
        before = self._state
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
        views = {
            source.view: self._features.view(source.view)
            for source in self._placement.candidates
            if isinstance(source, Personal)
        }
        read = {view.name for model in reading for view in model.features.views} | {self._placement.pool.view, *views}
        after = ServingState(
            matrix=self._matrix(reading, before.matrix),
            models=models,
            champion=champion,
            routers=self._routers,
            views=views,
            watermarks={name: self._features.watermark(name) for name in sorted(read)},
        )
        changed = after.matrix is not before.matrix or _numbers(after) != _numbers(before)
        self._state = after
        return changed

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

    # ------------------------------------------------------------ answering

    def recommend(
        self, user_id: str, *, session_id: str | None = None, k: int | None = None, request_id: str | None = None
    ) -> Answer:
        """Answer one request.

        Args:
            user_id: who asks.
            session_id: the visit, when the experiment's unit is the session.
            k: slots; the placement's by default.
            request_id: for idempotent logging; a random one by default.
        """
        state = self._state
        at = self._clock.now()
        assignment = self._assignment(state, user_id, session_id, at)
        model = state.champion if assignment is None else state.models.get(assignment.model_version)
        slots = k or self._placement.k
        items, digest, fallback = self._list(state, model, user_id, slots, at)
        answered = fallback is None and model is not None
        exposure = Exposure(
            request_id=request_id or str(uuid.uuid4()),
            placement=self._name,
            user_id=user_id,
            session_id=session_id,
            experiment=None if assignment is None else assignment.experiment,
            arm=None if assignment is None else assignment.arm,
            overridden=assignment is not None and assignment.overridden,
            model_version=model.weights.model_version if answered and model else None,
            weights=model.weights.number if answered and model else None,
            fallback=fallback,
            event_timestamp=at,
            feature_digest=digest,
            watermarks={name: stamp.isoformat() for name, stamp in state.watermarks.items() if stamp is not None},
            items=items,
        )
        return Answer(exposure)

    def _assignment(self, state: ServingState, user_id: str, session_id: str | None, at: datetime) -> Assignment | None:
        for router in state.routers:
            unit = session_id if router.experiment.unit == "session_id" else user_id
            if unit is not None and router.active(at):
                assignment = router.route(unit)
                if assignment is not None:
                    return assignment
        return None

    def _list(
        self, state: ServingState, model: LoadedModel | None, user_id: str, slots: int, at: datetime
    ) -> tuple[list[ShownItem], str, str | None]:
        if state.matrix is None:
            return [], "", EMPTY
        if model is not None:
            try:
                items, digest = self._ranked(state, state.matrix, model, user_id, slots, at)
            except Exception:
                LOGGER.exception("placement %s: %s could not answer", self._name, model.weights.model_version)
            else:
                return items, digest, None
        items = self._popular(state.matrix, slots)
        return items, "", POPULAR if items else NOTHING

    def _ranked(
        self, state: ServingState, matrix: ItemMatrix, model: LoadedModel, user_id: str, slots: int, at: datetime
    ) -> tuple[list[ShownItem], str]:
        unit = UnitRows(self._features, matrix, user_id, at)
        rows = candidates(self._placement.candidates, matrix.pool, lambda view: unit.history(state.views[view]))
        columns = assemble(model.features, matrix, unit, rows, at)
        scores = model.ranker.score(columns)
        first = np.lexsort((rows, -np.nan_to_num(scores, nan=-np.inf)))[:slots]
        items = [
            ShownItem(str(matrix.pool.ids[rows[row]]), position, float(scores[row]))
            for position, row in enumerate(first, start=1)
        ]
        return items, feature_digest(columns, first)

    def _popular(self, matrix: ItemMatrix, slots: int) -> list[ShownItem]:
        for source in self._placement.candidates:
            if self._placement.fallback == "popular" and isinstance(source, Popular):
                rows = matrix.pool.popular(source)[:slots]
                values = matrix.pool.columns[source.order_by][rows]
                return [
                    ShownItem(str(matrix.pool.ids[row]), position, float(value))
                    for position, (row, value) in enumerate(zip(rows, values, strict=True), start=1)
                ]
        return []


def feature_digest(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> str:
    """Return a digest of the feature values of some rows: equal values, equal digest."""
    state = hashlib.blake2b(digest_size=8)
    for name, values in columns.items():
        state.update(name.encode())
        shown = values[rows]
        if shown.dtype.kind in "OU":
            state.update("\x00".join(map(str, shown)).encode())
        elif shown.dtype.kind == "M":
            state.update(shown.astype("int64").tobytes())
        else:
            state.update(np.ascontiguousarray(shown, dtype=np.float32).tobytes())
    return state.hexdigest()


def _numbers(state: ServingState) -> tuple[Any, ...]:
    champion = state.champion.weights.number if state.champion else None
    return champion, {name: model.weights.number for name, model in state.models.items()}
