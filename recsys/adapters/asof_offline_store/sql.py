"""Which SQL gives, for each entity row, the newest feature row that was known at its time?

Two clocks decide: a feature row counts at time t when it had happened (`event`) and was known
(`created`) by t. DuckDB's ASOF JOIN compares one clock only, so rows are put in the order of
`greatest(event, created)` and a row stays only if its event is the newest so far in that order:
then the last row whose clock is <= t is also the newest event known at t, and one ASOF JOIN finds
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from recsys.errors import FeatureError

EVENT = "__event"
CREATED = "__created"
CLOCK = "__clock"
FILE_ORDER = ("__file", "__file_row")
_EVERYTHING = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, as all moments of this file
"""Ties in both clocks fall to the later file and row: a join gives the same rows every time."""


@dataclass(frozen=True)
class Parquet:
    """Parquet files as DuckDB sees them, under the names that features go by."""

    label: str
    """How messages call the source."""
    relation: str
    """The table function that reads it."""
    types: dict[str, str]
    """DuckDB type of every column in the files."""
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
                f"(they have {', '.join(sorted(self.types))}): every declared key, feature and "
                "timestamp "
                "must be a column; correct the view's schema or the source's field_mapping, or "
                "rebuild the table"
            )
            raise FeatureError(message)
        return quoted(found)

    def key_type(self, name: str) -> str:
        """DuckDB type of the column that `name` is read from."""
        return self.types[self.column(name)[1:-1].replace('""', '"')]

    def timestamp(self, name: str) -> str:
        """Expression of a timestamp column as naive UTC microseconds (naive input is UTC)."""
        column, type_name = self.column(name), self.key_type(name)
        if not type_name.startswith(("TIMESTAMP", "DATE")):
            message = (
                f"source {self.label}: timestamp column {name!r} has type {type_name}: it must be "
                "a timestamp "
                "or a date; write it as a UTC timestamp with microseconds"
            )
            raise FeatureError(message)
        return f"CAST({column} AS TIMESTAMP)"


@dataclass(frozen=True)
class Pull:
    """What one feature view asks for."""

    keys: tuple[tuple[str, str], ...]
    """(key column of the source, key column of the entity table), possibly none."""
    features: tuple[tuple[str, str], ...]
    """(feature name, output name)."""
    timestamp_field: str
    created_column: str | None
    """None: nothing is cut off by when it was known."""
    tie_column: str | None
    """Created column that breaks ties, cut-off or not."""
    ttl: timedelta | None


@dataclass(frozen=True)
class Window:
    """First and last moment that is asked about, naive UTC; None is the beginning of time."""

    first: datetime | None
    last: datetime


def parquet(connection: duckdb.DuckDBPyConnection, source: DataSource, repo_path: str) -> Parquet:
    """Describe the files of a source: one parquet file, a folder of them at any depth, or a glob.

    Raises:
        FeatureError: not a file source of parquet, nothing there, or unreadable.
    """
    if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
        message = (
            f"source {source.name!r} is a {type(source).__name__}: AsofOfflineStore reads parquet "
            "through "
            "FileSource only; declare a FileSource on parquet files or choose Feast's `duckdb` "
            "store"
        )
        raise FeatureError(message)
    path = FileSource.get_uri_for_file_path(repo_path, source.path)
    label = f"{source.name!r} ({source.path})"
    pattern = _pattern(path, label)
    relation = (
        f"read_parquet({literal(pattern)}, file_row_number = true, "
        f"union_by_name = {'true' if pattern != path or '*' in pattern else 'false'})"
    )
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rstrip(".")
        message = f"source {label} cannot be read as parquet: {reason}: delete the file and run `recsys features build`"
        raise FeatureError(message) from error
    types = {str(row[0]): str(row[1]) for row in rows if row[0] != "file_row_number"}
    mapping = {new: old for old, new in (source.field_mapping or {}).items()}
    return Parquet(label, relation, types, mapping)


def history(source: Parquet, pull: Pull, window: Window | None, *, asked: str | None = None) -> str:
    """SQL of the rows that can be an answer: keys `k0…`, `__event`, `__clock` and features `f0…`.

    At most one row a key and clock, and never one that a newer event was known before.

    Args:
        source: the files.
        pull: what to read of them.
        window: oldest event that any time asked for can see, and the last such time.
        asked: name of a relation of the keys asked for (`k0…`); others are dropped early.
    """
    keys = key_names(pull)
    order = f"{CLOCK}, {EVENT}, {CREATED} NULLS FIRST, {FILE_ORDER[0]}, {FILE_ORDER[1]}"
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    semi = f"SEMI JOIN {asked} USING ({', '.join(keys)})" if asked and keys else ""
    features = [f"f{i}" for i in range(len(pull.features))]
    return f"""
        SELECT {", ".join([*keys, EVENT, CLOCK, *features])}
        FROM ({_known_rows(source, pull, window)}) {semi}
        WINDOW known AS ({partition}ORDER BY {order})
        QUALIFY lead({CLOCK}) OVER known IS DISTINCT FROM {CLOCK}
            AND {EVENT} >= max({EVENT}) OVER known
    """


def asof(pull: Pull, probe: str, answers: str) -> str:
    """SQL that pairs each row of `probe` (`k0…`, `asked_at`) with its row of `answers`, if any.

    The TTL is inclusive: an event exactly `ttl` old still counts.
    """
    keys = [f"probe.{key} = answer.{key}" for key in key_names(pull)]
    on = " AND ".join([*keys, f"probe.asked_at >= answer.{CLOCK}"])
    features = "".join(f", answer.f{i}" for i in range(len(pull.features)))
    alive = f"WHERE answer.{EVENT} >= probe.asked_at - {interval(pull.ttl)}" if pull.ttl else ""
    return f"SELECT probe.*{features} FROM {probe} probe ASOF JOIN {answers} answer ON {on} {alive}"


def latest(source: Parquet, pull: Pull, start: datetime, end: datetime) -> str:
    """SQL of each key's newest row as known at `end`, if it happened or became known since `start`.

    Columns carry the source's own names; timestamps are UTC.
    """
    # A row that became known late has an old event: a limit on events would never let it go online.
    since = None if pull.created_column else start
    keys = key_names(pull)
    names = [
        *(f"{key} AS {source.column(name)}" for key, (name, _) in zip(keys, pull.keys, strict=True)),
        *(f"f{i} AS {source.column(name)}" for i, (name, _) in enumerate(pull.features)),
        f"CAST({EVENT} AS TIMESTAMPTZ) AS {source.column(pull.timestamp_field)}",
    ]
    if pull.tie_column:
        names.append(f"CAST({CREATED} AS TIMESTAMPTZ) AS {source.column(pull.tie_column)}")
    order = ", ".join(f"{c} DESC" for c in (EVENT, CREATED, *FILE_ORDER))
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    known = _known_rows(source, pull, Window(since, end))
    if keys and start > _EVERYTHING:
        # Of a week's increment few keys changed: only their past has to be ordered.
        changed = f"SELECT {', '.join(keys)} FROM ({known}) WHERE {CLOCK} >= {moment(start)}"
        known = f"SELECT * FROM ({known}) SEMI JOIN ({changed}) USING ({', '.join(keys)})"
    return f"""
        SELECT {", ".join(names)}
        FROM ({known})
        QUALIFY row_number() OVER ({partition}ORDER BY {order}) = 1 AND {CLOCK} >= {moment(start)}
    """


def key_names(pull: Pull) -> list[str]:
    """Names of the key columns inside the queries."""
    return [f"k{i}" for i in range(len(pull.keys))]


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def moment(value: datetime) -> str:
    """A naive UTC time as an SQL literal."""
    return f"TIMESTAMP '{value.isoformat(sep=' ')}'"


def interval(value: timedelta) -> str:
    """A duration as an SQL expression, exact to the microsecond."""
    return f"to_microseconds({value // timedelta(microseconds=1)})"


def _pattern(path: str, label: str) -> str:
    if "://" in path or "*" in path or "?" in path:
        return path
    place = Path(path)
    if place.is_dir():
        if next(place.rglob("*.parquet"), None) is not None:
            return str(place / "**" / "*.parquet")
        reason = "the folder holds no *.parquet file"
    elif place.exists():
        return path
    else:
        reason = "no such file or folder"
    message = f"source {label}: {reason} at {path}: build the feature tables first, or correct the source's path"
    raise FeatureError(message)


def _known_rows(source: Parquet, pull: Pull, window: Window | None) -> str:
    """SQL of the source's rows with both clocks, without nulls in keys or clocks."""
    event = source.timestamp(pull.timestamp_field)
    tie = source.timestamp(pull.tie_column) if pull.tie_column else None
    created = source.timestamp(pull.created_column) if pull.created_column else None
    clock = f"greatest({event}, {created})" if created else event
    columns = [
        *(f"{source.column(name)} AS k{i}" for i, (name, _) in enumerate(pull.keys)),
        *(f"{source.column(name)} AS f{i}" for i, (name, _) in enumerate(pull.features)),
        f"{event} AS {EVENT}",
        f"{tie or 'NULL'} AS {CREATED}",
        f"{clock} AS {CLOCK}",
        f"file_index AS {FILE_ORDER[0]}",
        f"file_row_number AS {FILE_ORDER[1]}",
    ]
    rules = [f"{source.column(name)} IS NOT NULL" for name, _ in pull.keys]
    rules += [f"{clock_part} IS NOT NULL" for clock_part in (event, created) if clock_part]
    if window:
        rules += _seen(source, pull, window)
    return f"SELECT {', '.join(columns)} FROM {source.relation} WHERE {' AND '.join(rules)}"


def _seen(source: Parquet, pull: Pull, window: Window) -> list[str]:
    """Rules that keep the events of the window known at its end; scans can skip by them."""
    rules = [_compare(source, pull.timestamp_field, "<=", window.last)]
    if window.first is not None:
        rules.append(_compare(source, pull.timestamp_field, ">=", window.first))
    if pull.created_column:
        rules.append(_compare(source, pull.created_column, "<=", window.last))
    return rules


def _compare(source: Parquet, name: str, operator: str, value: datetime) -> str:
    type_name = source.key_type(name)
    if type_name == "TIMESTAMP":
        return f"{source.column(name)} {operator} {moment(value)}"
    if type_name == "TIMESTAMP WITH TIME ZONE":
        return f"{source.column(name)} {operator} TIMESTAMPTZ '{value.isoformat(sep=' ')}+00'"
    return f"{source.timestamp(name)} {operator} {moment(value)}"


def families(names: Sequence[str]) -> set[str]:
    """Families of DuckDB key types: keys of different families can never be meant to be equal."""
    texts, numbers = (
        ("VARCHAR", "ENUM", "BLOB", "UUID"),
        ("INT", "DECIMAL", "DOUBLE", "FLOAT", "HUGE"),
    )
    return {
        "text" if name.startswith(texts) else "number" if any(part in name for part in numbers) else name
        for name in names
    }
