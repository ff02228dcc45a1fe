"""Which campaigns were sent, and whom were they chosen from? Kept by `recsys log sent`, read by `recsys evaluate`.

A batch's folder is made again, moved and deleted. What a list rests on is kept beside it once it is sent: its manifest
and all eligible units, in `<state>/campaigns/<audience>/<channel>-<moment>/`. `recsys forget` erases users there too.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.errors import DataError
from recsys.schema import REQUEST_ID
from recsys.serving.list_rows import ELIGIBLE, MANIFEST
from recsys.workflows.exclusive import read_written, sweep
from recsys.workflows.workspace import Workspace

FOLDER: Final = "campaigns"
"""Of the state."""


@dataclass(frozen=True)
class KeptCampaign:
    """What was kept of a list."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def made_at(self) -> datetime:
        """The moment that its features and scores are of."""
        return datetime.fromisoformat(self.manifest["at"])

    def eligible(self) -> pa.Table:
        """Read `ELIGIBLE_SCHEMA`.

        Raises:
            DataError: if the file is not there, or is damaged.
        """
        path = self.folder / ELIGIBLE
        try:
            return pq.read_table(path, partitioning=None)
        except (OSError, pa.ArrowInvalid) as error:
            reason = " ".join(str(error).split())
            message = f"{path}: cannot be read ({reason}): copy it from the batch, or delete the folder to leave it out"
            raise DataError(message) from error


def keep_campaign(workspace: Workspace, batch: Path) -> bool:
    """Keep a list that is sent, whole or not at all; one that is kept already stays.

    Returns:
        False where there is nothing to keep: the batch is of lists of items, or of a version that wrote only who was
        reached.
    """
    manifest = read_written(batch / MANIFEST) or {}
    if "audience" not in manifest or not (batch / ELIGIBLE).exists():
        return False
    made_at = datetime.fromisoformat(manifest["at"])
    place = workspace.state / FOLDER / manifest["audience"]
    folder = place / f"{manifest['channel']}-{made_at:%Y%m%dT%H%M%S.%f}"
    if folder.exists():
        return True
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in (MANIFEST, ELIGIBLE):
        shutil.copyfile(batch / name, partial / name)
    try:
        partial.rename(folder)
    except OSError:  # another process logs the same list, and was first
        if not folder.exists():
            raise
        shutil.rmtree(partial)
    return True


def kept_campaigns(workspace: Workspace, audience: str) -> list[KeptCampaign]:
    """Return what is kept of an audience's lists, by the moment at which they were made.

    Raises:
        DataError: if a manifest is damaged.
    """
    return sorted(_kept(workspace, audience), key=lambda each: (each.made_at, each.folder.name))


def forget_lists(workspace: Workspace, before: datetime) -> int:
    """Delete what is kept of lists that were made before a moment and of which the log has no contact any more.

    Returns:
        How many campaigns they are of.
    """
    gone = 0
    sweep(workspace.state / FOLDER, "*/.*.partial")
    for place in sorted((workspace.state / FOLDER).glob("*")):
        older = [each for each in kept_campaigns(workspace, place.name) if each.made_at < before]
        if not older:
            continue
        end = max(workspace.clock.now(), before)
        logged = workspace.event_log.exposures(place.name, older[0].made_at, end)[REQUEST_ID]
        for each in older:
            if not pc.any(pc.is_in(each.eligible()[REQUEST_ID].drop_null(), value_set=logged)).as_py():
                shutil.rmtree(each.folder)
                gone += 1
    return gone


def _kept(workspace: Workspace, audience: str) -> Iterator[KeptCampaign]:
    for path in (workspace.state / FOLDER / audience).glob(f"[!.]*/{MANIFEST}"):
        manifest = read_written(path)
        if not isinstance(manifest, dict):
            message = f"{path}: cannot be read: copy it from the batch, or delete the folder to leave it out"
            raise DataError(message)
        yield KeptCampaign(path.parent, manifest)
