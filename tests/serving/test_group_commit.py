"""Does a queue before the log lose nothing that it acknowledged, stay bounded, and say what it cannot do?"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import schema
from recsys.errors import DataError, StoreError
from recsys.ports import Exposure, NewIds, RoutedCount, ShownItem
from recsys.serving.group_commit import GroupCommit
from tests.fakes.event_log import FakeEventLog

AT = datetime(2017, 12, 4, 6, tzinfo=UTC)
DAY = timedelta(days=1)
PATIENT = 60.0


def exposure(request_id: str, slots: int = 2) -> Exposure:
    items = tuple(ShownItem(f"item_{slot}", slot, 1.0) for slot in range(1, slots + 1))
    return Exposure(request_id, "home", "u", None, None, None, False, None, None, None, AT, "", {}, items)


def outcomes(*ids: str) -> pa.Table:
    row: dict[str, Any] = {schema.EVENT_TYPE: "click", schema.USER: "u"}
    row |= {schema.ITEM: "i", schema.SESSION: None, schema.QUANTITY: 1.0, schema.VALUE: 0.0}
    row |= {schema.EVENT_TIMESTAMP: AT, schema.CREATED_TIMESTAMP: AT}
    return pa.Table.from_pylist([row | {schema.EVENT_ID: name} for name in ids], schema=schema.EVENTS)


class GatedLog(FakeEventLog):
    """A log that can be held, taken down, and that refuses ids that begin with `poison`."""

    def __init__(self) -> None:
        """Start open and up."""
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.down = False
        self.entered = threading.Semaphore(0)
        self.groups: list[int] = []
        self.writers: set[int] = set()

    def write_group(
        self, exposures: Sequence[Exposure], outcomes: pa.Table, routed: Sequence[RoutedCount] = ()
    ) -> NewIds:
        self.writers.add(threading.get_ident())
        self.entered.release()
        assert self.open.wait(PATIENT)
        if self.down:
            message = "event log fake: cannot be written"
            raise StoreError(message)
        names = [one.request_id for one in exposures] + outcomes[schema.EVENT_ID].to_pylist()
        if any(name.startswith("poison") for name in names):
            message = "event log fake: poison"
            raise DataError(message)
        self.groups.append(len(names))
        return super().write_group(exposures, outcomes, routed)

    def written(self) -> list[str]:
        return sorted(self.exposures("home", AT, AT + DAY)[schema.REQUEST_ID].to_pylist())


@pytest.fixture
def log() -> GatedLog:
    return GatedLog()


@pytest.fixture
def opened(log: GatedLog) -> Iterator[Callable[..., GroupCommit]]:
    made: list[GroupCommit] = []

    def make(durability: Any = "acknowledged", **options: Any) -> GroupCommit:
        made.append(GroupCommit(log, durability, **({"wait_seconds": PATIENT} | options)))
        return made[-1]

    yield make
    log.down = False
    log.open.set()
    for one in made:
        one.close()


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def together(*calls: Callable[[], object]) -> list[object]:
    """Make calls at once, each in its thread; return results or exceptions in their order."""
    results: list[object] = [None] * len(calls)

    def run(number: int, call: Callable[[], object]) -> None:
        try:
            results[number] = call()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            results[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENT)
    return results


def held(log: GatedLog, grouped: GroupCommit) -> threading.Thread:
    """Let the writer enter the log with one call and stay there."""
    log.open.clear()
    thread = threading.Thread(target=lambda: together(lambda: grouped.write_exposures([exposure("first", 0)])))
    thread.start()
    assert log.entered.acquire(timeout=PATIENT)
    return thread


class TestAcknowledged:
    """A call that returns is on disk."""

    def test_shares_a_commit_between_all_that_wait(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened()
        first = held(log, grouped)
        waiting = [threading.Thread(target=grouped.write_exposures, args=([exposure(f"r{n}")],)) for n in range(10)]
        waiting += [threading.Thread(target=grouped.write_outcomes, args=(outcomes(f"e{n}"),)) for n in range(5)]
        for thread in waiting:
            thread.start()
        eventually(lambda: grouped.waiting == 1 + 10 * 3 + 5)
        assert log.written() == []
        log.open.set()
        for thread in [first, *waiting]:
            thread.join(PATIENT)
        assert log.groups == [1, 15]
        assert grouped.waiting == 0
        assert len(log.writers) == 1

    def test_tells_each_caller_its_own_new_ids(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened()
        log.write_exposures([exposure("known")])
        first = held(log, grouped)
        calls = (
            lambda: grouped.write_exposures([exposure("known"), exposure("a")]),
            lambda: grouped.write_exposures([exposure("known")]),
            lambda: grouped.write_outcomes(outcomes("e", "e", "f")),
        )
        release = threading.Timer(0.0, lambda: (eventually(lambda: grouped.waiting == 1 + 6 + 3 + 3), log.open.set()))
        release.start()
        assert together(*calls) == [1, 0, 2]
        first.join(PATIENT)
        release.join(PATIENT)

    def test_a_value_that_cannot_be_kept_fails_its_own_call(
        self, log: GatedLog, opened: Callable[..., GroupCommit]
    ) -> None:
        grouped = opened()
        first = held(log, grouped)
        calls = (
            lambda: grouped.write_exposures([exposure("a")]),
            lambda: grouped.write_exposures([exposure("poison")]),
            lambda: grouped.write_outcomes(outcomes("e").drop_columns([schema.VALUE])),
            lambda: grouped.write_outcomes(outcomes("e")),
        )
        release = threading.Timer(0.0, lambda: (eventually(lambda: grouped.waiting == 1 + 6 + 2), log.open.set()))
        release.start()
        one, poisoned, shapeless, other = together(*calls)
        assert (one, other) == (1, 1)
        assert isinstance(poisoned, DataError)
        assert isinstance(shapeless, DataError)
        assert log.written() == ["a", "first"]
        first.join(PATIENT)
        release.join(PATIENT)

    def test_is_refused_while_the_log_is_down_and_written_when_it_is_back(
        self, log: GatedLog, opened: Callable[..., GroupCommit]
    ) -> None:
        grouped = opened()
        log.down = True
        with pytest.raises(StoreError, match="cannot be written"):
            grouped.write_exposures([exposure("r")])
        log.down = False

        def again() -> bool:
            try:
                return grouped.write_exposures([exposure("r")]) == 1
            except StoreError:
                return False

        eventually(again)
        assert log.written() == ["r"]
        assert grouped.waiting == 0

    def test_takes_back_what_was_not_begun_in_time(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened(wait_seconds=0.05)
        first = held(log, grouped)
        with pytest.raises(StoreError, match="nothing of this was written"):
            grouped.write_exposures([exposure("second")])
        first.join(PATIENT)
        log.open.set()
        assert grouped.close() == 0
        assert log.written() == ["first"], "said to be possibly written, and it was; the second was taken back"

    def test_says_when_it_may_be_written_yet(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        log.open.clear()
        with pytest.raises(StoreError, match="may be written yet"):
            opened(wait_seconds=1.0).write_outcomes(outcomes("e"))


class TestWithoutAThread:
    """A service waits for the commit without holding a thread."""

    def test_many_wait_in_one_thread_for_one_commit(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened()
        first = held(log, grouped)

        async def ask() -> int:
            waiting = [asyncio.create_task(grouped.write_soon([exposure(f"r{n}")])) for n in range(20)]
            await asyncio.sleep(0)  # each runs until it waits
            assert grouped.waiting == 1 + 20 * 3
            done = sum(task.done() for task in waiting)
            log.open.set()
            await asyncio.gather(*waiting)
            return done

        assert asyncio.run(ask()) == 0
        first.join(PATIENT)
        assert log.groups == [1, 20]
        assert len(log.written()) == 21

    def test_is_refused_like_those_that_hold_one(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened(wait_seconds=0.05)
        first = held(log, grouped)
        with pytest.raises(StoreError, match="nothing of this was written"):
            asyncio.run(grouped.write_soon([exposure("second")]))
        log.open.set()
        first.join(PATIENT)
        with pytest.raises(DataError, match="poison"):
            asyncio.run(opened().write_soon([exposure("poison")]))
        assert log.written() == ["first"]

    def test_who_no_longer_waits_takes_nothing_back(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened()
        first = held(log, grouped)

        async def leave() -> None:
            task = asyncio.create_task(grouped.write_soon([exposure("left")]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(leave())
        log.open.set()
        first.join(PATIENT)
        eventually(lambda: log.written() == ["first", "left"])

    def test_waits_for_room(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened("buffered", gather_seconds=0.0, queue_rows=7)
        log.open.clear()
        grouped.write_exposures([exposure("a"), exposure("b")])

        async def ask() -> None:
            task = asyncio.create_task(grouped.write_soon([exposure("c")]))
            await asyncio.sleep(0.05)
            assert not task.done()
            log.open.set()
            await task

        asyncio.run(ask())
        eventually(lambda: log.written() == ["a", "b", "c"])


class TestBuffered:
    """Exposures return when they are queued; outcomes when they are on disk."""

    def test_returns_before_the_commit(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened("buffered", gather_seconds=0.0)
        log.open.clear()
        assert grouped.write_exposures([exposure("a"), exposure("b"), exposure("b")]) == 2
        assert log.entered.acquire(timeout=PATIENT)
        assert log.written() == []
        log.open.set()
        eventually(lambda: log.written() == ["a", "b"])

    def test_gathers_until_an_acknowledged_call_comes(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened("buffered", gather_seconds=PATIENT)
        for number in range(3):
            grouped.write_exposures([exposure(f"r{number}")])
        assert grouped.write_outcomes(outcomes("e")) == 1
        assert log.groups == [4]

    def test_keeps_what_waits_while_the_log_is_down(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened("buffered", gather_seconds=0.0)
        log.down = True
        names = [f"r{number}" for number in range(5)]
        for name in names:
            grouped.write_exposures([exposure(name)])
        for _ in range(3):
            assert log.entered.acquire(timeout=PATIENT), "it is tried again"
        assert grouped.waiting == 15
        log.down = False
        eventually(lambda: log.written() == names)
        eventually(lambda: grouped.waiting == 0)
        assert grouped.lost == 0

    def test_a_full_queue_refuses_in_bounded_time(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened("buffered", gather_seconds=0.0, queue_rows=7, wait_seconds=0.05)
        log.down = True
        grouped.write_exposures([exposure("a")])
        grouped.write_exposures([exposure("b")])
        with pytest.raises(StoreError, match=r"6 rows wait and 7 may"):
            grouped.write_exposures([exposure("c")])
        log.down = False
        eventually(lambda: log.written() == ["a", "b"])
        grouped.write_exposures([exposure("c")])
        assert grouped.close() == 0
        assert log.written() == ["a", "b", "c"]

    def test_room_that_becomes_free_is_taken(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened("buffered", gather_seconds=0.0, queue_rows=7)
        log.open.clear()
        grouped.write_exposures([exposure("a")])
        grouped.write_exposures([exposure("b")])
        release = threading.Timer(0.05, log.open.set)
        release.start()
        assert grouped.write_exposures([exposure("c")]) == 1
        release.join(PATIENT)

    def test_counts_what_the_log_refuses(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened("buffered", gather_seconds=0.0)
        grouped.write_exposures([exposure("poison")])
        grouped.write_exposures([exposure("a")])
        assert grouped.close() == 1
        assert log.written() == ["a"]

    def test_a_value_that_waited_for_the_log_to_come_back_is_refused_once(
        self, log: GatedLog, opened: Callable[..., GroupCommit]
    ) -> None:
        grouped = opened("buffered", gather_seconds=0.0)
        log.down = True
        for name in ("a", "poison", "b"):
            grouped.write_exposures([exposure(name)])
        assert log.entered.acquire(timeout=PATIENT)
        log.down = False
        eventually(lambda: grouped.waiting == 0)
        assert log.written() == ["a", "b"]
        assert grouped.lost == 1

    def test_closing_writes_what_waits(self, log: GatedLog, opened: Callable[..., GroupCommit]) -> None:
        grouped = opened("buffered", gather_seconds=PATIENT)
        grouped.write_exposures([exposure("a")])
        assert grouped.close() == 0
        assert log.written() == ["a"]
        with pytest.raises(StoreError, match="closed"):
            grouped.write_exposures([exposure("b")])

    def test_closing_is_bounded_and_counts_what_it_could_not_write(
        self, log: GatedLog, opened: Callable[..., GroupCommit]
    ) -> None:
        grouped = opened("buffered", gather_seconds=0.0)
        log.down = True
        for name in "abc":
            grouped.write_exposures([exposure(name)])
        begun = time.monotonic()
        assert grouped.close(wait_seconds=0.1) == 3
        assert time.monotonic() - begun < PATIENT / 2
        log.down = False
        assert log.written() == []


@given(
    calls=st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from("abcdefgh"), max_size=4)), max_size=20),
    durability=st.sampled_from(["acknowledged", "buffered"]),
)
def test_what_was_returned_adds_up(calls: list[tuple[bool, list[str]]], durability: Any) -> None:
    """Whoever calls at once: every id is written once, and the counts of new ids add up to them."""
    log = GatedLog()
    grouped = GroupCommit(log, durability, wait_seconds=PATIENT, gather_seconds=0.0)
    counted = together(
        *(
            (lambda names=names: grouped.write_exposures([exposure(name) for name in names]))
            if shown
            else (lambda names=names: grouped.write_outcomes(outcomes(*names)))
            for shown, names in calls
        )
    )
    assert grouped.close() == 0
    shown_ids = {name for shown, names in calls if shown for name in names}
    event_ids = {name for shown, names in calls if not shown for name in names}
    assert log.written() == sorted(shown_ids)
    assert log.outcomes("click", AT, AT + DAY)[schema.EVENT_ID].to_pylist() == sorted(event_ids)
    outcome_counts = [count for count, (shown, _) in zip(counted, calls, strict=True) if not shown]
    assert sum(outcome_counts) == len(event_ids)  # type: ignore[arg-type]
    if durability == "acknowledged":
        assert sum(counted) == len(shown_ids) + len(event_ids)  # type: ignore[arg-type]
    assert grouped.waiting == 0


# ---------------------------------------------------------------- what the router decided


def routed(log: FakeEventLog) -> dict[str, tuple[int, int]]:
    """Return decided and excused by arm."""
    return {row["arm"]: (row["decided"], row["excused"]) for row in log.routed("e").to_pylist()}


def decision(request_id: str, arm: str = "control", **changes: Any) -> Exposure:
    return replace(exposure(request_id), **({"experiment": "e", "arm": arm} | changes))


def answered(grouped: GroupCommit, shown: Exposure) -> None:
    """Do what the service does."""
    grouped.decided(shown)
    grouped.write_exposures([shown])


def test_decisions_reach_the_log_with_the_exposures_and_testers_are_none(
    log: GatedLog, opened: Callable[..., GroupCommit]
) -> None:
    grouped = opened("buffered", gather_seconds=0.0)
    for number in range(3):
        answered(grouped, decision(f"r{number}", "control" if number else "treatment"))
    answered(grouped, decision("tester", overridden=True))
    answered(grouped, exposure("default"))
    grouped.close()
    assert routed(log) == {"control": (2, 0), "treatment": (1, 0)}
    assert len(log.written()) == 5


def test_a_decision_whose_exposure_was_refused_is_counted_when_the_log_is_back(
    log: GatedLog, opened: Callable[..., GroupCommit]
) -> None:
    grouped = opened()
    log.down = True
    for number in range(3):
        with pytest.raises(StoreError):
            answered(grouped, decision(f"r{number}"))
    log.down = False
    deadline = time.monotonic() + PATIENT
    while not routed(log) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert routed(log) == {"control": (3, 0)}, "no further call was needed"
    assert log.written() == []


def test_a_request_that_is_asked_again_under_its_id_is_excused(
    log: GatedLog, opened: Callable[..., GroupCommit]
) -> None:
    for durability in ("acknowledged", "buffered"):
        grouped = opened(durability)
        for _ in range(3):
            answered(grouped, decision(f"again {durability}"))
        grouped.close()
    assert routed(log) == {"control": (6, 4)}
    assert len(log.written()) == 2


def test_what_is_closed_while_the_log_is_down_asks_it_once_and_ends(
    log: GatedLog, opened: Callable[..., GroupCommit]
) -> None:
    grouped = opened()
    log.down = True
    grouped.decided(decision("r"))
    began = time.monotonic()
    grouped.close(PATIENT)
    assert time.monotonic() - began < PATIENT / 2
    assert routed(log) == {}


@pytest.mark.parametrize(("durability", "groups"), [("acknowledged", 1), ("buffered", 20)])
def test_counts_go_with_every_group_only_where_a_kill_may_lose_exposures(
    log: GatedLog, opened: Callable[..., GroupCommit], durability: Any, groups: int
) -> None:
    grouped = opened(durability, gather_seconds=0.0)
    with_counts = 0
    write = log.write_group

    def counting(exposures: Any, outcomes: Any, routed: Any = ()) -> NewIds:
        nonlocal with_counts
        with_counts += bool(routed)
        return write(exposures, outcomes, routed)

    log.write_group = counting  # type: ignore[method-assign]
    for number in range(20):
        answered(grouped, decision(f"r{number}"))
        while grouped.waiting:
            time.sleep(0.001)
    assert with_counts in {groups - 1, groups}, "at most once a second, or each time"
    grouped.close()
    assert routed(log) == {"control": (20, 0)}
