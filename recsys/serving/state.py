"""What are answers made from? One value a placement, replaced as a whole, so that no answer mixes versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from recsys.candidates.retrieval import Retrieval
from recsys.experiment.routing import Router
from recsys.ports import FeatureSet, ItemModelStore, OnlineFeatures, Ranker, ViewInfo, Weights
from recsys.serving.breaker import Breaker
from recsys.serving.item_matrix import ItemMatrix

OVERRIDE_TAG: Final = "recsys.override"
"""Tag of a champion that was made although something spoke against it: why; no store has it."""


@dataclass(frozen=True)
class LoadedModel:
    """Weights in memory and the features they read."""

    weights: Weights
    ranker: Ranker
    features: FeatureSet

    @property
    def key(self) -> tuple[str, int]:
        """Return the registered model and the registry's number of the weights."""
        return self.weights.model, self.weights.number


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
    copied: datetime | None = None
    """When the local copy was written that this was restored from; None once the stores were read."""
    troubles: Mapping[str, str] = field(default_factory=dict)
    """Store to why it could not be followed at the last attempt; its part is that of an earlier moment."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Weights (basket/7) that an alias names and that are not served, to the reason."""

    @classmethod
    def empty(cls, routers: Sequence[Router]) -> "ServingState":
        """Return the state before anything was read."""
        return cls(None, None, {}, {}, None, routers, {}, {})

    @property
    def loaded(self) -> Mapping[tuple[str, int], LoadedModel]:
        """Return every model in service by its key."""
        return {model.key: model for model in (*self.models.values(), self.champion) if model is not None}

    @property
    def current(self) -> bool:
        """Tell whether all of this was found in the stores at the last attempt."""
        return self.copied is None and not self.troubles

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

    features: OnlineFeatures
    """Rows of units and items."""
    item_models: ItemModelStore
    """The item-item models of candidate sources."""
    breaker: Breaker = field(default_factory=lambda: Breaker("online store"))
    """Of the store with those rows; all placements of a process share one."""
