"""How do tests write an event table: all versions of every event, each with when the next one became known?"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.schema import CREATED_TIMESTAMP, EVENT_ID, EVENT_TABLE, SUPERSEDED_TIMESTAMP


def event_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows of `schema.EVENTS` as an event table; columns that a row lacks are null."""
    versions: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        versions.setdefault(row.get(EVENT_ID), []).append(dict(row))
    table = []
    for same in versions.values():
        same.sort(key=lambda row: row[CREATED_TIMESTAMP])
        for row, following in zip(same, [*same[1:], None], strict=True):
            row[SUPERSEDED_TIMESTAMP] = following and following[CREATED_TIMESTAMP]
            table.append(row)
    return pa.Table.from_pylist(table, EVENT_TABLE)


def write_events(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write them to a parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(event_table(rows), path)
    return path
