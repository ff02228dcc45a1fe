"""Do features go from the files to the online store, and mean the same in both?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from feast import (
    BatchFeatureView,
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RequestSource,
    ValueType,
)
from feast.feature_view import FeatureViewState
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, String, UnixTimestamp

from recsys.adapters.arrow_batch_engine import ArrowBatchEngine
from recsys.adapters.asof_offline_store import AsofOfflineStore
from recsys.adapters.packed_online_store import PackedSqliteOnlineStore
from recsys.errors import FeatureError

START = datetime(2024, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PACKED = {
    "type": "recsys.adapters.packed_online_store.PackedSqliteOnlineStore",
    "path": "data/online.db",
}
SQLITE = {"type": "sqlite", "path": "data/sqlite.db"}
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
        source=source("pairs"),
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


def build(folder: Path, online: dict[str, Any], objects: list[Any]) -> Repository:
    (folder / "data").mkdir()
    settings = {
        "project": "shop",
        "provider": "local",
        "registry": "data/registry.db",
        "offline_store": {"type": "recsys.adapters.asof_offline_store.AsofOfflineStore"},
        "online_store": online,
        "batch_engine": {"type": "recsys.adapters.arrow_batch_engine.ArrowBatchEngine"},
        "materialization": {"pull_latest_features": True},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    repository = Repository(folder, FeatureStore(repo_path=str(folder)))
    repository.write("users", users_table())
    repository.write("pairs", pairs_table())
    with pytest.warns(RuntimeWarning, match=r"experimental"):
        repository.store.apply(objects)
    return repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return build(tmp_path, PACKED, definitions())


FEATURES = [
    "users:baskets",
    "users:city",
    "users:last",
    "pairs:count",
    "rhythm:share",
    "rhythm:days",
]


def test_feast_loads_the_three_plug_ins(repository: Repository) -> None:
    provider: Any = repository.store._get_provider()
    assert isinstance(provider.offline_store, AsofOfflineStore)
    assert isinstance(provider.online_store, PackedSqliteOnlineStore)
    assert isinstance(provider.batch_engine, ArrowBatchEngine)


@pytest.mark.parametrize("online", [PACKED, SQLITE], ids=["packed", "feast_sqlite"])
def test_online_values_are_the_historical_ones(tmp_path: Path, online: dict[str, Any]) -> None:
    repository = build(tmp_path, online, definitions())
    now = START + 2 * DAY
    repository.materialize(now)
    asked: dict[str, list[Any]] = {
        "user_id": ["a", "a", "b", "c", "a"],
        "item_id": ["p", "q", "p", "p", "z"],
        "now": [now] * 5,
    }
    live = pd.DataFrame(repository.online(FEATURES, **asked))
    entities = pa.table({**asked, "event_timestamp": [now] * 5})
    past = repository.store.get_historical_features(entities, FEATURES).to_df()
    for name in ("baskets", "count", "share", "days"):
        np.testing.assert_array_equal(live[name].astype(float), past[name].astype(float), err_msg=name)
    assert live["city"].tolist() == past["city"].tolist() == ["y", "y", None, None, "y"]
    online_last, past_last = (
        pd.to_datetime(frame["last"], utc=True).to_numpy("datetime64[us]") for frame in (live, past)
    )
    np.testing.assert_array_equal(online_last, past_last)
    assert live["share"].tolist()[:2] == [0.5, 2.0]
    assert live["days"].tolist()[0] == 2.0


def test_materializing_is_repeatable_and_goes_on(repository: Repository) -> None:
    for _ in range(2):
        repository.materialize(START + DAY / 2)
        assert repository.online(["users:baskets"], user_id=["a"])["baskets"] == [1.0]
    repository.materialize(START + 2 * DAY, start=START + DAY / 2)
    assert repository.online(["users:baskets"], user_id=["a", "b"])["baskets"] == [2.0, None]
    online: Any = repository.store._get_provider().online_store
    view = repository.store.get_feature_view("users")
    assert online.watermark(repository.store.config, view) == START + DAY


def test_a_row_known_late_goes_online_once_it_is_known(repository: Repository) -> None:
    events = [START, START + DAY, START + DAY / 2]
    created = [START, START + 3 * DAY, START + 3 * DAY]
    rows = pa.table({"user_id": ["a", "a", "b"], "item_id": ["p"] * 3, "count": [1.0, 2.0, 3.0]})
    for name, column in clocks(events, created).items():
        rows = rows.append_column(name, column)
    repository.write("pairs", rows)
    asked = {"user_id": ["a", "b"], "item_id": ["p", "p"]}
    repository.materialize(START + 2 * DAY, views=["pairs"])
    assert repository.online(["pairs:count"], **asked)["count"] == [1.0, None]
    repository.store.materialize_incremental(START + 4 * DAY, ["pairs"])
    assert repository.online(["pairs:count"], **asked)["count"] == [2.0, 3.0]


def test_failure_surfaces_and_leaves_the_view_usable(repository: Repository) -> None:
    repository.materialize(START + DAY / 2)
    (repository.folder / "data" / "users.parquet").unlink()
    with pytest.raises(FeatureError, match=r"users.*no such file"):
        repository.materialize(START + 2 * DAY, views=["users"])
    view = repository.store.get_feature_view("users")
    assert view.state != FeatureViewState.MATERIALIZING
    assert repository.online(["users:baskets"], user_id=["a"])["baskets"] == [1.0]
    repository.write("users", users_table())
    repository.materialize(START + 2 * DAY, views=["users"])
    assert repository.online(["users:baskets"], user_id=["a"])["baskets"] == [2.0]


def test_pushes_merge_into_groups(repository: Repository) -> None:
    repository.materialize(START + 2 * DAY)
    columns = {name: [value.to_pylist()[0]] for name, value in clocks([START + 3 * DAY]).items()}
    pushed = pd.DataFrame({"user_id": ["a"], "item_id": ["p"], "count": [7.0], **columns})
    repository.store.write_to_online_store("pairs", pushed)
    asked = {"user_id": ["a", "a"], "item_id": ["p", "q"]}
    assert repository.online(["pairs:count"], **asked)["count"] == [7.0, 4.0]
    repository.materialize(START + 2 * DAY)
    assert repository.online(["pairs:count"], **asked)["count"] == [7.0, 4.0]


def test_view_that_is_not_online_is_skipped(tmp_path: Path) -> None:
    objects = definitions()
    objects[2].online = False
    repository = build(tmp_path, PACKED, objects)
    task_views = [repository.store.get_feature_view("users")]
    provider: Any = repository.store._get_provider()
    provider.materialize_single_feature_view(
        repository.store.config,
        task_views[0],
        LONG_AGO,
        START + DAY,
        repository.store.registry,
        "shop",
        None,
    )
    assert provider.online_store.read_all(repository.store.config, task_views[0]).num_rows == 0


@pytest.mark.filterwarnings("ignore:Batch feature views are experimental:RuntimeWarning")
def test_computed_views_go_feasts_own_way(tmp_path: Path) -> None:
    def doubled(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(baskets=frame["n"] * 2)

    computed = BatchFeatureView(
        name="computed",
        entities=[user],
        mode="pandas",
        udf=doubled,
        udf_string="doubled",
        ttl=timedelta(0),
        online=True,
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="n", dtype=Float64),
            Field(name="baskets", dtype=Float64),
        ],
        source=source("users", household="user_id"),
    )
    repository = build(tmp_path, PACKED, [*definitions(), computed])
    repository.materialize(START + 2 * DAY, views=["computed"])
    assert repository.online(["computed:baskets"], user_id=["a"])["baskets"] == [4.0]
