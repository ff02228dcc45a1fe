"""Which lists of a batch did units really get? `recsys log sent FOLDER`: a batch's lists as exposures of the event log.

A batch is only written; nothing is shown until somebody sends it. Then each unit's list, or its contact by a campaign,
is one exposure of the moment of sending, as if it had been answered then: with its arm, weights, slots and scores. Its
request id is the batch's, so that a second run logs nothing new. What was made at the moment of the batch, features
and scores, is of that moment: `asked.made_at` keeps it. Of a campaign it is kept, too, whom its list was chosen from.
"""

import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa

from recsys.errors import DataError
from recsys.ports import Exposure, RoutedCount
from recsys.schema import EVENTS, USER
from recsys.workflows.batches.exposures import ListsSent, Progress, read_batch
from recsys.workflows.batches.folder import lock_name
from recsys.workflows.data.kept_campaigns import keep_campaign
from recsys.workflows.exclusive import EVENT_LOG, exclusive
from recsys.workflows.id_files import ids_of, opened_ids
from recsys.workflows.workspace import Workspace

LISTS_AT_ONCE: Final = 2_000


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
    batch = read_batch(workspace, folder)
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
        keep_campaign(workspace, folder)
        reader = ListsSent(workspace, batch, moment, ids, progress)
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
    """Log exposures, and in the same transaction each new one as a decision: a batch's router made it, no service did.

    Returns how many were new.
    """
    new = 0
    while chunk := list(islice(exposures, LISTS_AT_ONCE)):
        new += len(workspace.event_log.write_group(chunk, EVENTS.empty_table(), partial(_decided, chunk)).requests)
    return new


def _decided(chunk: Sequence[Exposure], new: Collection[str]) -> list[RoutedCount]:
    keys = (RoutedCount.key_of(each) for each in chunk if each.request_id in new)
    source = f"sent-{uuid.uuid4().hex}"
    return [RoutedCount(source, *key, decided=count) for key, count in Counter(filter(None, keys)).items()]


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
