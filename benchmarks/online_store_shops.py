"""Which shops does `online_store.py` compare? One Feast repository an online store, over the same parquet files."""

import contextlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, String

START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES = 10
PAIR_FEATURES = 5
READERS = 50
"""Users who have rows with items: the reads take turns among them."""

_user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
_item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


@dataclass(frozen=True)
class Shop:
    """A Feast repository on one online store."""

    store: FeatureStore
    online: OnlineStore
    users: FeatureView
    pairs: FeatureView

    @classmethod
    def of(cls, folder: Path, own: Path, online: dict[str, Any], *, packed: bool) -> "Shop":
        """Apply the two views on an online store.

        Args:
            folder: where the parquet files are.
            own: a folder for the registry and the store's file.
            online: `online_store:` of the configuration.
            packed: whether with our offline store and engine, else with Feast's.
        """
        own.mkdir()
        config = RepoConfig(
            project=f"recsys_benchmark_{own.name}",
            provider="local",
            registry=str(own / "registry.db"),
            online_store=online,
            materialization={"pull_latest_features": True, "online_write_batch_size": 10_000},
            entity_key_serialization_version=3,
            offline_store={"type": "recsys.adapters.asof_offline_store.AsofOfflineStore" if packed else "duckdb"},
            batch_engine={"type": "recsys.adapters.arrow_batch_engine.ArrowBatchEngine" if packed else "local"},
        )
        config.repo_path = own
        store = FeatureStore(config=config)
        views = (
            _view(folder, "users", [_user], "f", FEATURES),
            _view(folder, "pairs", [_user, _item], "g", PAIR_FEATURES),
        )
        with contextlib.redirect_stdout(io.StringIO()):
            store.apply([_user, _item, *views])
        provider = store._get_provider()  # noqa: SLF001 - Feast hides the store that it configured
        return cls(store, provider.online_store, *(store.get_feature_view(view.name) for view in views))

    def empty(self, view: FeatureView) -> None:
        """Forget a view's rows and make room for it."""
        for deleted, kept in ([view], []), ([], [view]):
            self.online.update(self.store.config, deleted, kept, [], [], partial=False)

    def materialize(self, view: FeatureView) -> None:
        """Fill a view."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.store.materialize(START - timedelta(days=1), START + timedelta(days=1), [view.name])

    def read_rows(self, user: list[EntityKey], pairs: list[EntityKey]) -> None:
        """Read a user's row and those of the user and the items, a protobuf a cell."""
        self.online.online_read(self.store.config, self.users, user)
        self.online.online_read(self.store.config, self.pairs, pairs)

    def read_groups(self, user: str) -> None:
        """Read the same as two Arrow tables."""
        online: Any = self.online
        online.read_group(self.store.config, self.users, user)
        online.read_group(self.store.config, self.pairs, user)

    def close(self) -> None:
        """Forget what was written."""
        self.online.teardown(self.store.config, [self.users, self.pairs], [_user, _item])


def write_tables(folder: Path, users: int, items: int) -> None:
    """Write what the views are filled from."""
    _write(folder / "users.parquet", {"user_id": [f"u{n}" for n in range(users)]}, "f", FEATURES)
    pairs = {
        "user_id": [f"u{n}" for n in range(READERS) for _ in range(items)],
        "item_id": [f"i{n}" for _ in range(READERS) for n in range(items)],
    }
    _write(folder / "pairs.parquet", pairs, "g", PAIR_FEATURES)


def key(**values: str) -> EntityKey:
    """Return an entity key of texts."""
    names = sorted(values)
    return EntityKey(join_keys=names, entity_values=[Value(string_val=values[name]) for name in names])


def _write(path: Path, keys: dict[str, list[str]], letter: str, features: int) -> None:
    rows = len(next(iter(keys.values())))
    random = np.random.default_rng(7)
    times = pa.array([START] * rows, pa.timestamp("us", tz="UTC"))
    values = {f"{letter}{n}": random.random(rows) for n in range(features)}
    pq.write_table(pa.table({**keys, **values, "event_timestamp": times, "created_timestamp": times}), path)


def _view(folder: Path, name: str, entities: list[Entity], letter: str, features: int) -> FeatureView:
    return FeatureView(
        name=name,
        entities=entities,
        ttl=timedelta(0),
        schema=[Field(name=entity.join_key, dtype=String) for entity in entities]
        + [Field(name=f"{letter}{n}", dtype=Float64) for n in range(features)],
        source=FileSource(
            name=f"{name}_source",
            path=str(folder / f"{name}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )
