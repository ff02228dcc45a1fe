"""What is the slowest engine that is plainly right? Transforms run over everything, once for every week's end."""

import inspect
import math
import os
import runpy
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import DataError, FeatureError
from recsys.ports import FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_ID, EVENT_TIMESTAMP, EVENT_TYPE, EVENTS, TIMESTAMP

_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)

Row = dict[str, Any]


class FakeEngine:
    """Implements `ports.Engine` by brute force, for tables of test size."""

    def query(self, sql: str, tables: Mapping[str, pa.Table | Path] | None = None) -> pa.Table:
        """Run the SQL with each table registered under its name."""
        try:
            with _connection() as connection:
                for name, table in (tables or {}).items():
                    connection.register(name, _read(table) if isinstance(table, Path) else table)
                return connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            message = f"query over {', '.join(tables or {})}: {error}"
            raise DataError(message) from error

    def write(self, sql: str, tables: Mapping[str, pa.Table | Path], output: Path) -> int:
        """Write what the SQL gives."""
        return _write(self.query(sql, tables), output)

    def transform(
        self, module: Path, table: FeatureTable, step: Step, sources: Mapping[str, Path], existing: Path, output: Path
    ) -> int:
        """Run the transform at every period's end on what was known then, and append what is new or other.

        A row whose key is not known names nothing, and is left out.
        """
        events = _read(sources["events"])
        if table.is_stream:
            return _write(_streamed(module, table, step, sources, events), output)
        newest: dict[tuple[Any, ...], Row] = {}
        for row in _read(existing).to_pylist() if any(existing.glob("*.parquet")) else ():
            place = _place(row, table)
            if place not in newest or newest[place][CREATED_TIMESTAMP] < row[CREATED_TIMESTAMP]:
                newest[place] = row
        schema, appended = None, []
        for end in _ends(events, table.period, step):
            made = _made(module, table, end, sources, _known(events, end))
            schema = made.schema
            for row in made.to_pylist():
                place = _place(row, table)
                if None not in place and (place not in newest or _differs(row, newest[place])):
                    newest[place] = row | {CREATED_TIMESTAMP: end}
                    appended.append(newest[place])
        assert schema is not None
        return _write(pa.Table.from_pylist(appended, schema.append(pa.field(CREATED_TIMESTAMP, TIMESTAMP))), output)

    def recompute(
        self, module: Path, table: FeatureTable, at: datetime, sources: Mapping[str, Path], units: pa.Array
    ) -> pa.Table:
        """Run the transform on what was known, and take the newest row of each key of these units."""
        if table.is_stream:
            said = _counted(_read(sources["events"]), table)
            mine = [row for row in said if row[table.keys[0]] in units.to_pylist() and row[CREATED_TIMESTAMP] <= at]
            return _state(module, table, sources, mine)
        made = _made(module, table, at, sources, _known(_read(sources["events"]), at))
        newest: dict[tuple[Any, ...], Row] = {}
        for row in sorted(made.to_pylist(), key=lambda row: row[EVENT_TIMESTAMP]):
            key = tuple(row[name] for name in table.keys)
            if None not in key and key[0] in set(units.to_pylist()):
                newest[key] = row
        return pa.Table.from_pylist(list(newest.values()), made.schema)

    def streams(self, module: Path, tables: Sequence[FeatureTable], sources: Mapping[str, Path]) -> "FakeStreams":
        """Keep what to run, and run it on nothing once."""
        for table in tables:
            _state(module, table, sources, [])
        return FakeStreams(module, sources)


class FakeStreams:
    """Implements `ports.Streams` by the plain transform."""

    def __init__(self, module: Path, sources: Mapping[str, Path]) -> None:
        """Keep the arguments of `FakeEngine.streams`."""
        self._module, self._sources = module, sources

    def rows(self, table: FeatureTable, events: pa.Table) -> pa.Table:
        """Return the newest row of each key."""
        return _state(self._module, table, self._sources, _counted(events, table))


def _counted(events: pa.Table, table: FeatureTable) -> list[Row]:
    """Return the events of a stream's types as they were first told, the first thousand of each session."""
    first: dict[Any, Row] = {}
    for row in sorted(events.to_pylist(), key=lambda row: row[CREATED_TIMESTAMP]):
        if row[EVENT_TYPE] in table.events and row[table.keys[0]] is not None:
            first.setdefault(row[EVENT_ID], row)
    of_unit: dict[Any, list[Row]] = {}
    known = [row | {CREATED_TIMESTAMP: max(row[CREATED_TIMESTAMP], row[EVENT_TIMESTAMP])} for row in first.values()]
    for row in sorted(known, key=lambda row: (row[CREATED_TIMESTAMP], row[EVENT_ID])):
        of_unit.setdefault(row[table.keys[0]], []).append(row)
    return [row for rows in of_unit.values() for row in rows[:1_000]]


def _state(module: Path, table: FeatureTable, sources: Mapping[str, Path], events: Iterable[Row]) -> pa.Table:
    """Run a stream's transform on a set of events."""
    rows = pa.Table.from_pylist([{name: row[name] for name in EVENTS.names} for row in events], EVENTS)
    made = _made(module, table, _MONDAY, sources, rows)
    if CREATED_TIMESTAMP not in made.column_names:
        message = f"feature table {table.name}: its rows have no {CREATED_TIMESTAMP}"
        raise FeatureError(message)
    return pa.Table.from_pylist(
        [row for row in made.to_pylist() if None not in [row[key] for key in table.keys]], made.schema
    )


def _streamed(module: Path, table: FeatureTable, step: Step, sources: Mapping[str, Path], events: pa.Table) -> pa.Table:
    """Run a stream's transform at every moment at which something became known, on the sessions it was about."""
    unit, said = table.keys[0], _counted(events, table)
    made = _state(module, table, sources, [])
    appended: list[Row] = []
    for at in sorted({row[CREATED_TIMESTAMP] for row in said}):
        if at > step.until or (step.after is not None and at <= step.after):
            continue
        of = {row[unit] for row in said if row[CREATED_TIMESTAMP] == at}
        rows = _state(module, table, sources, (row for row in said if row[unit] in of and row[CREATED_TIMESTAMP] <= at))
        appended += [row for row in rows.to_pylist() if row[CREATED_TIMESTAMP] == at]
    return pa.Table.from_pylist(appended, made.schema)


def _ends(events: pa.Table, period: timedelta, step: Step) -> Iterable[datetime]:
    """Return every period's end of a step, from the first event on."""
    first = min(events[EVENT_TIMESTAMP].to_pylist(), default=step.until - period)
    end = step.after or _MONDAY + ((first - _MONDAY) // period) * period
    while end < step.until:
        end += period
        yield end


def _known(events: pa.Table, at: datetime) -> pa.Table:
    """Return the newest version of every event that had happened and was known."""
    newest: dict[Any, Row] = {}
    for row in sorted(events.to_pylist(), key=lambda row: row[CREATED_TIMESTAMP]):
        if row[CREATED_TIMESTAMP] <= at and row[EVENT_TIMESTAMP] < at:
            newest[row[EVENT_ID]] = row
    return pa.Table.from_pylist(list(newest.values()), events.schema)


def _made(module: Path, table: FeatureTable, until: datetime, sources: Mapping[str, Path], events: pa.Table) -> Any:
    """Run the plain transform on given events."""
    import ibis

    inputs = {name: _read(path) for name, path in sources.items()} | {"events": events}
    if not module.exists():
        message = f"{module}: missing; a feature repository has a transforms.py with TABLES"
        raise FeatureError(message)
    functions = runpy.run_path(str(module))["TABLES"]
    if table.name not in functions:
        message = f"feature table {table.name!r}: {module.name} has no such transform; it has {', '.join(functions)}"
        raise FeatureError(message)
    opened = _connection()
    try:
        connection = ibis.duckdb.from_connection(opened)
        named = set(inspect.signature(functions[table.name]).parameters)
        given = {name: ibis.memtable(rows) for name, rows in inputs.items()} | {"until": until}
        made = functions[table.name](**{name: value for name, value in given.items() if name in named})
        return connection.to_pyarrow(made)
    except Exception as error:
        message = f"feature table {table.name}: {error}"
        raise FeatureError(message) from error
    finally:
        opened.close()


@cache
def _database(_process: int) -> duckdb.DuckDBPyConnection:
    """Open a process's one database: to make one takes a hundred times as long as a small query over it."""
    return duckdb.connect()


def _connection() -> duckdb.DuckDBPyConnection:
    """Open a connection of its own, in UTC: what is registered over it nobody else sees."""
    connection = _database(os.getpid()).cursor()
    connection.execute("set timezone = 'UTC'")
    return connection


def _place(row: Row, table: FeatureTable) -> tuple[Any, ...]:
    return tuple(row[name] for name in (*table.keys, EVENT_TIMESTAMP))


def _differs(row: Row, other: Row) -> bool:
    """Compare features; the order of a sum of fractions is no change."""
    return any(
        not math.isclose(value, other[name], rel_tol=1e-9)
        if isinstance(value, float) and isinstance(other[name], float)
        else value != other[name]
        for name, value in row.items()
    )


def _read(path: Path) -> pa.Table:
    if not path.exists():
        message = f"{path}: no such file or folder; run `recsys ingest` and `recsys features build` to make it"
        raise DataError(message)
    files = sorted(part for part in path.glob("**/*.parquet") if part.is_file()) if path.is_dir() else [path]
    if not files:
        message = f"{path}: holds no parquet file; run `recsys ingest` and `recsys features build` to make it"
        raise DataError(message)
    try:
        return pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])
    except (pa.ArrowException, OSError) as error:
        message = f"{path}: {error}"
        raise DataError(message) from error


def _write(rows: pa.Table, output: Path) -> int:
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    pq.write_table(rows, partial)
    partial.rename(output)
    return len(rows)
