"""Where does the shop's past come from?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from recsys.ports.checks import Finding


@dataclass(frozen=True)
class SourceCount:
    """One kind of source rows: how many were read, how many dropped, and why."""

    rows: str
    read: int
    dropped: int
    why: str


@dataclass(frozen=True)
class Delivery:
    """What a source hands over: parquet files or folders of them, with at least the required columns of `schema`."""

    events: Path
    items: Path
    users: Path
    counts: Sequence[SourceCount] = ()
    """What the source itself read and dropped."""


class ShopSource(Protocol):
    """Brings a shop's past in."""

    def version(self) -> str:
        """Return a text that changes whenever the delivery would.

        Raises:
            DataError: if the source is not there.
        """
        ...

    def deliver(self, folder: Path) -> Delivery:
        """Hand over events, items and users.

        Args:
            folder: an empty one, to write into; a source whose files are there already need not.

        Raises:
            DataError: if the source cannot be read.
        """
        ...

    def findings(self) -> Iterator[Finding]:
        """Say what `recsys doctor` has to know: whether the source is there and can be read.

        Raises:
            DataError: if it is not, or cannot.
        """
        ...
