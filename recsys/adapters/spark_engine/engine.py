"""How do feature transforms run on Spark, with the answers that DuckDB gives?"""

import os
import shutil
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.adapters.spark_engine.expressions import portable
from recsys.adapters.spark_session import open_session, said
from recsys.adapters.transform_modules import present, transform_failed, transform_of
from recsys.data.transforming import rows_anew, step_rows
from recsys.ports import Engine, FeatureTable, Step, Streams

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class SparkEngine:
    """The Engine port: transforms run on Spark; queries, and streams of few events, on a local engine.

    Every executor has to see the tables' folders under the same paths.
    """

    def __init__(self, local: Engine, settings: Mapping[str, str]) -> None:
        """Keep the engine that queries, and Spark's settings; Spark starts at the first transform."""
        self._local = local
        self._settings = settings

    def query(self, sql: str, tables: Mapping[str, pa.Table | Path] | None = None) -> pa.Table:
        """Run DuckDB's SQL on the local engine.

        Raises:
            DataError: as the local engine.
        """
        return self._local.query(sql, tables)

    def write(self, sql: str, tables: Mapping[str, pa.Table | Path], output: Path) -> int:
        """Run DuckDB's SQL on the local engine and write what it gives.

        Raises:
            DataError: as the local engine.
        """
        return self._local.write(sql, tables, output)

    def streams(self, module: Path, tables: Sequence[FeatureTable], sources: Mapping[str, Path]) -> Streams:
        """Prepare stream tables on the local engine: few events at a time, within milliseconds.

        Raises:
            FeatureError: as the local engine.
        """
        return self._local.streams(module, tables, sources)

    def transform(
        self, module: Path, table: FeatureTable, step: Step, sources: Mapping[str, Path], existing: Path, output: Path
    ) -> int:
        """Make the rows of one step, and write them in order as a folder of part files, by rename.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
            StoreError: if Spark is not here.
        """
        with self._running(module, table, sources) as running, written(output) as partial:
            before = running.read(existing) if any(existing.glob("*.parquet")) else None
            rows = step_rows(running.function, running.inputs, before, table, step)
            running.frame(rows).write.parquet(_uri(partial), compression="zstd")
            return sum(pq.read_metadata(part).num_rows for part in partial.glob("*.parquet"))

    def recompute(
        self, module: Path, table: FeatureTable, at: datetime, sources: Mapping[str, Path], units: pa.Array
    ) -> pa.Table:
        """Run a transform on the events of some units as known at a moment; returns the newest row of each key.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
            StoreError: if Spark is not here.
        """
        with self._running(module, table, sources) as running:
            return running.frame(rows_anew(running.function, running.inputs, table, at, units)).toArrow()

    @contextmanager
    def _running(self, module: Path, table: FeatureTable, sources: Mapping[str, Path]) -> Generator["_Running"]:
        """Open the sources as Ibis tables; whatever a transform raises becomes one line."""
        function = transform_of(module, table.name)
        found = {name: present(path) for name, path in sources.items()}
        running = _Running(function, open_session(self._settings))
        try:
            running.inputs.update({name: running.read(path) for name, path in found.items()})
            yield running
        except Exception as error:  # whatever a declared transform raises
            raise transform_failed(module, table.name, ", ".join(sources), error, said(error)) from error
        finally:
            running.close()


class _Running:
    """A transform, the tables that it reads, and the session that runs it."""

    def __init__(self, function: Callable[..., Any], session: "SparkSession") -> None:
        import ibis

        self.function = function
        self.inputs: dict[str, Any] = {}
        self._session = session
        self._connection = ibis.pyspark.connect(session)
        self._views: list[str] = []

    def read(self, path: Path) -> Any:  # noqa: ANN401 - Ibis tables have no published types
        """Return a parquet file, or a folder of them at any depth, as an Ibis table."""
        name = f"recsys_{uuid.uuid4().hex}"
        self._views.append(name)
        return self._connection.read_parquet(_uri(path), table_name=name, recursiveFileLookup=path.is_dir())

    def frame(self, table: Any) -> "DataFrame":  # noqa: ANN401 - Ibis tables have no published types
        """Return an Ibis table as Spark's own."""
        ready = portable(table)
        # `compile` alone leaves out what a transform made in memory.
        self._connection._run_pre_execute_hooks(ready)  # noqa: SLF001 - Ibis has no public way to a lazy frame
        return self._session.sql(self._connection.compile(ready))

    def close(self) -> None:
        """Let the session forget the tables."""
        for name in self._views:
            self._session.catalog.dropTempView(name)


def _uri(path: Path) -> str:
    """Return a path as one of a file system that all see; without it Spark would ask its cluster's own."""
    return f"file://{path.absolute()}"


@contextmanager
def written(output: Path) -> Generator[Path]:
    """Give a folder to write to, which takes the output's name when all went well, and is hidden until then."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.{os.getpid()}.partial")
    try:
        yield partial
        for checksum in partial.glob(".*.crc"):  # Hadoop's, of no use where files are moved
            checksum.unlink()
        if output.is_dir():
            shutil.rmtree(output)
        else:
            output.unlink(missing_ok=True)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
