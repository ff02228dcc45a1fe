"""Does the newest row of each entity win, whoever writes, in whatever order and at the same time?"""

import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureView, RepoConfig
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.packed_stores import (
    KINDS,
    PAIRS,
    USERS,
    Opened,
    Packed,
    feast_sqlite,
    hours,
    key,
    packed_stores,
    pushed,
    rows,
)

CLOCKS = st.integers(0, 3).map(float)
WRITES = st.lists(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(1, 2), CLOCKS, st.one_of(st.none(), CLOCKS)),
        max_size=6,
    ),
    max_size=4,
)


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    yield from packed_stores(request.param, tmp_path)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES, by_arrow=st.lists(st.booleans(), min_size=4, max_size=4))
def test_newest_row_of_each_entity_wins(
    opened: Opened, writes: list[list[tuple[str, int, float, float | None]]], by_arrow: list[bool]
) -> None:
    packed, cfg = opened.store, opened.config
    packed.update(cfg, [USERS, PAIRS], [], [], [], partial=False)
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
                of_users = [(u, None if feature_view is USERS else i, e, c, n) for u, i, e, c, n in numbered]
                packed.online_write_batch(cfg, feature_view, pushed(*of_users), None)
    for feature_view in (USERS, PAIRS):
        wanted = expected[feature_view.name]
        stored = packed.read_all(cfg, feature_view).to_pylist()
        names = [column.name for column in feature_view.entity_columns]
        assert {tuple(row[n] for n in names): row["value"] for row in stored} == {
            entity: value for entity, (_, value) in wanted.items()
        }
        assert len(stored) == len(wanted)
        events = [event for batch in writes for _, _, event, _ in batch]
        assert packed.watermark(cfg, feature_view) == (hours(max(events)) if events else None)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_in_order_of_events_feasts_store_says_the_same(
    opened: Opened, tmp_path_factory: pytest.TempPathFactory, events: list[int]
) -> None:
    """Feast's SQLite store upserts whatever comes, so it is right where news come in order."""
    opened.store.update(opened.config, [PAIRS], [], [], [], partial=False)
    oracle, theirs = feast_sqlite(tmp_path_factory.mktemp("theirs"), PAIRS)
    for number, event in enumerate(sorted(events)):
        data = pushed(("a", 1, event, event, number))
        oracle.online_write_batch(theirs, PAIRS, data, None)
        opened.store.online_write_batch(opened.config, PAIRS, data, None)
    assert opened.store.online_read(opened.config, PAIRS, [key("a", 1)]) == oracle.online_read(
        theirs, PAIRS, [key("a", 1)]
    )


@pytest.mark.parametrize("feature_view", [USERS, PAIRS], ids=["users", "pairs"])
def test_corrections_and_late_comers(opened: Opened, feature_view: FeatureView) -> None:
    def value_after(event: float, created: float | None, value: int) -> int:
        opened.store.write_arrow(opened.config, feature_view, rows(("a", 1, event, created, value)))
        (row,) = opened.all(feature_view)
        return int(row["value"])

    assert value_after(5, 5, 1) == 1
    assert value_after(4, 9, 2) == 1  # an older event, however late it was known
    assert value_after(5, 4, 3) == 1  # an older version of the same event
    assert value_after(5, 6, 4) == 4  # a correction
    assert value_after(5, 6, 5) == 5  # the same again: written last
    assert value_after(5, None, 6) == 5  # nobody knows when it was created
    assert value_after(6, None, 7) == 7


_STEP = timedelta(microseconds=1)


@pytest.mark.parametrize(
    "moment",
    [datetime.min.replace(tzinfo=UTC) + _STEP, hours(-1e6), hours(0), hours(3e6), datetime.max.replace(tzinfo=UTC)],
)
@pytest.mark.parametrize("feature_view", [USERS, PAIRS], ids=["users", "pairs"])
def test_clocks_far_away_are_compared_exactly(opened: Opened, feature_view: FeatureView, moment: datetime) -> None:
    one = key("a", 1 if feature_view is PAIRS else None)
    for event, created, value in ((moment, moment, 1), (moment - _STEP, moment, 2), (moment, moment - _STEP, 3)):
        data = [(one, {"value": ValueProto(int64_val=value)}, event, created)]
        opened.store.online_write_batch(opened.config, feature_view, data, None)
        assert opened.all(feature_view)[0]["value"] == 1
    assert opened.store.watermark(opened.config, feature_view) == moment


def test_write_says_how_many_entities_got_a_new_row(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    for feature_view in (USERS, PAIRS):
        assert packed.write_arrow(cfg, feature_view, rows(("a", 1, 2, 2, 1), ("b", 1, 2, 2, 2))) == 2
        assert packed.write_arrow(cfg, feature_view, rows(("a", 1, 1, 9, 3), ("b", 1, 2, 2, 4))) == 1
        assert packed.write_arrow(cfg, feature_view, rows()) == 0


def test_groups_merge(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    packed.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, 10), ("b", 1, 1, 1, 20), ("a", 3, 1, 1, 30)))
    packed.write_arrow(cfg, PAIRS, rows(("a", 2, 1, 1, 40), ("a", 1, 2, 2, 50)))
    merged = opened.group(PAIRS, "a")
    assert merged.column_names == ["user_id", "item_id", "value", "event", "created"]
    pairs = zip(merged.column("item_id").to_pylist(), merged.column("value").to_pylist(), strict=True)
    assert sorted(pairs) == [(1, 50), (2, 40), (3, 30)]
    assert opened.group(PAIRS, "b").column("value").to_pylist() == [20]


def test_more_groups_than_one_call_takes(opened: Opened) -> None:
    first = rows(*((f"u{n}", item, 1, 1, n) for n in range(450) for item in (1, 2)))
    assert opened.store.write_arrow(opened.config, PAIRS, first) == 900
    second = rows(*((f"u{n}", 2, 2, 2, -n) for n in range(0, 450, 3)), *((f"u{n}", 1, 0, 0, 9) for n in range(450)))
    assert opened.store.write_arrow(opened.config, PAIRS, second) == 150
    expected = {(f"u{n}", item): -n if item == 2 and n % 3 == 0 else n for n in range(450) for item in (1, 2)}
    assert {(row["user_id"], row["item_id"]): row["value"] for row in opened.all(PAIRS)} == expected
    many = rows(*((f"u{n}", 1, 1, 1, n) for n in range(2500)))
    assert opened.store.write_arrow(opened.config, USERS, many) == 2500
    assert opened.store.read_groups(opened.config, USERS, [f"u{n}" for n in range(3000)]).num_rows == 2500


def test_threads_write_together(opened: Opened) -> None:
    packed, cfg = opened.store, opened.config
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for step in range(10):
                packed.write_arrow(cfg, PAIRS, rows(("a", 10 * number + step, 1, 1, step)))
                packed.write_arrow(cfg, USERS, rows(("a", 1, step, number, 10 * number + step)))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert opened.group(PAIRS, "a").num_rows == 40
    assert opened.group(USERS, "a").column("value").to_pylist() == [39]


def _write_many(packed: Packed, cfg: RepoConfig, number: int) -> None:
    for step in range(20):
        some = [(f"u{user}", 100 * number + step, step, number, 1000 * step + number) for user in range(5)]
        packed.write_arrow(cfg, PAIRS, rows(*some))
        packed.write_arrow(cfg, USERS, rows(*some))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_processes_write_together(opened: Opened) -> None:
    """Nothing is lost, and of one entity the newest stays; a forked process does not use its parent's connection."""
    opened.store.write_arrow(opened.config, PAIRS, rows(("u0", 9999, 1, 1, 0)))
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(opened.store, opened.config, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(opened.all(PAIRS)) == 1 + 3 * 20 * 5
    assert {row["value"] for row in opened.all(USERS)} == {19_002}
