"""Which list would each model in service give to a unit? Beside each other, and not logged."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from recsys.experiment.routing import Assignment, assign
from recsys.modeling.context import stated
from recsys.serving.deadline import Deadline
from recsys.serving.ranking import Wanted, known, shown
from recsys.serving.resolver import Resolver
from recsys.serving.state import LoadedModel, ServingState

_REQUEST: Final = "preview"
"""All of them have this id, so that an exploration slot draws alike."""


@dataclass(frozen=True)
class Preview:
    """One list that nobody was shown."""

    takers: tuple[str, ...]
    """Who would give it: `champion`, and arms as `<arm> of <experiment>`."""
    model_version: str | None
    weights: int | None
    fallback: str | None
    """What had to be given up; None where nothing had."""
    items: tuple[tuple[str, float | None], ...]
    """Item id and score, best first."""


@dataclass(frozen=True)
class Previews:
    """What a unit would get at a moment."""

    lists: tuple[Preview, ...]
    known: bool
    """Whether anything of the unit is online."""
    assignment: Assignment | None
    """By which experiment a request of the unit would be answered now; None by the champion."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        mine = self.assignment
        return {
            "known": self.known,
            "assignment": None if mine is None else {"experiment": mine.experiment, "arm": mine.arm},
            "lists": [
                {
                    "takers": list(each.takers),
                    "model_version": each.model_version,
                    "weights": each.weights,
                    "fallback": each.fallback,
                    "items": [{"item_id": item, "score": score} for item, score in each.items],
                }
                for each in self.lists
            ],
        }


def previews(resolver: Resolver, user_id: str, at: datetime, budget: timedelta | None) -> Previews:
    """Make the list of the champion and of every arm on the placement, each model's once.

    Args:
        resolver: of the placement.
        user_id: who would ask.
        at: the environment's time.
        budget: the time of each list; none by default.
    """
    state = resolver.state
    lists, seen = [], False
    for takers, model in _models(state).values():
        wanted = Wanted(
            resolver.placement.k,
            at,
            (),
            _REQUEST,
            Deadline.after(budget),
            context=stated(resolver.placement.context, {}),
        )
        made = resolver.listed(state, model, user_id, wanted)
        seen |= made.units is not None and made.units.known()
        items = [] if made.matrix is None else shown(made.matrix, made.listed.items)
        lists.append(
            Preview(
                tuple(takers),
                None if model is None else model.weights.model_version,
                None if model is None else model.weights.number,
                made.rungs[0],
                tuple((item.item_id, known(item.score)) for item in items),
            )
        )
    return Previews(tuple(lists), seen, assign(state.routers, user_id, None, at))


def _models(state: ServingState) -> Mapping[object, tuple[list[str], LoadedModel | None]]:
    """Return every model that answers on the placement with who takes it, the champion first."""
    found: dict[object, tuple[list[str], LoadedModel | None]] = {}
    takers = [("champion", state.champion)]
    for router in state.routers:
        arms = router.experiment.arms.items()
        takers += [(f"{arm} of {router.name}", state.models.get(each.model_version)) for arm, each in arms]
    for taker, model in takers:
        key = None if model is None else model.key
        found.setdefault(key, ([], model))[0].append(taker)
    return found
