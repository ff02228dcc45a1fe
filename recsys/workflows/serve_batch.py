"""What does every unit's list look like right now? `recsys serve-batch`: top k per unit, as parquet by date and arm.

Each list is what a request at this moment would get: the same resolver answers, only the log is not written, for
nothing is shown.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import FeatureError
from recsys.serving.resolver import Answer, Resolver
from recsys.specs.catalog import digest
from recsys.workflows.batch_folder import MANIFEST, partial_folder, put_in_place, settle
from recsys.workflows.exclusive import FEATURES, exclusive, read_written
from recsys.workflows.features import require_materialized
from recsys.workflows.serving import FixedClock, known_units, resolver_for
from recsys.workflows.workspace import Workspace

Progress = Callable[[int, int], None]

CHUNK_UNITS: Final = 1_000
DEFAULT_ARM: Final = "default"
SCHEMA: Final = pa.schema(
    [
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("item_id", pa.string()),
        ("score", pa.float64()),
        ("experiment", pa.string()),
        ("model_version", pa.string()),
        ("weights", pa.int64()),
        ("fallback", pa.string()),
    ]
)
_UNITS: Final = """
select distinct user_id from events where event_type = '{event}' and created_timestamp <= timestamptz '{at}' order by
user_id
"""


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


def serve_batch(
    workspace: Workspace,
    placement: str,
    at: datetime | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Batch:
    """Write every known unit's list, or report the batch that is there if it would come out the same.

    Args:
        workspace: the project.
        placement: its name.
        at: the lists of this moment; the environment's clock by default. A batch of the past is final.
        out: the folder; `<state>/batch/<placement>` by default. The date's part of it is replaced as a whole.
        progress: told how many of how many units are done.

    Raises:
        FeatureError: if nothing is materialized, or the online store has moved past the moment.
        StoreError: if the same batch is being written, or the features are, for too long.
    """
    workspace.catalog.placement(placement)
    moment = at or workspace.clock.now()
    command = f"recsys serve-batch {placement}"
    with (
        exclusive(workspace, f"batch-{placement}-{moment:%Y-%m-%d}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        return _serve_batch(workspace, placement, moment, out, progress)


def _serve_batch(
    workspace: Workspace, placement: str, moment: datetime, out: Path | None, progress: Progress | None
) -> Batch:
    now = workspace.clock.now()
    folder = (out or workspace.state / "batch" / placement) / f"date={moment:%Y-%m-%d}"
    settle(folder)
    known = _written(folder, placement, moment)
    if known is not None and moment < now:
        return known[0]
    features = workspace.features
    resolver = resolver_for(workspace, placement, features, FixedClock(moment))
    resolver.refresh()
    identity = _identity(workspace, resolver, placement, moment)
    require_materialized(workspace)
    if known is not None and known[1] == identity:
        return known[0]
    units = known_units(workspace, placement, moment)
    partial = partial_folder(folder)
    rows = 0
    answered: Counter[str] = Counter()
    for start in range(0, len(units), CHUNK_UNITS):
        chunk = units[start : start + CHUNK_UNITS]
        answers = [resolver.recommend(unit, request_id=_request_id(placement, moment, unit)) for unit in chunk]
        answered.update(answer.exposure.model_version or str(answer.exposure.fallback) for answer in answers)
        rows += _write(partial, start // CHUNK_UNITS, answers)
        if progress is not None:
            progress(start + len(chunk), len(units))
    stamps = resolver.state.watermarks
    document = {
        "identity": identity,
        "placement": placement,
        "at": moment.isoformat(),
        "watermarks": {name: stamp.isoformat() for name, stamp in stamps.items() if stamp is not None},
        "units": len(units),
        "rows": rows,
        "answered_by": dict(answered),
    }
    (partial / MANIFEST).write_text(json.dumps(document, indent=2))
    put_in_place(folder)
    return Batch(placement, moment, folder, len(units), rows, dict(answered), reused=False)


def _written(folder: Path, placement: str, moment: datetime) -> tuple[Batch, str] | None:
    document = read_written(folder / MANIFEST)
    if document is None:
        return None
    batch = Batch(placement, moment, folder, document["units"], document["rows"], document["answered_by"], reused=True)
    return batch, document["identity"]


def _identity(workspace: Workspace, resolver: Resolver, placement: str, moment: datetime) -> str:
    """Digest what the lists depend on; refuse a moment that the online store does not stand at."""
    state = resolver.state
    if state.matrix is None:
        message = f"placement {placement}: no items are materialized; run `recsys features build`"
        raise FeatureError(message)
    newest = max((stamp for stamp in state.watermarks.values() if stamp is not None), default=None)
    if newest is not None and newest > moment:
        message = (
            f"placement {placement} at {moment:%Y-%m-%d}: the online store has moved on to {newest:%Y-%m-%d}"
            f" and keeps no"
            " past; ask for the lists of now, or replay"
        )
        raise FeatureError(message)
    return digest(
        {
            "placement": workspace.catalog.placement(placement).model_dump(mode="json"),
            "at": moment.isoformat(),
            "watermarks": {name: str(stamp) for name, stamp in state.watermarks.items()},
            "weights": {name: model.weights.number for name, model in state.models.items()},
            "champion": state.champion.weights.number if state.champion else None,
        }
    )


def _request_id(placement: str, at: datetime, unit: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"batch/{placement}/{at.isoformat()}/{unit}"))


def _write(folder: Path, part: int, answers: list[Answer]) -> int:
    by_arm: dict[str, list[Answer]] = {}
    for answer in answers:
        by_arm.setdefault(answer.exposure.arm or DEFAULT_ARM, []).append(answer)
    rows = 0
    for arm, mine in by_arm.items():
        table = pa.Table.from_pylist([row for answer in mine for row in _rows(answer)], schema=SCHEMA)
        target = folder / f"arm={arm}" / f"part-{part:05d}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target, coerce_timestamps="us")
        rows += len(table)
    return rows


def _rows(answer: Answer) -> Iterator[dict[str, Any]]:
    shown = answer.exposure
    for item in shown.items:
        yield {
            "request_id": shown.request_id,
            "user_id": shown.user_id,
            "rank": item.position,
            "item_id": item.item_id,
            "score": item.score,
            "experiment": shown.experiment,
            "model_version": shown.model_version,
            "weights": shown.weights,
            "fallback": shown.fallback,
        }
