"""How do queries and feature transforms run in bounded memory? On DuckDB, spilling to disk beyond the memory limit."""

import os
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.adapters.duckdb_engine.database import Database
from recsys.adapters.duckdb_engine.streams import PreparedStreams
from recsys.adapters.duckdb_engine.texts import glob, literal
from recsys.adapters.transform_modules import advice, reason, transform_failed, transform_of
from recsys.data.transforming import rows_anew, step_rows
from recsys.errors import DataError
from recsys.ports import FeatureTable, Step
from recsys.specs.environment import Limits


class DuckDBEngine:
    """The Engine port on DuckDB; safe to share between threads: each query has a connection, all share the memory."""

    def __init__(self, limits: Limits, spill: Path) -> None:
        """Keep the limits; folders beside `spill`, their names beginning with its own, hold what memory does not."""
        config = {"threads": limits.threads, "memory_limit": limits.memory, "preserve_insertion_order": False}
        self._database = Database(config, spill)

    def query(self, sql: str, tables: Mapping[str, pa.Table | Path] | None = None) -> pa.Table:
        """Run SQL over Arrow tables and parquet files, times in UTC.

        Raises:
            DataError: if a file is missing or a query does not fit the data.
        """
        with self._connected(tables or {}) as connection:
            return connection.sql(sql).to_arrow_table()

    def write(self, sql: str, tables: Mapping[str, pa.Table | Path], output: Path) -> int:
        """Run SQL and write what it gives by rename; returns the number of rows.

        Raises:
            DataError: if a file is missing, a query does not fit the data, or the output cannot be written.
        """
        with self._connected(tables) as connection, written(output) as partial:
            connection.execute(f"copy ({sql}) to {literal(str(partial))} (format parquet, compression zstd)")
            return int(pq.read_metadata(partial).num_rows)

    @contextmanager
    def _connected(self, tables: Mapping[str, pa.Table | Path]) -> Generator[duckdb.DuckDBPyConnection]:
        with self._database.connection() as connection:
            try:
                for name, table in tables.items():
                    if isinstance(table, Path):
                        connection.execute(f"create temp view {name} as from read_parquet({literal(glob(table))})")
                    else:
                        connection.register(name, table)
                yield connection
            except (duckdb.Error, OSError) as error:
                message = f"query over {', '.join(tables) or 'nothing'}: {reason(error)}; {advice(error)}"
                raise DataError(message) from error

    def transform(
        self, module: Path, table: FeatureTable, step: Step, sources: Mapping[str, Path], existing: Path, output: Path
    ) -> int:
        """Make the rows of one step with the transform of a feature repository, and write them by rename.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
        """
        with self._running(module, table, sources) as (function, connection, inputs), written(output) as partial:
            before = connection.read_parquet(glob(existing)) if any(existing.glob("*.parquet")) else None
            ordered = step_rows(function, inputs, before, table, step)
            connection.to_parquet(ordered, partial, compression="zstd")
            return int(pq.read_metadata(partial).num_rows)

    def recompute(
        self, module: Path, table: FeatureTable, at: datetime, sources: Mapping[str, Path], units: pa.Array
    ) -> pa.Table:
        """Run a transform on the events of some units as known at a moment; returns the newest row of each key.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
        """
        with self._running(module, table, sources) as (function, connection, inputs):
            return connection.to_pyarrow(rows_anew(function, inputs, table, at, units))

    def streams(self, module: Path, tables: Sequence[FeatureTable], sources: Mapping[str, Path]) -> PreparedStreams:
        """Prepare the transforms of stream tables to be run on events as they come in.

        Raises:
            FeatureError: if a transform is not there or does not fit these sources.
        """
        return PreparedStreams(module, tables, sources)

    @contextmanager
    def _running(
        self, module: Path, table: FeatureTable, sources: Mapping[str, Path]
    ) -> Generator[tuple[Callable[..., Any], Any, dict[str, Any]]]:
        """Open a connection with the sources as Ibis tables; whatever a transform raises becomes one line."""
        import ibis

        transform = transform_of(module, table.name)
        paths = {name: glob(path) for name, path in sources.items()}
        with self._database.connection() as opened:
            try:
                connection = ibis.duckdb.from_connection(opened)
                with warnings.catch_warnings():
                    # Ibis 12 still reads results by a name that DuckDB 2 renamed, and Feast turns such warnings on.
                    warnings.filterwarnings("ignore", message="fetch_arrow_table", category=DeprecationWarning)
                    inputs = {name: connection.read_parquet(path) for name, path in paths.items()}
                    yield transform, connection, inputs
            except Exception as error:  # whatever a declared transform raises
                raise transform_failed(module, table.name, ", ".join(sources), error) from error


@contextmanager
def written(output: Path) -> Generator[Path]:
    """Give a path to write to, which takes the output's name when all went well.

    It is hidden: Arrow, Spark and Feast read every other file of a folder.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.{os.getpid()}.partial")
    try:
        yield partial
        partial.rename(output)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
