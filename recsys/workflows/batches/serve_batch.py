"""What does every unit's list look like right now? `recsys serve-batch`: top k per unit, as parquet by date and arm.

Each list is what a request at this moment would get: the resolver answers hundreds of units at a time by the pipeline
of its requests. Only the log is not written, for nothing is shown; `recsys log sent` does when the lists are sent.

Units are taken in parts of a fixed size and in order, so that a batch that was ended is completed part by part. A
part's units are scored in slices: what is held beside the item matrix and the ids is a slice a thread and the rows of
one part, however many units there are.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import recsys
from recsys.serving.list_rows import MANIFEST
from recsys.serving.resolver import Resolver
from recsys.specs.catalog import digest
from recsys.workflows.batches.folder import batch_folder, lock_name, require_own, settle
from recsys.workflows.batches.lists import UNITS_A_SLICE, Making, made_elsewhere
from recsys.workflows.batches.parts import BatchParts, Part, begun
from recsys.workflows.batches.unchanged import require_unchanged
from recsys.workflows.exclusive import FEATURES, exclusive, read_written
from recsys.workflows.features.build import require_materialized
from recsys.workflows.serving.resolvers import known_unit_ids
from recsys.workflows.workspace import Workspace

Progress = Callable[[int, int, int], None]
"""Told how many of how many units are done, and how many rows were written by this run."""

UNITS_A_PART: Final = 10_000
"""What a killed run has to do again at most."""


@dataclass(frozen=True)
class Batch:
    """What was written."""

    placement: str
    at: datetime
    folder: Path
    units: int
    rows: int
    answered_by: Mapping[str, int]
    """Model version (or the fallback) to the units it answered."""
    reused: bool
    resumed: int = 0
    """Units whose lists a run before had written already."""


def serve_batch(
    workspace: Workspace,
    placement: str,
    at: datetime | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
    *,
    resume: bool = False,
    units_a_part: int = UNITS_A_PART,
) -> Batch:
    """Write every known unit's list, or report the batch that is there if it would come out the same.

    Args:
        workspace: the project.
        placement: its name.
        at: the lists of this moment; the environment's clock by default. A batch of the past is final.
        out: the folder; `<state>/batch/<placement>` by default. The date's part of it is replaced as a whole.
        progress: told how far it is.
        resume: keep the parts that a run which was ended has written, if they are of the batch that this run would
            write; without a moment, that is the one which was begun today.
        units_a_part: how many units a part has.

    Raises:
        FeatureError: if nothing is materialized, or the online store has moved past the moment.
        ModelError: if a model's feature service changed since it was trained.
        StoreError: if the same batch is being written, or the features are, for too long; if the folder holds something
            else, or cannot be written; or if the online store cannot be read.
    """
    workspace.catalog.placement(placement)
    command = f"recsys serve-batch {placement}"
    moment = at or workspace.clock.now()
    folder = batch_folder(workspace, placement, out) / f"date={moment:%Y-%m-%d}"
    if resume and at is None:
        moment = begun(folder) or moment
    with (
        exclusive(workspace, lock_name(workspace, f"{placement}-{moment:%Y-%m-%d}", folder), command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        settle(folder, keep_parts=resume)
        require_own(folder, "placement", placement)
        known = _written(folder, placement, moment)
        if known is not None and moment < workspace.clock.now():
            return known[0]
        making = Making.of(workspace, placement, moment)
        identity = making.identity()
        require_materialized(workspace)
        _require_unchanged(workspace, making.resolver)
        if known is not None and known[1] == identity:
            return known[0]
        return _Writing(making, folder, units_a_part).write(identity, progress)


@dataclass(frozen=True)
class _Writing:
    """One batch on its way to disk."""

    making: Making
    folder: Path
    units_a_part: int

    def write(self, identity: str, progress: Progress | None) -> Batch:
        """Write the parts that are not there yet, and let the batch take its place."""
        workspace, placement, moment = self.making.workspace, self.making.placement, self.making.moment
        units = known_unit_ids(workspace, placement, moment)
        out = "" if self.folder.is_relative_to(workspace.state) else f" --out {self.folder.parent}"
        command = f"recsys serve-batch {placement} --date {moment.isoformat()}{out} --resume"
        parts = BatchParts(self.folder, self._of_parts(identity, units), moment, command)
        numbers = range(-(-len(units) // self.units_a_part))
        done = {number: part for number in numbers if (part := parts.done(number)) is not None}
        missing = {
            number: units.slice(number * self.units_a_part, self.units_a_part)
            for number in numbers
            if number not in done
        }
        tell = progress or (lambda *_: None)
        tell(0, len(units), 0)
        resumed = 0
        for part in done.values():
            resumed += part.units
            tell(resumed, len(units), 0)
        cluster = workspace.adapters.cluster()
        made = (
            self._here(parts, missing)
            if cluster is None
            else made_elsewhere(cluster, self.making, parts, missing, identity)
        )
        units_done, rows = resumed, 0
        for number, part in made:
            done[number] = part
            units_done, rows = units_done + part.units, rows + part.rows
            tell(units_done, len(units), rows)
        watermarks = self.making.resolver.state.watermarks
        document = parts.complete(
            [done[number] for number in numbers],
            {
                "identity": identity,
                "placement": placement,
                "at": moment.isoformat(),
                "watermarks": {name: stamp.isoformat() for name, stamp in watermarks.items() if stamp is not None},
            },
        )
        return _batch(self.folder, placement, moment, document, resumed=resumed)

    def _here(self, parts: BatchParts, missing: Mapping[int, pa.ChunkedArray]) -> Iterator[tuple[int, Part]]:
        """Make parts one after another, the slices of each in threads."""
        with ThreadPoolExecutor(self.making.workspace.environment.limits.threads, "serve-batch") as threads:
            for number, units in missing.items():
                yield number, self.making.part(parts, number, units.to_pylist(), threads)

    def _of_parts(self, identity: str, units: pa.ChunkedArray) -> str:
        """Digest what the bytes of parts depend on beside the batch's identity."""
        ids = blake2b(digest_size=8)
        for start in range(0, len(units), self.units_a_part):
            ids.update("\0".join(units.slice(start, self.units_a_part).to_pylist()).encode("utf-8", "surrogatepass"))
        return digest([identity, ids.hexdigest(), self.units_a_part, UNITS_A_SLICE, recsys.__version__, pa.__version__])


def _written(folder: Path, placement: str, moment: datetime) -> tuple[Batch, str] | None:
    document = read_written(folder / MANIFEST)
    if document is None:
        return None
    return _batch(folder, placement, moment, document, reused=True), document["identity"]


def _batch(
    folder: Path,
    placement: str,
    moment: datetime,
    document: Mapping[str, Any],
    *,
    reused: bool = False,
    resumed: int = 0,
) -> Batch:
    counts = document["units"], document["rows"], document["answered_by"]
    return Batch(placement, moment, folder, *counts, reused=reused, resumed=resumed)


def _require_unchanged(workspace: Workspace, resolver: Resolver) -> None:
    for model in resolver.state.loaded.values():
        require_unchanged(workspace, model.weights, model.features, model.ranker)
