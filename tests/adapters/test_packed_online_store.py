"""Does the packed store give back what was written, and keep the newest row of each entity?"""

import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.types import (
    Array,
    Bool,
    Bytes,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    String,
    UnixTimestamp,
)
from feast.utils import _convert_arrow_to_proto
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.adapters.packed_online_store import PackedSqliteOnlineStore
from recsys.adapters.packed_online_store.packing import Codec, plain
from recsys.errors import FeatureError

START = datetime(2024, 1, 1, tzinfo=UTC)
UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)

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


def config(folder: Path, kind: str = "recsys.adapters.packed_online_store.PackedSqliteOnlineStore") -> RepoConfig:
    result = RepoConfig(
        project="test",
        registry="registry.db",
        provider="local",
        offline_store="duckdb",
        online_store={"type": kind, "path": "data/online.db" if "." in kind else "oracle.db"},
        entity_key_serialization_version=3,
    )
    result.repo_path = folder
    return result


def view(name: str, entities: Sequence[Entity], features: dict[str, FeastType], *, created: bool = True) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path="none.parquet",
        timestamp_field="event",
        created_timestamp_column="created" if created else "",
    )
    keys = {"user": Field(name="user_id", dtype=String), "item": Field(name="item_id", dtype=Int64)}
    schema = [keys[entity.name] for entity in entities]
    schema += [Field(name=feature, dtype=dtype) for feature, dtype in features.items()]
    return FeatureView(name=name, entities=list(entities), schema=schema, source=source)


USERS = view("users", [user], {"value": Int64})
PAIRS = view("pairs", [user, item], {"value": Int64})


def rows(
    *values: tuple[str, int, float, float | None, int],
    names: str = "user_id item_id event created value",
) -> pa.Table:
    """Rows of (user, item, event hours, created hours, value)."""
    columns: list[Sequence[Any]] = list(zip(*values, strict=True)) or [()] * 5
    arrays = [
        pa.array(columns[0], pa.string()),
        pa.array(columns[1], pa.int64()),
        pa.array([START + timedelta(hours=h) for h in columns[2]], UTC_MICROSECONDS),
        pa.array(
            [None if h is None else START + timedelta(hours=h) for h in columns[3]],
            UTC_MICROSECONDS,
        ),
        pa.array(columns[4], pa.int64()),
    ]
    return pa.table(arrays, names=names.split())


def key(user_id: str, item_id: int | None = None) -> EntityKeyProto:
    names, values = ["user_id"], [ValueProto(string_val=user_id)]
    if item_id is not None:
        names, values = ["item_id", "user_id"], [ValueProto(int64_val=item_id), *values]
    return EntityKeyProto(join_keys=names, entity_values=values)


def protos(feature_view: FeatureView, table: pa.Table) -> list[Any]:
    kinds = {column.name: column.dtype.to_value_type() for column in feature_view.entity_columns}
    return _convert_arrow_to_proto(table, feature_view, kinds)


@pytest.fixture
def store(tmp_path: Path) -> tuple[PackedSqliteOnlineStore, RepoConfig]:
    return PackedSqliteOnlineStore(), config(tmp_path)


Store = tuple[PackedSqliteOnlineStore, RepoConfig]


def group(packed: PackedSqliteOnlineStore, cfg: RepoConfig, of: FeatureView, name: Any) -> pa.Table:
    """Rows of a group that must be there."""
    found = packed.read_group(cfg, of, name)
    assert found is not None
    return found


# -------------------------------------------------------------- types


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


@pytest.mark.parametrize("entities", [[user], [user, item]])
def test_feast_reads_what_its_own_store_would_give(tmp_path: Path, entities: list[Entity]) -> None:
    everything = view("everything", entities, ALL_TYPES)
    table = table_of_all_types()
    if item in entities:
        table = table.append_column("item_id", pa.array([7, 7, 8]))
    # Feast turns integers beside nulls into floats, so 2**53 + 1 would not survive its own packing.
    exact = table.filter(pa.array([True, False, True]))
    oracle, theirs = SqliteOnlineStore(), config(tmp_path, "sqlite")
    oracle.update(theirs, [], [everything], [], [], partial=False)
    oracle.online_write_batch(theirs, everything, protos(everything, exact), None)
    keys = [key(u, i if item in entities else None) for u, i in [("c", 8), ("nobody", 1), ("a", 7)]]
    expected = oracle.online_read(theirs, everything, keys)
    for way in ("protos", "arrow"):
        ours, cfg = PackedSqliteOnlineStore(), config(tmp_path / way)
        if way == "protos":
            ours.online_write_batch(cfg, everything, protos(everything, exact), None)
        else:
            assert ours.write_arrow(cfg, everything, table) == 3
            _, nulls = ours.online_read(cfg, everything, [key("b", 7 if item in entities else None)])[0]
            feast_null_moment = ValueProto(unix_timestamp_val=-(2**63))
            assert nulls == {name: ValueProto() for name in ALL_TYPES} | {"moment": feast_null_moment}
        assert ours.online_read(cfg, everything, keys) == expected


def test_arrow_comes_back_exactly(store: Store) -> None:
    packed, cfg = store
    everything = view("everything", [user], ALL_TYPES)
    table = table_of_all_types()
    packed.write_arrow(cfg, everything, table.select(list(reversed(table.column_names))))
    assert packed.read_all(cfg, everything).equals(table)
    assert group(packed, cfg, everything, "b").equals(table.slice(1, 1))
    assert packed.read_groups(cfg, everything, ["c", "x", "a", "c"]).equals(table.take([2, 0]))
    assert packed.read_group(cfg, everything, "x") is None
    assert packed.watermark(cfg, everything) == START


EXOTIC = {
    "struct": pa.array([{"a": 1}, None, {"a": None}, {"a": 2}]),
    "map": pa.array([[("k", "v")], None, [], [("x", "y")]], pa.map_(pa.string(), pa.string())),
    "decimal": pa.array([Decimal("1.10"), None, Decimal("-2.25"), None]),
    "day": pa.array([date(2024, 1, 1), None, date(1900, 1, 1), None]),
    "dictionary": pa.array(["p", "q", None, "p"]).dictionary_encode(),
    "nothing": pa.nulls(4),
    "lists": pa.array([[1.0, None], None, [], [2.0]]),
    "nested": pa.array([[["x"], []], None, [], [["y", None]]]),
    "small": pa.array([1, 255, None, 0], pa.uint8()),
    "duration": pa.array([timedelta(1), None, timedelta(0), None]),
    "large": pa.array(["a", None, "", "bb"], pa.large_string()),
    "seconds": pa.array([START, None, START, None], pa.timestamp("s", tz="Asia/Tokyo")),
    "float": pa.array([float("nan"), None, -0.0, 1.0]),
}


@pytest.mark.parametrize("bounds", [[0, 4], [0, 1, 4], [0, 1, 2, 3, 4]])
def test_packing_keeps_every_type(bounds: list[int]) -> None:
    for source in (pa.table(EXOTIC), pa.concat_tables([pa.table(EXOTIC)] * 2).slice(2, 4)):
        table = plain(source)
        codec = Codec(table.schema)
        payloads = codec.encode(table, bounds)
        result = codec.decode(payloads)
        result.validate(full=True)
        assert result.schema == table.schema
        assert repr(result.to_pylist()) == repr(table.to_pylist())
        some = codec.decode(payloads, ["float", "map"])
        assert some.equals(result.select(["map", "float"])) or "nan" in repr(some.to_pylist())


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11)),
)
def test_packing_is_independent_of_the_grouping(texts: list[str | None], cuts: set[int]) -> None:
    table = pa.table({"text": pa.array(texts, pa.string()), "n": pa.array(range(len(texts)))})
    codec = Codec(table.schema)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(texts)), len(texts)]
    assert codec.decode(codec.encode(table, bounds)).equals(table)


# -------------------------------------------------------------- newest wins

CLOCKS = st.integers(0, 3).map(float)
WRITES = st.lists(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 2), CLOCKS, st.one_of(st.none(), CLOCKS)),
        max_size=6,
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES, by_arrow=st.lists(st.booleans(), min_size=4, max_size=4))
def test_newest_row_of_each_entity_wins(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[list[tuple[str, int, float, float | None]]],
    by_arrow: list[bool],
) -> None:
    packed, cfg = PackedSqliteOnlineStore(), config(tmp_path_factory.mktemp("newest"))
    expected: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {"users": {}, "pairs": {}}
    number = 0
    for batch, arrow in zip(writes, by_arrow, strict=False):
        numbered = []
        for user_id, item_id, event, created in batch:
            number += 1
            numbered.append((user_id, item_id, event, created, number))
            for name, entity in (("users", (user_id,)), ("pairs", (user_id, item_id))):
                clocks = (event, -1 if created is None else created)
                if entity not in expected[name] or clocks >= expected[name][entity][0]:
                    expected[name][entity] = (clocks, number)
        for feature_view in (USERS, PAIRS):
            if arrow:
                packed.write_arrow(cfg, feature_view, rows(*numbered))
            else:
                data = [
                    (
                        key(u, i if feature_view is PAIRS else None),
                        {"value": ValueProto(int64_val=n)},
                        (START + timedelta(hours=e)).replace(tzinfo=None),
                        None if c is None else START + timedelta(hours=c),
                    )
                    for u, i, e, c, n in numbered
                ]
                packed.online_write_batch(cfg, feature_view, data, None)
    for feature_view in (USERS, PAIRS):
        wanted = expected[feature_view.name]
        stored = packed.read_all(cfg, feature_view).to_pylist()
        names = [column.name for column in feature_view.entity_columns]
        assert {tuple(row[n] for n in names): row["value"] for row in stored} == {
            entity: value for entity, (_, value) in wanted.items()
        }
        assert len(stored) == len(wanted)
        events = [event for batch in writes for _, _, event, _ in batch]
        newest = START + timedelta(hours=max(events)) if events else None
        assert packed.watermark(cfg, feature_view) == newest


def test_write_says_how_many_entities_got_a_new_row(store: Store) -> None:
    packed, cfg = store
    for feature_view in (USERS, PAIRS):
        assert packed.write_arrow(cfg, feature_view, rows(("a", 1, 2, 2, 1), ("b", 1, 2, 2, 2))) == 2
        assert packed.write_arrow(cfg, feature_view, rows(("a", 1, 1, 9, 3), ("b", 1, 2, 2, 4))) == 1
        assert packed.write_arrow(cfg, feature_view, rows()) == 0


def test_groups_merge(store: Store) -> None:
    packed, cfg = store
    packed.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, 10), ("b", 1, 1, 1, 20), ("a", 3, 1, 1, 30)))
    packed.write_arrow(cfg, PAIRS, rows(("a", 2, 1, 1, 40), ("a", 1, 2, 2, 50)))
    merged = group(packed, cfg, PAIRS, "a")
    assert merged.column_names == ["user_id", "item_id", "value", "event", "created"]
    pairs = zip(merged.column("item_id").to_pylist(), merged.column("value").to_pylist(), strict=True)
    assert sorted(pairs) == [(1, 50), (2, 40), (3, 30)]
    assert group(packed, cfg, PAIRS, "b").column("value").to_pylist() == [20]


def test_numpy_keys_and_many_keys(store: Store) -> None:
    packed, cfg = store
    items = view("items", [item], {"value": Int64})
    table = pa.table(
        {
            "item_id": np.arange(1200),
            "value": np.arange(1200),
            "event": pa.array([START] * 1200, UTC_MICROSECONDS),
            "created": pa.array([START] * 1200, UTC_MICROSECONDS),
        }
    )
    packed.write_arrow(cfg, items, table)
    assert group(packed, cfg, items, np.int64(5)).column("value").to_pylist() == [5]
    assert packed.read_group(cfg, items, "5") is None
    wanted = list(range(1199, -1, -1))
    assert packed.read_groups(cfg, items, wanted).column("value").to_pylist() == wanted


# -------------------------------------------------------------- Feast's interface


def test_requested_features_are_honoured_and_not_changed(store: Store) -> None:
    packed, cfg = store
    two = view("two", [user], {"p": Int64, "q": Int64})
    packed.write_arrow(cfg, two, rows(("a", 1, 1, 1, 1)).rename_columns(["user_id", "p", "event", "created", "q"]))
    wanted = ["q", "unknown"]
    result = packed.online_read(cfg, two, [key("a"), key("b"), key("a")], wanted)
    row = (START + timedelta(hours=1), {"q": ValueProto(int64_val=1)})
    assert result == [row, (None, None), row]
    assert wanted == ["q", "unknown"]


def test_reading_before_anything_exists(store: Store) -> None:
    packed, cfg = store
    assert packed.online_read(cfg, PAIRS, [key("a", 1)]) == [(None, None)]
    assert packed.read_group(cfg, PAIRS, "a") is None
    empty = packed.read_all(cfg, PAIRS)
    assert (empty.num_rows, empty.column_names) == (
        0,
        ["user_id", "item_id", "value", "event", "created"],
    )
    assert packed.watermark(cfg, PAIRS) is None


def test_update_and_teardown(store: Store) -> None:
    packed, cfg = store
    packed.update(cfg, [], [USERS, PAIRS], [], [user, item], partial=False)
    for feature_view in (USERS, PAIRS):
        packed.write_arrow(cfg, feature_view, rows(("a", 1, 1, 1, 1)))
    packed.update(cfg, [USERS], [PAIRS], [], [user, item], partial=False)
    assert packed.read_group(cfg, USERS, "a") is None
    assert packed.read_group(cfg, PAIRS, "a") is not None
    packed.teardown(cfg, [PAIRS], [])
    assert packed.read_group(cfg, PAIRS, "a") is None
    assert packed.watermark(cfg, PAIRS) is None


def test_first_declared_entity_groups_whatever_the_schema_order(store: Store) -> None:
    packed, cfg = store
    turned = view("turned", [user, item], {"value": Int64})
    turned.entity_columns.reverse()
    packed.update(cfg, [], [turned], [], [user, item], partial=False)
    packed.write_arrow(cfg, turned, rows(("a", 1, 1, 1, 1), ("a", 2, 1, 1, 2)))
    assert group(packed, cfg, turned, "a").num_rows == 2
    assert packed.online_read(cfg, turned, [key("a", 2)])[0][1] == {"value": ValueProto(int64_val=2)}


def test_view_without_entities_and_precomputed_vectors(store: Store) -> None:
    packed, cfg = store
    world = view("world", [], {"value": Int64})
    packed.write_arrow(cfg, world, rows(("a", 1, 1, 1, 1), ("b", 2, 2, 2, 2)))
    dummy = EntityKeyProto(join_keys=["__dummy_id"], entity_values=[ValueProto(string_val="")])
    assert packed.online_read(cfg, world, [dummy])[0][1] == {"value": ValueProto(int64_val=2)}
    packed.write_precomputed_vector(cfg, "service", "test", key("a"), b"vector")
    assert packed.read_precomputed_vectors(cfg, "service", "test", [key("a"), key("b")]) == [
        b"vector",
        None,
    ]


def test_view_without_created_timestamp(store: Store) -> None:
    packed, cfg = store
    bare = view("bare", [user], {"value": Int64}, created=False)
    for value in (1, 2):
        packed.write_arrow(cfg, bare, rows(("a", 1, 1, None, value)))
    assert packed.read_all(cfg, bare).column_names == ["user_id", "value", "event"]
    assert packed.read_all(cfg, bare).column("value").to_pylist() == [2]


# -------------------------------------------------------------- changing schemas


@pytest.mark.parametrize("entities", [[user], [user, item]])
def test_features_come_and_go(store: Store, entities: list[Entity]) -> None:
    packed, cfg = store
    old = view("growing", entities, {"value": Int64})
    new = view("growing", entities, {"value": Int64, "more": String})
    packed.write_arrow(cfg, old, rows(("a", 1, 1, 1, 1), ("b", 1, 1, 1, 2)))
    assert packed.read_all(cfg, new).column("more").to_pylist() == [None, None]
    read = packed.online_read(cfg, new, [key("a", 1 if item in entities else None)])
    assert read[0][1] == {"value": ValueProto(int64_val=1), "more": ValueProto()}
    wider = rows(("b", 2, 3, 3, 3)).append_column("more", pa.array(["x"]))
    packed.write_arrow(cfg, new, wider)
    stored = {
        (r["user_id"], r["item_id"] if item in entities else 0): r["more"]
        for r in packed.read_all(cfg, new).to_pylist()
    }
    kept = {("b", 1): None} if item in entities else {}
    assert stored == {
        ("a", 1 if item in entities else 0): None,
        **kept,
        ("b", 2 if item in entities else 0): "x",
    }
    assert packed.read_all(cfg, old).column_names == group(packed, cfg, old, "b").column_names
    assert "more" not in packed.read_all(cfg, old).column_names


def test_numbers_widen_and_contradictions_are_refused(store: Store) -> None:
    packed, cfg = store
    packed.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, 1)))
    half = rows(("a", 2, 1, 1, 0)).set_column(4, "value", pa.array([0.5]))
    packed.write_arrow(cfg, PAIRS, half)
    assert sorted(group(packed, cfg, PAIRS, "a").column("value").to_pylist()) == [0.5, 1.0]
    text = rows(("a", 2, 1, 1, 0)).set_column(4, "value", pa.array(["x"]))
    with pytest.raises(FeatureError, match=r"'pairs'.*disagree about a type"):
        packed.write_arrow(cfg, PAIRS, text)
    assert group(packed, cfg, PAIRS, "a").num_rows == 2


def test_pushed_values_take_the_stored_type(store: Store) -> None:
    packed, cfg = store
    single = view("single", [user], {"value": Float32})
    table = rows(("a", 1, 1, 1, 0)).set_column(4, "value", pa.array([0.1], pa.float64()))
    packed.write_arrow(cfg, single, table)
    packed.online_write_batch(cfg, single, [(key("b"), {"value": ValueProto(float_val=0.5)}, START, START)], None)
    stored = packed.read_all(cfg, single).column("value")
    assert stored.type == pa.float64()
    assert stored.to_pylist() == [0.1, 0.5]


# -------------------------------------------------------------- safety


class InterruptedWriteError(Exception):
    """What the test's interrupted write raises."""


def interrupt_a_write(packed: PackedSqliteOnlineStore, cfg: RepoConfig, of: FeatureView) -> None:
    with packed._transaction(cfg) as connection:
        connection.sqlite.execute(f'DELETE FROM "test_{of.name}"')
        assert packed.read_group(cfg, of, "a") is None
        raise InterruptedWriteError


@pytest.mark.parametrize("feature_view", [USERS, PAIRS], ids=["users", "pairs"])
def test_interrupted_write_leaves_the_state_before(store: Store, feature_view: FeatureView) -> None:
    packed, cfg = store
    packed.write_arrow(cfg, feature_view, rows(("a", 1, 1, 1, 1)))
    before = packed.read_all(cfg, feature_view)
    with pytest.raises(InterruptedWriteError):
        interrupt_a_write(packed, cfg, feature_view)
    assert packed.read_all(cfg, feature_view).equals(before)
    good, bad = rows(("a", 1, 9, 9, 9)), rows(("b", 1, 9, 9, 9))
    mixed = pa.concat_tables([good, bad.set_column(0, "user_id", pa.array([None], pa.string()))])
    with pytest.raises(FeatureError, match=r"'user_id' has 1 nulls"):
        packed.write_arrow(cfg, feature_view, mixed)
    assert packed.read_all(cfg, feature_view).equals(before)
    assert packed.watermark(cfg, feature_view) == START + timedelta(hours=1)


def test_readers_go_on_while_a_write_is_open(store: Store) -> None:
    packed, cfg = store
    packed.write_arrow(cfg, USERS, rows(("a", 1, 1, 1, 1)))
    seen: list[Any] = []

    def read() -> None:
        seen.append(group(packed, cfg, USERS, "a").column("value").to_pylist())

    with packed._transaction(cfg) as connection:
        connection.sqlite.execute('DELETE FROM "test_users"')
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(timeout=10)
    assert seen == [[1]]
    assert packed.read_group(cfg, USERS, "a") is None


def test_threads_write_together(store: Store) -> None:
    packed, cfg = store
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for step in range(5):
                packed.write_arrow(cfg, PAIRS, rows(("a", 10 * number + step, 1, 1, step)))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert group(packed, cfg, PAIRS, "a").num_rows == 20


def test_one_store_serves_several_paths(tmp_path: Path) -> None:
    packed = PackedSqliteOnlineStore()
    first, second = config(tmp_path / "first"), config(tmp_path / "second")
    packed.write_arrow(first, USERS, rows(("a", 1, 1, 1, 1)))
    assert packed.read_group(second, USERS, "a") is None
    assert packed.read_group(first, USERS, "a") is not None
    mode = sqlite3.connect(tmp_path / "first" / "data" / "online.db")
    assert mode.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    mode.close()


def test_faults_are_named(store: Store, tmp_path: Path) -> None:
    packed, cfg = store
    with pytest.raises(FeatureError, match=r"'pairs'.*no column \['item_id'\]"):
        packed.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, 1)).drop_columns(["item_id"]))
    with pytest.raises(FeatureError, match=r"'event' is int64"):
        packed.write_arrow(cfg, USERS, rows(("a", 1, 1, 1, 1)).set_column(2, "event", pa.array([1])))
    with pytest.raises(FeatureError, match=r"key 1.5 is float"):
        packed.read_group(cfg, USERS, 1.5)  # type: ignore[arg-type]
    with pytest.raises(FeatureError, match=r"lacks 'item_id'"):
        packed.online_read(cfg, PAIRS, [key("a")])
    broken = tmp_path / "broken"
    (broken / "data").mkdir(parents=True)
    (broken / "data" / "online.db").write_bytes(b"not a database" * 100)
    with pytest.raises(FeatureError, match="cannot be opened: file is not a database; the file is damaged"):
        packed.read_all(config(broken), USERS)
    packed.write_arrow(cfg, USERS, rows(("a", 1, 1, 1, 1)))
    with packed._transaction(cfg) as connection:
        connection.sqlite.execute("DELETE FROM recsys_schemas")
    with pytest.raises(FeatureError, match=r"materialize again"):
        packed.read_all(cfg, USERS)
