"""What does every unit's list look like right now? `recsys serve-batch`: top k per unit, as parquet by date and arm.

Each list is what a request at this moment would get: the resolver answers hundreds of units at a time by the pipeline
of its requests. Only the log is not written, for nothing is shown; `recsys log sent` does when the lists are sent.

Units are taken in parts of a fixed size and in order, so that a batch that was ended is completed part by part. A
part's units are scored in slices: what is held beside the item matrix and the ids is a slice a thread and the rows of
one part, however many units there are.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import recsys
from recsys.errors import FeatureError
from recsys.serving.list_rows import answered_by, list_rows
from recsys.serving.resolver import Resolver
from recsys.specs.catalog import digest
from recsys.workflows.batch_folder import MANIFEST, batch_folder, lock_name, require_own, settle
from recsys.workflows.batch_parts import BatchParts, Part, begun
from recsys.workflows.exclusive import FEATURES, exclusive, read_written
from recsys.workflows.features import require_materialized
from recsys.workflows.serving import FixedClock, known_unit_ids, resolver_for
from recsys.workflows.unchanged import require_unchanged
from recsys.workflows.workspace import Workspace

Progress = Callable[[int, int, int], None]
"""Told how many of how many units are done, and how many rows were written by this run."""

UNITS_A_PART: Final = 10_000
"""What a killed run has to do again at most."""
UNITS_A_SLICE: Final = 256
"""Scored together: 300 candidates of 100 features each are 60 MiB."""


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
        resolver = resolver_for(workspace, placement, workspace.features, FixedClock(moment))
        resolver.refresh()
        identity = _identity(workspace, resolver, placement, moment)
        require_materialized(workspace)
        _require_unchanged(workspace, resolver)
        if known is not None and known[1] == identity:
            return known[0]
        return _Writing(workspace, resolver, placement, moment, folder, units_a_part).write(identity, progress)


@dataclass(frozen=True)
class _Writing:
    """One batch on its way to disk."""

    workspace: Workspace
    resolver: Resolver
    placement: str
    moment: datetime
    folder: Path
    units_a_part: int

    def write(self, identity: str, progress: Progress | None) -> Batch:
        """Write the parts that are not there yet, and let the batch take its place."""
        units = known_unit_ids(self.workspace, self.placement, self.moment)
        out = "" if self.folder.is_relative_to(self.workspace.state) else f" --out {self.folder.parent}"
        command = f"recsys serve-batch {self.placement} --date {self.moment.isoformat()}{out} --resume"
        parts = BatchParts(self.folder, self._of_parts(identity, units), self.moment, command)
        done: list[Part] = []
        resumed = written = 0
        tell = progress or (lambda *_: None)
        tell(0, len(units), 0)
        with ThreadPoolExecutor(self.workspace.environment.limits.threads, "serve-batch") as threads:
            for number, start in enumerate(range(0, len(units), self.units_a_part)):
                part = parts.done(number)
                if part is None:
                    part = self._part(parts, number, units.slice(start, self.units_a_part).to_pylist(), threads)
                    written += part.rows
                else:
                    resumed += part.units
                done.append(part)
                tell(min(start + self.units_a_part, len(units)), len(units), written)
        watermarks = self.resolver.state.watermarks
        document = parts.complete(
            done,
            {
                "identity": identity,
                "placement": self.placement,
                "at": self.moment.isoformat(),
                "watermarks": {name: stamp.isoformat() for name, stamp in watermarks.items() if stamp is not None},
            },
        )
        return _batch(self.folder, self.placement, self.moment, document, resumed=resumed)

    def _part(self, parts: BatchParts, number: int, units: Sequence[str], threads: ThreadPoolExecutor) -> Part:
        """Make a part, slice by slice."""
        slices = [units[start : start + UNITS_A_SLICE] for start in range(0, len(units), UNITS_A_SLICE)]
        answered: Counter[str] = Counter()
        by_arm: dict[str, list[pa.Table]] = {}
        for arms, answers in threads.map(self._slice, slices):
            answered.update(answers)
            for arm, rows in arms.items():
                by_arm.setdefault(arm, []).append(rows)
        return parts.write(number, {arm: pa.concat_tables(rows) for arm, rows in by_arm.items()}, len(units), answered)

    def _slice(self, units: Sequence[str]) -> tuple[Mapping[str, pa.Table], Counter[str]]:
        """Make the lists of some units: their rows by arm, and who answered how many."""
        requests = [request_id(self.placement, self.moment, unit) for unit in units]
        answers = self.resolver.recommend_many(units, requests, self.workspace.features)
        return list_rows(answers), Counter(name for group in answers for name in answered_by(group))

    def _of_parts(self, identity: str, units: pa.ChunkedArray) -> str:
        """Digest what the bytes of parts depend on beside the batch's identity."""
        ids = blake2b(digest_size=8)
        for start in range(0, len(units), self.units_a_part):
            ids.update("\0".join(units.slice(start, self.units_a_part).to_pylist()).encode("utf-8", "surrogatepass"))
        return digest([identity, ids.hexdigest(), self.units_a_part, UNITS_A_SLICE, recsys.__version__, pa.__version__])


def request_id(placement: str, at: datetime, unit: str) -> str:
    """Return the request id of a unit's list, the same whenever the batch is made."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"batch/{placement}/{at.isoformat()}/{unit}"))


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


def _identity(workspace: Workspace, resolver: Resolver, placement: str, moment: datetime) -> str:
    """Digest what the lists depend on; refuse a moment that the online store does not stand at."""
    state = resolver.state
    if state.matrix is None:
        message = f"placement {placement}: no items are materialized; run `recsys features build`"
        raise FeatureError(message)
    newest = max((stamp for stamp in state.watermarks.values() if stamp is not None), default=None)
    if newest is not None and newest > moment:
        message = (
            f"placement {placement} at {moment:%Y-%m-%d}: the online store has moved on to {newest:%Y-%m-%d} and keeps"
            " no past; ask for the lists of now, or replay"
        )
        raise FeatureError(message)
    generation = workspace.features.generation
    return digest(
        {
            "placement": workspace.catalog.placement(placement).model_dump(mode="json"),
            "at": moment.isoformat(),
            "watermarks": {name: str(stamp) for name, stamp in state.watermarks.items()},
            "generations": {name: generation(name) for name in state.watermarks if "/" not in name},
            "item_models": dict(state.generations),
            "experiments": {
                router.name: [
                    router.experiment.model_dump(mode="json"),
                    None if router.layer is None else router.layer.model_dump(mode="json"),
                ]
                for router in state.routers
            },
            "weights": {name: model.weights.number for name, model in state.models.items()},
            "champion": state.champion.weights.number if state.champion else None,
        }
    )
