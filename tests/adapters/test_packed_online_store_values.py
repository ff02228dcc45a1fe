"""Does every value come back from a packed store as Feast's own stores give it, exactly and typed?"""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal as Number
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Entity
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.Value_pb2 import ScalarMap as ScalarMapProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.type_map import python_values_to_proto_values
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    ScalarMap,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.packed_stores import (
    KINDS,
    START,
    UTC_MICROSECONDS,
    Opened,
    feast_sqlite,
    item,
    key,
    packed_stores,
    protos,
    repo_config,
    user,
    view,
)

ALL_TYPES: dict[str, FeastType] = {
    "int32": Int32,
    "int64": Int64,
    "float32": Float32,
    "float64": Float64,
    "string": String,
    "bytes": Bytes,
    "bool": Bool,
    "moment": UnixTimestamp,
    "int_list": Array(Int64),
    "float_list": Array(Float32),
    "string_list": Array(String),
    "bool_list": Array(Bool),
    "moment_list": Array(UnixTimestamp),
}


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    yield from packed_stores(request.param, tmp_path / "ours")


def table_of_all_types() -> pa.Table:
    moments = [START, None, START - timedelta(days=30_000)]
    return pa.table(
        {
            "user_id": ["a", "b", "c"],
            "int32": pa.array([1, None, -(2**31)], pa.int32()),
            "int64": pa.array([2**53 + 1, None, -(2**63)], pa.int64()),
            "float32": pa.array([1.5, None, float("inf")], pa.float32()),
            "float64": pa.array([0.1, None, -0.0], pa.float64()),
            "string": pa.array(["ü", None, ""]),
            "bytes": pa.array([b"\x00\xff", None, b""]),
            "bool": pa.array([True, None, False]),
            "moment": pa.array(moments, UTC_MICROSECONDS),
            "int_list": pa.array([[1, 2], None, []], pa.list_(pa.int64())),
            "float_list": pa.array([[0.5], None, [1.0, 2.0]], pa.list_(pa.float32())),
            "string_list": pa.array([["p", ""], None, ["q"]], pa.list_(pa.string())),
            "bool_list": pa.array([[True, False], None, [True]], pa.list_(pa.bool_())),
            "moment_list": pa.array([[START], None, [START, START]], pa.list_(UTC_MICROSECONDS)),
            "event": pa.array([START] * 3, UTC_MICROSECONDS),
            "created": pa.array([START] * 3, UTC_MICROSECONDS),
        }
    )


@pytest.mark.parametrize("way", ["protos", "arrow"])
@pytest.mark.parametrize("entities", [[user], [user, item]], ids=["user", "pair"])
def test_feast_reads_what_its_own_store_would_give(
    opened: Opened, tmp_path: Path, entities: list[Entity], way: str
) -> None:
    everything = view("everything", entities, ALL_TYPES)
    table = table_of_all_types()
    if item in entities:
        table = table.append_column("item_id", pa.array([7, 7, 8]))
    # Feast turns integers beside nulls into floats, so 2**53 + 1 would not survive its own packing.
    exact = table.filter(pa.array([True, False, True]))
    oracle, theirs = feast_sqlite(tmp_path / "theirs", everything)
    oracle.online_write_batch(theirs, everything, protos(everything, exact), None)
    keys = [key(u, i if item in entities else None) for u, i in [("c", 8), ("nobody", 1), ("a", 7)]]
    expected = oracle.online_read(theirs, everything, keys)
    ours, cfg = opened.store, opened.config
    if way == "protos":
        ours.online_write_batch(cfg, everything, protos(everything, exact), None)
    else:
        assert ours.write_arrow(cfg, everything, table) == 3
        _, nulls = ours.online_read(cfg, everything, [key("b", 7 if item in entities else None)])[0]
        feast_null_moment = ValueProto(unix_timestamp_val=-(2**63))
        assert nulls == {name: ValueProto() for name in ALL_TYPES} | {"moment": feast_null_moment}
    assert ours.online_read(cfg, everything, keys) == expected
    assert opened.again().online_read(cfg, everything, keys) == expected


def test_arrow_comes_back_exactly(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    everything = view("everything", [user], ALL_TYPES)
    table = table_of_all_types()
    packed.write_arrow(cfg, everything, table.select(list(reversed(table.column_names))))
    assert packed.read_all(cfg, everything).equals(table)
    assert opened.again().read_all(cfg, everything).equals(table)
    assert opened.group(everything, "b").equals(table.slice(1, 1))
    assert packed.read_groups(cfg, everything, ["c", "x", "a", "c"]).equals(table.take([2, 0]))
    assert packed.read_group(cfg, everything, "x") is None
    assert packed.watermark(cfg, everything) == START


NULLS_INSIDE: dict[str, tuple[FeastType, list[Any]]] = {
    "floats": (Array(Float64), [[0.1, None], [None], [], None]),
    "texts": (Array(String), [["a", None, ""], [None], [], None]),
    "flags": (Array(Bool), [[True, None], [None], [], None]),
    "bytes": (Array(Bytes), [[b"\x00", None], [None], [], None]),
    "moments": (Array(UnixTimestamp), [[START, None], [None], [], None]),
    "ids": (Array(Uuid), [[str(uuid.UUID(int=5)), None], [None], [], None]),
    "numbers": (Array(Decimal), [[Number("1.10"), None], [None], [], None]),
    "documents": (Array(Json), [['{"a":1}', None], ["[]"], [], None]),
    "some texts": (Set(String), [["a"], [""], [], None]),
    "some moments": (Set(UnixTimestamp), [[START, START + timedelta(seconds=1)], [START], [], None]),
    "some ids": (Set(Uuid), [[str(uuid.UUID(int=5))], [], [], None]),
    "document": (Json, ['{"a": 1}', "[1, 2]", "3", None]),
    "id": (Uuid, [str(uuid.UUID(int=5)), str(uuid.UUID(int=6)), str(uuid.UUID(int=7)), None]),
    "number": (Decimal, [Number("1.10"), Number(-2), Number(0), None]),
    "nested": (Array(Array(Int64)), [[[1, 2], []], [[]], [], None]),
    "map": (Map, [{"a": "x"}, {"b": "y", "c": ""}, {}, None]),
    "struct": (Struct({"a": String, "b": String}), [{"a": "p", "b": "x"}, {"a": "q", "b": ""}, None, None]),
}


@pytest.mark.parametrize("name", NULLS_INSIDE)
@pytest.mark.parametrize("way", ["protos", "arrow"])
@pytest.mark.parametrize("entities", [[user], [user, item]], ids=["user", "pair"])
def test_nulls_inside_and_rare_types_are_feasts(
    opened: Opened, tmp_path: Path, entities: list[Entity], way: str, name: str
) -> None:
    declared, values = NULLS_INSIDE[name]
    rare = view("rare", entities, {"value": declared})
    table = pa.table(
        {
            "user_id": list("abcd"),
            **({"item_id": pa.array([1, 2, 3, 4])} if item in entities else {}),
            "value": pa.array(values),
            "event": pa.array([START] * 4, UTC_MICROSECONDS),
            "created": pa.array([START] * 4, UTC_MICROSECONDS),
        }
    )
    oracle, theirs = feast_sqlite(tmp_path / "theirs", rare)
    data = protos(rare, table)
    oracle.online_write_batch(theirs, rare, data, None)
    if way == "protos":
        opened.store.online_write_batch(opened.config, rare, data, None)
    else:
        opened.store.write_arrow(opened.config, rare, table)
    keys = [key(user_id, i if item in entities else None) for i, user_id in enumerate("abcd", 1)]
    got = opened.again().online_read(opened.config, rare, keys)
    expected = oracle.online_read(theirs, rare, keys)
    if isinstance(declared, Set):
        assert [_as_set(row) for row in got] == [_as_set(row) for row in expected]
    else:
        assert got == expected


def _as_set(row: tuple[Any, Any]) -> tuple[Any, Any, list[Any]]:
    """A set has no order."""
    kind = row[1]["value"].WhichOneof("val")
    return row[0], kind, sorted(getattr(row[1]["value"], kind).val) if kind else []


def test_values_that_only_a_message_can_hold(opened: Opened, tmp_path: Path) -> None:
    east = datetime(2024, 6, 1, 12, tzinfo=timezone(timedelta(hours=9)))
    zoned = python_values_to_proto_values([east], ZonedTimestamp.to_value_type())[0]
    lookup = ValueProto(scalar_map_val=ScalarMapProto())
    entry = lookup.scalar_map_val.val.add()
    entry.key.int64_key, entry.value.string_val = 5, "five"
    rare = view("rare", [user, item], {"zoned": ZonedTimestamp, "lookup": ScalarMap})
    data = [
        (key("a", 1), {"zoned": zoned, "lookup": lookup}, START, START),
        (key("a", 2), {"zoned": ValueProto(), "lookup": ValueProto()}, START, START),
    ]
    oracle, theirs = feast_sqlite(tmp_path / "theirs", rare)
    oracle.online_write_batch(theirs, rare, data, None)
    opened.store.online_write_batch(opened.config, rare, data, None)
    keys = [key("a", 1), key("a", 2)]
    assert opened.again().online_read(opened.config, rare, keys) == oracle.online_read(theirs, rare, keys)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.fixed_dictionaries(
            {
                "whole": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
                "real": st.one_of(st.none(), st.floats(allow_nan=False)),
                "text": st.one_of(st.none(), st.text(max_size=8)),
                "flag": st.one_of(st.none(), st.booleans()),
                "reals": st.one_of(st.none(), st.lists(st.floats(allow_nan=False), max_size=3)),
            }
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_message_is_kept(
    opened: Opened, tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]]
) -> None:
    types = {"whole": Int64, "real": Float64, "text": String, "flag": Bool, "reals": Array(Float64)}
    drawn = view("drawn", [user, item], types)
    opened.store.update(opened.config, [drawn], [], [], [], partial=False)
    data = [
        (
            key("a", number),
            {
                name: python_values_to_proto_values([row[name]], declared.to_value_type())[0]
                for name, declared in types.items()
            },
            START,
            START,
        )
        for number, row in enumerate(values)
    ]
    oracle, theirs = feast_sqlite(tmp_path_factory.mktemp("theirs"), drawn)
    oracle.online_write_batch(theirs, drawn, data, None)
    opened.store.online_write_batch(opened.config, drawn, data, None)
    keys = [row[0] for row in data]
    assert opened.store.online_read(opened.config, drawn, keys) == oracle.online_read(theirs, drawn, keys)


@pytest.mark.server
def test_feasts_redis_store_gives_the_same(tmp_path: Path) -> None:
    everything = view("everything", [user], ALL_TYPES)
    data = protos(everything, table_of_all_types().filter(pa.array([True, False, True])))
    for opened in packed_stores("redis", tmp_path):
        # Feast's keys end in the project's name and have no prefix: the random prefix is the project.
        project = opened.config.online_store.key_prefix.rstrip(":")
        address = opened.config.online_store.url.removeprefix("redis://").partition("/")[0]
        settings_ = {"type": "redis", "connection_string": address}
        oracle, theirs = RedisOnlineStore(), repo_config(tmp_path, settings_, project)
        keys = [key("c"), key("a")]
        try:
            oracle.online_write_batch(theirs, everything, data, None)
            opened.store.online_write_batch(opened.config, everything, data, None)
            expected = oracle.online_read(theirs, everything, keys)
        finally:
            oracle.delete_entity_values(theirs, ["user_id"])
        assert opened.store.online_read(opened.config, everything, keys) == expected
