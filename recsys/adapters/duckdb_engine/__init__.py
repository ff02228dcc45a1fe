"""How do queries and feature transforms run on one machine? On DuckDB.

- `engine`: `DuckDBEngine`, the Engine port, spilling to disk beyond the memory limit
- `streams`: `PreparedStreams`, transforms of stream tables that run on few events again and again
- `modules`: a feature repository's transforms.py as functions
- `checks`: what `recsys doctor` asks
- `failures`: what DuckDB says, on one line, and what to do
"""

from recsys.adapters.duckdb_engine.checks import duckdb_findings
from recsys.adapters.duckdb_engine.engine import DuckDBEngine

__all__ = ["DuckDBEngine", "duckdb_findings"]
