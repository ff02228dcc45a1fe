"""How are counts of the router's decisions kept, replaced and excused?"""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from recsys import schema
from recsys.adapters.sql_event_log import tables
from recsys.ports import RoutedCount


def keep_routed(connection: sa.Connection, counts: Sequence[RoutedCount]) -> None:
    """Keep counts; those that a process wrote before are replaced."""
    if not counts:
        return
    log, dialect = tables.routed, connection.dialect
    now = tables.encode_time(datetime.now(UTC), dialect)
    rows = [
        (one.source, one.experiment, one.arm, tables.encode_time(one.period, dialect), one.decided, one.excused, now)
        for one in counts
    ]
    mark = "%s" if tables.is_postgresql(dialect) else "?"
    key = ", ".join(column.name for column in log.primary_key.columns)
    # By the driver, as with every commit of a service: SQLAlchemy's work on the statement costs more than the rows.
    connection.exec_driver_sql(
        f"INSERT INTO {log.name} ({', '.join(log.columns.keys())}) VALUES ({', '.join([mark] * len(log.columns))})"
        f" ON CONFLICT ({key}) DO UPDATE SET decided = excluded.decided, excused = excluded.excused,"
        " written_at = excluded.written_at",
        rows,
    )


def excuse(connection: sa.Connection, requests: Sequence[str]) -> None:
    """Count the decisions of exposures that are about to be erased as ones that rightly have none."""
    log = tables.exposures
    query = sa.select(log.c.experiment, log.c.arm, log.c[schema.EVENT_TIMESTAMP]).where(
        log.c[schema.REQUEST_ID].in_(requests), log.c.experiment.is_not(None), log.c.arm.is_not(None), ~log.c.overridden
    )
    gone = Counter((name, arm, RoutedCount.period_of(at)) for name, arm, at in connection.execute(query))
    source = f"forgotten-{uuid.uuid4().hex}"
    keep_routed(connection, [RoutedCount(source, *key, decided=0, excused=count) for key, count in gone.items()])
