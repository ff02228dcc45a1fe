"""Which placements does this process answer, and are they what is declared, promoted and materialized by now?

`sweep` is called again and again by one thread. What answers is read by all others, and replaced as a whole.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from recsys.serving.following import Down
from recsys.serving.resolver import Resolver
from recsys.serving.state import OVERRIDE_TAG
from recsys.serving.stores import Stores
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer
from recsys.specs.placement import Placement

LOGGER = logging.getLogger(__name__)

DECLARATIONS: Final = "declarations"
PATIENCE_SECONDS: Final = 5.0
"""A start waits so long for stores that hang before it answers from the local copy."""


@dataclass(frozen=True)
class Declared:
    """What was applied, as far as serving goes."""

    stamp: str
    """Changes whenever any of it does."""
    placements: Mapping[str, Placement]
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    """Logic (basket/v2) to its feature service."""
    features: str = ""
    """Changes whenever the definition of a feature does."""
    layers: Mapping[str, Layer] = field(default_factory=dict)

    def of(self, placement: str) -> tuple[Any, ...]:
        """Return what one placement's answers depend on."""
        routed = {name: spec for name, spec in self.experiments.items() if spec.placement == placement}
        shared = {spec.layer.name: self.layers[spec.layer.name] for spec in routed.values() if spec.layer is not None}
        return self.placements[placement], routed, dict(self.services), self.features, shared


class Source(Protocol):
    """Where declarations, resolvers and local copies come from."""

    def declared(self) -> Declared:
        """Return what was applied last.

        Raises:
            StoreError: if the ledger cannot be read.
        """
        ...

    def remembered(self) -> Declared | None:
        """Return what the local copy says was applied, or None."""
        ...

    def resolver(self, placement: str, declared: Declared) -> Resolver:
        """Make the resolver of a placement; it has read nothing yet."""
        ...

    def restore(self, placement: str, declared: Declared, resolver: Resolver) -> None:
        """Let a resolver answer from the local copy, if there is one of these declarations."""
        ...

    def save(self, placement: str, declared: Declared, resolver: Resolver) -> None:
        """Write the local copy of what a resolver answers from."""
        ...

    def forget(self, placement: str) -> None:
        """Remove the local copy of a placement that is no longer declared."""
        ...


class Fleet(Mapping[str, Resolver]):
    """The resolvers of one process, by placement."""

    def __init__(
        self,
        resolvers: Mapping[str, Resolver] | None = None,
        source: Source | None = None,
        stores: Stores | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold resolvers, or where they come from; nothing is read before the first sweep.

        Args:
            resolvers: those of a fixed set of placements.
            source: of placements that change; none by default.
            stores: the breakers that the resolvers ask past, for figures.
            now: seconds of a clock that never goes back.
        """
        self._resolvers: Mapping[str, Resolver] = dict(resolvers or {})
        self._source = source
        self.stores = stores or Stores()
        self._now = now
        self._began = now()
        self._declared: Declared | None = None
        self._made_from: dict[str, Declared] = {}
        self._ready = False
        self._said: dict[str, Mapping[str, str]] = {}
        self._unsaved: set[str] = set()
        self.troubles: Mapping[str, str] = {}
        """Why declarations could not be followed, beside what each resolver's state says of itself."""

    def __getitem__(self, placement: str) -> Resolver:
        """Return the resolver of a placement."""
        return self._resolvers[placement]

    def __iter__(self) -> Iterator[str]:
        """Return the placements."""
        return iter(self._resolvers)

    def __len__(self) -> int:
        """Return the number of placements."""
        return len(self._resolvers)

    @property
    def declared(self) -> bool:
        """Tell whether it is known which placements there are; until then one that is asked for may be one of them."""
        return self._source is None or self._declared is not None

    @property
    def ready(self) -> bool:
        """Tell whether every placement can be answered.

        Once all were read from the stores, or from the local copy where the stores fail or keep one waiting.
        """
        if not self._ready and self._resolvers and self._now() - self._began > PATIENCE_SECONDS:
            self._ready = all(resolver.state.copied for resolver in self._resolvers.values())
        return self._ready

    def sweep(self) -> None:
        """Follow declarations, aliases and materializations once; what cannot be read is said and left as it is."""
        down: dict[str, str] = {}
        if self._source is not None:
            self._follow_declarations(self._source, down)
        for name, resolver in self._resolvers.items():
            self._follow(name, resolver, down)
        if not self._ready and (self._declared is not None or self._source is None):
            states = [resolver.state for resolver in self._resolvers.values()]
            self._ready = all(state.current or state.copied is not None for state in states)

    def _follow(self, name: str, resolver: Resolver, down: Down) -> None:
        if resolver.follow(down):
            LOGGER.info("placement %s serves %s", name, served(resolver))
            self._unsaved.add(name)
        self._say(name, resolver.state.troubles)
        if name in self._unsaved and resolver.state.current and self._source is not None:
            try:
                self._source.save(name, self._made_from[name], resolver)
            except Exception:
                LOGGER.exception("placement %s: its local copy cannot be written; the one before stays", name)
            self._unsaved.discard(name)

    def _say(self, name: str, troubles: Mapping[str, str]) -> None:
        """Say what cannot be followed once, and that it can again."""
        before = self._said.get(name, {})
        for store in troubles.keys() - before.keys():
            LOGGER.warning("%s: %s cannot be followed; the last good state goes on: %s", name, store, troubles[store])
        for store in before.keys() - troubles.keys():
            LOGGER.warning("%s: %s is followed again", name, store)
        self._said[name] = troubles

    # ------------------------------------------------------------ declarations

    def _follow_declarations(self, source: Source, down: Down) -> None:
        troubles: dict[str, str] = {}
        try:
            declared: Declared | None = source.declared()
        except Exception as error:  # noqa: BLE001 - a declaration that cannot be read takes no worker down
            troubles[DECLARATIONS] = str(error)
            declared = source.remembered() if self._declared is None else None
        if declared is not None and (self._declared is None or declared.stamp != self._declared.stamp):
            self._follow_declared(source, declared, down, troubles)
        self._say(DECLARATIONS, troubles)
        self.troubles = troubles

    def _follow_declared(self, source: Source, declared: Declared, down: Down, troubles: Down) -> None:
        made, whole = dict[str, Resolver](), True
        for name in declared.placements:
            before = self._resolvers.get(name)
            if before is not None and self._made_from[name].of(name) == declared.of(name):
                made[name] = before
                continue
            after, trouble = self._made(source, name, declared, before, down)
            if after is not None:
                made[name] = after
                self._made_from[name] = declared
            else:
                whole = False
                troubles[f"placement {name}"] = trouble
                if before is not None:
                    made[name] = before
        for name in self._resolvers.keys() - declared.placements.keys():
            LOGGER.info("placement %s is no longer declared", name)
            source.forget(name)
        self._resolvers = made
        if whole:
            self._declared = declared

    def _made(
        self, source: Source, name: str, declared: Declared, before: Resolver | None, down: Down
    ) -> tuple[Resolver | None, str]:
        """Return the resolver of a new or changed placement once it can answer, else why it cannot yet."""
        try:
            resolver = source.resolver(name, declared)
            if self._declared is None:
                source.restore(name, declared, resolver)
                return resolver, ""
            if before is not None:
                resolver.keep(before.state.loaded)
            resolver.follow(down)
        except Exception as error:  # noqa: BLE001 - it is said, and tried again
            return None, f"{type(error).__name__}: {error}"
        troubles = resolver.state.troubles
        if troubles:
            return None, "; ".join(f"{store}: {reason}" for store, reason in troubles.items())
        self._unsaved.add(name)
        return resolver, ""


def served(resolver: Resolver) -> dict[str, Any]:
    """Return what a resolver answers from, as JSON values."""
    state = resolver.state
    champion = state.champion
    document: dict[str, Any] = {
        "champion": champion.weights.model_version if champion else None,
        "models": {name: model.weights.number for name, model in state.models.items()},
    }
    if champion is not None and OVERRIDE_TAG in champion.weights.tags:
        document["override"] = champion.weights.tags[OVERRIDE_TAG]
    if state.copied is not None:
        document["copied"] = state.copied.isoformat()
    if state.troubles:
        document["troubles"] = dict(state.troubles)
    if state.refused:
        document["refused"] = dict(state.refused)
    return document
