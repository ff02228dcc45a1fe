"""How do queries and feature transforms run on one machine? On DuckDB.

- `engine`: `DuckDBEngine`, the Engine port, spilling to disk beyond the memory limit
- `database`: one database in memory, a connection a query
- `streams`: `PreparedStreams`, transforms of stream tables that run on few events again and again
- `texts`: paths and texts in SQL
- `checks`: what `recsys doctor` asks
"""

from recsys.adapters.duckdb_engine.checks import duckdb_findings
from recsys.adapters.duckdb_engine.engine import DuckDBEngine

__all__ = ["DuckDBEngine", "duckdb_findings"]
