"""How does a retrieval reach DuckDB? One connection each, in UTC, within the memory it may use."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
from feast.repo_config import RepoConfig

from recsys.adapters.asof_offline_store.parquet_source import literal, reason
from recsys.errors import FeatureError


@contextmanager
def connected(config: RepoConfig) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection with the threads, memory and spill folder of the configuration.

    What does not fit into the memory limit is spilled to a folder of the connection's own, which is removed at the end.

    Raises:
        FeatureError: DuckDB refuses a setting, or the spill folder cannot be made.
    """
    store = config.offline_store
    with _spill(config) as spill, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        settings = {"temp_directory": spill, **{n: getattr(store, n, None) for n in ("threads", "memory_limit")}}
        for setting, value in settings.items():
            if value is not None:
                _set(connection, setting, str(value))
        yield connection


@contextmanager
def explained(label: str) -> Iterator[None]:
    """Turn what DuckDB raises into one line that names the source it was reading.

    Raises:
        FeatureError: DuckDB failed.
    """
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        message = (
            f"{label}: {reason(error)}: the query needs more than memory_limit in spite of spilling; raise "
            "memory_limit, or lower threads, in offline_store of feature_store.yaml"
        )
        raise FeatureError(message) from error
    except duckdb.Error as error:
        message = f"{label}: the query failed: {reason(error)}: where a file is damaged, delete it and build it anew"
        raise FeatureError(message) from error


def arrow(connection: duckdb.DuckDBPyConnection, query: str, label: str) -> pa.Table:
    """Run a query.

    Raises:
        FeatureError: it failed; the message names the source it reads.
    """
    with explained(label):
        return connection.sql(query).to_arrow_table()


def _spill(config: RepoConfig) -> "tempfile.TemporaryDirectory[str]":
    parent = getattr(config.offline_store, "temp_directory", None)
    try:
        if parent is not None:
            parent = Path(config.repo_path or ".") / parent
            parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="recsys-spill-", dir=parent)
    except OSError as error:
        message = (
            f"offline_store: temp_directory {str(parent)!r} cannot be written: {error.strerror}: name a folder that "
            "can be, in feature_store.yaml"
        )
        raise FeatureError(message) from error


def _set(connection: duckdb.DuckDBPyConnection, setting: str, value: str) -> None:
    try:
        connection.execute(f"SET {setting} = {literal(value)}")
    except duckdb.Error as error:
        message = (
            f"offline_store: {setting} is {value!r}: DuckDB says {reason(error)}: correct it in feature_store.yaml"
        )
        raise FeatureError(message) from error
