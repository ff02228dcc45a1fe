"""Who is champion, by the alias and by the record?"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

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


def promoted_by(ledger: Decisions, model: str, digest: str | None) -> tuple[LedgerEntry | None, str | None]:
    """Return the promotion that this very report made, or None; and why it makes no other, where it was rolled back."""
    entries = [entry for entry in done(ledger, model) if digest is not None and entry.payload.get("digest") == digest]
    if not entries:
        return None, None
    if entries[-1].transaction in {entry.transaction for entry in standing(ledger, model)}:
        return entries[-1], None
    return entries[-1], (
        f"model {model}: the promotion by this report (digest {digest}) was rolled back: a report promotes once; run a"
        " new experiment"
    )


@dataclass(frozen=True)
class Override:
    """A champion that was made although something spoke against it."""

    model_version: str
    experiment: str | None
    reason: str
    refused: tuple[str, ...]
    """Everything that spoke against it, a line each."""
    author: str
    at: datetime
    """By the environment's clock."""


def overrides(ledger: Decisions, model: str) -> dict[str, Override]:
    """Return the model versions that became champion by an override, and were not rolled back or promoted anew."""
    found: dict[str, Override] = {}
    for entry in standing(ledger, model):
        version, reason = str(entry.payload.get("model_version")), entry.payload.get("override")
        if entry.action == "refresh":
            continue
        found.pop(version, None)
        if reason:
            refused = tuple(entry.payload.get("overridden", ()))
            experiment = entry.payload.get("experiment")
            found[version] = Override(version, experiment, reason, refused, entry.author, entry.event_timestamp)
    return found


def overrides_among(ledger: Decisions, model_versions: Iterable[str]) -> tuple[Override, ...]:
    """Return the overrides of those among some model versions that have one, by their names."""
    named = sorted(set(model_versions))
    by_model = {model: overrides(ledger, model) for model in {version.partition("/")[0] for version in named}}
    found = (by_model[version.partition("/")[0]].get(version) for version in named)
    return tuple(override for override in found if override is not None)
