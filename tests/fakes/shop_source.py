"""What is a shop whose past is a handful of rows in memory?"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schema
from recsys.errors import DataError
from recsys.ports import Delivery, Finding, SourceCount

_SCHEMAS = {"events": schema.EVENTS, "items": schema.ITEMS, "users": schema.USERS}


@dataclass
class FakeShopSource:
    """Implements `ports.ShopSource`: rows by table; a table that is None is not there, one of text is damaged."""

    rows: dict[str, list[dict[str, Any]] | str | None] = field(default_factory=dict)

    def version(self) -> str:
        """Return a digest of all rows."""
        return hashlib.sha256(repr([self._table(name) for name in _SCHEMAS]).encode()).hexdigest()

    def deliver(self, folder: Path) -> Delivery:
        """Write the rows."""
        counts = []
        for name, columns in _SCHEMAS.items():
            rows = self._table(name)
            if isinstance(rows, str):
                message = f"data source in memory: {name} are {rows!r}, not rows; write them again"
                raise DataError(message)
            pq.write_table(pa.Table.from_pylist(rows, columns), folder / f"{name}.parquet")
            counts.append(SourceCount(name, len(rows), 0, ""))
        return Delivery(*(folder / f"{name}.parquet" for name in _SCHEMAS), counts)

    def findings(self) -> Iterator[Finding]:
        """Say that all rows are there."""
        if damaged := [name for name in _SCHEMAS if isinstance(self._table(name), str)]:
            message = f"data source in memory: {damaged} are not rows; write them again"
            raise DataError(message)
        yield Finding("shop data: rows", "ok", "in memory")

    def _table(self, name: str) -> list[dict[str, Any]] | str:
        rows = self.rows.get(name, [])
        if rows is None:
            message = f"data source in memory: {name} are missing; events, items and users have to be there"
            raise DataError(message)
        return rows
