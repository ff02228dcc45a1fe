"""What does the model registry say, asked once a look, and not again while nothing of it has changed?"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from recsys.errors import StoreError
from recsys.ports import ModelRegistry, Weights

_MOST: Final = 256
"""Names that are remembered; those of an address need not be of a model."""


@dataclass
class Registered:
    """`ports.NamedWeights` of one look: each model is asked for once, with all of its aliases."""

    registry: ModelRegistry
    stamp: str | None
    """The registry's at the beginning; None where it has none."""
    failure: StoreError | None = None
    """Why it cannot be read: it is then not waited for again at this look."""
    _models: dict[str, tuple[Sequence[Weights], Mapping[str, int]]] = field(default_factory=dict)

    def search(self, model: str) -> Sequence[Weights]:
        """Return all weights of a model, oldest first."""
        return self._read(model)[0]

    def resolve(self, model: str, alias: str) -> Weights | None:
        """Return the weights an alias names, or None."""
        weights, aliases = self._read(model)
        number = aliases.get(alias)
        return next((each for each in weights if each.number == number), None)

    def state(self, models: Iterable[str]) -> object:
        """Return what is another value where anything of these models is: the stamp, or all that is registered."""
        if self.stamp is not None:
            return self.stamp
        return [
            (model, sorted(aliases.items()), [(each.number, sorted(each.tags.items())) for each in weights])
            for model in sorted(models)
            for weights, aliases in [self._read(model)]
        ]

    def _read(self, model: str) -> tuple[Sequence[Weights], Mapping[str, int]]:
        if self.failure is not None:
            raise self.failure
        found = self._models.get(model)
        if found is None:
            try:
                # The aliases first: what one of them names is then among the weights.
                aliases = self.registry.aliases(model)
                found = self.registry.search(model), aliases
            except StoreError as error:
                self.failure = error
                raise
            if len(self._models) < _MOST:
                self._models[model] = found
        return found


class RegistryMemory:
    """The registry over many looks; any number of threads may ask."""

    def __init__(self, registry: ModelRegistry) -> None:
        """Ask nothing yet."""
        self._registry = registry
        self._lock = threading.Lock()
        self._last = Registered(registry, None)

    def look(self) -> Registered:
        """Return what is registered now: of the last look, where the registry can tell that it has not changed."""
        stamp = self._registry.stamp()
        with self._lock:
            if stamp is None or stamp != self._last.stamp or self._last.failure is not None:
                self._last = Registered(self._registry, stamp)
            return self._last
