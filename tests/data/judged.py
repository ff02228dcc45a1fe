"""What does the contract say of a few events?"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from recsys.data.contract import REASON, judged_events_sql
from recsys.schema import CREATED_TIMESTAMP, EVENTS, SUPERSEDED_TIMESTAMP
from recsys.specs.environment import EventContract
from tests.fakes.engine import FakeEngine

AT: Final = datetime(2024, 1, 3, 12, tzinfo=UTC)
LATEST: Final = datetime(2024, 2, 1, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)

Row = dict[str, Any]


def event(**changes: Any) -> Row:
    """Return an event that breaks no rule, but for the changes."""
    row = {
        "event_id": "e",
        "event_type": "purchase",
        "user_id": "u",
        "item_id": "i",
        "session_id": "s",
        "quantity": 1.0,
        "value": 2.0,
        "event_timestamp": AT,
        "created_timestamp": AT,
    }
    return row | changes


def judge(*rows: Row, latest: datetime | None = LATEST, **contract: Any) -> list[Row]:
    """Return the rows with their reason, in the order of when they were known."""
    sql = judged_events_sql("select * from events", EventContract(**contract), latest and latest.isoformat())
    judged = FakeEngine().query(sql, {"events": pa.Table.from_pylist(list(rows), EVENTS)})
    assert judged.schema.names == [*EVENTS.names, REASON, SUPERSEDED_TIMESTAMP]
    return sorted(judged.to_pylist(), key=lambda row: (row[CREATED_TIMESTAMP] or LATEST, row[REASON] or ""))


def reasons(*rows: Row, **options: Any) -> list[str | None]:
    """Return the reasons alone."""
    return [row[REASON] for row in judge(*rows, **options)]
