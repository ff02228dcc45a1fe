"""Which small shop do the tests of Feast's plug-ins build? A repository with its tables, on any online store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from feast import (
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, String, UnixTimestamp

START = datetime(2024, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def source(name: str, **mapping: str) -> FileSource:
    return FileSource(
        name=name,
        path=f"data/{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        field_mapping=mapping,
    )


def definitions() -> list[Any]:
    pushes = PushSource(name="pair_pushes", batch_source=source("pairs"))
    users = FeatureView(
        name="users",
        entities=[user],
        ttl=timedelta(0),
        schema=[
            Field(name="baskets", dtype=Float64),
            Field(name="city", dtype=String),
            Field(name="last", dtype=UnixTimestamp),
        ],
        source=source("users", household="user_id", n="baskets"),
    )
    pairs = FeatureView(
        name="pairs",
        entities=[user, item],
        ttl=timedelta(0),
        schema=[Field(name="count", dtype=Float64)],
        source=pushes,
    )
    request = RequestSource(name="request", schema=[Field(name="now", dtype=UnixTimestamp)])

    @on_demand_feature_view(  # type: ignore[untyped-decorator]
        sources=[users, pairs, request],
        schema=[Field(name="share", dtype=Float64), Field(name="days", dtype=Float64)],
        mode="python",
    )
    def rhythm(inputs: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        def seconds(name: str) -> Any:
            values = inputs[name]
            if isinstance(values, np.ndarray):
                whole = values.astype("datetime64[us]")
                return np.where(np.isnat(whole), np.nan, whole.astype("int64") / 1e6)
            return np.array([v.timestamp() if hasattr(v, "timestamp") else np.nan for v in values])

        share = np.asarray(inputs["count"], dtype=float) / np.asarray(inputs["baskets"], dtype=float)
        days = (seconds("now") - seconds("last")) / 86_400
        if isinstance(inputs["now"], list):
            return {"share": share.tolist(), "days": days.tolist()}
        return {"share": share, "days": days}

    return [user, item, users, pairs, rhythm]


@dataclass(frozen=True)
class Repository:
    folder: Path
    store: FeatureStore

    def write(self, name: str, table: pa.Table) -> None:
        pq.write_table(table, self.folder / "data" / f"{name}.parquet")

    def materialize(self, end: datetime, start: datetime = LONG_AGO, views: Sequence[str] = ()) -> None:
        self.store.materialize(start, end, list(views) or None)

    def online(self, features: list[str], **columns: list[Any]) -> dict[str, list[Any]]:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return self.store.get_online_features(features, rows).to_dict()


def clocks(events: list[datetime], created: list[datetime] | None = None) -> dict[str, pa.Array]:
    kind = pa.timestamp("us", tz="UTC")
    return {
        "event_timestamp": pa.array(events, kind),
        "created_timestamp": pa.array(created or events, kind),
    }


def users_table() -> pa.Table:
    events = [START, START + DAY, START, START + 9 * DAY]
    return pa.table(
        {
            "household": ["a", "a", "b", "a"],
            "n": [1.0, 2.0, None, 99.0],
            "city": ["x", "y", None, "z"],
            "last": pa.array([START - DAY, START, None, START], pa.timestamp("us", tz="UTC")),
            **clocks(events),
        }
    )


def pairs_table() -> pa.Table:
    return pa.table(
        {
            "user_id": ["a", "a", "b"],
            "item_id": ["p", "q", "p"],
            "count": [1.0, 4.0, 3.0],
            **clocks([START, START + DAY, START]),
        }
    )


def build(
    folder: Path, online: dict[str, Any], objects: list[Any], registry: dict[str, Any] | None = None, **more: Any
) -> Repository:
    """Write a repository with its tables, and apply it."""
    (folder / "data").mkdir()
    settings = {
        "project": "shop",
        "provider": "local",
        "registry": {"path": "data/registry.db", "cache_ttl_seconds": 60, **(registry or {})},
        "offline_store": {"type": "recsys.adapters.asof_offline_store.AsofOfflineStore"},
        "online_store": online,
        "batch_engine": {"type": "recsys.adapters.arrow_batch_engine.ArrowBatchEngine"},
        "materialization": {"pull_latest_features": True},
        "entity_key_serialization_version": 3,
        **more,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    repository = Repository(folder, FeatureStore(repo_path=str(folder)))
    repository.write("users", users_table())
    repository.write("pairs", pairs_table())
    with pytest.warns(RuntimeWarning, match=r"experimental"):
        repository.store.apply(objects)
    return repository


FEATURES = [
    "users:baskets",
    "users:city",
    "users:last",
    "pairs:count",
    "rhythm:share",
    "rhythm:days",
]
