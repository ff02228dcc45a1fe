"""Which list does this request get? Route, candidates, features, score, rank, log, answer.

What one answer reads (item matrix, models, routers) hangs on one reference that `refresh` and `follow` swap, so that no
answer mixes versions. Where something cannot be had, the answer comes from the next rung of a ladder and names it: the
last good state; the model without what only the unit's rows tell; the popular list; an empty list.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recsys.candidates.retrieval import Retrieval
from recsys.errors import FeatureError
from recsys.experiment.routing import Router, assign
from recsys.modeling.context import NO_CONTEXT, checked, plain, stated
from recsys.ports import Clock, Exposure, ShownItem, Weights
from recsys.serving.assembly import UnitRows
from recsys.serving.deadline import Deadline, OutOfTimeError
from recsys.serving.following import Down, Follower, WeightsSource
from recsys.serving.item_matrix import ItemMatrix
from recsys.serving.missing import missing_items, retrieval_over, with_items
from recsys.serving.ranking import Asked, Listed, Wanted, known, ranked, shown
from recsys.serving.reads import GuardedReads
from recsys.serving.reranking import Ranked
from recsys.serving.state import LoadedModel, Online, ServingState
from recsys.specs.placement import Placement

__all__ = ["EMPTY", "LAST_GOOD", "NOTHING", "NO_CANDIDATES", "POPULAR", "UNIT_UNKNOWN", "Answer", "Resolver"]

LOGGER = logging.getLogger(__name__)

LAST_GOOD: Final = "last good model: a store could not be followed"
UNIT_UNKNOWN: Final = "user features missing: the online store could not be read in time"
POPULAR: Final = "popular list: no model could answer"
NOTHING: Final = "empty list: no model could answer and the placement declares no popular list"
EMPTY: Final = "empty list: no items are materialized"
NO_CANDIDATES: Final = "empty list: no source and filter leave an item"


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
            # A pinned item that no source gave was never scored.
            "items": [{"item_id": item.item_id, "score": known(item.score)} for item in shown.items],
            "experiment": shown.experiment,
            "arm": shown.arm,
            "model_version": shown.model_version,
            "weights": shown.weights,
            "fallback": shown.fallback,
        }


class Resolver:
    """Answers the requests of one placement."""

    def __init__(  # noqa: PLR0913 - collaborators, not options
        self,
        name: str,
        placement: Placement,
        online: Online,
        registry: WeightsSource,
        champion_of: Callable[[str], Weights | None],
        routers: Sequence[Router],
        clock: Clock,
        feature_service_of: Callable[[str], str],
        *,
        feature_rows: float = 0.0,
    ) -> None:
        """Hold the collaborators; call `refresh` or `follow` before the first request.

        Args:
            name: the placement's name.
            placement: its declaration.
            online: features and item-item models.
            registry: aliases and weights.
            champion_of: registered model to the weights that serve by default, or None.
            routers: of the experiments on this placement.
            clock: the environment's time.
            feature_service_of: logic (basket/v2) to its feature service.
            feature_rows: the share of requests whose shown items' features are logged.
        """
        self._feature_rows = feature_rows
        self._name = name
        self.placement = placement
        self._online = online
        self._clock = clock
        self._follower = Follower(name, placement, online, registry, champion_of, routers, clock, feature_service_of)
        self._state = ServingState.empty(tuple(routers))

    @property
    def state(self) -> ServingState:
        """Return what answers are made from right now."""
        return self._state

    def refresh(self) -> bool:
        """Follow aliases and materializations, or raise; returns whether anything changed."""
        before, after = self._state, self._follower.follow(self._state)
        self._state = after
        return after.differs(before)

    def follow(self, down: Down | None = None) -> bool:
        """Follow aliases and materializations as far as the stores answer; returns whether anything changed.

        Args:
            down: stores that are not worth asking now, to the reason; those that fail are added.
        """
        before = self._state
        after = self._follower.follow_on(before, {} if down is None else down)
        self._state = after
        return after.differs(before)

    def restore(self, state: ServingState) -> None:
        """Answer from a state that an earlier process left."""
        self._state = state

    def keep(self, models: Mapping[tuple[str, int], LoadedModel]) -> None:
        """Take loaded models over, by registered model and number, so that they are not loaded again."""
        self._follower.keep(models)

    # ------------------------------------------------------------ answering

    def recommend(
        self,
        user_id: str,
        *,
        session_id: str | None = None,
        k: int | None = None,
        request_id: str | None = None,
        candidates: Sequence[str] = (),
        context: Mapping[str, object] = NO_CONTEXT,
        deadline: Deadline | None = None,
    ) -> Answer:
        """Answer one request.

        Args:
            user_id: who asks.
            session_id: the visit, for features of what happened in it, and where the experiment's unit is the session.
            k: slots; the placement's by default.
            request_id: for idempotent logging; a random one by default.
            candidates: item ids for the placement's `given` source; ids that it does not know are left out.
            context: what the placement's context declares, as far as it is known: numbers, texts, and times as
                aware datetimes or ISO texts with their offset.
            deadline: when the answer is due; what is not done by then is left out. None by default.

        Raises:
            FeatureError: if items are given to a placement without such a source.
            ContextError: if the context has a name or a value that the placement does not take; a FeatureError too.
        """
        if candidates and not self.placement.takes_list:
            message = (
                f"placement {self._name}: the request gives {len(candidates)} candidates, and none of the placement's"
                " sources takes them: declare {source: given, limit: …} or leave them out"
            )
            raise FeatureError(message)
        declared = self.placement.context
        said = checked(declared, context) if context else {}
        state = self._state
        at = self._clock.now()
        assignment = assign(state.routers, user_id, session_id, at)
        model = state.champion if assignment is None else state.models.get(assignment.model_version)
        slots = k or self.placement.k
        named = request_id or str(uuid.uuid4())
        told = stated(declared, said) if declared else NO_CONTEXT
        wanted = Wanted(slots, at, candidates, named, deadline or Deadline(), session_id, told)
        listed, fallback, read_of_session = self._list(state, model, user_id, wanted)
        answered = model is not None and fallback in _BY_A_MODEL
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
            feature_digest=listed.digest,
            watermarks={name: stamp.isoformat() for name, stamp in state.watermarks.items() if stamp is not None}
            | read_of_session,
            items=listed.items,
            asked={
                "k": slots,
                **({"candidates": list(candidates)} if candidates else {}),
                **({"context": plain(said)} if said else {}),
            },
            features=listed.features,
        )
        return Answer(exposure)

    def _list(
        self, state: ServingState, model: LoadedModel | None, user_id: str, wanted: Wanted
    ) -> tuple[Listed, str | None, dict[str, str]]:
        """Return the list, the rung that it comes from, and what was read of the session, by view."""
        if state.matrix is None or state.retrieval is None:
            return Listed([], "", None), EMPTY, {}
        reads = GuardedReads(self._online.features, self._online.breaker, wanted.deadline)
        matrix, retrieval = self._with_missing(state.matrix, state.retrieval, reads, wanted)
        unit = UnitRows(reads, matrix, user_id, wanted.at, wanted.session)
        asked = Asked(matrix, retrieval, unit, lambda view: unit.history(state.views[view]), wanted)
        if model is not None:
            try:
                unit.fetch([*state.views.values(), *model.features.views])
                kept = sampled(wanted.request_id, self._feature_rows)
                listed = ranked(asked, model, self.placement.rerank, with_features=kept)
            except OutOfTimeError:
                LOGGER.warning("placement %s: request %s: no time is left for a model", self._name, wanted.request_id)
            except Exception:
                LOGGER.exception("placement %s: %s could not answer", self._name, model.weights.model_version)
            else:
                rung = None if state.current else LAST_GOOD
                rung = UNIT_UNKNOWN if reads.missing else rung if listed.items else NO_CANDIDATES
                return listed, rung, unit.session_watermarks
        items = self._popular(asked)
        return Listed(items, "", None), POPULAR if items else NOTHING, unit.session_watermarks

    def _with_missing(
        self, matrix: ItemMatrix, retrieval: Retrieval, reads: GuardedReads, wanted: Wanted
    ) -> tuple[ItemMatrix, Retrieval]:
        """Return what a list is made over: with items that came online after the matrix was read, if any is named."""
        items = missing_items(matrix, self.placement, wanted.given)
        if not items or wanted.deadline.over:
            return matrix, retrieval
        try:
            more = with_items(matrix, self.placement, items, reads, wanted.at)
            return more, (
                retrieval if more is matrix else retrieval_over(retrieval, self.placement, matrix.pool, more.pool)
            )
        except Exception:
            LOGGER.exception("placement %s: items that the matrix lacks are left out", self._name)
            return matrix, retrieval

    def _popular(self, asked: Asked) -> list[ShownItem]:
        if self.placement.fallback != "popular":
            return []
        wanted = asked.wanted
        try:
            rows, values = asked.retrieval.fallback(wanted.slots, asked.histories, asked.instant)
        except Exception:
            LOGGER.exception(
                "placement %s: the popular list is shown without what only the unit's rows tell", self._name
            )
            rows, values = asked.retrieval.fallback(wanted.slots, None, asked.instant)
        return shown(asked.matrix, Ranked.of(rows, values))


_BY_A_MODEL: Final = frozenset({None, LAST_GOOD, UNIT_UNKNOWN, NO_CANDIDATES})
"""The rungs on which a model's scores are shown, if it was given anything to score."""


def sampled(request_id: str, share: float) -> bool:
    """Tell whether a request is of a sample: by its id, so that a retry is too."""
    if not 0 < share < 1:
        return share >= 1
    return drawn(request_id) < share * 2**64


def drawn(request_id: str) -> int:
    """Return a request's number of 64 bits: whichever share was sampled, those of the smallest numbers were."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8, person=b"features").digest(), "big")
