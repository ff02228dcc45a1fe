"""What does a model version learn from and is judged on?

`recsys dataset build`: requests, labels and features as known then, saved and checked; `recsys dataset check`: whether
any row knows more than its decision time did.
"""

from dataclasses import dataclass
from datetime import datetime

from recsys.errors import ModelError
from recsys.modeling.decision_times import TEST
from recsys.modeling.leakage import Violation
from recsys.modeling.training_set import LEARN, TrainingSet, read_training_set, tables_digest
from recsys.schema import EVENT_TIMESTAMP
from recsys.workflows.exclusive import FEATURES, exclusive, sweep
from recsys.workflows.features.table_records import require_built
from recsys.workflows.modeling.training_data import Building, Progress
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Built:
    """A training set, and whether it was there."""

    dataset: TrainingSet
    reused: bool


@dataclass(frozen=True)
class Inspected:
    """What a check of a saved training set found."""

    dataset: TrainingSet
    violations: tuple[Violation, ...]
    rows: int
    intact: bool
    """Whether the files are those that were written."""
    unchecked: tuple[str, ...]
    """Views that could not be derived anew, with why."""


def build_dataset(
    workspace: Workspace, model_version: str, known_at: datetime | None = None, progress: Progress | None = None
) -> Built:
    """Build the training set of a model version, as known at a moment, or find it built.

    Args:
        workspace: the project.
        model_version: such as basket/v2.
        known_at: nothing created after it is used; the environment's clock by default. The set is the one that would
            have been built then, whatever was restated since.
        progress: told how far the work is.

    Raises:
        LeakageError: if a row knows more than its decision time did; nothing is saved.
        ModelError: if there is nothing to learn from.
        FeatureError: if the feature tables are not up to date.
        StoreError: if another command works on this version or on the features for too long.
    """
    workspace.catalog.model(model_version)
    command = f"recsys dataset build --model-version {model_version}"
    with (
        exclusive(workspace, f"train-{model_version}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        return built_dataset(workspace, model_version, known_at or workspace.clock.now(), progress or (lambda *_: None))


def built_dataset(workspace: Workspace, model_version: str, known_at: datetime, tell: Progress) -> Built:
    """Build or find a training set, for a caller that holds the version and the features."""
    require_built(workspace)
    building = Building(workspace, model_version, known_at, tell)
    sweep(building.folder.parent, ".*.partial")
    found = read_training_set(building.folder)
    if found is not None:
        return Built(found, reused=True)
    return Built(building.build(), reused=False)


def check_dataset(
    workspace: Workspace, model_version: str, known_at: datetime | None = None, progress: Progress | None = None
) -> Inspected:
    """Derive a saved training set's clocks anew, row by row, at every decision time.

    Raises:
        ModelError: if it was not built.
        FeatureError: if the feature tables are not up to date.
    """
    tell = progress or (lambda *_: None)
    command = f"recsys dataset check --model-version {model_version}"
    with exclusive(workspace, FEATURES, command, shared=True):
        require_built(workspace)
        building = Building(workspace, model_version, known_at or workspace.clock.now(), tell)
        found = read_training_set(building.folder)
        if found is None:
            message = (
                f"training set of {model_version} known at {building.known_at:%Y-%m-%d %H:%M}: not built from the"
                f" present declarations{_erased(building)}; run `recsys dataset build --model-version {model_version}`"
                " with the same --known-at"
            )
            raise ModelError(message)
        violations: list[Violation] = []
        unchecked: dict[str, None] = {}
        rows = 0
        for part in (LEARN, TEST):
            table = found.rows(part)
            rows += len(table)
            moments = sorted(set(table[EVENT_TIMESTAMP].to_pylist()))
            checked = building.checked(table, part, moments if part == TEST or not building.shown else ())
            violations += checked.violations
            unchecked |= dict.fromkeys(checked.unchecked)
        intact = found.digest == tables_digest(found.folder)
        return Inspected(found, tuple(violations), rows, intact, tuple(unchecked))


def _erased(building: Building) -> str:
    """Say whether a set of that moment was made from events that have since been forgotten."""
    for folder in sorted(building.folder.parent.glob(f"{building.known_at:%Y%m%d}-*")):
        found = read_training_set(folder)
        for erased in found.document.get("erased", ()) if found else ():
            return (
                f" and events ({folder.name} is of events before users were forgotten on {erased['at'][:10]}; its rows"
                f" were {erased['digest_before']} and are {found.digest if found else ''})"
            )
    return ""
