"""Which shop do the contract tests of features ask? The same one as a fake and as a Feast repository."""

import contextlib
import io
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.adapters.feast_features import FeastFeatures
from recsys.candidates.pool import to_numpy
from recsys.ports import RequestTransform, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, REQUEST_TIMESTAMP, SESSION, TIMESTAMP, USER
from tests.fakes.features import FakeFeatures

START = datetime(2024, 1, 1, tzinfo=UTC)
TICK = 1 / 86_400
RESTATED = 6
"""The day on which a row is restated and nothing new happens."""

# ---------------------------------------------------------------- one shop, declared twice

FEATURE_STORE = """
project: contract
provider: local
registry: {path: registry.db, cache_ttl_seconds: 60}
offline_store: {type: recsys.adapters.asof_offline_store.AsofOfflineStore, threads: 2}
online_store: {type: recsys.adapters.packed_online_store.PackedSqliteOnlineStore, path: online.db}
batch_engine: {type: recsys.adapters.arrow_batch_engine.ArrowBatchEngine}
materialization: {pull_latest_features: true}
entity_key_serialization_version: 3
"""

DEFINITIONS = '''
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
session = Entity(name="session", join_keys=["session_id"], value_type=ValueType.STRING)


def _source(name):
    return FileSource(
        name=f"{name}_source",
        path=f"data/{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


def _view(name, entities, ttl, source=None, **features):
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=[Field(name=feature, dtype=dtype) for feature, dtype in features.items()],
        source=source or _source(name),
    )


pair = _view("pair", [user, item], timedelta(days=10), times=Float64, last=UnixTimestamp)
item_stats = _view("item_stats", [item], timedelta(days=7), sales=Float64, brand=String)
user_stats = _view("user_stats", [user], timedelta(0), visits=Int64, city=String)
unsold = _view("unsold", [item], timedelta(days=1), shelf=Float64)
session_item = _view(
    "session_item",
    [session, item],
    timedelta(days=1),
    PushSource(name="session_item_events", batch_source=_source("session_item")),
    session_item_views=Float64,
    session_item_carts=Float64,
    session_item_last=UnixTimestamp,
)
request = RequestSource(name="request", schema=[Field(name="request_timestamp", dtype=UnixTimestamp)])


@on_demand_feature_view(
    sources=[pair, request], schema=[Field(name="days_since", dtype=Float64)], mode="python"
)
def recency(inputs):
    """Days since the last time; a comment and a docstring are no logic."""
    import numpy as np

    def seconds(name):
        values = np.asarray(inputs[name])
        if values.dtype.kind == "M":
            return np.where(np.isnat(values), np.nan, values.astype("datetime64[us]").astype("int64") / 1e6)
        return np.array([v.timestamp() if hasattr(v, "timestamp") else np.nan for v in inputs[name]])

    days = (seconds("request_timestamp") - seconds("last")) / 86_400
    return {"days_since": days.tolist() if isinstance(inputs["request_timestamp"], list) else days}


ranker = FeatureService(
    name="ranker", features=[user_stats, item_stats[["sales", "brand"]], pair[["times"]], recency]
)
'''

TRANSFORMS = """
def _table(events, items):
    return events


TABLES = {"pair": _table, "item_stats": _table, "user_stats": _table, "unsold": _table, "session_item": _table}
"""

VIEWS = (
    ViewInfo("pair", (USER, ITEM), ("times", "last"), {"times": "number", "last": "time"}, timedelta(days=10)),
    ViewInfo("item_stats", (ITEM,), ("sales", "brand"), {"sales": "number", "brand": "text"}, timedelta(days=7)),
    ViewInfo("user_stats", (USER,), ("visits", "city"), {"visits": "number", "city": "text"}, None),
    ViewInfo("unsold", (ITEM,), ("shelf",), {"shelf": "number"}, timedelta(days=1)),
    ViewInfo(
        "session_item",
        (SESSION, ITEM),
        ("session_item_views", "session_item_carts", "session_item_last"),
        {"session_item_views": "number", "session_item_carts": "number", "session_item_last": "time"},
        timedelta(days=1),
    ),
)
PUSHED = "session_item"
"""The view whose source is a push source."""
SERVICE = (
    "user_stats:visits",
    "user_stats:city",
    "item_stats:sales",
    "item_stats:brand",
    "pair:times",
    "recency:days_since",
)


def recency(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do what the repository's function of this name does, over arrays."""
    return {"days_since": (inputs[REQUEST_TIMESTAMP] - inputs["last"]) / np.timedelta64(86_400_000_000, "us")}


RECENCY = RequestTransform("recency", ("times", "last", REQUEST_TIMESTAMP), ("days_since",), recency)


def day(number: float) -> datetime:
    """Return a moment of the tests' small world."""
    return START + timedelta(days=number)


def rows(types: Mapping[str, pa.DataType], *values: tuple[Any, ...]) -> pa.Table:
    """Make a feature table: its columns, then the days of event and creation."""
    names = [*types, EVENT_TIMESTAMP, CREATED_TIMESTAMP]
    clocked = [(*row[:-2], day(row[-2]), day(row[-1])) for row in values]
    fields = [*types.items(), (EVENT_TIMESTAMP, TIMESTAMP), (CREATED_TIMESTAMP, TIMESTAMP)]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in clocked], schema=pa.schema(fields))


VISITS: Mapping[str, pa.DataType] = {
    SESSION: pa.string(),
    ITEM: pa.string(),
    "session_item_views": pa.float64(),
    "session_item_carts": pa.float64(),
    "session_item_last": TIMESTAMP,
}
"""Columns of the pushed view."""

TABLES = {
    "pair": rows(
        {USER: pa.string(), ITEM: pa.string(), "times": pa.float64(), "last": TIMESTAMP},
        ("u1", "i1", 1.0, day(1), 1, 1),
        ("u1", "i1", 3.0, day(5), 5, 6),  # restates the next one
        ("u1", "i1", 2.0, day(4), 5, 5),
        ("u1", "i1", 9.0, day(8), 8, 12),  # becomes known late
        ("u1", "i2", 4.0, day(2), 2, 2),
        ("u2", "i1", None, None, 3, 3),
        ("u3", "i1", 7.0, day(0), 0, 14),  # past its TTL when it becomes known
        ("u4", "i1", 8.0, day(30), 30, 30),
    ),
    "item_stats": rows(
        {ITEM: pa.string(), "sales": pa.float64(), "brand": pa.string()},
        ("i1", 10.0, "acme", 0, 0),
        ("i1", 11.0, "acme", 7, 7),
        ("i2", 20.0, None, 2, 2),
        ("i3", 30.0, "best", 14, 14),
    ),
    "user_stats": rows(
        {USER: pa.string(), "visits": pa.int64(), "city": pa.string()},
        ("u1", 1, "Łódź", 0, 0),
        ("u1", 2, "Łódź", 6, 6),
        ("u2", 5, None, 1, 1),
    ),
    "unsold": rows({ITEM: pa.string(), "shelf": pa.float64()}, ("i9", 1.0, 300, 300)),
    "session_item": rows(
        VISITS,
        ("v1", "i1", 1.0, 0.0, day(3), 3, 3),
        ("v1", "i1", 2.0, 0.0, day(3.1), 3.1, 3.1),
        ("v2", "i1", 1.0, 0.0, day(4), 4, 4),
        ("v2", "i2", 1.0, 1.0, day(4.2), 4.2, 4.2),
    ),
}


def written(folder: Path) -> Path:
    """Write the shop's Feast repository and apply it."""
    (folder / "data").mkdir()
    for name, table in TABLES.items():
        pq.write_table(table, folder / "data" / f"{name}.parquet")
    texts = {
        "feature_store.yaml": FEATURE_STORE,
        "contract_definitions.py": DEFINITIONS,
        "transforms.py": TRANSFORMS,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    apply(folder)
    return folder


def apply(folder: Path) -> None:
    """Do what `feast apply` does."""
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    with contextlib.chdir(folder), imports_of(folder), contextlib.redirect_stdout(io.StringIO()):
        apply_total(load_repo_config(folder, folder / "feature_store.yaml"), folder, skip_source_validation=False)


@contextlib.contextmanager
def imports_of(folder: Path) -> Iterator[None]:
    """Let a repository's files import one another, and forget them afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def fake() -> FakeFeatures:
    """Give the fake of the shop."""
    return FakeFeatures(VIEWS, TABLES, {"ranker": SERVICE}, [RECENCY], pushed=[PUSHED])


def feast(repository: Path, namespace: Path | None = None, configuration: str = "feature_store.yaml") -> FeastFeatures:
    """Open the repository, with stores of its own if a folder is given."""
    return FeastFeatures(repository, configuration, namespace)


def pairs(table: pa.Table | None) -> dict[tuple[str, str], float]:
    """Return `times` by user and item, unknown ones as -1."""
    assert table is not None
    values = np.nan_to_num(to_numpy(table["times"]), nan=-1)
    keys = zip(table[USER].to_pylist(), table[ITEM].to_pylist(), strict=True)
    return dict(zip(keys, values.tolist(), strict=True))


def visited(table: pa.Table) -> dict[tuple[str, str], tuple[float, float]]:
    """Return views and carts of the pushed view by session and item."""
    return {
        (row[SESSION], row[ITEM]): (row["session_item_views"], row["session_item_carts"]) for row in table.to_pylist()
    }
