"""Who gets which arm, outside of requests? `recsys experiment assign` and `export`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.experiment.assignments import ARM, HOLDOUT, OVERRIDDEN, assignment_schema, assignments
from recsys.experiment.growthbook import growthbook_payload
from recsys.experiment.routing import Router
from recsys.specs.catalog import digest
from recsys.workflows.exclusive import renamed_to, write_by_rename
from recsys.workflows.id_files import ids_of, opened_ids
from recsys.workflows.workspace import Workspace

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Assigned:
    """What was written."""

    experiment: str
    path: Path
    rows: int
    arms: Mapping[str, int]
    """Arm to its rows, overrides included."""
    overridden: int
    holdout: int
    """Rows in the holdout of the experiment's layer."""

    @property
    def default(self) -> int:
        """Rows of default traffic, the holdout's included."""
        return self.rows - sum(self.arms.values())


@dataclass(frozen=True)
class Exported:
    """A payload for SDKs."""

    document: dict[str, Any]
    experiments: tuple[str, ...]
    """Those that it holds."""
    left_out: tuple[str, ...]
    """Those that do not run at the environment's clock."""


def assign_file(
    workspace: Workspace, name: str, source: Path, target: Path, column: str | None = None, tell: Progress | None = None
) -> Assigned:
    """Write the arm of every id in a parquet file, by the experiment's declaration, a batch in memory at a time.

    Args:
        workspace: the project.
        name: the experiment's.
        source: a parquet file with a text column of ids.
        target: is written beside its place and renamed, so that it is there as a whole or not at all.
        column: of the ids; the experiment's unit by default.
        tell: how many rows are done, of how many.

    Raises:
        DataError: if the file cannot be read, or an id is missing.
        ExperimentError: if ids are not text.
    """
    experiment = workspace.catalog.experiment(name)
    router = Router(name, experiment, workspace.catalog.layer_of(experiment))
    column = column or experiment.unit
    origin = {"experiment": name, "digest": digest(experiment.model_dump(mode="json"))}
    columns = assignment_schema(column).with_metadata({f"recsys.{key}": value for key, value in origin.items()})
    arms: Counter[str | None] = Counter()
    rows = overridden = holdout = 0
    with (
        opened_ids(source, column) as file,
        renamed_to(target) as partial,
        pq.ParquetWriter(partial, columns, compression="zstd") as writer,
    ):
        for units in ids_of(file, source, column):
            batch = assignments(router, units, columns)
            writer.write_batch(batch)
            arms.update({row["values"]: row["counts"] for row in pc.value_counts(batch[ARM]).to_pylist()})
            overridden += pc.sum(batch[OVERRIDDEN]).as_py() or 0
            holdout += pc.sum(batch[HOLDOUT]).as_py() or 0
            rows += len(units)
            if tell is not None:
                tell("ids", rows, file.metadata.num_rows)
    return Assigned(name, target, rows, {arm: arms[arm] for arm in experiment.arms}, overridden, holdout)


def export_growthbook(workspace: Workspace, names: Sequence[str] = (), output: Path | None = None) -> Exported:
    """Write the payload that lets GrowthBook's SDKs compute our arms.

    Args:
        workspace: the project.
        names: of the experiments it shall hold; those that run at the environment's clock by default.
        output: where it is written, by rename; nowhere by default.
    """
    catalog, now = workspace.catalog, workspace.clock.now()
    routers = [Router(name, each, catalog.layer_of(each)) for name, each in sorted(catalog.experiments.items())]
    for name in names:
        catalog.experiment(name)
    held = [router for router in routers if (router.name in names if names else router.active(now))]
    document = growthbook_payload(catalog.placements, held, now)
    if output is not None:
        write_by_rename(output, document)
    exported = tuple(router.name for router in held)
    return Exported(document, exported, tuple(router.name for router in routers if router.name not in exported))
