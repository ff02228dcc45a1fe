"""Which weights may become champion, on what evidence, and how is that undone?

The champion alias moves only by these functions; each records who moved it, why, and what it was before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.decision.alias_moves import CHAMPION, AliasMove, Mover, champion_move, done, find, latest, moves_of
from recsys.decision.champion import (
    agreed_champion,
    champion_status,
    logic_alias,
    number_of,
    promoted_by,
    standing,
)
from recsys.decision.evidence import SHIP
from recsys.decision.logic_weights import GATE_TAG, against_gate, digests, newest, split, to_serve
from recsys.errors import DecisionError
from recsys.ports import Clock, Ledger, LedgerEntry, ModelRegistry, Weights


@dataclass(frozen=True)
class Promotion:
    """What a call did to a model's champion."""

    action: str
    """promote, refresh, serve (only the logic's own weights moved), rollback, accept."""
    model: str
    before: Weights | None
    after: Weights | None
    """The champion now."""
    changed: bool
    """False where everything already was as asked; then nothing was recorded."""
    transaction: str | None
    """The ledger's transaction, of this change or of the earlier one that had done it."""
    override: str | None = None
    """Why it was done although something spoke against it; None where nothing did."""


def promote_first(
    registry: ModelRegistry,
    ledger: Ledger,
    clock: Clock,
    model_version: str,
    author: str,
    *,
    override: str | None = None,
) -> Promotion:
    """Make a logic's weights the first champion of its model.

    Args:
        registry: where the aliases are.
        ledger: where the move is recorded.
        clock: the environment's time.
        model_version: the logic, such as basket/v2.
        author: who asks.
        override: why weights that failed their gate shall be served all the same; recorded.

    Raises:
        DecisionError: if the model has a champion, the logic no weights in service, or their gate failed.
    """
    model, _ = split(model_version)
    champion = registry.resolve(model, CHAMPION)
    if champion is not None:
        message = (
            f"model {model} has champion {champion.model_version} (weights {champion.number}): a first"
            " champion is for models without one; run an experiment and promote its verdict, or roll back"
        )
        raise DecisionError(message)
    weights, against = to_serve(registry, model_version)
    if against is not None and override is None:
        raise DecisionError(against)
    if override is not None:
        weights = newest(registry, model_version)
        against = against or against_gate(weights)
    evidence = {
        "model_version": model_version,
        "gate": weights.tags.get(GATE_TAG),
        **digests(weights),
        **_overridden(override, [against] if against else []),
    }
    moves = [*_into_service(registry, weights), AliasMove(CHAMPION, None, weights.number)]
    entry = Mover(registry, ledger, clock, author).move("promote", model, moves, evidence)
    return Promotion(
        "promote", model, None, weights, changed=True, transaction=entry.transaction, override=_reason(entry)
    )


def promote_verdict(
    registry: ModelRegistry,
    ledger: Ledger,
    clock: Clock,
    report: Mapping[str, Any],
    author: str,
    *,
    refused: Sequence[str] = (),
    override: str | None = None,
) -> Promotion:
    """Make the winning arm's logic the champion, on the evidence of a frozen report.

    Args:
        registry: where the aliases are.
        ledger: where the move is recorded.
        clock: the environment's time.
        report: `experiment`, `verdict` and its `reason`, `model_version` of the winning arm, and `digest`; what else is
            in it is recorded too.
        author: who asks.
        refused: what else speaks against it, a line a reason.
        override: why it shall be done all the same; recorded with everything that spoke against it.

    Returns:
        What moved; an unchanged result where this very report has promoted already.

    Raises:
        DecisionError: without an override, with a line a reason, if the verdict is not SHIP, its promotion was rolled
            back, the logic has no weights in service, their gate failed, or something else was refused; with one too,
            if the champion was moved from outside, or there are no weights.
    """
    experiment = str(_required(report, "experiment"))
    verdict, digest = (_required(report, key) if override is None else report.get(key) for key in ("verdict", "digest"))
    against = list(refused)
    if verdict is not None and verdict != SHIP:
        reason = report.get("reason") or "its report says why"
        against.insert(0, f"experiment {experiment}: verdict {verdict}: only {SHIP} promotes; {reason}")
        if override is None:
            raise DecisionError("\n".join(against))
    model_version = str(_required(report, "model_version"))
    model, _ = split(model_version)
    weights, held_back = to_serve(registry, model_version)
    champion = agreed_champion(registry, ledger, model)
    earlier, rolled_back = promoted_by(ledger, model, digest)
    if earlier is not None and rolled_back is None and (override or not earlier.payload.get("override")):
        return Promotion("promote", model, champion, champion, changed=False, transaction=earlier.transaction)
    against += [reason for reason in (held_back, rolled_back) if reason is not None]
    if against and override is None:
        raise DecisionError("\n".join(against))
    if champion is not None and champion.number == weights.number:
        return Promotion("promote", model, champion, champion, changed=False, transaction=None)
    evidence = {
        **report,
        "model_version": model_version,
        "gate": weights.tags.get(GATE_TAG),
        **digests(weights),
        **_overridden(override, against),
    }
    move = AliasMove(CHAMPION, number_of(champion), weights.number)
    moves = [*_into_service(registry, weights), move]
    entry = Mover(registry, ledger, clock, author).move("promote", model, moves, evidence)
    return Promotion(
        "promote", model, champion, weights, changed=True, transaction=entry.transaction, override=_reason(entry)
    )


def refresh(registry: ModelRegistry, ledger: Ledger, clock: Clock, weights: Weights, author: str) -> Promotion:
    """Put a retrain into service: it becomes its logic's weights, and champion if its logic is.

    A champion that was moved from outside stays where it is until it is accepted.

    Raises:
        DecisionError: if the weights failed their gate.
    """
    against = against_gate(weights)
    if against is not None:
        raise DecisionError(against)
    model, alias = weights.model, logic_alias(weights.version)
    status = champion_status(registry, ledger, model)
    champion = status.alias
    serving = registry.resolve(model, alias)
    moves = [AliasMove(alias, None if serving is None else serving.number, weights.number)]
    is_champion = champion is not None and champion.version == weights.version and status.agrees
    if champion is not None and is_champion:
        moves.append(AliasMove(CHAMPION, champion.number, weights.number))
    moves = [move for move in moves if move.before != move.after]
    action = "refresh" if is_champion else "serve"
    if not moves:
        return Promotion(action, model, champion, champion, changed=False, transaction=None)
    evidence = {"model_version": weights.model_version, "gate": weights.tags.get(GATE_TAG), **digests(weights)}
    entry = Mover(registry, ledger, clock, author).move(action, model, moves, evidence)
    after = weights if is_champion else champion
    return Promotion(action, model, champion, after, changed=True, transaction=entry.transaction)


def was_in_service(ledger: Ledger, weights: Weights) -> bool:
    """Say whether these weights were ever their logic's weights in service, by the record."""
    alias = logic_alias(weights.version)
    moves = (move for entry in done(ledger, weights.model) for move in moves_of(entry))
    return any(move.alias == alias and move.after == weights.number for move in moves)


def rollback(
    registry: ModelRegistry,
    ledger: Ledger,
    clock: Clock,
    model: str,
    author: str,
    *,
    reason: str,
) -> Promotion:
    """Give a model the champion back that it had before; a second rollback goes one further back.

    Args:
        registry: where aliases are.
        ledger: where every move is recorded.
        clock: says when.
        model: a registered model, such as basket.
        author: who does it.
        reason: why, in words; kept with the record, for no report says it.

    Raises:
        DecisionError: if there is none before, or the champion was moved from outside.
    """
    champion = agreed_champion(registry, ledger, model)
    entries = standing(ledger, model)
    last = champion_move(entries[-1]) if entries else None
    if champion is None or last is None or last.before is None:
        now = "no champion" if champion is None else f"champion {champion.model_version}, its first"
        message = f"model {model}: {now}: a rollback needs one before; promote another instead"
        raise DecisionError(message)
    after = find(registry, model, last.before)
    moves = [
        AliasMove(move.alias, move.after, move.before)
        for move in moves_of(entries[-1])
        if move.before is not None and number_of(registry.resolve(model, move.alias)) == move.after
    ]
    evidence = {
        "model_version": after.model_version,
        **digests(after),
        "undoes": entries[-1].transaction,
        "reason": reason,
    }
    entry = Mover(registry, ledger, clock, author).move("rollback", model, moves, evidence)
    return Promotion("rollback", model, champion, after, changed=True, transaction=entry.transaction)


def accept(registry: ModelRegistry, ledger: Ledger, clock: Clock, model: str, author: str) -> Promotion:
    """Record a champion alias that was moved from outside, so that it may be served.

    Raises:
        DecisionError: if the alias was deleted.
    """
    status = champion_status(registry, ledger, model)
    if status.agrees:
        return Promotion("accept", model, status.alias, status.alias, changed=False, transaction=None)
    if status.alias is None:
        message = (
            f"model {model}: alias {CHAMPION} was deleted: only weights can be accepted;"
            f" set it in MLflow, last it named {status.recorded}"
        )
        raise DecisionError(message)
    move = AliasMove(CHAMPION, status.recorded, status.alias.number)
    evidence = {"model_version": status.alias.model_version, **digests(status.alias)}
    entry = Mover(registry, ledger, clock, author).move("accept", model, [move], evidence)
    before = None if status.recorded is None else find(registry, model, status.recorded)
    return Promotion("accept", model, before, status.alias, changed=True, transaction=entry.transaction)


def history(ledger: Ledger, model: str) -> Sequence[LedgerEntry]:
    """Return the last entry of each transaction of a model, oldest first; an intent has not ended."""
    return latest(ledger, model)


def recover(registry: ModelRegistry, ledger: Ledger, clock: Clock, author: str) -> Sequence[LedgerEntry]:
    """End what a crash left open: done where every alias had moved, else reverted; return the endings."""
    return Mover(registry, ledger, clock, author).recover()


def _into_service(registry: ModelRegistry, weights: Weights) -> list[AliasMove]:
    """Return the move that makes weights those of their logic, where they are not yet."""
    alias = logic_alias(weights.version)
    serving = number_of(registry.resolve(weights.model, alias))
    return [] if serving == weights.number else [AliasMove(alias, serving, weights.number)]


def _overridden(reason: str | None, against: Sequence[str]) -> dict[str, Any]:
    """Return what is recorded of an override: nothing where nothing spoke against the move."""
    return {"override": reason, "overridden": list(against)} if against else {"override": None}


def _reason(entry: LedgerEntry) -> str | None:
    reason: str | None = entry.payload["override"]
    return reason


def _required(report: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - a value of a JSON document
    if report.get(key) in (None, ""):
        message = f"report: {key} is missing: only the frozen report of an experiment promotes; evaluate it first"
        raise DecisionError(message)
    return report[key]
