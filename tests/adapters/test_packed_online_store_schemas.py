"""What becomes of stored rows when a view's declaration changes?"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from feast import Entity
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.types import Array, Float32, Float64, Int64, String

from recsys.errors import FeatureError
from tests.adapters.packed_stores import (
    KINDS,
    PAIRS,
    START,
    Opened,
    hours,
    item,
    key,
    packed_stores,
    pushed,
    rows,
    user,
    view,
)


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    yield from packed_stores(request.param, tmp_path)


@pytest.mark.parametrize("entities", [[user], [user, item]], ids=["user", "pair"])
def test_features_come_and_go(opened: Opened, entities: list[Entity]) -> None:
    packed, cfg = opened.store, opened.config
    old = view("growing", entities, {"value": Int64})
    new = view("growing", entities, {"value": Int64, "more": String, "list": Array(Float64)})
    packed.write_arrow(cfg, old, rows(("a", 1, 1, 1, 1), ("b", 1, 1, 1, 2)))
    packed.update(cfg, [], [new], [], [user, item], partial=False)
    assert packed.read_all(cfg, new).column("more").to_pylist() == [None, None]
    one = [key("a", 1 if item in entities else None)]
    nulls = {"value": ValueProto(int64_val=1), "more": ValueProto(), "list": ValueProto()}
    assert packed.online_read(cfg, new, one) == [(hours(1), nulls)]
    assert packed.online_read(cfg, new, one, ["more"]) == [(hours(1), {"more": ValueProto()})]
    wider = rows(("b", 2, 3, 3, 3)).append_column("more", pa.array(["x"])).append_column("list", pa.array([[0.5]]))
    packed.write_arrow(cfg, new, wider)
    stored = {
        (r["user_id"], r["item_id"] if item in entities else 0): (r["more"], r["list"])
        for r in packed.read_all(cfg, new).to_pylist()
    }
    kept = {("b", 1): (None, None)} if item in entities else {}
    assert stored == {
        ("a", 1 if item in entities else 0): (None, None),
        **kept,
        ("b", 2 if item in entities else 0): ("x", [0.5]),
    }
    assert packed.read_all(cfg, old).column_names == opened.group(old, "b").column_names
    assert "more" not in packed.read_all(cfg, old).column_names
    assert opened.again().read_all(cfg, new).num_rows == len(stored)


@pytest.mark.parametrize(("before", "after"), [([user], [user, item]), ([user, item], [user]), ([item], [user])])
def test_other_join_keys_begin_anew_with_an_apply(opened: Opened, before: list[Entity], after: list[Entity]) -> None:
    packed, cfg = opened.store, opened.config
    old, new = view("keyed", before, {"value": Int64}), view("keyed", after, {"value": Int64})
    packed.write_arrow(cfg, old, rows(("a", 1, 1, 1, 1), ("a", 2, 1, 1, 2)))
    one = key("a", 1 if item in after else None)
    for ask in (
        lambda: packed.online_read(cfg, new, [one]),
        lambda: packed.read_all(cfg, new),
        lambda: packed.read_group(cfg, new, "a"),
        lambda: packed.write_arrow(cfg, new, rows(("a", 3, 1, 1, 3))),
        lambda: packed.online_write_batch(cfg, new, [(one, {"value": ValueProto(int64_val=1)}, START, START)], None),
    ):
        with pytest.raises(FeatureError, match=r"'keyed'.*kept under .*_id.*run `feast apply`"):
            ask()
    packed.update(cfg, [], [new], [], [user, item], partial=False)
    assert packed.online_read(cfg, new, [one]) == [(None, None)]
    packed.write_arrow(cfg, new, rows(("a", 1, 1, 1, 5)))
    assert packed.online_read(cfg, new, [one])[0][1] == {"value": ValueProto(int64_val=5)}
    with pytest.raises(FeatureError, match=r"run `feast apply`"):
        packed.write_arrow(cfg, old, rows(("a", 1, 1, 1, 1)))


def test_numbers_widen_and_contradictions_are_refused(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    packed.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, 1)))
    half = rows(("a", 2, 1, 1, 0)).set_column(4, "value", pa.array([0.5]))
    packed.write_arrow(cfg, PAIRS, half)
    assert sorted(opened.group(PAIRS, "a").column("value").to_pylist()) == [0.5, 1.0]
    text = rows(("a", 2, 1, 1, 0)).set_column(4, "value", pa.array(["x"]))
    with pytest.raises(FeatureError, match=r"'pairs'.*disagree about a type"):
        packed.write_arrow(cfg, PAIRS, text)
    assert opened.group(PAIRS, "a").num_rows == 2


def test_a_value_that_the_new_type_cannot_hold_is_an_error_and_not_another_value(opened: Opened) -> None:
    words = view("typed", [user], {"value": String})
    numbers = view("typed", [user], {"value": Int64})
    table = rows(("a", 1, 1, 1, 0)).set_column(4, "value", pa.array(["x"]))
    opened.store.write_arrow(opened.config, words, table)
    with pytest.raises(FeatureError, match=r"'value' is stored as string and declared as Int64.*materialize"):
        opened.store.online_read(opened.config, numbers, [key("a")])
    opened.store.write_arrow(opened.config, numbers, rows(("a", 1, 2, 2, 7)))
    assert opened.store.online_read(opened.config, numbers, [key("a")])[0][1] == {"value": ValueProto(int64_val=7)}


def test_pushed_values_take_the_stored_type(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    single = view("single", [user], {"value": Float32})
    table = rows(("a", 1, 1, 1, 0)).set_column(4, "value", pa.array([0.1], pa.float64()))
    packed.write_arrow(cfg, single, table)
    packed.online_write_batch(cfg, single, [(key("b"), {"value": ValueProto(float_val=0.5)}, START, START)], None)
    stored = packed.read_groups(cfg, single, ["a", "b"]).column("value")
    assert stored.type == pa.float64()
    assert stored.to_pylist() == [0.1, 0.5]


def test_a_push_that_lacks_features_leaves_them_null(opened: Opened) -> None:
    two = view("two", [user, item], {"value": Int64, "more": String})
    opened.store.online_write_batch(opened.config, two, pushed(("a", 1, 1, 1, 5)), None)
    row = opened.store.online_read(opened.config, two, [key("a", 1)])
    assert row == [(hours(1), {"value": ValueProto(int64_val=5), "more": ValueProto()})]
