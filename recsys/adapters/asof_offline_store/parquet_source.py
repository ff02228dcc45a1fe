"""Which parquet files does a source read, and under which names and types does DuckDB see their columns?"""

import glob
from dataclasses import dataclass
from pathlib import Path

import duckdb
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from recsys.errors import FeatureError


@dataclass(frozen=True)
class Parquet:
    """Parquet files as DuckDB sees them, under the names that features go by."""

    label: str
    """How messages call the source."""
    paths: tuple[str, ...]
    """Its files, in the order in which ties fall; or one pattern or address."""
    relation: str
    """The table function that reads it."""
    types: dict[str, str]
    """DuckDB type of every column in the files, the partitions of hive folders included."""
    mapping: dict[str, str]
    """Feature name -> column name, where the source maps fields."""

    def column(self, name: str) -> str:
        """The quoted column that `name` (a feature, key or timestamp) is read from.

        Raises:
            FeatureError: the files have no such column.
        """
        found = next((c for c in (self.mapping.get(name), name) if c in self.types), None)
        if found is None:
            message = (
                f"source {self.label}: column {self.mapping.get(name, name)!r} is not in the files "
                f"(they have {', '.join(sorted(self.types))}): every declared key, feature and timestamp must be a "
                "column; correct the view's schema or the source's field_mapping, or rebuild the table"
            )
            raise FeatureError(message)
        return quoted(found)

    def type_of(self, name: str) -> str:
        """DuckDB type of the column that `name` is read from."""
        return self.types[self.column(name)[1:-1].replace('""', '"')]

    def microseconds(self, name: str) -> str:
        """Expression of a timestamp column as microseconds since 1970 in UTC; naive times are UTC.

        Whole numbers, because DuckDB compares them without asking for a calendar. Null where the time is null or
        infinite.

        Raises:
            FeatureError: the source names no such column, or it is not a timestamp or date.
        """
        if not name:
            message = (
                f"source {self.label} names no timestamp_field: a history needs the time of each row; "
                "declare the column in the source"
            )
            raise FeatureError(message)
        column, type_name = self.column(name), self.type_of(name)
        if not type_name.startswith(("TIMESTAMP", "DATE")):
            message = (
                f"source {self.label}: timestamp column {name!r} has type {type_name}: it must be a timestamp or a "
                "date; write it as a UTC timestamp with microseconds"
            )
            raise FeatureError(message)
        return f"epoch_us({column})"


def parquet(connection: duckdb.DuckDBPyConnection, source: DataSource, repo_path: str) -> Parquet:
    """Describe the files of a source: one parquet file, a folder of them at any depth, or a glob.

    Raises:
        FeatureError: not a file source of parquet, nothing there, or unreadable.
    """
    if not isinstance(source, FileSource) or not is_parquet(source):
        message = (
            f"source {source.name!r} is a {type(source).__name__}: AsofOfflineStore reads parquet through "
            "FileSource only; declare a FileSource on parquet files or choose Feast's `duckdb` store"
        )
        raise FeatureError(message)
    path = FileSource.get_uri_for_file_path(repo_path, source.path)
    label = f"source {source.name!r} ({source.path})"
    found = files(path, label, "build the feature tables first, or correct the source's path")
    relation = read(found)
    types = describe(connection, relation, label, "delete the file and run `recsys features build`")
    mapping = {new: old for old, new in (source.field_mapping or {}).items()}
    return Parquet(label.removeprefix("source "), tuple(found), relation, types, mapping)


def is_parquet(source: DataSource) -> bool:
    """Whether it is a source of parquet files."""
    return isinstance(source, FileSource) and isinstance(source.file_format, ParquetFormat | None)


def files(path: str, label: str, advice: str) -> list[str]:
    """The files at `path`, for DuckDB, in the order in which ties fall. It takes a name that is there as no pattern.

    Of a folder all *.parquet at any depth. Files and folders whose name begins with a dot or an underscore are
    unfinished or no data, as Spark and Hive have it, unless the name is of a partition (`_day=1`).

    Raises:
        FeatureError: no such file, or a folder without files.
    """
    if "://" in path:
        return [path]
    place = Path(path)
    if place.is_dir():
        found = sorted(p for p in place.rglob("*.parquet") if p.is_file() and not _hidden(p.relative_to(place)))
        if found:
            return [str(p) for p in found]
        reason = "the folder holds no *.parquet file"
    elif place.exists() or glob.has_magic(path):
        return [path]
    else:
        reason = "no such file or folder"
    message = f"{label}: {reason} at {path}: {advice}"
    raise FeatureError(message)


def read(paths: list[str]) -> str:
    """The table function over `files`; parts may have other orders of columns and other units and zones of time."""
    listed = ", ".join(literal(path) for path in paths)
    by_name = "true" if len(paths) > 1 or glob.has_magic(paths[0]) else "false"
    return f"read_parquet([{listed}], file_row_number = true, union_by_name = {by_name})"


def describe(connection: duckdb.DuckDBPyConnection, relation: str, label: str, advice: str) -> dict[str, str]:
    """Column -> DuckDB type of what `read` gave.

    Raises:
        FeatureError: a file is not parquet, or damaged.
    """
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    except duckdb.Error as error:
        message = f"{label} cannot be read as parquet: {reason(error)}: {advice}"
        raise FeatureError(message) from error
    return {str(row[0]): str(row[1]) for row in rows if row[0] != "file_row_number"}


def reason(error: duckdb.Error) -> str:
    """What DuckDB says first."""
    return str(error).splitlines()[0].rstrip(".")


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in path.parts)
