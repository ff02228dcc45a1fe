"""Are keys of every kind told apart, and times the same however they come?"""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.types import Array, Int64, UnixTimestamp

from tests.adapters.packed_stores import (
    KINDS,
    START,
    UTC_MICROSECONDS,
    Opened,
    item,
    key,
    packed_stores,
    user,
    view,
)


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    yield from packed_stores(request.param, tmp_path)


def test_times_without_a_zone_are_utc_however_they_come(opened: Opened) -> None:
    moments = view("moments", [user, item], {"value": UnixTimestamp, "list": Array(UnixTimestamp)})
    naive = pa.timestamp("us")
    table = pa.table(
        {
            "user_id": ["a"],
            "item_id": pa.array([1]),
            "value": pa.array([START.replace(tzinfo=None)], naive),
            "list": pa.array([[START.replace(tzinfo=None)]], pa.list_(naive)),
            "event": pa.array([START.replace(tzinfo=None)], naive),
            "created": pa.array([START.replace(tzinfo=None)], naive),
        }
    )
    seconds = int(START.timestamp())
    message = {"value": ValueProto(unix_timestamp_val=seconds), "list": ValueProto()}
    message["list"].unix_timestamp_list_val.val.append(seconds)
    opened.store.online_write_batch(opened.config, moments, [(key("a", 2), message, START, START)], None)
    opened.store.write_arrow(opened.config, moments, table)
    read = opened.store.online_read(opened.config, moments, [key("a", 1), key("a", 2)])
    assert [row[1] for row in read] == [message, message]
    assert opened.group(moments, "a").column("value").to_pylist() == [START, START]


def test_keys_of_every_kind(opened: Opened) -> None:
    items = view("items", [item], {"value": Int64})
    table = pa.table(
        {
            "item_id": np.arange(1200),
            "value": np.arange(1200),
            "event": pa.array([START] * 1200, UTC_MICROSECONDS),
            "created": pa.array([START] * 1200, UTC_MICROSECONDS),
        }
    )
    opened.store.write_arrow(opened.config, items, table)
    assert opened.group(items, np.int64(5)).column("value").to_pylist() == [5]
    assert opened.store.read_group(opened.config, items, "5") is None
    wanted = list(range(1199, -1, -1))
    assert opened.store.read_groups(opened.config, items, wanted).column("value").to_pylist() == wanted
    world = view("world", [], {"value": Int64})
    opened.store.write_arrow(opened.config, world, table.slice(0, 2))
    dummy = EntityKeyProto(join_keys=["__dummy_id"], entity_values=[ValueProto(string_val="")])
    assert opened.store.online_read(opened.config, world, [dummy])[0] == (
        START.astimezone(UTC),
        {"value": ValueProto(int64_val=1)},
    )
    opened.store.write_precomputed_vector(opened.config, "service", "test", key("a"), b"vector")
    vectors = opened.store.read_precomputed_vectors(opened.config, "service", "test", [key("a"), key("b")])
    assert vectors == [b"vector", None]
