"""In which forms may entity rows be given? pandas, Arrow, parquet files by path, or a SQL query over such files."""

import re
from pathlib import Path
from typing import Final

import duckdb
import pandas as pd
import pyarrow as pa
from feast.repo_config import RepoConfig

from recsys.adapters.asof_offline_store.connection import arrow, connected
from recsys.adapters.asof_offline_store.parquet_source import describe, files, read, reason
from recsys.errors import FeatureError

EVENT_TIMESTAMP: Final = "event_timestamp"

_COMMENTS: Final = r"(?:--[^\n]*\n|/\*.*?\*/|[\s(])*"
_SQL: Final = re.compile(_COMMENTS + r"(?:select|with|from|values)\b\s*[^\s./]", re.IGNORECASE | re.DOTALL)

_OFFSET: Final = re.compile(r"[T ]\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$", re.IGNORECASE)


def as_arrow(entity_df: object, config: RepoConfig) -> pa.Table:
    """Read entity rows in whatever form, in their order. A text that begins like a query is SQL, any other a path.

    Raises:
        FeatureError: another form; a file that is missing or damaged; a query that is none or fails; a pandas column
            of several types.
    """
    if isinstance(entity_df, pa.Table):
        return entity_df
    if isinstance(entity_df, pd.DataFrame):
        return _from_pandas(entity_df)
    if isinstance(entity_df, str) and _SQL.match(entity_df):
        return _from_query(entity_df, config)
    if isinstance(entity_df, str | Path):
        return _from_files(str(entity_df), config)
    message = (
        f"entity_df is {type(entity_df).__name__}: AsofOfflineStore joins to a pandas DataFrame, a pyarrow Table, the "
        "path of parquet files or a SQL query; convert the rows to one of these"
    )
    raise FeatureError(message)


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    if EVENT_TIMESTAMP in frame.columns and frame.columns.is_unique and frame[EVENT_TIMESTAMP].dtype == object:
        # Objects may be of several zones, or of none; Arrow would take the zone of the first for all.
        frame = frame.assign(**{EVENT_TIMESTAMP: utc(frame[EVENT_TIMESTAMP]).array})
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        message = f"entity_df cannot become an Arrow table: {error}: give every column one type and a name of its own"
        raise FeatureError(message) from error


def utc(times: pd.Series, name: str = EVENT_TIMESTAMP) -> pd.Series:
    """Times as UTC, from texts, dates and datetimes of any zones; those without an offset are UTC.

    Raises:
        FeatureError: something else is among them.
    """
    texts = times.map(lambda time: isinstance(time, str))
    naive = texts & ~times.where(texts, "").str.contains(_OFFSET).astype(bool)
    result = pd.Series(pd.NaT, index=times.index, dtype="datetime64[ns, UTC]")
    try:
        for some in (naive.to_numpy(), ~naive.to_numpy()):  # together, pandas gives texts without an offset another's
            result[some] = pd.to_datetime(times[some], utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        # pandas goes on with advice about its own parameters
        why = str(error).partition(". You")[0]
        message = (
            f"entity_df column {name!r}: {why}: the rows' times must be timestamps or ISO 8601 texts; convert them"
        )
        raise FeatureError(message) from error
    return result


def _from_files(path: str, config: RepoConfig) -> pa.Table:
    label, advice = f"entity_df {path!r}", "give the path of a parquet file, of a folder of them, or a SQL query"
    relation = read(files(path, label, advice))
    with connected(config) as connection:
        columns = ", ".join(f'"{name}"' for name in describe(connection, relation, label, advice))
        return arrow(connection, f"SELECT {columns} FROM {relation}", label)


def _from_query(query: str, config: RepoConfig) -> pa.Table:
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        message = f"entity_df is no SQL that DuckDB reads: {reason(error)}: correct the query"
        raise FeatureError(message) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements)
        message = f"entity_df holds the statements {kinds}: it must be one SELECT; take the others out"
        raise FeatureError(message)
    with connected(config) as connection:
        try:
            return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            message = (
                f"entity_df: the query failed: {reason(error)}: it can read files, as FROM "
                "read_parquet('rows.parquet'), and no tables"
            )
            raise FeatureError(message) from error
