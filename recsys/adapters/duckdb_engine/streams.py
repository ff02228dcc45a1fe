"""How are stream tables brought up to an event that has just come in? By SQL that was compiled once, on few rows."""

import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.adapters.duckdb_engine.texts import glob, literal
from recsys.adapters.transform_modules import transform_failed, transform_of
from recsys.data.streams import FIRST_EVENTS, checked
from recsys.errors import FeatureError
from recsys.ports import FeatureTable
from recsys.schema import CREATED_TIMESTAMP, EVENT_ID, EVENT_TIMESTAMP, EVENT_TYPE, EVENTS

_EVENTS = "events"


class PreparedStreams:
    """The Streams port: one database in memory, with the columns of the catalogue that transforms read.

    The catalogue is read again when its file is another; each thread has a cursor of its own.
    """

    def __init__(self, module: Path, tables: Sequence[FeatureTable], sources: Mapping[str, Path]) -> None:
        """Compile each transform; the sources are read at the first rows.

        Args:
            module: the feature repository's transforms.py.
            tables: stream tables.
            sources: parquet files by the names of the transforms' parameters; `events` is not read.

        Raises:
            FeatureError: if a transform is not there or does not fit these sources.
        """
        self._module = module
        self._sources = {name: path for name, path in sources.items() if name != _EVENTS}
        compiled = {table.name: self._compiled(table) for table in tables}
        self._sql = {name: sql for name, (sql, _) in compiled.items()}
        self._columns = {
            source: sorted(set().union(*(read.get(source, ()) for _, read in compiled.values())))
            for source in self._sources
        }
        self._database = duckdb.connect(config={"threads": 1})
        self._local = threading.local()
        self._lock = threading.Lock()
        self._read: dict[str, tuple[int, int]] = {}

    def rows(self, table: FeatureTable, events: pa.Table) -> pa.Table:
        """Return the newest row of each key, as the table would have it once these events are known.

        Raises:
            FeatureError: if the transform does not run on these events.
        """
        if table.name not in self._sql:
            message = f"stream table {table.name!r}: not among those prepared: {', '.join(self._sql) or 'none'}"
            raise FeatureError(message)
        try:
            self._refresh()
            cursor = self._cursor()
            cursor.register(_EVENTS, _counted(events, table))
            try:
                return cursor.sql(self._sql[table.name]).to_arrow_table()
            finally:
                cursor.unregister(_EVENTS)
        except (duckdb.Error, OSError) as error:
            raise transform_failed(self._module, table.name, "the events that came in", error) from error

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if cursor is None:
            cursor = self._local.cursor = self._database.cursor()
            cursor.execute("set timezone = 'UTC'").fetchall()
        return cursor

    def _refresh(self) -> None:
        """Read the catalogue where it is another than before."""
        for name, path in self._sources.items():
            if not self._columns[name]:
                continue
            found = path.stat()
            version = (found.st_mtime_ns, found.st_ino)
            if self._read.get(name) == version:
                continue
            with self._lock:
                if self._read.get(name) != version:
                    columns = ", ".join(f'"{column}"' for column in self._columns[name])
                    # Sorted, so that a join with few items skips most of it.
                    self._database.execute(
                        f"create or replace table {name} as select {columns} from read_parquet({literal(glob(path))})"
                        " order by 1"
                    ).fetchall()
                    self._read[name] = version

    def _compiled(self, table: FeatureTable) -> tuple[str, Mapping[str, set[str]]]:
        """Return a transform as SQL, and which columns of which sources it reads."""
        import ibis
        import ibis.expr.operations as ops

        function = transform_of(self._module, table.name)
        try:
            schemas = {_EVENTS: EVENTS} | {name: pq.read_schema(path) for name, path in self._sources.items()}
            inputs: dict[str, Any] = {
                name: ibis.table(ibis.Schema.from_pyarrow(schema), name=name) for name, schema in schemas.items()
            }
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                made = checked(function(**inputs), table)
                sql = str(ibis.to_sql(made, dialect="duckdb"))
        except FeatureError:
            raise
        except Exception as error:  # whatever a declared transform raises
            raise transform_failed(self._module, table.name, ", ".join([_EVENTS, *self._sources]), error) from error
        read: dict[str, set[str]] = {}
        for field in made.op().find(ops.Field):
            if isinstance(field.rel, ops.UnboundTable):
                read.setdefault(field.rel.name, set()).add(field.name)
        return sql, read


def _counted(events: pa.Table, table: FeatureTable) -> pa.Table:
    """Do what `data.streams.counted` and `first_events` do, on few rows and without a plan, which would cost more."""
    unit = events[table.keys[0]]
    mine = events.select(EVENTS.names).filter(
        pc.and_(pc.is_in(events[EVENT_TYPE], value_set=pa.array(table.events, pa.string())), unit.is_valid())
    )
    happened, told = mine[EVENT_TIMESTAMP], mine[CREATED_TIMESTAMP]
    known = pc.if_else(pc.greater(happened, told), happened, told)
    mine = mine.set_column(EVENTS.get_field_index(CREATED_TIMESTAMP), CREATED_TIMESTAMP, known).cast(EVENTS)
    if len(mine) <= FIRST_EVENTS:
        return mine
    order = [(table.keys[0], "ascending"), (CREATED_TIMESTAMP, "ascending"), (EVENT_ID, "ascending")]
    mine = mine.sort_by(order)
    codes = mine[table.keys[0]].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    number = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    return mine.filter(pa.array(number < FIRST_EVENTS))
