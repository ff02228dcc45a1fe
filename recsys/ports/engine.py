"""How do queries and feature transforms run?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa


class Engine(Protocol):
    """Runs SQL over Arrow tables and parquet files, with bounded memory."""

    def query(self, sql: str, tables: Mapping[str, pa.Table | Path] | None = None) -> pa.Table:
        """Run DuckDB's SQL.

        Each name in `tables` can be selected from; a Path is a parquet file or a folder of them.
        """
        ...

    def transform(self, module: Path, table: str, sources: Mapping[str, Path], output: Path) -> int:
        """Run one declared feature transform over parquet sources and write its table by rename.

        Returns its number of rows.
        """
        ...
