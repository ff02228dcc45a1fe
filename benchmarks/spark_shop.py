"""Which made-up shop do Spark and the local engine build features for? Purchases of users, of any number."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.schema import CREATED_TIMESTAMP, EVENT_TABLE, EVENT_TIMESTAMP, ITEMS, TIMESTAMP

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
WEEKS: Final = 16
ITEM_COUNT: Final = 5_000


class Shop:
    """Purchases of users, in parquet; feature tables are written beside them."""

    def __init__(self, folder: Path, users: int, events: int) -> None:
        """Make them, a hundred thousand users at a time."""
        self.folder = folder
        self.users = users
        self.sources = {name: folder / f"{name}.parquet" for name in ("events", "items")}
        random = np.random.default_rng(0)
        with pq.ParquetWriter(self.sources["events"], EVENT_TABLE) as writer:
            for start in range(0, users, 100_000):
                writer.write_table(_purchases(random, start, min(users, start + 100_000), events))
        names = pa.array([f"i{n}" for n in range(ITEM_COUNT)])
        lines = pa.array([f"l{n % 300}" for n in range(ITEM_COUNT)])
        columns = {"item_id": names, "line_id": lines, "category": lines}
        nothing = pa.nulls(ITEM_COUNT, pa.string())
        pq.write_table(pa.table([columns.get(f.name, nothing) for f in ITEMS], schema=ITEMS), self.sources["items"])

    def table(self, engine: str, name: str) -> Path:
        """Return the folder of a feature table."""
        return self.folder / engine / name


def _purchases(random: np.random.Generator, first: int, last: int, events: int) -> pa.Table:
    rows = (last - first) * events
    at = np.datetime64(START.replace(tzinfo=None), "us") + random.integers(0, WEEKS * 7 * 86_400_000_000, rows)
    moments = pa.array(at).cast(TIMESTAMP)
    number = np.arange(first * events, last * events)
    users = np.repeat(np.arange(first, last), events)
    quantity = random.integers(1, 4, rows).astype(float)
    columns = {
        "event_id": pa.array(number).cast(pa.string()),
        "event_type": pa.array(["purchase"]).take(pa.array(np.zeros(rows, dtype=np.int8))),
        "user_id": pa.array(users).cast(pa.string()),
        "item_id": pa.array([f"i{n}" for n in range(ITEM_COUNT)]).take(
            pa.array((ITEM_COUNT * random.random(rows) ** 3).astype(np.int64))
        ),
        "session_id": pa.array(number // 4).cast(pa.string()),
        "quantity": pa.array(quantity),
        "value": pa.array(np.round(quantity * 1.99, 2)),
        EVENT_TIMESTAMP: moments,
        CREATED_TIMESTAMP: moments,
    }
    return pa.table([columns.get(f.name, pa.nulls(rows, f.type)) for f in EVENT_TABLE], schema=EVENT_TABLE)
