"""How are counts of the router's decisions kept, replaced and excused?"""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from recsys import schema
from recsys.adapters.sql_event_log import tables
from recsys.ports import RoutedCount


def keep_routed(connection: sa.Connection, counts: Sequence[RoutedCount]) -> None:
    """Keep counts; those that a process wrote before are replaced."""
    if not counts:
        return
    now = datetime.now(UTC)
    log = tables.routed
    insert = (postgresql.insert if tables.is_postgresql(connection.dialect) else sqlite.insert)(log)
    statement = insert.on_conflict_do_update(
        index_elements=[column.name for column in log.primary_key.columns],
        set_={name: insert.excluded[name] for name in ("decided", "excused", "written_at")},
    )
    connection.execute(statement, [vars(count) | {"written_at": now} for count in counts])


def excuse(connection: sa.Connection, requests: Sequence[str]) -> None:
    """Count the decisions of exposures that are about to be erased as ones that rightly have none."""
    log = tables.exposures
    query = sa.select(log.c.experiment, log.c.arm, log.c[schema.EVENT_TIMESTAMP]).where(
        log.c[schema.REQUEST_ID].in_(requests), log.c.experiment.is_not(None), log.c.arm.is_not(None), ~log.c.overridden
    )
    gone = Counter((name, arm, RoutedCount.period_of(at)) for name, arm, at in connection.execute(query))
    source = f"forgotten-{uuid.uuid4().hex}"
    keep_routed(connection, [RoutedCount(source, *key, decided=0, excused=count) for key, count in gone.items()])
