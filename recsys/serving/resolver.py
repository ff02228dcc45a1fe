"""Which list does this request get? Route, candidates, features, score, rank, log, answer.

What one answer reads (item matrix, models, routers) hangs on one reference that `refresh` and `follow` swap, so that no
answer mixes versions. Where something cannot be had, the answer comes from the next rung of a ladder and names it: the
last good state; the model without what only the unit's rows tell; the popular list; an empty list.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.errors import FeatureError
from recsys.experiment.routing import Assignment, Router, assign, assign_many
from recsys.modeling.context import NO_CONTEXT, checked, plain, stated
from recsys.ports import Clock, Exposure, FeatureReader, Weights
from recsys.serving.deadline import Deadline
from recsys.serving.following import Down, Follower, WeightsSource
from recsys.serving.ladder import BY_A_MODEL, Ladder, Laddered
from recsys.serving.ranking import Wanted, known, shown
from recsys.serving.reads import GuardedReads, PlainReads
from recsys.serving.state import LoadedModel, Online, ServingState
from recsys.specs.placement import Placement


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


@dataclass(frozen=True)
class AnsweredUnits:
    """The answers of some units that have one assignment."""

    assignment: Assignment | None
    model: LoadedModel | None
    """Of the assignment, or the champion; an answer of another rung than a model's is not by it."""
    places: Sequence[int]
    """Of each unit among those who asked."""
    user_ids: Sequence[str]
    request_ids: Sequence[str]
    made: Laddered


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
        self._name = name
        self._ladder = Ladder(name, placement, feature_rows)
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
        made = self.listed(state, model, user_id, wanted)
        rung = made.rungs[0]
        answered = model if rung in BY_A_MODEL else None
        exposure = Exposure(
            request_id=named,
            placement=self._name,
            user_id=user_id,
            session_id=session_id,
            experiment=None if assignment is None else assignment.experiment,
            arm=None if assignment is None else assignment.arm,
            overridden=assignment is not None and assignment.overridden,
            model_version=None if answered is None else answered.weights.model_version,
            weights=None if answered is None else answered.weights.number,
            fallback=rung,
            event_timestamp=at,
            feature_digest=made.listed.digests[0],
            watermarks={name: stamp.isoformat() for name, stamp in state.watermarks.items() if stamp is not None}
            | ({} if made.units is None else made.units.session_watermarks()),
            items=[] if made.matrix is None else shown(made.matrix, made.listed.items),
            asked={
                "k": slots,
                **({"candidates": list(candidates)} if candidates else {}),
                **({"context": plain(said)} if said else {}),
            },
            features=made.listed.features.get(0),
        )
        return Answer(exposure)

    def listed(self, state: ServingState, model: LoadedModel | None, user_id: str, wanted: Wanted) -> Laddered:
        """Return the one list that a model makes for a unit from a state, within its request's time."""
        reads = GuardedReads(self._online.features, self._online.breaker, wanted.deadline)
        return self._ladder.lists(state, model, [user_id], [wanted], reads)

    def recommend_many(
        self, user_ids: Sequence[str], request_ids: Sequence[str], features: FeatureReader
    ) -> list[AnsweredUnits]:
        """Answer requests of many units at this moment: without sessions, given items and context, and without a limit.

        Each unit gets what `recommend` would give it now, with the same request id.

        Args:
            user_ids: who asks.
            request_ids: of each.
            features: the online store, read without a breaker.

        Returns:
            The answers by assignment; within each the units keep their order.

        Raises:
            StoreError: if the online store cannot be read.
        """
        state = self._state
        at = self._clock.now()
        told = stated(self.placement.context, {}) if self.placement.context else NO_CONTEXT
        reads = PlainReads(features)
        answers = []
        by_assignment: dict[Assignment | None, list[int]] = {}
        for place, assignment in enumerate(assign_many(state.routers, user_ids, at)):
            by_assignment.setdefault(assignment, []).append(place)
        for assignment, places in by_assignment.items():
            model = state.champion if assignment is None else state.models.get(assignment.model_version)
            users = [user_ids[place] for place in places]
            ids = [request_ids[place] for place in places]
            wanted = [Wanted(self.placement.k, at, (), request_id, context=told) for request_id in ids]
            made = self._ladder.lists(state, model, users, wanted, reads)
            answers.append(AnsweredUnits(assignment, model, places, users, ids, made))
        return answers
