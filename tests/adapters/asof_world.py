"""In which small world do the ASOF store's tests live? Histories by the hour, and Feast stores over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Int64
from hypothesis import strategies as st

START = datetime(2024, 1, 1)  # noqa: DTZ001 -- naive times are part of what is tested
TTL_HOURS = 4
ASOF = {"type": "recsys.adapters.asof_offline_store.AsofOfflineStore", "threads": 2}

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def hours(value: float | None) -> datetime | None:
    """A time in the tests' small world."""
    return None if value is None else START + timedelta(hours=value)


def view(
    name: str, entities: Sequence[Entity], folder: Path, *, ttl: float = 0, created: str = "created"
) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path=str(folder / "history.parquet"),
        timestamp_field="event",
        created_timestamp_column=created,
    )
    schema = [Field(name=f"{name}_value", dtype=Int64)]
    source.field_mapping = {"value": f"{name}_value"}
    return FeatureView(name=name, entities=list(entities), ttl=timedelta(hours=ttl), schema=schema, source=source)


def feature_store(folder: Path, offline: dict[str, Any], name: str) -> FeatureStore:
    config = RepoConfig(
        project="test",
        registry=str(folder / f"{name}.db"),
        provider="local",
        offline_store=offline,
        online_store={"type": "sqlite", "path": str(folder / f"{name}_online.db")},
        entity_key_serialization_version=3,
    )
    config.repo_path = folder
    return FeatureStore(config=config)


@dataclass(frozen=True)
class Repository:
    folder: Path
    asof: FeatureStore
    duckdb: FeatureStore

    def write(self, rows: pa.Table) -> None:
        pq.write_table(rows, self.folder / "history.parquet")


VIEWS = {
    # name: (keys, ttl in hours, has a created timestamp)
    "pair": (("user_id", "item_id"), 0, True),
    "pair_ttl": (("user_id", "item_id"), TTL_HOURS, True),
    "one": (("user_id",), TTL_HOURS, True),
    "simple": (("user_id",), 0, False),
}
REFERENCES = [f"{name}:{name}_value" for name in VIEWS]


def make_repository(folder: Path) -> Repository:
    """Apply four views of one history to our store and to Feast's duckdb store."""
    entities = {"user_id": user, "item_id": item}
    views = [
        view(
            name,
            [entities[key] for key in keys],
            folder,
            ttl=ttl,
            created="created" if known else "",
        )
        for name, (keys, ttl, known) in VIEWS.items()
    ]
    asof = feature_store(folder, ASOF, "asof")
    duckdb = feature_store(folder, {"type": "duckdb"}, "duckdb")
    result = Repository(folder, asof, duckdb)
    result.write(history([Row("a", "x", 0, 0, 1)]))
    for store in (asof, duckdb):
        store.apply([user, item, *views])
    return result


@dataclass(frozen=True)
class Row:
    """One row of a feature's history, times in hours."""

    user_id: str | None
    item_id: str | None
    event: float | None
    created: float | None
    value: int


@dataclass(frozen=True)
class Asked:
    """One entity row."""

    user_id: str | None
    item_id: str | None
    at: float | None


def defined(
    asked: Asked, rows: list[Row], keys: tuple[str, ...], ttl: float, known: bool, ties_by_created: bool = False
) -> Any:
    """The definition, read aloud."""
    best = None
    for row in rows:
        if any(getattr(row, k) is None or getattr(row, k) != getattr(asked, k) for k in keys):
            continue
        if asked.at is None or row.event is None or row.event > asked.at:
            continue
        if ttl and row.event < asked.at - ttl:
            continue
        if known and (row.created is None or row.created > asked.at):
            continue
        created = -1 if row.created is None else row.created
        clocks = (row.event, created if known or ties_by_created else 0)
        if best is None or clocks >= best[0]:
            best = (clocks, row.value)
    return best[1] if best else None


def history(rows: list[Row], zone: str | None = None) -> pa.Table:
    kind = pa.timestamp("us", tz="UTC" if zone else None)
    columns = {
        "user_id": pa.array([r.user_id for r in rows], pa.string()),
        "item_id": pa.array([r.item_id for r in rows], pa.string()),
        "event": pa.array([hours(r.event) for r in rows], pa.timestamp("us")).cast(kind),
        "created": pa.array([hours(r.created) for r in rows], pa.timestamp("us")).cast(kind),
        "value": pa.array([r.value for r in rows], pa.int64()),
    }
    table = pa.table(columns)
    if zone and zone != "UTC":
        for name in ("event", "created"):
            local = table.column(name).cast(pa.timestamp("us", tz=zone))
            table = table.set_column(table.schema.get_field_index(name), name, local)
    return table


def entity_rows(rows: list[Asked], zone: str | None = None) -> pa.Table:
    times = pa.array([hours(r.at) for r in rows], pa.timestamp("us"))
    if zone:
        times = times.cast(pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us", tz=zone))
    return pa.table(
        {
            "label": pa.array(range(len(rows)), pa.int64()),
            "user_id": pa.array([r.user_id for r in rows], pa.string()),
            "event_timestamp": times,
            "item_id": pa.array([r.item_id for r in rows], pa.string()),
        }
    )


def sized(element: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    """Lists of any length alike: rules that clash only in a crowd need long ones."""
    return st.integers(0, most).flatmap(lambda n: st.lists(element, min_size=n, max_size=n))


USER_IDS = st.sampled_from(["a", "a", "a", "b", None])
ITEM_IDS = st.sampled_from(["x", "x", "x", "y", None])
CLOCK = st.sampled_from([*map(float, range(8)), None])
HISTORIES = sized(st.tuples(USER_IDS, ITEM_IDS, CLOCK, CLOCK), 25).map(
    lambda rows: [Row(u, i, e, c, n) for n, (u, i, e, c) in enumerate(rows)]
)
ENTITIES = sized(st.builds(Asked, USER_IDS, ITEM_IDS, CLOCK), 20)
ZONES = st.sampled_from([None, "UTC", "America/New_York"])
