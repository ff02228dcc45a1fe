"""Where does the shop's past come from?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class SourceCount:
    """One kind of source rows: how many were read, how many dropped, and why."""

    rows: str
    read: int
    dropped: int
    why: str


class ShopSource(Protocol):
    """Brings a shop's past in."""

    def ingest(self, tables: Path) -> Sequence[SourceCount]:
        """Write events.parquet, items.parquet and users.parquet (see `schema`) into a folder, each by rename."""
        ...
