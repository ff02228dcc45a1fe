"""How do queries and feature transforms run on one machine? On DuckDB, spilling to disk beyond the memory limit."""

import importlib.util
import inspect
import os
import uuid
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.knowledge import known
from recsys.data.steps import inputs_of, new_rows, newest_rows
from recsys.errors import DataError, FeatureError
from recsys.ports import FeatureTable, Step
from recsys.schema import EVENT_TIMESTAMP
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
            connection.execute(f"copy ({sql}) to {_literal(str(partial))} (format parquet, compression zstd)")
            return int(pq.read_metadata(partial).num_rows)

    @contextmanager
    def _connected(self, tables: Mapping[str, pa.Table | Path]) -> Generator[duckdb.DuckDBPyConnection]:
        with duckdb.connect(config=self._settings()) as connection:
            connection.execute("set timezone = 'UTC'; set enable_progress_bar = false")
            try:
                for name, table in tables.items():
                    if isinstance(table, Path):
                        connection.execute(f"create view {name} as from read_parquet({_literal(_glob(table))})")
                    else:
                        connection.register(name, table)
                yield connection
            except (duckdb.Error, OSError) as error:
                message = f"query over {', '.join(tables) or 'nothing'}: {_reason(error)}; {_advice(error)}"
                raise DataError(message) from error

    def transform(
        self, module: Path, table: FeatureTable, step: Step, sources: Mapping[str, Path], existing: Path, output: Path
    ) -> int:
        """Make the rows of one step with the transform of a feature repository, and write them by rename.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
        """
        with self._running(module, table, sources) as (function, connection, inputs), written(output) as partial:
            events = inputs["events"]
            made = function(**{**inputs, "events": inputs_of(events, table, step)}, until=step.until)
            before = connection.read_parquet(_glob(existing)) if any(existing.glob("*.parquet")) else None
            rows = new_rows(made, before, events, table, step)
            ordered = rows.order_by([EVENT_TIMESTAMP, *table.keys])
            connection.to_parquet(ordered, partial, compression="zstd")
            return int(pq.read_metadata(partial).num_rows)

    def recompute(
        self, module: Path, table: FeatureTable, at: datetime, sources: Mapping[str, Path], units: pa.Array
    ) -> pa.Table:
        """Run a transform on the events of some units as known at a moment; returns the newest row of each key.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
        """
        import ibis

        unit = table.keys[0]
        with self._running(module, table, sources) as (function, connection, inputs):
            chosen = ibis.memtable(pa.table({unit: units}))
            events = known(inputs["events"], at).semi_join(chosen, unit)
            made = function(**{**inputs, "events": events}, until=at)
            return connection.to_pyarrow(newest_rows(made, table))

    @contextmanager
    def _running(
        self, module: Path, table: FeatureTable, sources: Mapping[str, Path]
    ) -> Generator[tuple[Callable[..., Any], Any, dict[str, Any]]]:
        """Open a connection with the sources as Ibis tables; whatever a transform raises becomes one line."""
        import ibis

        functions = getattr(load_module(module), "TABLES", {})
        if table.name not in functions:
            message = (
                f"feature table {table.name!r}: {module.name} has no such transform; it has {', '.join(functions)}"
            )
            raise FeatureError(message)
        paths = {name: _glob(path) for name, path in sources.items()}
        connection = ibis.duckdb.connect(**self._settings())
        try:
            connection.raw_sql("set timezone = 'UTC'; set enable_progress_bar = false")
            with warnings.catch_warnings():
                # Ibis 12 still reads results by a name that DuckDB 2 renamed, and Feast turns such warnings on.
                warnings.filterwarnings("ignore", message="fetch_arrow_table", category=DeprecationWarning)
                inputs = {name: connection.read_parquet(path) for name, path in paths.items()}
                yield _asking_for_what_it_names(functions[table.name]), connection, inputs
        except Exception as error:  # whatever a declared transform raises
            message = (
                f"feature table {table.name}: its transform in {module.name} does not run on {', '.join(sources)}:"
                f" {type(error).__name__}: {_reason(error)}; {_advice(error)}"
            )
            raise FeatureError(message) from error
        finally:
            connection.disconnect()

    def _settings(self) -> dict[str, Any]:
        """Give each connection a spill folder of its own: DuckDB names its files alike everywhere."""
        own = self._spill.with_name(f"{self._spill.name}-{os.getpid()}-{uuid.uuid4().hex}")
        return {**self._config, "temp_directory": str(own)}


def _asking_for_what_it_names(transform: Callable[..., Any]) -> Callable[..., Any]:
    """Let a transform be given every source, of which it takes those that are its parameters."""
    named = set(inspect.signature(transform).parameters)
    return lambda **given: transform(**{name: value for name, value in given.items() if name in named})


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
