"""What do the tests of the packed online stores share? Views, rows, keys, and a store of each kind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.types import FeastType, Int64, String
from feast.utils import _convert_arrow_to_proto

from recsys.adapters.packed_online_store import PackedRedisOnlineStore, PackedSqliteOnlineStore
from tests.servers import redis_prefix

START = datetime(2024, 1, 1, tzinfo=UTC)
UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
PACKAGE = "recsys.adapters.packed_online_store"
KINDS = ["sqlite", pytest.param("redis", marks=pytest.mark.server)]

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)

Packed = PackedSqliteOnlineStore | PackedRedisOnlineStore


@dataclass(frozen=True)
class Opened:
    """A packed store of some kind, and where it keeps its values."""

    kind: str
    store: Packed
    config: RepoConfig

    def configured(self, project: str = "test", **online: Any) -> RepoConfig:
        """Return the configuration with other settings."""
        folder = self.config.repo_path
        assert folder is not None
        return repo_config(folder, {**self.config.online_store.model_dump(), **online}, project)

    def again(self) -> Packed:
        """Give what another process would have: a store that has read nothing yet."""
        return type(self.store)()

    def group(self, of: FeatureView, name: Any) -> pa.Table:
        """Rows of a group that must be there."""
        found = self.store.read_group(self.config, of, name)
        assert found is not None
        return found

    def all(self, of: FeatureView) -> list[dict[str, Any]]:
        """Every row, ordered by its keys."""
        names = [column.name for column in of.entity_columns]
        return sorted(self.store.read_all(self.config, of).to_pylist(), key=lambda row: [row[n] for n in names])


@contextmanager
def online_settings(kind: str) -> Iterator[dict[str, Any]]:
    """Give `online_store:` of a kind, packed or Feast's own, and clean up behind it."""
    if kind == "sqlite":
        yield sqlite_settings()
    elif kind == "feast_sqlite":
        yield {"type": "sqlite", "path": "data/sqlite.db"}
    else:
        with redis_prefix() as (url, prefix):
            yield redis_settings(url, prefix)


def packed_stores(kind: str, folder: Path) -> Iterator[Opened]:
    """Give an empty store of a kind, and clean up behind it."""
    with online_settings(kind) as settings:
        store = PackedSqliteOnlineStore() if kind == "sqlite" else PackedRedisOnlineStore()
        yield Opened(kind, store, repo_config(folder, settings))


def sqlite_settings() -> dict[str, Any]:
    """Return `online_store:` of the SQLite store."""
    return {"type": f"{PACKAGE}.PackedSqliteOnlineStore", "path": "data/online.db"}


def redis_settings(url: str, prefix: str) -> dict[str, Any]:
    """Return `online_store:` of the Redis store."""
    return {"type": f"{PACKAGE}.PackedRedisOnlineStore", "url": url, "key_prefix": prefix}


def repo_config(folder: Path, online: dict[str, Any], project: str = "test") -> RepoConfig:
    """Return the configuration that a store is called with."""
    result = RepoConfig(
        project=project,
        registry="registry.db",
        provider="local",
        offline_store="duckdb",
        online_store=online,
        entity_key_serialization_version=3,
    )
    result.repo_path = folder
    return result


def feast_sqlite(folder: Path, *views: FeatureView) -> tuple[SqliteOnlineStore, RepoConfig]:
    """Give Feast's own store with room for views."""
    folder.mkdir(parents=True, exist_ok=True)
    store, config = SqliteOnlineStore(), repo_config(folder, {"type": "sqlite", "path": "feast.db"})
    store.update(config, [], list(views), [], [], partial=False)
    return store, config


def view(
    name: str,
    entities: Sequence[Entity],
    features: dict[str, FeastType],
    *,
    created: bool = True,
    ttl: timedelta | None = None,
) -> FeatureView:
    """Declare a view of users, items or both."""
    source = FileSource(
        name=f"{name}_source",
        path="none.parquet",
        timestamp_field="event",
        created_timestamp_column="created" if created else "",
    )
    keys = {"user": Field(name="user_id", dtype=String), "item": Field(name="item_id", dtype=Int64)}
    schema = [keys[entity.name] for entity in entities]
    schema += [Field(name=feature, dtype=dtype) for feature, dtype in features.items()]
    return FeatureView(name=name, entities=list(entities), schema=schema, source=source, ttl=ttl)


USERS = view("users", [user], {"value": Int64})
PAIRS = view("pairs", [user, item], {"value": Int64})


def hours(number: float) -> datetime:
    """Return a moment of the tests' small world."""
    return START + timedelta(hours=number)


def rows(
    *values: tuple[str, int, float, float | None, int],
    names: str = "user_id item_id event created value",
) -> pa.Table:
    """Rows of (user, item, event hours, created hours, value)."""
    columns: list[Sequence[Any]] = list(zip(*values, strict=True)) or [()] * 5
    arrays = [
        pa.array(columns[0], pa.string()),
        pa.array(columns[1], pa.int64()),
        pa.array([hours(h) for h in columns[2]], UTC_MICROSECONDS),
        pa.array([None if h is None else hours(h) for h in columns[3]], UTC_MICROSECONDS),
        pa.array(columns[4], pa.int64()),
    ]
    return pa.table(arrays, names=names.split())


def key(user_id: str, item_id: int | None = None) -> EntityKeyProto:
    """Return the key of a user, or of a user and an item."""
    names, values = ["user_id"], [ValueProto(string_val=user_id)]
    if item_id is not None:
        names, values = ["item_id", "user_id"], [ValueProto(int64_val=item_id), *values]
    return EntityKeyProto(join_keys=names, entity_values=values)


def protos(feature_view: FeatureView, table: pa.Table) -> list[Any]:
    """Return rows as Feast itself would hand them to its stores."""
    kinds = {column.name: column.dtype.to_value_type() for column in feature_view.entity_columns}
    return _convert_arrow_to_proto(table, feature_view, kinds)


def pushed(*values: tuple[str, int | None, float, float | None, int]) -> list[Any]:
    """Rows of (user, item, event hours, created hours, value) as a push brings them, naive times included."""
    return [
        (
            key(user_id, item_id),
            {"value": ValueProto(int64_val=value)},
            hours(event).replace(tzinfo=None),
            None if created is None else hours(created),
        )
        for user_id, item_id, event, created, value in values
    ]
