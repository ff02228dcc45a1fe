"""Which parts of a batch are written, and how is each written whole?

A part is the lists of so many units, a file an arm. A part's files take their names when they are on disk, then its
marker does; a part with a marker is done, whatever is killed after it. What is made of the same units is the same
bytes, so a part that was written twice is the same part.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import StoreError
from recsys.serving.list_rows import MANIFEST
from recsys.workflows.batches.folder import PARTS, partial_folder, put_in_place
from recsys.workflows.exclusive import read_written, renamed_to, sweep, write_by_rename

_IDENTITY: Final = "identity.json"


@dataclass(frozen=True)
class Part:
    """What one part holds."""

    units: int
    rows: int
    answered_by: Mapping[str, int]
    """Model version, or the fallback, to the units it answered."""


def begun(folder: Path) -> datetime | None:
    """Return the moment of the batch that was begun and not completed beside a folder, or None."""
    known = read_written(partial_folder(folder) / PARTS / _IDENTITY)
    return None if known is None else datetime.fromisoformat(known["at"])


class BatchParts:
    """The parts of one batch, written beside its place."""

    def __init__(self, folder: Path, identity: str, at: datetime, command: str) -> None:
        """Look at what is there.

        Args:
            folder: of the batch.
            identity: of what the parts are made from; parts of another identity are removed.
            at: the moment of the lists.
            command: what completes a batch that was ended, such as `recsys serve-batch home --resume`.
        """
        self._folder = folder
        self._partial = partial_folder(folder)
        self._markers = self._partial / PARTS
        self._command = command
        mine = {"identity": identity, "at": at.isoformat()}
        if read_written(self._markers / _IDENTITY) != mine:
            sweep(folder.parent, self._partial.name)
            with self._writing():
                self._markers.mkdir(parents=True)
                write_by_rename(self._markers / _IDENTITY, mine)
        sweep(self._partial, "**/.*.partial")
        sweep(self._markers, "*.partial")

    def done(self, number: int) -> Part | None:
        """Return what a part holds that is on disk already, or None."""
        known = read_written(self._marker(number))
        return None if known is None else Part(known["units"], known["rows"], known["answered_by"])

    def write(self, number: int, arms: Mapping[str, pa.Table], units: int, answered_by: Mapping[str, int]) -> Part:
        """Write a part.

        Args:
            number: from 0.
            arms: the rows of each arm.
            units: how many have a list in it, empty ones included.
            answered_by: as `Part` has it.

        Raises:
            StoreError: if it cannot be written; what was written before stays.
        """
        part = Part(units, sum(len(rows) for rows in arms.values()), dict(sorted(answered_by.items())))
        with self._writing():
            for arm, rows in arms.items():
                with renamed_to(self._partial / f"arm={arm}" / f"part-{number:05d}.parquet") as path:
                    pq.write_table(rows.combine_chunks(), path, coerce_timestamps="us")
                    _to_disk(path)
            write_by_rename(
                self._marker(number), {"units": units, "rows": part.rows, "answered_by": dict(part.answered_by)}
            )
        return part

    def complete(self, parts: list[Part], manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let the batch take its place, with a manifest of what it holds.

        Args:
            parts: all of them.
            manifest: what else the batch says of itself.

        Raises:
            StoreError: if it cannot be written; the parts stay.
        """
        answered = sum((Counter(dict(part.answered_by)) for part in parts), Counter[str]())
        document = {
            **manifest,
            "units": sum(part.units for part in parts),
            "rows": sum(part.rows for part in parts),
            "answered_by": dict(sorted(answered.items())),
        }
        with self._writing():
            with renamed_to(self._partial / MANIFEST) as path:
                path.write_text(json.dumps(document, indent=2), encoding="utf-8")
                _to_disk(path)
            put_in_place(self._folder)
        return document

    def _marker(self, number: int) -> Path:
        return self._markers / f"part-{number:05d}.json"

    def _writing(self) -> "_Failures":
        return _Failures(self._partial, self._command)


@dataclass(frozen=True)
class _Failures:
    """Turns what a file system refuses into a `StoreError` that says what to do."""

    folder: Path
    command: str

    def __enter__(self) -> None:
        """Begin to write."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        """Name the folder, the reason and the way on."""
        if isinstance(error, OSError):
            reason = error.strerror or " ".join(str(error).split())
            message = (
                f"batch folder {self.folder}: cannot be written: {reason}: the parts before this one are kept; free"
                f" disk space, or check that this user may write there, then run `{self.command}`"
            )
            raise StoreError(message) from error


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes are on disk: a name must not outlive them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
