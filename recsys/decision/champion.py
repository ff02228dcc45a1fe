"""Who is champion, by the alias and by the record?"""

from dataclasses import dataclass

from recsys.decision.alias_moves import CHAMPION, champion_move, done
from recsys.errors import DecisionError
from recsys.ports import Decisions, LedgerEntry, NamedWeights, Weights


@dataclass(frozen=True)
class ChampionStatus:
    """What the alias says, and what the ledger says."""

    alias: Weights | None
    """What alias `champion` names."""
    recorded: int | None
    """The number the ledger's last done entry gave it."""

    @property
    def agrees(self) -> bool:
        """Say whether they are the same; an alias moved from outside is not served until it is accepted."""
        return (None if self.alias is None else self.alias.number) == self.recorded


def logic_alias(version: str) -> str:
    """Return the alias of a logic's weights in service, such as logic-v2 (MLflow reserves bare v2)."""
    return f"logic-{version}"


def champion_status(registry: NamedWeights, ledger: Decisions, model: str) -> ChampionStatus:
    """Compare the champion alias with its record."""
    moves = [move for entry in done(ledger, model) if (move := champion_move(entry))]
    return ChampionStatus(registry.resolve(model, CHAMPION), moves[-1].after if moves else None)


def agreed_champion(registry: NamedWeights, ledger: Decisions, model: str) -> Weights | None:
    """Return the champion, where alias and record agree.

    Raises:
        DecisionError: if the alias was moved from outside.
    """
    status = champion_status(registry, ledger, model)
    if not status.agrees:
        message = (
            f"model {model}: alias {CHAMPION} names weights {number_of(status.alias) or 'none'},"
            f" the ledger says {status.recorded or 'none'}: it was moved from outside;"
            " accept it, or set it back in MLflow"
        )
        raise DecisionError(message)
    return status.alias


def standing(ledger: Decisions, model: str) -> list[LedgerEntry]:
    """Return the entries that made each champion up to the present one, without those rolled back."""
    standing: list[LedgerEntry] = []
    for entry in done(ledger, model):
        if champion_move(entry) is None:
            continue
        if entry.action == "rollback":
            standing.pop()
        else:
            standing.append(entry)
    return standing


def number_of(weights: Weights | None) -> int | None:
    """Return the number of weights, or None of none."""
    return None if weights is None else weights.number


def promoted_by(ledger: Decisions, model: str, digest: str) -> LedgerEntry | None:
    """Return the promotion that this very report made, or None; one that was rolled back is refused."""
    entries = [entry for entry in done(ledger, model) if entry.payload.get("digest") == digest]
    if not entries:
        return None
    if entries[-1].transaction not in {entry.transaction for entry in standing(ledger, model)}:
        message = (
            f"model {model}: the promotion by this report (digest {digest}) was rolled back:"
            " a report promotes once; run a new experiment"
        )
        raise DecisionError(message)
    return entries[-1]
