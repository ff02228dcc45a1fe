"""What has to be read anew when models, items or features change, and what goes on when a store cannot be read?

`follow` reads everything or raises, for batches and replays. `follow_on` is for a service: a store that cannot be read
leaves its part as it was, and new weights are served only once they were checked and have scored a list.
"""

import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from recsys.errors import StoreError
from recsys.experiment.routing import Router
from recsys.modeling.context import stated
from recsys.ports import Clock, Groups, OnlineFeatures, Ranker, Weights
from recsys.serving.following_items import ItemsFollower, item_views
from recsys.serving.ranking import Asked, Wanted, ranked
from recsys.serving.refusals import Refusals
from recsys.serving.state import LoadedModel, Online, ServingState
from recsys.serving.unit_rows import UnitRows
from recsys.specs.placement import Placement

LOGGER = logging.getLogger(__name__)

ONLINE: Final = "online store"
MODELS: Final = "model registry and ledger"

Down = MutableMapping[str, str]
"""Store to why it is not worth asking during this poll."""
Loaded = dict[tuple[str, int], LoadedModel]


class WeightsSource(Protocol):
    """As much of a model registry as serving needs."""

    def resolve(self, model: str, alias: str) -> Weights | None:
        """Return the weights an alias names, or None."""
        ...

    def load(self, weights: Weights) -> Ranker:
        """Load a ranker, checked against the sample that was registered with it."""
        ...


class Follower:
    """Reads what one placement's answers are made from, and again what has changed."""

    def __init__(
        self,
        name: str,
        placement: Placement,
        online: Online,
        registry: WeightsSource,
        champion_of: Callable[[str], Weights | None],
        routers: Sequence[Router],
        clock: Clock,
        feature_service_of: Callable[[str], str],
    ) -> None:
        """Hold the collaborators; nothing is read yet. The arguments are those of `Resolver`."""
        self._name = name
        self._placement = placement
        self._online = online
        self._features: OnlineFeatures = online.features
        self._items = ItemsFollower(placement, online, clock)
        self._registry = registry
        self._champion_of = champion_of
        self._routers = tuple(routers)
        self._clock = clock
        self._feature_service_of = feature_service_of
        self._refusals = Refusals()
        self._wanted: set[tuple[str, int]] = set()
        self._kept: Loaded = {}
        self._scored: set[tuple[str, int]] = set()

    def keep(self, models: Mapping[tuple[str, int], LoadedModel]) -> None:
        """Take models over that are loaded already, by registered model and number."""
        self._kept = dict(models)

    # ------------------------------------------------------------ everything, or an error

    def follow(self, before: ServingState) -> ServingState:
        """Return the state of now; what has not changed is taken over."""
        loaded = self._loaded_before(before)
        arms, champion = self._named()
        models = {version: self._load(weights, loaded) for version, weights in arms.items()}
        best = None if champion is None else _named_anew(self._load(champion, loaded), champion)
        return self._items.follow(replace(before, models=models, champion=best, routers=self._routers))

    def restored(self, before: ServingState, at: datetime) -> ServingState:
        """Read everything from a local copy that was written at a moment, and let the models score a list."""
        return self._warmed(replace(self.follow(before), copied=at), before)

    # ------------------------------------------------------------ what can be read

    def follow_on(self, before: ServingState, down: Down) -> ServingState:
        """Return the state of now as far as the stores answer.

        Args:
            before: goes on where a store does not answer, or new weights are refused.
            down: stores that are not asked, to the reason; those that fail here are added.
        """
        troubles: dict[str, str] = {}
        read = _attempt(MODELS, lambda: self._with_models(before), before, down, troubles)
        items = _attempt(ONLINE, lambda: self._in_turn(read), read, down, troubles)
        after = self._warmed(items, before)
        copied = before.copied if troubles else None
        return replace(after, copied=copied, troubles=troubles, refused=self._refusals.among(self._wanted))

    def _with_models(self, before: ServingState) -> ServingState:
        loaded = self._loaded_before(before)
        arms, champion = self._named()
        self._wanted = {(weights.model, weights.number) for weights in (*arms.values(), champion) if weights}
        models = {name: self._trusted(weights, before.models.get(name), loaded) for name, weights in arms.items()}
        best = None if champion is None else _named_anew(self._trusted(champion, before.champion, loaded), champion)
        self._kept = {key: model for key, model in loaded.items() if key in self._wanted}
        return replace(before, models=_present(models), champion=best, routers=self._routers)

    def _trusted(self, weights: Weights, standing: LoadedModel | None, loaded: Loaded) -> LoadedModel | None:
        """Return weights that loaded as they were trained, else those that stand."""
        if self._refusals.holds(weights):
            return standing
        try:
            return self._load(weights, loaded)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a damaged artefact makes a library raise
            self._refusals.refuse(self._name, weights, error)
            return standing

    def _in_turn(self, read: ServingState) -> ServingState:
        with self._online.breaker.asking():
            return self._items.follow(read)

    def _warmed(self, after: ServingState, before: ServingState) -> ServingState:
        """Let new weights score a list before anybody sees one of theirs; those that cannot are not served."""
        models = {name: self._warm(model, before.models.get(name), after) for name, model in after.models.items()}
        best = None if after.champion is None else self._warm(after.champion, before.champion, after)
        return replace(after, models=_present(models), champion=best)

    def _warm(self, model: LoadedModel, standing: LoadedModel | None, state: ServingState) -> LoadedModel | None:
        if state.matrix is None or state.retrieval is None or model.key in self._scored:
            return model
        if not set(item_views([model])) <= set(state.matrix.generations):
            return standing  # its items could not be read yet
        at = self._clock.now()
        nobody = Asked(
            state.matrix,
            state.retrieval,
            UnitRows(_Nobody(), state.matrix, [""], at),
            state.views,
            [Wanted(self._placement.k, at, (), "warm-up", context=stated(self._placement.context, {}))],
        )
        try:
            ranked(nobody, model, self._placement.rerank)
        except Exception as error:  # noqa: BLE001 - whatever weights that do not fit their features raise
            self._refusals.refuse(self._name, model.weights, error)
            self._kept.pop(model.key, None)
            return None if standing is None or standing.key == model.key else standing
        self._scored.add(model.key)
        self._refusals.accept(model.weights)
        return model

    # ------------------------------------------------------------ models

    def _named(self) -> tuple[dict[str, Weights], Weights | None]:
        """Return the weights of every arm's logic, and the champion."""
        versions = {arm.model_version for router in self._routers for arm in router.experiment.arms.values()}
        arms = {}
        for version in sorted(versions):
            model, _, logic = version.partition("/")
            weights = self._registry.resolve(model, f"logic-{logic}")
            if weights is not None:
                arms[version] = weights
        return arms, self._champion_of(self._placement.model)

    def _loaded_before(self, before: ServingState) -> Loaded:
        return {**self._kept, **before.loaded}

    def _load(self, weights: Weights, loaded: Loaded) -> LoadedModel:
        """Return a model, loaded once however many aliases name it."""
        key = (weights.model, weights.number)
        if key not in loaded:
            features = self._features.feature_set(self._feature_service_of(weights.model_version))
            loaded[key] = LoadedModel(weights, self._registry.load(weights), features)
        return loaded[key]


class _Nobody:
    """A unit without rows."""

    def online_groups(self, keys: Mapping[str, Sequence[str]]) -> Mapping[str, Groups]:
        """Return nothing."""
        del keys
        return {}


def _attempt(
    store: str, read: Callable[[], ServingState], otherwise: ServingState, down: Down, troubles: Down
) -> ServingState:
    """Return what a store gives, else what was known before."""
    if store in down:
        troubles[store] = down[store]
        return otherwise
    try:
        return read()
    except StoreError as error:
        troubles[store] = down[store] = str(error)
    except Exception as error:  # of this placement alone: the store may do for the others
        LOGGER.debug("what failed", exc_info=error)
        troubles[store] = f"{type(error).__name__}: {error}"
    return otherwise


def _present(models: Mapping[str, LoadedModel | None]) -> dict[str, LoadedModel]:
    return {version: model for version, model in models.items() if model is not None}


def _named_anew(model: LoadedModel | None, weights: Weights) -> LoadedModel | None:
    """Let a loaded model be of these very weights: it may have been loaded before they had a tag."""
    same = model is None or model.key != (weights.model, weights.number) or model.weights == weights
    return model if model is None or same else replace(model, weights=weights)
