"""What is a service's local copy, in memory?"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from recsys.errors import StoreError
from recsys.ports import Ranker


class FakeServingCopy:
    """`ports.ServingCopy` in dictionaries; a digest is the piece's name."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._pieces: dict[str, Any] = {}
        self._documents: dict[str, Mapping[str, Any]] = {}

    def keep_table(self, name: str, table: pa.Table) -> str:
        """Keep a table, unless one of this name is there."""
        self._pieces.setdefault(name, table)
        return name

    def keep_ranker(self, name: str, ranker: Ranker) -> str:
        """Keep a ranker, unless one of this name is there."""
        self._pieces.setdefault(name, ranker)
        return name

    def digest(self, name: str) -> str | None:
        """Return the digest of a kept piece, or None."""
        return name if name in self._pieces else None

    def table(self, name: str, digest: str) -> pa.Table:
        """Return a kept table."""
        return self._piece(name, digest)

    def ranker(self, name: str, digest: str) -> Ranker:
        """Return a kept ranker."""
        found: Ranker = self._piece(name, digest)
        return found

    def _piece(self, name: str, digest: str) -> Any:
        if name not in self._pieces or digest != name:
            message = f"local copy: piece {name}: not there, or not as it was kept"
            raise StoreError(message)
        return self._pieces[name]

    def write(self, placement: str, document: Mapping[str, Any], pieces: Sequence[str]) -> None:
        """Put a document in the place of the placement's present one."""
        assert set(pieces) <= set(self._pieces)
        self._documents[placement] = document

    def read(self, placement: str) -> Mapping[str, Any] | None:
        """Return a placement's document, or None."""
        return self._documents.get(placement)

    def placements(self) -> Sequence[str]:
        """Return the placements that have a document."""
        return tuple(sorted(self._documents))

    def forget(self, placement: str) -> None:
        """Remove a placement's document."""
        self._documents.pop(placement, None)
