"""In which state is an experiment, who brought it there, and when? Derived from clock, plan and ledger."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from recsys.experiment.epochs import Epoch, epochs
from recsys.planning.refusals import read_experiment, read_layer
from recsys.planning.state import applied_events
from recsys.ports import LedgerEntry
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer

FREEZE: Final = "freeze"
"""The ledger's action that keeps an experiment's report for good."""


class Stage(StrEnum):
    """Where an experiment is in its life; it only goes forward."""

    DRAFT = "draft"
    """Its start is to come; everything may change."""
    RUNNING = "running"
    """The clock stands in its window; it may only grow, or end earlier."""
    STOPPED = "stopped"
    """Its end has come, planned or earlier; nothing changes, and it is yet to be decided."""
    DECIDED = "decided"
    """Its report is frozen."""


@dataclass(frozen=True)
class Event:
    """One appended change of an experiment."""

    at: datetime
    """By the environment's clock."""
    author: str
    git_commit: str
    what: str
    """added, changed, removed or decided."""
    fields: tuple[str, ...]
    """What changed, dotted."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "at": self.at.isoformat(), "fields": list(self.fields)}


def stage(experiment: Experiment, now: datetime, *, decided: bool = False) -> Stage:
    """Return an experiment's stage.

    Args:
        experiment: its declaration.
        now: by the environment's clock.
        decided: whether its report is frozen.
    """
    start, end = experiment.plan.window()
    if decided:
        return Stage.DECIDED
    if now < start:
        return Stage.DRAFT
    return Stage.RUNNING if now < end else Stage.STOPPED


def applied_experiments(entries: Sequence[LedgerEntry], name: str) -> tuple[tuple[datetime, Experiment], ...]:
    """Return every declaration of an experiment that was applied, in order, since it was last added.

    Args:
        entries: of the whole ledger, in order.
        name: the experiment's.

    Returns:
        When it was applied, by the environment's clock, and what; declarations of an older recsys that no longer
        read are left out. A removal of an experiment that had ended leaves what it was.
    """
    found: list[tuple[datetime, Experiment]] = []
    removed = False
    for event in _of(entries, name):
        content = event.payload["content"]
        if content is None:
            removed = True
            continue
        experiment = read_experiment(content)
        if experiment is None:
            continue
        if removed:
            found.clear()
            removed = False
        found.append((event.event_timestamp, experiment))
    return tuple(found)


def epochs_of(entries: Sequence[LedgerEntry], name: str, declared: Experiment | None = None) -> tuple[Epoch, ...]:
    """Return an experiment's allocation epochs as the ledger has them.

    Args:
        entries: of the whole ledger, in order.
        name: the experiment's.
        declared: what counts as applied before the start where nothing was: an experiment is served by its window all
            the same.
    """
    applied = applied_experiments(entries, name)
    if not applied and declared is not None:
        applied = ((declared.plan.start, declared),)
    return epochs(applied)


def layer_while(entries: Sequence[LedgerEntry], experiment: Experiment) -> Layer | None:
    """Return an experiment's layer as it was applied while the experiment ran; it may have changed since.

    Args:
        entries: of the whole ledger, in order.
        experiment: its declaration.

    Returns:
        The last that was applied before the experiment's end, as none may change under it; None where none was.
    """
    if experiment.layer is None:
        return None
    name, (_, end) = experiment.layer.name, experiment.plan.window()
    found = None
    for event in applied_events(entries):
        if event.subject == f"layers/{name}" and event.event_timestamp < end:
            found = event.payload["content"] or found
    return read_layer({"layers": {name: found}}, name) if found else None


def planned_end(entries: Sequence[LedgerEntry], name: str) -> datetime | None:
    """Return the end that an experiment's plan had when it started; an end that was moved since then was chosen later.

    Args:
        entries: of the whole ledger, in order.
        name: the experiment's.

    Returns:
        The end by the last declaration that was applied up to the start, or by the first one where all came later, as
        in an environment that is replayed; None where nothing was applied.
    """
    applied = applied_experiments(entries, name)
    in_time = [experiment for at, experiment in applied if at <= experiment.plan.start]
    first = in_time[-1:] or [experiment for _, experiment in applied[:1]]
    return first[0].plan.window()[1] if first else None


def history(entries: Sequence[LedgerEntry], name: str) -> tuple[Event, ...]:
    """Return every change of an experiment on record, oldest first; the last may be its decision."""
    found = [_event(entry, entry.payload["change"], entry.payload.get("fields", ())) for entry in _of(entries, name)]
    found += [
        _event(entry, "decided", ())
        for entry in entries
        if entry.action == FREEZE and entry.subject == name and entry.state == "done"
    ]
    return tuple(found)


def _of(entries: Sequence[LedgerEntry], name: str) -> list[LedgerEntry]:
    return [event for event in applied_events(entries) if event.subject == f"experiments/{name}"]


def _event(entry: LedgerEntry, what: str, fields: Sequence[Any]) -> Event:
    commit = str(entry.payload.get("git_commit", "unknown"))
    return Event(entry.event_timestamp, entry.author, commit, what, tuple(map(str, fields)))
