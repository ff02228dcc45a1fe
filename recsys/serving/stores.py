"""Behind which breakers do the stores of a service stand?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from recsys.ports import Ledger, LedgerEntry, ModelRegistry, Ranker, Weights
from recsys.serving.breaker import Breaker
from recsys.serving.gate import Gate

LEDGER_SECONDS: Final = 3.0
RESOLVE_SECONDS: Final = 5.0
LOAD_SECONDS: Final = 60.0
"""How long a poll waits for one answer of the ledger, for an alias, and for weights."""


@dataclass(frozen=True)
class Stores:
    """One breaker a store, shared by all placements of a process."""

    online: Breaker = field(default_factory=lambda: Breaker("online store"))
    """Its clients have time-outs of their own."""
    registry: Gate = field(default_factory=lambda: Gate(Breaker("model registry")))
    log: Gate = field(default_factory=lambda: Gate(Breaker("event log")))
    """With the ledger, which is kept in the same place."""

    @property
    def breakers(self) -> Sequence[Breaker]:
        """Return all of them."""
        return self.online, self.registry.breaker, self.log.breaker


class GuardedWeights:
    """A registry's weights, asked past its breaker and for so long only."""

    def __init__(self, registry: ModelRegistry, gate: Gate) -> None:
        """Ask nothing yet."""
        self._registry = registry
        self._gate = gate

    def resolve(self, model: str, alias: str) -> Weights | None:
        """Return the weights an alias names, or None."""
        return self._gate.ask(lambda: self._registry.resolve(model, alias), RESOLVE_SECONDS)

    def load(self, weights: Weights) -> Ranker:
        """Load a ranker, checked against the sample that was registered with it."""
        return self._gate.ask(lambda: self._registry.load(weights), LOAD_SECONDS)

    def search(self, model: str) -> Sequence[Weights]:
        """Return all weights of a registered model, oldest first."""
        return self._gate.ask(lambda: self._registry.search(model), RESOLVE_SECONDS)


class GuardedLedger:
    """A ledger's entries, asked past its breaker and for so long only."""

    def __init__(self, ledger: Ledger, gate: Gate) -> None:
        """Ask nothing yet."""
        self._ledger = ledger
        self._gate = gate

    def entries(self, subject: str | None = None) -> Sequence[LedgerEntry]:
        """Return entries in order, of one subject or of all."""
        return self._gate.ask(lambda: self._ledger.entries(subject), LEDGER_SECONDS)
