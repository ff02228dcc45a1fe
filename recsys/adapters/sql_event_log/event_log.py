"""Which requests were answered with what, and what happened after: written once by id, read back as Arrow."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from recsys import schema
from recsys.adapters.sql_event_log import arrow, tables
from recsys.adapters.sql_event_log.archive import SqlEventArchive
from recsys.adapters.sql_event_log.database import Database
from recsys.adapters.sql_event_log.ledger import SqlLedger
from recsys.adapters.sql_event_log.routed import keep_routed
from recsys.ports import Exposure, NewIds, RoutedCounts, ShownItem

_ROWS_IN_MEMORY: Final = 50_000
"""Rows that are Python objects at one time, on the way in and out."""
_SESSIONS_A_QUERY: Final = 500


class SqlEventLog:
    """`ports.EventLog` in SQLite or PostgreSQL; safe for threads; every process has its own."""

    def __init__(self, url: str) -> None:
        """Check the URL; the database is opened, and its tables are made, on first use.

        Args:
            url: `sqlite:///path/to/file.db` (the folder is made) or `postgresql+psycopg://user@host:5432/name`.

        Raises:
            StoreError: if the URL is neither.
        """
        self._database = Database(url)
        self.ledger = SqlLedger(self._database)
        self.archive = SqlEventArchive(self._database)

    def write_exposures(self, exposures: Iterable[Exposure]) -> int:
        """Append exposures with their slots in one transaction a batch; return how many were new.

        Raises:
            StoreError: if the database cannot be written; batches before the failing one stay written.
        """
        waiting = iter(exposures)
        written = 0
        while batch := _batch(waiting):
            with self._database.writing(f"write {len(batch)} exposures") as connection:
                written += len(_insert_exposures(connection, batch))
        return written

    def write_outcomes(self, outcomes: pa.Table) -> int:
        """Append outcomes in one transaction; return how many were new.

        Raises:
            DataError: if columns or values break `schema.EVENTS`.
            StoreError: if the database cannot be written.
        """
        checked = arrow.checked_outcomes(outcomes)
        written = 0
        with self._database.writing(f"write {checked.num_rows} outcomes") as connection:
            now = tables.encode_time(datetime.now(UTC), connection.dialect)
            for part in checked.to_batches(max_chunksize=_ROWS_IN_MEMORY):
                columns = [_encode(column, connection.dialect) for column in part.columns]
                rows = list(zip(*columns, itertools.repeat(now), strict=False))
                written += _insert(connection, tables.outcomes, rows)
        return written

    def write_group(self, exposures: Sequence[Exposure], outcomes: pa.Table, routed: RoutedCounts = ()) -> NewIds:
        """Append both in one transaction, and keep counts; return which ids were new.

        Raises:
            DataError: if columns or values break `schema.EVENTS`, or an id is none.
            StoreError: if the database cannot be written: then nothing of the group was.
        """
        checked = arrow.checked_outcomes(outcomes)
        group = {exposure.request_id: exposure for exposure in reversed(exposures)}
        with self._database.writing(f"write {len(group)} exposures and {checked.num_rows} outcomes") as connection:
            requests = frozenset(_insert_exposures(connection, group) if group else ())
            events = _insert_outcomes(connection, checked) if checked.num_rows else ()
            keep_routed(connection, routed(requests) if callable(routed) else routed)
        return NewIds(requests, frozenset(events))

    def exposures(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the exposures of a placement with start <= event_timestamp < end, by time and request id."""
        log = tables.exposures
        query = (
            self._select(log, schema.EXPOSURES)
            .where(_within(log, start, end), log.c.placement == placement)
            .order_by(log.c[schema.EVENT_TIMESTAMP], log.c[schema.REQUEST_ID])
        )
        return self._read("read exposures", query, schema.EXPOSURES)

    def recent(self, placement: str, count: int) -> pa.Table:
        """Return the newest exposures of a placement, newest first; those of one moment are in no order."""
        log = tables.exposures
        newest = self._select(log, schema.EXPOSURES).where(log.c.placement == placement)
        query = newest.order_by(log.c[schema.EVENT_TIMESTAMP].desc()).limit(count)
        return self._read("read the newest exposures", query, schema.EXPOSURES)

    def impressions(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the slots of those exposures, in their order and by position."""
        log, shown = tables.exposures, tables.impressions
        query = (
            self._select(shown, schema.IMPRESSIONS)
            .join_from(log, shown, log.c[schema.REQUEST_ID] == shown.c[schema.REQUEST_ID])
            .where(_within(log, start, end), log.c.placement == placement)
            .order_by(log.c[schema.EVENT_TIMESTAMP], log.c[schema.REQUEST_ID], shown.c[schema.POSITION])
        )
        return self._read("read impressions", query, schema.IMPRESSIONS)

    def contexts(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return what requests of a placement said, of those that said something."""
        log = tables.exposures
        said = tables.json_text(log.c.asked, "context", self._database.dialect)
        query = sa.select(log.c[schema.REQUEST_ID], said).where(
            _within(log, start, end), log.c.placement == placement, said.is_not(None)
        )
        return self._read("read contexts", query, schema.CONTEXTS)

    def with_features(self, placement: str, start: datetime, end: datetime) -> Sequence[str]:
        """Return the ids of a placement's requests whose features are logged, ascending."""
        log = tables.exposures
        query = (
            sa.select(log.c[schema.REQUEST_ID])
            .where(_within(log, start, end), log.c.placement == placement, log.c.features.is_not(None))
            .order_by(log.c[schema.REQUEST_ID])
        )
        with self._database.reading("read requests with features") as connection:
            return [*connection.execute(query).scalars()]

    def outcomes(self, event_type: str, start: datetime, end: datetime) -> pa.Table:
        """Return outcomes of a type with start <= event_timestamp < end, by time and event id."""
        log = tables.outcomes
        query = (
            self._select(log, schema.EVENTS)
            .where(_within(log, start, end), log.c[schema.EVENT_TYPE] == event_type)
            .order_by(log.c[schema.EVENT_TIMESTAMP], log.c[schema.EVENT_ID])
        )
        return self._read("read outcomes", query, schema.EVENTS)

    def routed(self, experiment: str) -> pa.Table:
        """Return an experiment's counts of all processes, by arm and period."""
        log = tables.routed
        mine = sa.select(log.c.arm, log.c.period, log.c.decided, log.c.excused).where(log.c.experiment == experiment)
        rows = self._read("read counts of decisions", self._select(mine.subquery(), schema.ROUTED), schema.ROUTED)
        summed = rows.group_by(["arm", "period"]).aggregate([("decided", "sum"), ("excused", "sum")])
        named = summed.rename_columns(["arm", "period", "decided", "excused"])
        return named.select(schema.ROUTED.names).sort_by([("arm", "ascending"), ("period", "ascending")])

    def event_types(self) -> Sequence[str]:
        """Return the types of the outcomes that are logged, ascending."""
        kind = tables.outcomes.c[schema.EVENT_TYPE]
        with self._database.reading("read event types") as connection:
            return sorted(connection.execute(sa.select(kind).distinct()).scalars())

    def session_events(self, sessions: Sequence[str], event_types: Sequence[str], first: int) -> pa.Table:
        """Return what is known of some sessions, by session, created_timestamp and event id; the first of each."""
        log = tables.outcomes
        moment, names = log.c[schema.CREATED_TIMESTAMP], sorted(set(sessions))
        order = [moment, log.c[schema.EVENT_ID]]
        number = sa.func.row_number().over(partition_by=log.c[schema.SESSION], order_by=order).label("number")
        parts = []
        for start in range(0, len(names), _SESSIONS_A_QUERY):
            some = names[start : start + _SESSIONS_A_QUERY]
            chosen = sa.and_(log.c[schema.SESSION].in_(some), log.c[schema.EVENT_TYPE].in_(event_types))
            mine = sa.select(*(log.c[name] for name in schema.EVENTS.names), number).where(chosen).subquery()
            query = self._select(mine, schema.EVENTS).where(mine.c.number <= first)
            ordered = query.order_by(mine.c[schema.SESSION], mine.c[schema.CREATED_TIMESTAMP], mine.c[schema.EVENT_ID])
            parts.append(self._read("read sessions", ordered, schema.EVENTS))
        return pa.concat_tables(parts) if parts else schema.EVENTS.empty_table()

    def request(self, request_id: str) -> Exposure | None:
        """Return one exposure with its slots, or None."""
        log, shown = tables.exposures, tables.impressions
        with self._database.reading(f"read request {request_id}") as connection:
            query = sa.select(log).where(log.c[schema.REQUEST_ID] == request_id)
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return None
            query = sa.select(shown).where(shown.c[schema.REQUEST_ID] == request_id)
            slots = connection.execute(query.order_by(shown.c[schema.POSITION])).mappings().all()
        values = {name: value for name, value in row.items() if name != "written_at"}
        values["asked"] = values["asked"] or {}
        return Exposure(**values, items=tuple(_shown_item(slot) for slot in slots))

    def ping(self) -> None:
        """Check that the database answers.

        Raises:
            StoreError: naming it and what to do.
        """
        with self._database.reading("reach it") as connection:
            connection.execute(sa.select(1))

    def close(self) -> None:
        """Give all connections back; the log may be used again."""
        self._database.close()

    def _select(self, table: sa.FromClause, columns: pa.Schema) -> sa.Select[Any]:
        # Times leave the database as integers: a million datetime objects would cost more than the query.
        return sa.select(
            *(
                tables.microseconds(table.c[name], self._database.dialect)
                if columns.field(name).type == schema.TIMESTAMP
                else table.c[name]
                for name in columns.names
            )
        )

    def _read(self, what: str, query: sa.Select[Any], columns: pa.Schema) -> pa.Table:
        with self._database.reading(what) as connection, self._database.patient(connection):
            result = connection.execution_options(stream_results=True).execute(query)
            parts = [arrow.record_batch(rows, columns) for rows in result.partitions(_ROWS_IN_MEMORY)]
        return pa.Table.from_batches(parts, schema=columns)


def _batch(waiting: Iterator[Exposure]) -> dict[str, Exposure]:
    """Take the next exposures until their slots are enough; of equal request ids the first counts."""
    batch: dict[str, Exposure] = {}
    slots = 0
    while slots < _ROWS_IN_MEMORY and (exposure := next(waiting, None)) is not None:
        if batch.setdefault(exposure.request_id, exposure) is exposure:
            slots += 1 + len(exposure.items)
    return batch


def _insert_exposures(connection: sa.Connection, batch: Mapping[str, Exposure]) -> Sequence[str]:
    now = datetime.now(UTC)
    statement = _insert_new(connection, tables.exposures, schema.REQUEST_ID)
    # In the order of their ids: two writers of the same requests then cannot wait for each other.
    rows = [_exposure_row(batch[request_id], now) for request_id in sorted(batch)]
    new = connection.execute(statement, rows).scalars().all()
    slots = [
        (request_id, item.position, item.item_id, float(item.score), float(item.propensity))
        for request_id in new
        for item in batch[request_id].items
    ]
    _insert(connection, tables.impressions, slots)
    return new


def _insert_outcomes(connection: sa.Connection, checked: pa.Table) -> Sequence[str]:
    now = datetime.now(UTC)
    rows = [row | {"written_at": now} for row in checked.to_pylist()]
    return connection.execute(_insert_new(connection, tables.outcomes, schema.EVENT_ID), rows).scalars().all()


def _insert_new(connection: sa.Connection, table: sa.Table, key: str) -> ReturningInsert[str]:
    """Return an insert that leaves known ids alone and gives the new ones back."""
    dialect_insert = postgresql.insert if tables.is_postgresql(connection.dialect) else sqlite.insert
    return dialect_insert(table).on_conflict_do_nothing().returning(table.c[key])


def _exposure_row(exposure: Exposure, now: datetime) -> dict[str, Any]:
    names = tables.exposures.c.keys()
    row = {name: getattr(exposure, name) for name in names if name != "written_at"}
    plain = {"watermarks": dict(exposure.watermarks), "asked": dict(exposure.asked), "written_at": now}
    return row | plain | {"features": None if exposure.features is None else dict(exposure.features)}


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert by the driver's own executemany: SQLAlchemy's work on each row costs more than the insert."""
    if not rows:
        return 0
    mark = "%s" if tables.is_postgresql(connection.dialect) else "?"
    marks = ", ".join(mark for _ in table.columns)
    names = ", ".join(table.columns.keys())
    statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"
    return connection.exec_driver_sql(statement, list(rows)).rowcount


def _encode(column: pa.Array, dialect: sa.Dialect) -> list[Any]:
    as_integer = pa.types.is_timestamp(column.type) and not tables.is_postgresql(dialect)
    return list((column.cast(pa.int64()) if as_integer else column).to_pylist())


def _within(log: sa.Table, start: datetime, end: datetime) -> sa.ColumnElement[bool]:
    moment = log.c[schema.EVENT_TIMESTAMP]
    return sa.and_(moment >= start, moment < end)


def _shown_item(slot: Mapping[Any, Any]) -> ShownItem:
    score, propensity = (math.nan if slot[name] is None else slot[name] for name in (schema.SCORE, schema.PROPENSITY))
    return ShownItem(slot[schema.ITEM], slot[schema.POSITION], score, propensity)
