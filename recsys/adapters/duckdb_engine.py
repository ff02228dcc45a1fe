"""How do queries and feature transforms run on one machine? On DuckDB, spilling to disk beyond the memory limit."""

import importlib.util
import os
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import DataError, FeatureError
from recsys.specs.environment import Limits

if TYPE_CHECKING:
    from types import ModuleType


class DuckDBEngine:
    """The Engine port on DuckDB; safe to share between threads (each query has its own connection)."""

    def __init__(self, limits: Limits, spill: Path) -> None:
        """Keep the limits; folders beside `spill`, their names beginning with its own, hold what memory does not."""
        self._config: dict[str, Any] = {
            "threads": limits.threads,
            "memory_limit": limits.memory,
            "preserve_insertion_order": False,
        }
        self._spill = spill
        self._lock = threading.Lock()

    def query(self, sql: str, tables: Mapping[str, pa.Table | Path] | None = None) -> pa.Table:
        """Run SQL over Arrow tables and parquet files, times in UTC.

        Raises:
            DataError: if a file is missing or a query does not fit the data.
        """
        with duckdb.connect(config=self._settings()) as connection:
            connection.execute("set timezone = 'UTC'")
            try:
                for name, table in (tables or {}).items():
                    if isinstance(table, Path):
                        connection.execute(f"create view {name} as from read_parquet({_literal(_glob(table))})")
                    else:
                        connection.register(name, table)
                return connection.sql(sql).to_arrow_table()
            except duckdb.Error as error:
                message = f"query over {', '.join(tables or {}) or 'nothing'}: {_reason(error)}; {_advice(error)}"
                raise DataError(message) from error

    def transform(self, module: Path, table: str, sources: Mapping[str, Path], output: Path) -> int:
        """Run one Ibis transform of a feature repository and write its table by rename.

        Args:
            module: the repository's transforms.py; its TABLES maps names to functions of the sources.
            table: which of them.
            sources: parquet files by the names of the function's parameters.
            output: the parquet file to write.

        Returns:
            The number of rows written.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
        """
        import ibis

        transforms = getattr(load_module(module), "TABLES", {})
        if table not in transforms:
            message = f"feature table {table!r}: {module.name} has no such transform; it has {', '.join(transforms)}"
            raise FeatureError(message)
        paths = {name: _glob(path) for name, path in sources.items()}
        connection = ibis.duckdb.connect(**self._settings())
        # Hidden: Arrow, Spark and Feast read every other file of a folder.
        partial = output.with_name(f".{output.stem}.{os.getpid()}.partial")
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            connection.raw_sql("set timezone = 'UTC'")
            inputs = {name: connection.read_parquet(path) for name, path in paths.items()}
            connection.to_parquet(transforms[table](**inputs), partial, compression="zstd")
            rows = int(pq.read_metadata(partial).num_rows)
            partial.rename(output)
        except Exception as error:  # whatever a declared transform raises
            partial.unlink(missing_ok=True)
            message = (
                f"feature table {table}: its transform in {module.name} does not run on {', '.join(sources)}:"
                f" {type(error).__name__}: {_reason(error)}; {_advice(error)}"
            )
            raise FeatureError(message) from error
        finally:
            connection.disconnect()
        return rows

    def _settings(self) -> dict[str, Any]:
        """Give each connection a spill folder of its own: DuckDB names its files alike everywhere."""
        own = self._spill.with_name(f"{self._spill.name}-{os.getpid()}-{uuid.uuid4().hex}")
        return {**self._config, "temp_directory": str(own)}


def load_module(path: Path) -> "ModuleType":
    """Import a Python file that is on no path.

    Raises:
        FeatureError: if it is missing.
    """
    spec = importlib.util.spec_from_file_location(f"recsys_declared_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        message = f"{path}: missing; a feature repository has a transforms.py with TABLES"
        raise FeatureError(message)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _reason(error: Exception) -> str:
    """Return the first line: DuckDB repeats the statement below it."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _advice(error: Exception) -> str:
    text = str(error).lower()
    if "no space left" in text or "out of disk" in text:
        return "free disk space and run this again"
    if "permission denied" in text:
        return "check that this user may read and write the state folder"
    if "parquet" in text or "magic bytes" in text:
        return "where a file is damaged, delete it and run `recsys ingest` and `recsys features build` again"
    return "mend what it names"


def _glob(path: Path) -> str:
    if not path.exists():
        message = f"{path}: no such file or folder; run `recsys ingest` and `recsys features build` to make it"
        raise DataError(message)
    return str(path / "**" / "*.parquet") if path.is_dir() else str(path)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
