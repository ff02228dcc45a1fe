"""Does each packed store do what Feast asks of an online store, and answer whole groups and views?"""

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from feast import Entity
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.types import Int64

from recsys.errors import FeatureError
from tests.adapters.packed_stores import (
    KINDS,
    PAIRS,
    USERS,
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


def test_requested_features_are_honoured_and_not_changed(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    two = view("two", [user], {"p": Int64, "q": Int64})
    packed.write_arrow(cfg, two, rows(("a", 1, 1, 1, 1)).rename_columns(["user_id", "p", "event", "created", "q"]))
    wanted = ["q", "unknown"]
    result = packed.online_read(cfg, two, [key("a"), key("b"), key("a")], wanted)
    row = (hours(1), {"q": ValueProto(int64_val=1)})
    assert result == [row, (None, None), row]
    assert wanted == ["q", "unknown"]


def test_reading_before_anything_exists(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    for _ in range(2):
        assert packed.online_read(cfg, PAIRS, [key("a", 1)]) == [(None, None)]
        assert packed.online_read(cfg, PAIRS, []) == []
        assert packed.read_group(cfg, PAIRS, "a") is None
        assert packed.read_groups(cfg, PAIRS, []).num_rows == 0
        empty = packed.read_all(cfg, PAIRS)
        assert (empty.num_rows, empty.column_names) == (0, ["user_id", "item_id", "value", "event", "created"])
        assert packed.watermark(cfg, PAIRS) is None
        assert packed.generation(cfg, PAIRS) == 0
        packed.update(cfg, [], [PAIRS], [], [user, item], partial=False)  # a view that was applied and never written
        packed.write_arrow(cfg, PAIRS, rows())
        packed.online_write_batch(cfg, PAIRS, [], None)


def test_update_and_teardown(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    packed.update(cfg, [], [USERS, PAIRS], [], [user, item], partial=False)
    for feature_view in (USERS, PAIRS):
        packed.write_arrow(cfg, feature_view, rows(("a", 1, 1, 1, 1)))
    packed.update(cfg, [USERS], [PAIRS], [], [user, item], partial=False)
    assert packed.read_group(cfg, USERS, "a") is None
    assert packed.read_group(cfg, PAIRS, "a") is not None
    packed.teardown(cfg, [PAIRS], [])
    assert packed.read_group(cfg, PAIRS, "a") is None
    assert packed.watermark(cfg, PAIRS) is None


def test_generations_of_a_view_that_was_made_anew_are_new(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    seen = set()
    for _ in range(2):
        for value in range(3):
            packed.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, value)))
            seen.add(packed.generation(cfg, PAIRS))
        packed.update(cfg, [PAIRS], [], [], [], partial=False)
        assert packed.generation(cfg, PAIRS) == 0
    assert len(seen) == 6


def test_many_views_and_projects_are_strangers(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    other = opened.configured("other")
    names = [f"view_{n}" for n in range(12)] + ["rows", "view:rows", 'quoted "name" *', "ünïcode"]
    views = [view(name, [user] if n % 2 else [user, item], {"value": Int64}) for n, name in enumerate(names)]
    for n, one in enumerate(views):
        packed.write_arrow(cfg, one, rows(("a", 1, 1, 1, n)))
        packed.write_arrow(other, one, rows(("a", 1, 1, 1, -n)))
    assert [opened.group(one, "a").column("value").to_pylist() for one in views] == [[n] for n in range(len(views))]
    packed.teardown(cfg, views[::2], [])
    assert [packed.read_group(cfg, one, "a") is None for one in views] == [n % 2 == 0 for n in range(len(views))]
    assert [packed.read_all(other, one).column("value").to_pylist() for one in views] == [
        [-n] for n in range(len(views))
    ]
    packed.forget(cfg)
    assert not any(packed.read_all(of, one).num_rows for of in (cfg, other) for one in views)


def test_first_declared_entity_groups_whatever_the_schema_order(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    turned = view("turned", [user, item], {"value": Int64})
    turned.entity_columns.reverse()
    packed.update(cfg, [], [turned], [], [user, item], partial=False)
    packed.write_arrow(cfg, turned, rows(("a", 1, 1, 1, 1), ("a", 2, 1, 1, 2)))
    assert opened.group(turned, "a").num_rows == 2
    assert packed.online_read(cfg, turned, [key("a", 2)])[0][1] == {"value": ValueProto(int64_val=2)}


def test_grouping_chosen_at_apply_holds_for_readers_who_would_choose_another(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    packed.update(cfg, [], [PAIRS], [], [user, item], partial=False)
    packed.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, 1), ("a", 2, 1, 1, 2)))
    other = view("pairs", [item, user], {"value": Int64})
    assert opened.again().online_read(cfg, other, [key("a", 2)])[0][1] == {"value": ValueProto(int64_val=2)}
    opened.again().online_write_batch(cfg, other, pushed(("a", 3, 1, 1, 3)), None)
    assert opened.group(PAIRS, "a").num_rows == 3


def test_view_without_created_timestamp(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    bare = view("bare", [user], {"value": Int64}, created=False)
    for value in (1, 2):
        packed.write_arrow(cfg, bare, rows(("a", 1, 1, None, value)))
    assert packed.read_all(cfg, bare).column_names == ["user_id", "value", "event"]
    assert packed.read_all(cfg, bare).column("value").to_pylist() == [2]


def test_progress_is_told(opened: Opened) -> None:
    told: list[int] = []
    opened.store.online_write_batch(opened.config, PAIRS, pushed(("a", 1, 1, 1, 1), ("b", 1, 1, 1, 1)), told.append)
    assert told == [2]


def test_faults_of_the_caller_are_named(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    with pytest.raises(FeatureError, match=r"'pairs'.*no column \['item_id'\]"):
        packed.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, 1)).drop_columns(["item_id"]))
    with pytest.raises(FeatureError, match=r"'event' is int64"):
        packed.write_arrow(cfg, USERS, rows(("a", 1, 1, 1, 1)).set_column(2, "event", pa.array([1])))
    table = rows(("a", 1, 1, 1, 1)).set_column(0, "user_id", pa.array([None], pa.string()))
    with pytest.raises(FeatureError, match=r"'user_id' has 1 nulls"):
        packed.write_arrow(cfg, USERS, table)
    for bad, kind in ((1.5, "float"), (math.nan, "float"), (None, "NoneType"), (True, "bool"), (2**63, "int")):
        with pytest.raises(FeatureError, match=rf"key .* is {kind}"):
            packed.read_group(cfg, USERS, bad)  # type: ignore[arg-type]
    with pytest.raises(FeatureError, match=r"lacks 'item_id'"):
        packed.online_read(cfg, PAIRS, [key("a")])


@pytest.mark.parametrize("entities", [[user], [user, item]], ids=["user", "pair"])
def test_rows_past_their_ttl_are_not_served(opened: Opened, entities: list[Entity]) -> None:
    now = hours(100)
    position = Path(opened.config.repo_path or "") / "clock.json"
    position.parent.mkdir(parents=True, exist_ok=True)
    cfg = opened.configured(clock={"replay_from": now.isoformat(), "position": "clock.json"})
    short = view("short", entities, {"value": Int64}, ttl=timedelta(hours=10))
    data = [("old", 1, 90 - 1e-6, 99, 1), ("edge", 1, 90, 90, 2), ("new", 1, 99, 99, 3), ("later", 1, 101, 101, 4)]
    opened.store.write_arrow(cfg, short, rows(*data))
    keys = [key(row[0], 1 if item in entities else None) for row in data]

    def served() -> list[int | None]:
        found = opened.store.online_read(cfg, short, keys)
        return [None if values is None else values["value"].int64_val for _, values in found]

    assert served() == [None, 2, 3, 4]
    position.write_text(f'{{"now": "{(now + timedelta(hours=1)).isoformat()}"}}')
    assert served() == [None, None, 3, 4]
    assert opened.store.read_all(cfg, short).num_rows == 4
    position.write_text("{}")
    with pytest.raises(FeatureError, match=r"clock.json: cannot be read .*delete the file"):
        served()


def test_ttl_is_judged_by_the_machines_clock_by_default(opened: Opened) -> None:
    short = view("short", [user], {"value": Int64}, ttl=timedelta(hours=1))
    forever = view("forever", [user], {"value": Int64}, ttl=timedelta(0))
    for one in (short, forever):
        opened.store.write_arrow(opened.config, one, rows(("a", 1, 1, 1, 1)))
    assert opened.store.online_read(opened.config, short, [key("a")]) == [(None, None)]
    assert opened.store.online_read(opened.config, forever, [key("a")])[0][0] == hours(1)
