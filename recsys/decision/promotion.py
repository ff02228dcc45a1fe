"""Which weights may become champion, on what evidence, and how is that undone?

The champion alias moves only by these functions; each records who moved it, why, and what it was before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recsys.decision.alias_moves import CHAMPION, AliasMove, Mover, champion_move, done, find, latest, moves_of
from recsys.decision.champion import (
    agreed_champion,
    champion_status,
    logic_alias,
    number_of,
    promoted_by,
    standing,
)
from recsys.errors import DecisionError
from recsys.ports import Clock, Ledger, LedgerEntry, ModelRegistry, Weights

GATE_TAG: Final = "recsys.gate"
"""Tag of weights with the outcome of their offline gate: passed or failed."""
REASON_TAG: Final = "recsys.gate_reason"
"""Tag of weights with that outcome's figures, in a sentence."""

_SHIP: Final = "SHIP"


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
    model, version = _split(model_version)
    champion = registry.resolve(model, CHAMPION)
    if champion is not None:
        message = (
            f"model {model} has champion {champion.model_version} (weights {champion.number}): a first"
            " champion is for models without one; run an experiment and promote its verdict, or roll back"
        )
        raise DecisionError(message)
    if override is None:
        _, weights = _in_service(registry, model_version)
        _require_gate(weights)
    else:
        weights = _newest(registry, model_version)
    moves = [AliasMove(CHAMPION, None, weights.number)]
    serving = number_of(registry.resolve(model, logic_alias(version)))
    if serving != weights.number:
        moves.insert(0, AliasMove(logic_alias(version), serving, weights.number))
    evidence = {"model_version": model_version, "gate": weights.tags.get(GATE_TAG), "override": override}
    entry = Mover(registry, ledger, clock, author).move("promote", model, moves, evidence)
    return Promotion("promote", model, None, weights, changed=True, transaction=entry.transaction)


def promote_verdict(
    registry: ModelRegistry, ledger: Ledger, clock: Clock, report: Mapping[str, Any], author: str
) -> Promotion:
    """Make the winning arm's logic the champion, on the evidence of a frozen report.

    Args:
        registry: where the aliases are.
        ledger: where the move is recorded.
        clock: the environment's time.
        report: `experiment`, `verdict` and its `reason`, `model_version` of the winning arm, and `digest`.
        author: who asks.

    Returns:
        What moved; an unchanged result where this very report has promoted already.

    Raises:
        DecisionError: if the verdict is not SHIP, its promotion was rolled back, the logic has no weights in
            service, or the champion was moved from outside.
    """
    experiment, verdict, digest = (str(_required(report, key)) for key in ("experiment", "verdict", "digest"))
    if verdict != _SHIP:
        reason = report.get("reason") or "its report says why"
        message = f"experiment {experiment}: verdict {verdict}: only {_SHIP} promotes; {reason}"
        raise DecisionError(message)
    model_version = str(_required(report, "model_version"))
    model, weights = _in_service(registry, model_version)
    earlier = promoted_by(ledger, model, digest)
    champion = agreed_champion(registry, ledger, model)
    if earlier is not None:
        return Promotion("promote", model, champion, champion, changed=False, transaction=earlier.transaction)
    if champion is not None and champion.number == weights.number:
        return Promotion("promote", model, champion, champion, changed=False, transaction=None)
    evidence = {
        "model_version": model_version,
        "experiment": experiment,
        "verdict": verdict,
        "digest": digest,
    }
    move = AliasMove(CHAMPION, None if champion is None else champion.number, weights.number)
    entry = Mover(registry, ledger, clock, author).move("promote", model, [move], evidence)
    return Promotion("promote", model, champion, weights, changed=True, transaction=entry.transaction)


def refresh(registry: ModelRegistry, ledger: Ledger, clock: Clock, weights: Weights, author: str) -> Promotion:
    """Put a retrain into service: it becomes its logic's weights, and champion if its logic is.

    A champion that was moved from outside stays where it is until it is accepted.

    Raises:
        DecisionError: if the weights failed their gate.
    """
    _require_gate(weights)
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
    evidence = {"model_version": weights.model_version, "gate": weights.tags.get(GATE_TAG)}
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
    reason: str | None = None,
) -> Promotion:
    """Give a model the champion back that it had before; a second rollback goes one further back.

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
    evidence = {"model_version": after.model_version, "undoes": entries[-1].transaction, "reason": reason}
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
    evidence = {"model_version": status.alias.model_version}
    entry = Mover(registry, ledger, clock, author).move("accept", model, [move], evidence)
    before = None if status.recorded is None else find(registry, model, status.recorded)
    return Promotion("accept", model, before, status.alias, changed=True, transaction=entry.transaction)


def history(ledger: Ledger, model: str) -> Sequence[LedgerEntry]:
    """Return the last entry of each transaction of a model, oldest first; an intent has not ended."""
    return latest(ledger, model)


def recover(registry: ModelRegistry, ledger: Ledger, clock: Clock, author: str) -> Sequence[LedgerEntry]:
    """End what a crash left open: done where every alias had moved, else reverted; return the endings."""
    return Mover(registry, ledger, clock, author).recover()


def _split(model_version: str) -> tuple[str, str]:
    model, _, version = model_version.partition("/")
    if not model or not version:
        message = f"model version {model_version}: it is <model>/<version>, such as basket/v2"
        raise DecisionError(message)
    return model, version


def _in_service(registry: ModelRegistry, model_version: str) -> tuple[str, Weights]:
    """Return a logic's model and its weights in service."""
    model, version = _split(model_version)
    weights = registry.resolve(model, logic_alias(version))
    if weights is None:
        newest = _newest(registry, model_version)
        message = (
            f"model version {model_version}: no weights of it are in service (alias {logic_alias(version)} is not set);"
            f" the newest ({newest.number}) have gate {newest.tags.get(GATE_TAG, 'unknown')}"
            f" ({newest.tags.get(REASON_TAG, 'no reason recorded')}): train it again, or override with a reason"
        )
        raise DecisionError(message)
    return model, weights


def _newest(registry: ModelRegistry, model_version: str) -> Weights:
    """Return a logic's newest weights, in service or not."""
    model, version = _split(model_version)
    known = [weights for weights in registry.search(model) if weights.version == version]
    if not known:
        message = (
            f"model version {model_version}: it was never trained; run `recsys train --model-version {model_version}`"
        )
        raise DecisionError(message)
    return known[-1]


def _require_gate(weights: Weights) -> None:
    gate = weights.tags.get(GATE_TAG)
    if gate != "passed":
        message = (
            f"weights {weights.number} of {weights.model_version}: gate {gate or 'unknown'}: only weights"
            " that passed their gate are served; see their report, and train again or override with a reason"
        )
        raise DecisionError(message)


def _required(report: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - a value of a JSON document
    if report.get(key) in (None, ""):
        message = f"report: {key} is missing: only the frozen report of an experiment promotes; evaluate it first"
        raise DecisionError(message)
    return report[key]
