"""How are rows handed out in bounded memory, and deleted in bounded transactions?"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from recsys import schema
from recsys.adapters.sql_event_log import arrow, tables
from recsys.adapters.sql_event_log.database import Database
from recsys.adapters.sql_event_log.routed import excuse
from recsys.ports import LogRows

_ROWS_AT_ONCE: Final = 50_000
"""Read as one batch."""
_IDS_AT_ONCE: Final = 1_000
"""Requests or events deleted by one transaction."""


class SqlEventArchive:
    """`ports.EventArchive` in SQLite or PostgreSQL, beside the event log or by its URL."""

    def __init__(self, database: Database | str) -> None:
        """Use the event log's database, or open the one of a URL on first use.

        Raises:
            StoreError: if the URL is not one of a SQLite file or of PostgreSQL by psycopg.
        """
        self._database = Database(database) if isinstance(database, str) else database

    def extent(self) -> tuple[datetime, datetime] | None:
        """Return the oldest and the newest event time of exposures and outcomes, or None where there are none."""
        found: list[datetime] = []
        with self._database.reading("read its extent") as connection, self._database.patient(connection):
            for log in (tables.exposures, tables.outcomes):
                moment = log.c[schema.EVENT_TIMESTAMP]
                # The aggregate keeps the column's type, so both come back as times.
                row = connection.execute(sa.select(sa.func.min(moment), sa.func.max(moment))).one()
                found += [value for value in row if value is not None]
        return (min(found), max(found)) if found else None

    def scan(self, table: str, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
        """Give the rows of a table with start <= event_timestamp < end, a bounded number at a time."""
        with self._database.reading(f"read {table}") as connection, self._database.patient(connection):
            query, columns = _query(connection, table, start, end)
            result = connection.execution_options(stream_results=True).execute(query)
            for rows in result.partitions(_ROWS_AT_ONCE):
                yield arrow.record_batch(rows, columns)

    def prune(self, before: datetime) -> Iterator[LogRows]:
        """Delete what is older than a moment, a bounded number of rows a transaction; give the counts of each."""
        for log, group in ((tables.exposures, "placement"), (tables.outcomes, schema.EVENT_TYPE)):
            with self._database.reading(f"read {log.name}") as connection, self._database.patient(connection):
                groups = connection.execute(sa.select(log.c[group]).distinct()).scalars().all()
            for one in sorted(groups):
                old = sa.and_(log.c[group] == one, log.c[schema.EVENT_TIMESTAMP] < before)
                yield from self._delete(log, old, "prune")
        with self._database.writing("prune counts of decisions") as connection:
            connection.execute(sa.delete(tables.routed).where(tables.routed.c.period < before))

    def sessions(self, users: Sequence[str]) -> tuple[str, ...]:
        """Return the sessions of users, ascending."""
        found: set[str] = set()
        with self._database.reading("read sessions") as connection, self._database.patient(connection):
            for log in (tables.exposures, tables.outcomes):
                query = sa.select(log.c[schema.SESSION]).where(log.c[schema.USER].in_(users)).distinct()
                found.update(session for session in connection.execute(query).scalars() if session is not None)
        return tuple(sorted(found))

    def erase(self, users: Sequence[str]) -> LogRows:
        """Delete what is of users, a bounded number of rows a transaction, and leave no copy in the database's file."""
        gone = LogRows()
        for log in (tables.exposures, tables.outcomes):
            for deleted in self._delete(log, log.c[schema.USER].in_(users), "erase"):
                gone += deleted
        if gone != LogRows() and not tables.is_postgresql(self._database.dialect):
            # Deleted rows stay in the write-ahead log until it is emptied.
            with self._database.failures("erase"), self._database.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def close(self) -> None:
        """Give all connections back; the archive may be used again."""
        self._database.close()

    def _delete(self, log: sa.Table, condition: sa.ColumnElement[bool], what: str) -> Iterator[LogRows]:
        """Delete the rows of a table that meet a condition, and the slots of those that are exposures."""
        (key,) = log.primary_key.columns
        while True:
            with self._database.writing(f"{what} {log.name}") as connection, self._database.patient(connection):
                if not tables.is_postgresql(connection.dialect):
                    connection.exec_driver_sql("PRAGMA secure_delete = ON")
                ids = connection.execute(sa.select(key).where(condition).limit(_IDS_AT_ONCE)).scalars().all()
                if not ids:
                    return
                slots = 0
                if log is tables.exposures:
                    if what == "erase":
                        excuse(connection, ids)
                    shown = tables.impressions
                    slots = connection.execute(sa.delete(shown).where(shown.c[schema.REQUEST_ID].in_(ids))).rowcount
                rows = connection.execute(sa.delete(log).where(key.in_(ids))).rowcount
            yield LogRows(rows, slots, 0) if log is tables.exposures else LogRows(outcomes=rows)


def _query(connection: sa.Connection, table: str, start: datetime, end: datetime) -> tuple[sa.Select[Any], pa.Schema]:
    """Return a query that walks along the index of (placement or type, time), and its columns."""
    log = tables.outcomes if table == "outcomes" else tables.exposures
    group, key = (schema.EVENT_TYPE, schema.EVENT_ID) if table == "outcomes" else ("placement", schema.REQUEST_ID)
    groups = connection.execute(sa.select(log.c[group]).distinct()).scalars().all()
    moment, order = log.c[schema.EVENT_TIMESTAMP], [log.c[group], log.c[schema.EVENT_TIMESTAMP], log.c[key]]
    source, columns = log, schema.EVENTS if table == "outcomes" else schema.LOGGED_EXPOSURES
    if table == "impressions":
        source, columns = tables.impressions, schema.IMPRESSIONS
        order.append(source.c[schema.POSITION])
    selected = sa.select(*(_column(source.c[name], columns.field(name), connection.dialect) for name in columns.names))
    if source is not log:
        selected = selected.join_from(log, source, log.c[key] == source.c[key])
    within = sa.and_(log.c[group].in_(groups), moment >= start, moment < end)
    return selected.where(within).order_by(*order), columns


def _column(column: sa.ColumnElement[Any], field: pa.Field, dialect: sa.Dialect) -> sa.ColumnElement[Any]:
    if field.type == schema.TIMESTAMP:
        return tables.microseconds(column, dialect)
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column
