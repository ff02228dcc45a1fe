"""How is an alias moved so that no crash leaves an alias without its record?

Registry and ledger are two stores. Each move is one transaction of the ledger: its intent is appended, the
aliases are moved, its done is appended. `Mover.recover` ends what a crash left open: as done where every
alias had moved, else as reverted with the aliases where they were. The ledger lets a transaction end once,
so a recovery and a promotion that is still alive cannot both win; of two promotions of one model the
earlier intent goes on.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from recsys.errors import DecisionError
from recsys.ports import Clock, Decisions, Ledger, LedgerEntry, ModelRegistry, NamedWeights, Weights

CHAMPION: Final = "champion"
"""The alias of the weights that placements serve by default."""

_INTENT: Final = "intent"
_DONE: Final = "done"
_REVERTED: Final = "reverted"
_ALIASES: Final = "aliases"
"""Key of the payload: alias to {before, after}, numbers of weights; before is null for a new alias."""


@dataclass(frozen=True)
class AliasMove:
    """One alias on its way from one set of weights to another."""

    alias: str
    before: int | None
    after: int


def champion_move(entry: LedgerEntry) -> AliasMove | None:
    """Return how an entry moved the champion, or None when it did not."""
    return next((move for move in moves_of(entry) if move.alias == CHAMPION), None)


def moves_of(entry: LedgerEntry) -> tuple[AliasMove, ...]:
    """Return the moves that an entry is about; none for entries of another kind."""
    aliases: Mapping[str, Any] = entry.payload.get(_ALIASES, {})
    return tuple(AliasMove(alias, move["before"], move["after"]) for alias, move in aliases.items())


def latest(ledger: Decisions, model: str | None = None) -> tuple[LedgerEntry, ...]:
    """Return the newest entry of each transaction that moves aliases, in the order the transactions began."""
    newest: dict[str, LedgerEntry] = {}
    for entry in ledger.entries(model):
        if moves_of(entry):
            newest[entry.transaction] = entry
    return tuple(newest.values())


def done(ledger: Decisions, model: str) -> tuple[LedgerEntry, ...]:
    """Return the done entries of a model, in order."""
    return tuple(entry for entry in ledger.entries(model) if entry.state == _DONE and moves_of(entry))


def find(registry: NamedWeights, model: str, number: int) -> Weights:
    """Return weights by their number.

    Raises:
        DecisionError: if they are not in the registry any more.
    """
    for weights in registry.search(model):
        if weights.number == number:
            return weights
    message = f"weights {number} of model {model}: not in the registry any more: take others, or register again"
    raise DecisionError(message)


@dataclass(frozen=True)
class Mover:
    """Moves aliases of one model, with a record of each."""

    registry: ModelRegistry
    ledger: Ledger
    clock: Clock
    author: str

    def move(self, action: str, model: str, moves: Sequence[AliasMove], evidence: Mapping[str, Any]) -> LedgerEntry:
        """Move aliases as one transaction and return its done entry.

        Raises:
            DecisionError: if another transaction of the model is open, or this one was reverted meanwhile.
            StoreError: if a store fails; the transaction stays open until `recover` ends it.
        """
        self._refuse_open(model, before=None)
        targets = {move.alias: find(self.registry, model, move.after) for move in moves}
        payload = {
            **evidence,
            _ALIASES: {move.alias: {"before": move.before, "after": move.after} for move in moves},
        }
        intent = self.ledger.append(
            transaction=str(uuid.uuid4()),
            state=_INTENT,
            action=action,
            subject=model,
            payload=payload,
            author=self.author,
            at=self.clock.now(),
        )
        try:
            self._refuse_open(model, before=intent.sequence)
        except DecisionError:
            self.end(intent, _REVERTED)
            raise
        for move in moves:
            self.registry.set_alias(targets[move.alias], move.alias)
        try:
            return self.end(intent, _DONE)
        except DecisionError:
            # A recovery took this transaction for dead and reverted it: on record, nothing moved.
            self.put_back(intent)
            raise

    def recover(self) -> tuple[LedgerEntry, ...]:
        """End every open transaction of every model and return the entries that ended them."""
        ended = []
        for intent in latest(self.ledger):
            if intent.state != _INTENT:
                continue
            if all(self._names(intent.subject, move.alias) == move.after for move in moves_of(intent)):
                ended.append(self.end(intent, _DONE))
            else:
                self.put_back(intent)
                ended.append(self.end(intent, _REVERTED))
        return tuple(ended)

    def end(self, intent: LedgerEntry, state: str) -> LedgerEntry:
        """Append the end of a transaction."""
        entry = replace(intent, state=state)
        return self.ledger.append(
            transaction=entry.transaction,
            state=state,
            action=entry.action,
            subject=entry.subject,
            payload=entry.payload,
            author=self.author,
            at=self.clock.now(),
        )

    def put_back(self, intent: LedgerEntry) -> None:
        """Let those aliases that a transaction moved name again what they named before."""
        model = intent.subject
        for move in moves_of(intent):
            if self._names(model, move.alias) != move.after:
                continue
            if move.before is None:
                self.registry.delete_alias(model, move.alias)
            else:
                self.registry.set_alias(find(self.registry, model, move.before), move.alias)

    def _names(self, model: str, alias: str) -> int | None:
        weights = self.registry.resolve(model, alias)
        return None if weights is None else weights.number

    def _refuse_open(self, model: str, before: int | None) -> None:
        for entry in latest(self.ledger, model):
            if entry.state == _INTENT and (before is None or entry.sequence < before):
                message = (
                    f"{entry.action} of model {model} by {entry.author} at"
                    f" {entry.event_timestamp.isoformat()} is not ended: one at a time;"
                    " wait for it, or recover it if its process is gone"
                )
                raise DecisionError(message)
