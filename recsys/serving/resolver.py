"""Which list does this request get? Route, candidates, features, score, rank, log, answer.

What one answer reads (item matrix, models, routers) hangs on one reference that `refresh` swaps, so that no answer
mixes versions.
"""

import hashlib
import logging
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.history import Histories
from recsys.candidates.pool import instant
from recsys.candidates.retrieval import Retrieval
from recsys.errors import FeatureError
from recsys.experiment.routing import Assignment, Router
from recsys.ports import Clock, Exposure, ModelRegistry, ShownItem, Weights
from recsys.serving.assembly import UnitRows, assemble
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.reranking import Ranked, rerank
from recsys.serving.state import Follower, LoadedModel, Online, ServingState
from recsys.specs.candidates import SOURCES
from recsys.specs.placement import Placement
from recsys.specs.reranking import Stage

LOGGER = logging.getLogger(__name__)

POPULAR = "popular list: no model could answer"
NOTHING = "empty list: no model could answer and the placement declares no popular list"
EMPTY = "empty list: no items are materialized"


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
            "items": [
                # A pinned item that no source gave was never scored, and JSON has no NaN.
                {"item_id": item.item_id, "score": None if math.isnan(item.score) else item.score}
                for item in shown.items
            ],
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
        online: Online,
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
            online: features and item-item models.
            registry: aliases and weights.
            champion_of: registered model to the weights that serve by default, or None.
            routers: of the experiments on this placement.
            clock: the environment's time.
            feature_service_of: logic (basket/v2) to its feature service.
        """
        self._name = name
        self._placement = placement
        self._features = online.features
        self._clock = clock
        self._follower = Follower(placement, online, registry, champion_of, routers, clock, feature_service_of)
        self._state = ServingState.empty(tuple(routers))

    @property
    def state(self) -> ServingState:
        """Return what answers are made from right now."""
        return self._state

    def refresh(self) -> bool:
        """Follow aliases and materializations; returns whether anything changed."""
        before, after = self._state, self._follower.follow(self._state)
        self._state = after
        return after.differs(before)

    # ------------------------------------------------------------ answering

    def recommend(
        self,
        user_id: str,
        *,
        session_id: str | None = None,
        k: int | None = None,
        request_id: str | None = None,
        candidates: Sequence[str] = (),
    ) -> Answer:
        """Answer one request.

        Args:
            user_id: who asks.
            session_id: the visit, for features of what happened in it, and where the experiment's unit is the session.
            k: slots; the placement's by default.
            request_id: for idempotent logging; a random one by default.
            candidates: item ids for the placement's `given` source; ids that it does not know are left out.

        Raises:
            FeatureError: if items are given to a placement without such a source.
        """
        if candidates and not self._placement.takes_list:
            message = (
                f"placement {self._name}: the request gives {len(candidates)} candidates, and none of the placement's"
                " sources takes them: declare {source: given, limit: …} or leave them out"
            )
            raise FeatureError(message)
        state = self._state
        at = self._clock.now()
        assignment = self._assignment(state, user_id, session_id, at)
        model = state.champion if assignment is None else state.models.get(assignment.model_version)
        slots = k or self._placement.k
        unit = None if state.matrix is None else UnitRows(self._features, state.matrix, user_id, at, session_id)
        named = request_id or str(uuid.uuid4())
        items, digest, fallback = self._list(state, model, unit, _Wanted(slots, at, candidates, named))
        answered = fallback is None and model is not None
        exposure = Exposure(
            request_id=named,
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
            watermarks={name: stamp.isoformat() for name, stamp in state.watermarks.items() if stamp is not None}
            | ({} if unit is None else unit.session_watermarks),
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
        self,
        state: ServingState,
        model: LoadedModel | None,
        unit: UnitRows | None,
        wanted: "_Wanted",
    ) -> tuple[list[ShownItem], str, str | None]:
        if state.matrix is None or state.retrieval is None or unit is None:
            return [], "", EMPTY
        asked = _Asked(state.matrix, state.retrieval, unit, lambda view: unit.history(state.views[view]), wanted)
        if model is not None:
            try:
                items, digest = _ranked(asked, model, self._placement.rerank)
            except Exception:
                LOGGER.exception("placement %s: %s could not answer", self._name, model.weights.model_version)
            else:
                return items, digest, None
        items = self._popular(asked)
        return items, "", POPULAR if items else NOTHING

    def _popular(self, asked: "_Asked") -> list[ShownItem]:
        if self._placement.fallback != "popular":
            return []
        try:
            rows, values = asked.retrieval.fallback(asked.wanted.slots, asked.histories, asked.instant)
        except Exception:
            LOGGER.exception(
                "placement %s: the popular list is shown without what only the unit's rows tell", self._name
            )
            rows, values = asked.retrieval.fallback(asked.wanted.slots, None, asked.instant)
        return _shown(asked.matrix, Ranked.of(rows, values))


@dataclass(frozen=True)
class _Wanted:
    """What a request asks for."""

    slots: int
    at: datetime
    given: Sequence[str]
    request_id: str


@dataclass(frozen=True)
class _Asked:
    """What one list is made from."""

    matrix: ItemMatrix
    retrieval: Retrieval
    unit: UnitRows
    histories: Histories
    wanted: _Wanted

    @property
    def instant(self) -> np.datetime64:
        return instant(self.wanted.at)

    def may_get(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which rows of the pool the filters let into this list."""
        return self.retrieval.may_get(rows, self.histories, self.instant)


def _ranked(asked: _Asked, model: LoadedModel, stages: Sequence[Stage]) -> tuple[list[ShownItem], str]:
    wanted = asked.wanted
    found = asked.retrieval.candidates(asked.histories, asked.instant, wanted.given)
    brought = {SOURCES: found.sources, **found.scores}
    columns = assemble(model.features, asked.matrix, asked.unit, found.rows, wanted.at, brought)
    scores = model.ranker.score(columns)
    order = np.lexsort((found.rows, -np.nan_to_num(scores, nan=-np.inf)))
    if not stages:
        order = order[: wanted.slots]
    ranked = Ranked.of(found.rows[order], scores[order])
    shown = rerank(stages, ranked, asked.matrix.pool, asked.may_get, wanted.slots, wanted.request_id)
    return _shown(asked.matrix, shown), feature_digest(columns, order[shown.ranks[shown.ranks > 0] - 1])


def _shown(matrix: ItemMatrix, ranked: Ranked) -> list[ShownItem]:
    slots = zip(ranked.rows, ranked.scores, ranked.propensities, strict=True)
    return [
        ShownItem(str(matrix.pool.ids[row]), position, float(score), float(propensity))
        for position, (row, score, propensity) in enumerate(slots, start=1)
    ]


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
