"""An Engine over one DuckDB connection a query: enough for Arrow tables and parquet of test size."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa


class FakeEngine:
    """Implements `ports.Engine` in memory."""

    def query(self, sql: str, tables: Mapping[str, pa.Table | Path] | None = None) -> pa.Table:
        """Run the SQL with each table registered under its name."""
        with duckdb.connect() as connection:
            for name, table in (tables or {}).items():
                if isinstance(table, Path):
                    pattern = table / "*.parquet" if table.is_dir() else table
                    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{pattern}')")
                else:
                    connection.register(name, table)
            return connection.sql(sql).to_arrow_table()

    def transform(self, module: Path, table: str, sources: Mapping[str, Path], output: Path) -> int:
        """Refuse: feature transforms are tested on the real engine."""
        message = f"the fake engine runs no transforms: {table} of {module} from {sorted(sources)} to {output}"
        raise NotImplementedError(message)
