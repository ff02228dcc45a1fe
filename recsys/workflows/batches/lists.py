"""How are the lists of a batch's parts made, in this process or side by side in those of a cluster?"""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Final

import pyarrow as pa

from recsys.errors import FeatureError, StoreError
from recsys.ports import Cluster
from recsys.serving.list_rows import answered_by, list_rows
from recsys.serving.resolver import Resolver
from recsys.specs.catalog import digest
from recsys.workflows.batches.parts import BatchParts, Part
from recsys.workflows.serving.resolvers import FixedClock, resolver_for
from recsys.workflows.workspace import Workspace

UNITS_A_SLICE: Final = 256
"""Scored together: 300 candidates of 100 features each are 60 MiB."""

_NUMBER: Final = "number"
_UNITS: Final = "units"
_WRITTEN: Final = pa.schema([(_NUMBER, pa.int64())])
"""What is told of a part that another process wrote."""


@dataclass(frozen=True)
class Making:
    """What the lists of one batch are made with."""

    workspace: Workspace
    resolver: Resolver
    placement: str
    moment: datetime

    @classmethod
    def of(cls, workspace: Workspace, placement: str, moment: datetime) -> "Making":
        """Read what serves now."""
        resolver = resolver_for(workspace, placement, workspace.features, FixedClock(moment))
        resolver.refresh()
        return cls(workspace, resolver, placement, moment)

    def identity(self) -> str:
        """Digest what the lists depend on; refuse a moment that the online store does not stand at."""
        workspace, placement, moment = self.workspace, self.placement, self.moment
        state = self.resolver.state
        if state.matrix is None:
            message = f"placement {placement}: no items are materialized; run `recsys features build`"
            raise FeatureError(message)
        newest = max((stamp for stamp in state.watermarks.values() if stamp is not None), default=None)
        if newest is not None and newest > moment:
            message = (
                f"placement {placement} at {moment:%Y-%m-%d}: the online store has moved on to {newest:%Y-%m-%d} and"
                " keeps no past; ask for the lists of now, or replay"
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
                "feature_rows": workspace.environment.serve.feature_rows,
            }
        )

    def part(self, parts: BatchParts, number: int, units: Sequence[str], threads: ThreadPoolExecutor) -> Part:
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


@dataclass(frozen=True)
class _MakingThere:
    """What makes parts in another process: it opens the project's stores there, and writes what one here would."""

    workspace: Workspace
    """With nothing opened yet."""
    placement: str
    moment: datetime
    parts: BatchParts
    identity: str
    """Of the batch: where the stores say another, lists would be of two states."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the part of each row, and tell its number.

        Raises:
            StoreError: if a model or the features moved since the batch was begun.
        """
        making = Making.of(self.workspace, self.placement, self.moment)
        if making.identity() != self.identity:
            message = f"placement {self.placement}: a model or the features moved meanwhile; run the batch again"
            raise StoreError(message)
        with ThreadPoolExecutor(1, "serve-batch") as thread:
            for batch in batches:
                for number, units in zip(*(batch.column(name).to_pylist() for name in (_NUMBER, _UNITS)), strict=True):
                    making.part(self.parts, number, units, thread)
                yield batch.select([_NUMBER])


def made_elsewhere(
    cluster: Cluster, making: Making, parts: BatchParts, missing: Mapping[int, pa.ChunkedArray], identity: str
) -> Iterator[tuple[int, Part]]:
    """Make parts side by side in processes of a cluster, which write them; they are told when all are there.

    Args:
        cluster: what runs the processes; each opens the project's stores, and sees the batch's folder.
        making: what makes the lists here.
        parts: of the batch.
        missing: the units of each part that is to be made.
        identity: of the batch.

    Raises:
        StoreError: if a model or the features moved meanwhile, or a part is not here though it was written there.
    """
    if not missing:
        return
    bounds = pa.array([0, *accumulate(len(ids) for ids in missing.values())], pa.int32())
    ids = pa.concat_arrays([chunk for ids in missing.values() for chunk in ids.chunks])
    rows = pa.table({_NUMBER: pa.array(missing, pa.int64()), _UNITS: pa.ListArray.from_arrays(bounds, ids)})
    there = _MakingThere(making.workspace.afresh(), making.placement, making.moment, parts, identity)
    for number in cluster.map_batches(there, rows, _WRITTEN)[_NUMBER].to_pylist():
        part = parts.done(number)
        if part is None:
            message = (
                f"placement {making.placement}: part {number} was written by a worker and is not here; the batch's"
                " folder has to be on a file system that all workers see"
            )
            raise StoreError(message)
        yield number, part


def request_id(placement: str, at: datetime, unit: str) -> str:
    """Return the request id of a unit's list, the same whenever the batch is made."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"batch/{placement}/{at.isoformat()}/{unit}"))
