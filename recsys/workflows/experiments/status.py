"""Where are the experiments in their lives? `recsys experiment status`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from recsys.decision.champion import Override, overrides_among
from recsys.experiment.epochs import Epoch
from recsys.planning.lifecycle import FREEZE, Event, Stage, epochs_of, history, planned_end, stage
from recsys.planning.refusals import read_experiment
from recsys.planning.state import applied_state
from recsys.ports import LedgerEntry
from recsys.specs.catalog import digest
from recsys.specs.experiment import Experiment
from recsys.workflows.declarations.plan import ledger_entries
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Status:
    """One experiment, as it was applied, or as it is declared where it was not."""

    name: str
    stage: Stage
    experiment: Experiment
    applied: bool | None
    """Whether what is declared was applied: None where nothing of it was, False where the file says otherwise."""
    planned_end: datetime
    """The end that it had when it started; its own end lies before where it was stopped early."""
    epochs: tuple[Epoch, ...]
    """Of the allocation, up to the end."""
    history: tuple[Event, ...]
    verdict: str | None
    """Of the frozen report."""
    overrides: tuple[Override, ...]
    """Arms' versions that became champion although something spoke against it."""


def experiment_status(workspace: Workspace, name: str | None = None) -> Sequence[Status]:
    """Return the status of one experiment or of all, by name.

    Args:
        workspace: the project.
        name: one that is declared or applied; all by default.

    Raises:
        SpecError: if there is none of that name.
    """
    entries = ledger_entries(workspace)
    contents = applied_state(entries)["experiments"]
    applied = {key: found for key, each in contents.items() if (found := read_experiment(each)) is not None}
    declared = workspace.catalog.experiments
    if name is not None and name not in applied:
        workspace.catalog.experiment(name)
    names = sorted(applied.keys() | declared.keys()) if name is None else [name]
    counting = {**declared, **applied}
    return [
        _status(workspace, each, counting[each], _agrees(applied.get(each), declared.get(each)), entries)
        for each in names
    ]


def _status(
    workspace: Workspace, name: str, experiment: Experiment, applied: bool | None, entries: Sequence[LedgerEntry]
) -> Status:
    frozen = [each for each in entries if each.action == FREEZE and each.subject == name and each.state == "done"]
    versions = [arm.model_version for arm in experiment.arms.values()]
    verdict = str(frozen[-1].payload["verdict"]["name"]) if frozen else None
    return Status(
        name=name,
        stage=stage(experiment, workspace.clock.now(), decided=bool(frozen)),
        experiment=experiment,
        applied=applied,
        planned_end=planned_end(entries, name) or experiment.plan.window()[1],
        epochs=epochs_of(entries, name, experiment),
        history=history(entries, name),
        verdict=verdict,
        overrides=overrides_among(workspace.ledger, versions) if entries else (),
    )


def _agrees(applied: Experiment | None, declared: Experiment | None) -> bool | None:
    if applied is None or declared is None:
        return None if applied is None else False
    return digest(applied.model_dump(mode="json")) == digest(declared.model_dump(mode="json"))
