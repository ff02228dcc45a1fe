"""How are the documents and pieces of a service's local copy kept as files?

`placements/<placement>.json` is a document with the pieces that it names. `pieces/<name>/` is one piece: a table as
Arrow IPC, or a ranker's own files; all are written under another name and renamed when they are whole. A piece's digest
covers every file of it and is checked before it is read. Nothing of it is a pickle.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import pyarrow as pa

from recsys.errors import StoreError
from recsys.ports import Ranker

Loader = Callable[[Path], Ranker]
"""Loads what `Ranker.save` wrote."""

_GRACE_SECONDS: Final = 3600.0
"""A piece that no document names is kept so long: another worker may be about to name it."""
_TABLE: Final = "table.arrow"


class ServingCopyFiles:
    """`ports.ServingCopy` in a folder."""

    def __init__(self, folder: Path, loaders: Mapping[str, Loader]) -> None:
        """Point at a folder, which is made at the first write.

        Args:
            folder: of the copy.
            loaders: for each type of ranker (`type` in its `ranker.json`), what loads its files.
        """
        self._folder = folder
        self._loaders = dict(loaders)
        self._digests: dict[str, str] = {}

    # -- pieces

    def keep_table(self, name: str, table: pa.Table) -> str:
        """Keep a table, unless one of this name is there."""

        def write(folder: Path) -> None:
            folder.mkdir(parents=True)
            with pa.OSFile(str(folder / _TABLE), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)

        return self._keep(name, write)

    def keep_ranker(self, name: str, ranker: Ranker) -> str:
        """Keep a ranker, unless one of this name is there."""
        return self._keep(name, ranker.save)

    def digest(self, name: str) -> str | None:
        """Return the digest of a kept piece, or None."""
        place = self._piece(name)
        if name not in self._digests or not place.is_dir():
            self._digests.pop(name, None)
            if place.is_dir():
                self._digests[name] = _digest(place)
        return self._digests.get(name)

    def table(self, name: str, digest: str) -> pa.Table:
        """Return a kept table."""

        def read(folder: Path) -> pa.Table:
            with pa.OSFile(str(folder / _TABLE), "rb") as source:
                return pa.ipc.open_file(source).read_all()

        return self._read(name, digest, read)

    def ranker(self, name: str, digest: str) -> Ranker:
        """Return a kept ranker."""

        def read(folder: Path) -> Ranker:
            kind = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))["type"]
            return self._loaders[kind](folder)

        found: Ranker = self._read(name, digest, read)
        return found

    def _keep(self, name: str, write: Callable[[Path], None]) -> str:
        place = self._piece(name)
        partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
        try:
            if not place.is_dir():
                partial.parent.mkdir(parents=True, exist_ok=True)
                write(partial)
                try:
                    partial.rename(place)
                except OSError:
                    if not place.is_dir():  # another worker was not faster
                        raise
            os.utime(place)
            return self.digest(name) or _digest(place)
        except OSError as error:
            message = (
                f"local copy: piece {name} cannot be written into {self._folder.name}/ ({error.strerror}): check that"
                " this user may write into the state folder and that the disk has space"
            )
            raise StoreError(message) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _read(self, name: str, digest: str, read: Callable[[Path], Any]) -> Any:  # noqa: ANN401 - of any piece
        place = self._piece(name)
        try:
            found = _digest(place)
            whole = read(place) if found == digest else None
        except Exception as error:  # whatever a library says of a damaged file
            message = f"local copy: piece {name} cannot be read: {type(error).__name__}: {error}: it is not used"
            raise StoreError(message) from error
        if whole is None:
            message = f"local copy: piece {name} has digest {found} and was kept with {digest}: it is not used"
            raise StoreError(message)
        return whole

    def _piece(self, name: str) -> Path:
        return self._folder / "pieces" / quote(name, safe="@")

    # -- documents

    def write(self, placement: str, document: Mapping[str, Any], pieces: Sequence[str]) -> None:
        """Put a document in the place of the placement's present one, and remove what none names any more."""
        place = self._document(placement)
        partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({"pieces": list(pieces), "document": document}), encoding="utf-8")
            partial.replace(place)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            message = f"local copy: {place.name} cannot be written ({error.strerror}): check the state folder and disk"
            raise StoreError(message) from error
        self._sweep()

    def read(self, placement: str) -> Mapping[str, Any] | None:
        """Return a placement's document, or None."""
        found = _parsed(self._document(placement))
        return None if found is None else found["document"]

    def placements(self) -> Sequence[str]:
        """Return the placements that have a document."""
        paths = sorted((self._folder / "placements").glob("*.json"))
        return tuple(unquote(path.stem) for path in paths if not path.name.startswith("."))

    def forget(self, placement: str) -> None:
        """Remove a placement's document."""
        self._document(placement).unlink(missing_ok=True)
        self._sweep()

    def _document(self, placement: str) -> Path:
        return self._folder / "placements" / f"{quote(placement, safe='')}.json"

    def _sweep(self) -> None:
        """Remove pieces that no document names, and what killed writers left, once they are old enough."""
        named: set[str] = set()
        for placement in self.placements():
            found = _parsed(self._document(placement))
            named.update(self._piece(name).name for name in (found or {"pieces": ()})["pieces"])
        oldest = time.time() - _GRACE_SECONDS
        for path in (self._folder / "pieces").glob("*"):
            try:
                if path.name not in named and path.stat().st_mtime < oldest:
                    shutil.rmtree(path)
            except OSError:  # another worker removes it too
                continue


def _parsed(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"pieces", "document"} <= set(found) else None


def _digest(folder: Path) -> str:
    """Return the digest of a folder's files and their names."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
