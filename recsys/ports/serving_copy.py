"""Where does a service keep what its answers are made from, for a start at which no store answers?"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from recsys.ports.models import Ranker


class ServingCopy(Protocol):
    """Documents by placement, and the pieces that they name: tables and rankers, each by a name and a digest.

    Workers write the same pieces at the same time, and any of them may be killed: a piece is there as a whole or not.
    """

    def keep_table(self, name: str, table: pa.Table) -> str:
        """Keep a table, unless one of this name is there; return the digest of what is kept.

        Raises:
            StoreError: if it cannot be written.
        """
        ...

    def keep_ranker(self, name: str, ranker: Ranker) -> str:
        """Keep a ranker, unless one of this name is there; return the digest of what is kept.

        Raises:
            StoreError: if it cannot be written.
        """
        ...

    def digest(self, name: str) -> str | None:
        """Return the digest of a kept piece, or None where there is none."""
        ...

    def table(self, name: str, digest: str) -> pa.Table:
        """Return a kept table.

        Raises:
            StoreError: if it is not there, or not as it was kept.
        """
        ...

    def ranker(self, name: str, digest: str) -> Ranker:
        """Return a kept ranker.

        Raises:
            StoreError: if it is not there, or not as it was kept.
        """
        ...

    def write(self, placement: str, document: Mapping[str, Any], pieces: Sequence[str]) -> None:
        """Put a document in the place of the placement's present one; pieces that no document names are removed later.

        Raises:
            StoreError: if it cannot be written.
        """
        ...

    def read(self, placement: str) -> Mapping[str, Any] | None:
        """Return a placement's document, or None where there is none that can be read."""
        ...

    def placements(self) -> Sequence[str]:
        """Return the placements that have a document."""
        ...

    def forget(self, placement: str) -> None:
        """Remove a placement's document."""
        ...
