"""Which lists of a batch did units really get? `recsys log sent FOLDER`: a batch's lists as exposures of the event log.

A batch is only written; nothing is shown until somebody sends it. Then each unit's list, or its contact by a campaign,
is one exposure of the moment of sending, as if it had been answered then: with its arm, weights, slots and scores. Its
request id is the batch's, so that a second run logs nothing new. What was made at the moment of the batch, features
and scores, is of that moment: `asked.made_at` keeps it.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.forgotten import is_forgotten
from recsys.errors import DataError
from recsys.ports import Exposure, RoutedCount, ShownItem
from recsys.schema import EVENTS, USER
from recsys.workflows.batch_folder import MANIFEST, lock_name
from recsys.workflows.campaign_files import DEFAULT_ARM
from recsys.workflows.exclusive import EVENT_LOG, exclusive
from recsys.workflows.forget import tombstones
from recsys.workflows.id_files import ids_of, opened_ids
from recsys.workflows.workspace import Workspace

Progress = Callable[[str, int, int], None]

MADE_AT: Final = "made_at"
"""In `asked` of an exposure that was sent: the moment that its features and scores are of."""
ROWS_AT_ONCE: Final = 20_000
LISTS_AT_ONCE: Final = 2_000
_NEEDED: Final = ("request_id", USER, "rank", "score", "experiment", "model_version", "weights")
_ITEM: Final = "item_id"
_RULE: Final = "give the date's folder of a batch that `recsys serve-batch` wrote"


@dataclass(frozen=True)
class Sent:
    """What was logged."""

    folder: Path
    place: str
    """The placement or audience."""
    made_at: datetime
    at: datetime
    lists: int
    """Lists of the batch that were sent, of units who were not forgotten since."""
    new: int
    """How many of them were not in the log yet."""
    left_out: int
    """Lists of units that are not among the ids that were sent."""
    forgotten: int
    """Lists of users who were forgotten since."""
    unknown: int
    """Ids that were sent and of whom the batch has no list."""


@dataclass(frozen=True)
class _Batch:
    """What a manifest says, as far as exposures need it."""

    folder: Path
    place: str
    channel: str | None
    """Of a campaign; None where every unit has a list of items."""
    made_at: datetime
    watermarks: Mapping[str, str]
    asked: Mapping[str, Any]
    rows: int


def log_sent(
    workspace: Workspace,
    folder: Path,
    at: datetime | None = None,
    only: Path | None = None,
    progress: Progress | None = None,
) -> Sent:
    """Log the lists of a batch that was sent, a bounded number of rows at a time.

    Args:
        workspace: the project.
        folder: of a batch: the one that holds its manifest.
        at: when it was sent; the environment's clock by default.
        only: the ids of those that it was sent to: a parquet file with a column of user ids, or a text with one id a
            line; everybody in the batch by default.
        progress: told how many rows are read.

    Raises:
        DataError: if the folder is no batch of this project, was made after the moment, the moment has not come yet, or
            a file cannot be read.
        StoreError: if the log cannot be written; what was logged before stays, and the same command logs the rest.
    """
    batch = _read_manifest(workspace, folder)
    now = workspace.clock.now()
    moment = at or now
    if not batch.made_at <= moment <= now:
        message = (
            f"sent at {moment.isoformat()}: the batch was made at {batch.made_at.isoformat()}, and now is"
            f" {now.isoformat()}: a list is sent after it is made, and logged after it is sent"
        )
        raise DataError(message)
    ids = None if only is None else _ids(only)
    name = "-".join(filter(None, (batch.place, batch.channel, f"{batch.made_at:%Y-%m-%d}")))
    command = f"recsys log sent {workspace.shown(folder)}"
    with (
        exclusive(workspace, EVENT_LOG, command, shared=True),
        exclusive(workspace, lock_name(workspace, name, folder), command, shared=True),
    ):
        reader = _Reader(workspace, batch, moment, ids, progress)
        new = _write(workspace, reader.exposures())
    found = reader.lists + reader.left_out + reader.forgotten
    if found == reader.left_out and ids is not None and len(ids):
        message = (
            f"{only}: none of its {len(ids):,} ids has a list in {workspace.shown(folder)}: give the ids of its users"
        )
        raise DataError(message)
    unknown = 0 if ids is None else len(ids) - reader.lists - reader.forgotten
    return Sent(
        folder, batch.place, batch.made_at, moment, reader.lists, new, reader.left_out, reader.forgotten, unknown
    )


def _write(workspace: Workspace, exposures: Iterator[Exposure]) -> int:
    """Log exposures, and count each new one as a decision: a batch's router made them, and no service counted it.

    Returns how many were new.
    """
    source, new, decided = f"sent-{uuid.uuid4().hex}", 0, Counter[tuple[str, str, datetime]]()
    while chunk := list(islice(exposures, LISTS_AT_ONCE)):
        fresh = workspace.event_log.write_group(chunk, EVENTS.empty_table()).requests
        new += len(fresh)
        decided.update(key for each in chunk if each.request_id in fresh and (key := RoutedCount.key_of(each)))
        counts = [RoutedCount(source, *key, decided=count) for key, count in decided.items()]
        workspace.event_log.write_group((), EVENTS.empty_table(), counts)
    return new


# ---------------------------------------------------------------- what was written


def _read_manifest(workspace: Workspace, folder: Path) -> _Batch:
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
    return _Batch(
        folder, place, channel, made_at, known["watermarks"], {**asked, MADE_AT: known["at"]}, known.get("rows", 0)
    )


def _ids(only: Path) -> frozenset[str]:
    """Return the ids of a file."""
    if only.suffix == ".parquet":
        with opened_ids(only, USER) as file:
            return frozenset(user for ids in ids_of(file, only, USER) for user in ids.cast(pa.string()).to_pylist())
    try:
        lines = only.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{only}: cannot be read ({error}): give a text with one id a line, or a .parquet file with {USER}"
        raise DataError(message) from error
    return frozenset(line.strip() for line in lines if line.strip())


class _Reader:
    """Turns the files of a batch into exposures, and counts them."""

    def __init__(
        self, workspace: Workspace, batch: _Batch, at: datetime, ids: Collection[str] | None, progress: Progress | None
    ) -> None:
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
            for _, rows in groupby(self._rows(path), lambda row: row["request_id"]):
                listed = list(rows)
                done += len(listed)
                exposure = self._exposure(arm, listed)
                if exposure is not None:
                    yield exposure
            if self._progress is not None:
                self._progress("rows", done, max(done, self._batch.rows))

    def _rows(self, path: Path) -> Iterator[dict[str, Any]]:
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                lacking = [name for name in self._needed if name not in names]
                if lacking:
                    message = f"{path}: column {lacking[0]} is missing: not a file of a batch: {_RULE}"
                    raise DataError(message)
                for batch in file.iter_batches(ROWS_AT_ONCE):
                    yield from batch.to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            reason = " ".join(str(error).split())
            message = f"{path}: cannot be read ({reason}): write the batch again"
            raise DataError(message) from error

    @property
    def _needed(self) -> Sequence[str]:
        return _NEEDED if self._batch.channel is not None else (*_NEEDED, _ITEM)

    def _exposure(self, arm: str, rows: Sequence[Mapping[str, Any]]) -> Exposure | None:
        """Return a unit's list; None where it was not sent to it, or the user was forgotten since."""
        first, batch = rows[0], self._batch
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
            items=[self._shown(row) for row in rows],
            asked=asked,
        )

    def _shown(self, row: Mapping[str, Any]) -> ShownItem:
        """Return a slot; what a campaign shows of a unit is its contact on the channel, in the only slot there is."""
        chance = row.get("propensity")
        score = float("nan") if row["score"] is None else row["score"]
        channel = self._batch.channel
        item, position = (row[_ITEM], row["rank"]) if channel is None else (channel, 1)
        return ShownItem(item, position, score, 1.0 if chance is None else chance)
