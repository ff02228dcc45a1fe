"""Do features go from the files to the online store, and mean the same in both?"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import BatchFeatureView, Field
from feast.feature_view import FeatureViewState
from feast.types import Float64, String

from recsys.adapters.arrow_batch_engine import ArrowBatchEngine
from recsys.adapters.asof_offline_store import AsofOfflineStore
from recsys.adapters.packed_online_store import PackedRedisOnlineStore, PackedSqliteOnlineStore
from recsys.errors import FeatureError
from tests.adapters.feast_shop import (
    DAY,
    FEATURES,
    LONG_AGO,
    START,
    Repository,
    build,
    clocks,
    definitions,
    source,
    user,
    users_table,
)
from tests.adapters.packed_stores import KINDS, online_settings


@pytest.fixture(params=KINDS)
def online(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with online_settings(request.param) as settings:
        yield settings


@pytest.fixture
def repository(tmp_path: Path, online: dict[str, Any]) -> Repository:
    return build(tmp_path, online, definitions())


def test_feast_loads_the_three_plug_ins(repository: Repository) -> None:
    provider: Any = repository.store._get_provider()
    assert isinstance(provider.offline_store, AsofOfflineStore)
    assert isinstance(provider.online_store, PackedSqliteOnlineStore | PackedRedisOnlineStore)
    assert isinstance(provider.batch_engine, ArrowBatchEngine)


@pytest.mark.parametrize("kind", [*KINDS, "feast_sqlite"])
def test_online_values_are_the_historical_ones(tmp_path: Path, kind: str) -> None:
    with online_settings(kind) as online:
        check_online_values(build(tmp_path, online, definitions()))


def check_online_values(repository: Repository) -> None:
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


def test_view_that_is_not_online_is_skipped(tmp_path: Path, online: dict[str, Any]) -> None:
    objects = definitions()
    objects[2].online = False
    repository = build(tmp_path, online, objects)
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
def test_computed_views_go_feasts_own_way(tmp_path: Path, online: dict[str, Any]) -> None:
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
    repository = build(tmp_path, online, [*definitions(), computed])
    repository.materialize(START + 2 * DAY, views=["computed"])
    assert repository.online(["computed:baskets"], user_id=["a"])["baskets"] == [4.0]
