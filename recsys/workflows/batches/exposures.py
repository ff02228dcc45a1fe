"""What exposure is each list of a written batch, if it was sent?

A placement's list keeps its slots. A campaign's unit was shown one thing, the contact: its only slot holds the channel.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.data.forgotten import is_forgotten
from recsys.errors import DataError
from recsys.ports import MADE_AT, Exposure, ShownItem
from recsys.schema import USER
from recsys.serving.feature_sample import from_slot_texts
from recsys.serving.list_rows import DEFAULT_ARM, MANIFEST
from recsys.workflows.data.forget import tombstones
from recsys.workflows.workspace import Workspace

Progress = Callable[[str, int, int], None]

ROWS_AT_ONCE: Final = 20_000
_NEEDED: Final = ("request_id", USER, "rank", "score", "experiment", "model_version", "weights")
_ITEM: Final = "item_id"
_RULE: Final = "give the date's folder of a batch that `recsys serve-batch` wrote"


@dataclass(frozen=True)
class WrittenBatch:
    """What a manifest says, as far as exposures need it."""

    folder: Path
    place: str
    channel: str | None
    """Of a campaign; None where every unit has a list of items."""
    made_at: datetime
    watermarks: Mapping[str, str]
    asked: Mapping[str, Any]
    rows: int


def read_batch(workspace: Workspace, folder: Path) -> WrittenBatch:
    """Read a batch's manifest.

    Raises:
        DataError: if there is none, or it is not of a batch of this project.
    """
    path = folder / MANIFEST
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"{folder}: no batch: it has no {MANIFEST}: {_RULE}"
        raise DataError(message) from error
    except ValueError as error:
        message = f"{path}: cannot be read ({error}): {_RULE}, or write it again"
        raise DataError(message) from error
    known = known if isinstance(known, dict) else {}
    place = known.get("placement") or known.get("audience")
    lacking = [name for name in ("at", "watermarks") if name not in known]
    if place is None or lacking:
        lacks = "neither placement nor audience" if place is None else f"no {lacking[0]}"
        message = (
            f"{path}: names {lacks}: not the manifest of a batch, or of an earlier version: {_RULE}, or write it again"
        )
        raise DataError(message)
    catalog = workspace.catalog
    if place not in (catalog.placements if "placement" in known else catalog.audiences):
        kind = "placement" if "placement" in known else "audience"
        message = f"{path}: a batch of {kind} {place}, which is not declared here: it is of another project"
        raise DataError(message)
    made_at, channel = datetime.fromisoformat(known["at"]), known.get("channel")
    if channel is None:
        asked = {"k": catalog.placement(place).k}
    else:
        asked = {"channel": channel, "capacity": known["capacity"]}
    return WrittenBatch(
        folder, place, channel, made_at, known["watermarks"], {**asked, MADE_AT: known["at"]}, known.get("rows", 0)
    )


class ListsSent:
    """Turns the files of a batch into exposures, and counts them."""

    def __init__(
        self,
        workspace: Workspace,
        batch: WrittenBatch,
        at: datetime,
        ids: Collection[str] | None,
        progress: Progress | None,
    ) -> None:
        """Read nothing yet.

        Args:
            workspace: who was forgotten, and who is a tester.
            batch: what the lists are of.
            at: when they were sent.
            ids: whom they were sent to; everybody by default.
            progress: told how many rows are read.
        """
        self.lists = self.left_out = self.forgotten = 0
        self._batch, self._at, self._ids = batch, at, ids
        self._progress = progress
        self._tombstones = tombstones(workspace)
        self._testers = {name: set(each.overrides) for name, each in workspace.catalog.experiments.items()}

    def exposures(self) -> Iterator[Exposure]:
        """Give the exposures of every file, in the order of arms, files and rows."""
        done = 0
        for path in sorted(self._batch.folder.glob("arm=*/*.parquet")):
            arm = path.parent.name.removeprefix("arm=")
            for rows in self._whole_lists(path):
                yield from self._exposures(arm, rows)
                done += len(rows)
                if self._progress is not None:
                    self._progress("rows", done, max(done, self._batch.rows))

    def _whole_lists(self, path: Path) -> Iterator[pa.Table]:
        """Give the rows of a file, some lists at a time; what is read of the last one waits for the rest of it."""
        try:
            with pq.ParquetFile(path) as file:
                lacking = [name for name in self._needed if name not in file.schema_arrow.names]
                if lacking:
                    message = f"{path}: column {lacking[0]} is missing: not a file of a batch: {_RULE}"
                    raise DataError(message)
                waiting = file.schema_arrow.empty_table()
                for batch in file.iter_batches(ROWS_AT_ONCE):
                    rows = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
                    last = int(_firsts(rows)[-1])
                    waiting = rows.slice(last)
                    yield rows.slice(0, last)
                yield waiting
        except (pa.ArrowInvalid, OSError) as error:
            reason = " ".join(str(error).split())
            message = f"{path}: cannot be read ({reason}): write the batch again"
            raise DataError(message) from error

    def _exposures(self, arm: str, rows: pa.Table) -> Iterator[Exposure]:
        firsts = _firsts(rows)
        slots = self._slots(rows)
        # A batch of an earlier version kept none.
        features = rows["features"].to_pylist() if "features" in rows.column_names else [None] * len(rows)
        bounds = pairwise([*firsts.tolist(), len(rows)])
        for first, (start, end) in zip(rows.take(pa.array(firsts)).to_pylist(), bounds, strict=True):
            exposure = self._exposure(arm, first, slots[start:end], features[start:end])
            if exposure is not None:
                yield exposure

    @property
    def _needed(self) -> Sequence[str]:
        return _NEEDED if self._batch.channel is not None else (*_NEEDED, _ITEM)

    def _exposure(
        self, arm: str, first: Mapping[str, Any], slots: Sequence[ShownItem], features: Sequence[str | None]
    ) -> Exposure | None:
        """Return a unit's list; None where it was not sent to it, or the user was forgotten since."""
        batch = self._batch
        user, experiment = first[USER], first["experiment"]
        if self._ids is not None and user not in self._ids:
            self.left_out += 1
            return None
        if self._tombstones and any(is_forgotten([user], self._tombstones)):
            self.forgotten += 1
            return None
        self.lists += 1
        asked = dict(batch.asked)
        if batch.channel is not None:
            asked["rank"] = first["rank"]
        return Exposure(
            request_id=first["request_id"],
            placement=batch.place,
            user_id=user,
            session_id=None,
            experiment=experiment,
            arm=None if experiment is None and arm == DEFAULT_ARM else arm,
            overridden=bool(first.get("overridden", user in self._testers.get(experiment, ()))),
            model_version=first["model_version"],
            weights=first["weights"],
            fallback=first.get("fallback"),
            event_timestamp=self._at,
            feature_digest=first.get("feature_digest") or "",
            watermarks=batch.watermarks,
            items=slots,
            asked=asked,
            features=from_slot_texts(features),
        )

    def _slots(self, rows: pa.Table) -> list[ShownItem]:
        """Return every row's slot; what a campaign shows of a unit is its contact on the channel, in the only one."""
        count, channel = len(rows), self._batch.channel
        scores = rows["score"].fill_null(float("nan")).to_pylist()
        chances = rows["propensity"].fill_null(1.0).to_pylist() if "propensity" in rows.column_names else [1.0] * count
        if channel is None:
            items, positions = rows[_ITEM].to_pylist(), rows["rank"].to_pylist()
        else:
            items, positions = [channel] * count, [1] * count
        return list(map(ShownItem, items, positions, scores, chances))


def _firsts(rows: pa.Table) -> NDArray[np.int64]:
    """Return where each list begins."""
    ids = rows["request_id"]
    changes = pc.not_equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0))).to_numpy()
    return np.concatenate([np.zeros(min(len(ids), 1), dtype=np.int64), np.flatnonzero(changes) + 1])
