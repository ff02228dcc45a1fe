"""Which files do the point-in-time contenders join? Histories with late and restated rows, and entity rows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = np.datetime64("2024-01-01", "us")
DAY = 86_400_000_000
DAYS = 300
LATE = 0.1
"""Share of the rows that become known up to five days late; the others within six hours."""
RESTATED = 0.02
"""Share of the rows that are known again three days later, with another value for the same event."""
FEATURES = ("clicks", "rate", "value", "share", "segment")


@dataclass(frozen=True)
class Sizes:
    """Rows of the three views."""

    users: int
    items: int
    pairs: int

    @property
    def user_ids(self) -> int:
        """How many users: some 15 rows of history each."""
        return max(self.users // 15, 1)

    @property
    def item_ids(self) -> int:
        """How many items: some 50 rows of history each."""
        return max(self.items // 50, 1)

    def of(self, task: str) -> str:
        """The sizes of a task's views, for people."""
        return f"{self.users:,} and {self.items:,}" if task == "two-views" else f"{self.pairs:,}"


def write_views(folder: Path, sizes: Sizes) -> None:
    """Write users.parquet, items.parquet and pairs.parquet."""
    random = np.random.default_rng(1)
    users = {"user_id": _ids("u", random.integers(sizes.user_ids, size=sizes.users))}
    items = {"item_id": _ids("i", random.integers(sizes.item_ids, size=sizes.items))}
    # Of pairs only some can be asked for by chance: let each have one of its user's few items.
    user = random.integers(sizes.user_ids, size=sizes.pairs)
    pairs = {"user_id": _ids("u", user), "item_id": _ids("i", _liked(user, random, sizes))}
    for name, keys in {"users": users, "items": items, "pairs": pairs}.items():
        pq.write_table(_history(name, keys, random), folder / f"{name}.parquet")


def write_entity_rows(folder: Path, count: int, sizes: Sizes, slate: int) -> None:
    """Write entities.parquet: slates of `slate` items of one user and time, in no order."""
    random = np.random.default_rng(2)
    user = np.repeat(random.integers(sizes.user_ids, size=-(-count // slate)), slate)[:count]
    moment = np.repeat(random.integers(30 * DAY, DAYS * DAY, size=-(-count // slate)), slate)[:count]
    columns = {
        "user_id": _ids("u", user),
        "item_id": _ids("i", _liked(user, random, sizes)),
        "event_timestamp": _times(moment),
        "label": pa.array(random.integers(2, size=count)),
    }
    pq.write_table(pa.table(columns), folder / "entities.parquet")


def _liked(user: np.ndarray, random: np.random.Generator, sizes: Sizes) -> np.ndarray:
    return (user * 7919 + random.integers(10, size=len(user)) * 104_729) % sizes.item_ids


def _history(name: str, keys: dict[str, pa.Array], random: np.random.Generator) -> pa.Table:
    rows = len(next(iter(keys.values())))
    event = random.integers(DAYS * DAY, size=rows)
    late = np.where(random.random(rows) < LATE, 20, 1)
    created = event + (random.random(rows) * late * DAY / 4).astype(np.int64) + 1
    restated = random.random(rows) < RESTATED
    table = pa.table(
        {
            **keys,
            "event_timestamp": _times(event),
            "created_timestamp": _times(created),
            f"{name}_clicks": random.integers(1000, size=rows),
            f"{name}_rate": random.random(rows),
            f"{name}_value": random.normal(size=rows),
            f"{name}_share": random.random(rows),
            f"{name}_segment": pa.array([f"segment {n}" for n in range(20)]).take(
                pa.array(random.integers(20, size=rows))
            ),
        }
    )
    again = table.filter(pa.array(restated))
    again = again.set_column(
        table.schema.get_field_index("created_timestamp"), "created_timestamp", _times(created[restated] + 3 * DAY)
    )
    again = again.set_column(
        table.schema.get_field_index(f"{name}_rate"), f"{name}_rate", pa.array(random.random(len(again)))
    )
    return pa.concat_tables([table.slice(0, rows - len(again)), again])


def _ids(prefix: str, numbers: np.ndarray) -> pa.Array:
    names = pa.array([f"{prefix}{n}" for n in range(int(numbers.max()) + 1)])
    return names.take(pa.array(numbers))


def _times(microseconds: np.ndarray) -> pa.Array:
    return pa.array(START + microseconds.astype("timedelta64[us]")).cast(pa.timestamp("us", "UTC"))
