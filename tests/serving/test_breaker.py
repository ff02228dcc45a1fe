"""Does a breaker open after failures in a row, let one probe through at a time, and close only by a probe?"""

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from recsys.errors import FeatureError, OnlineStoreError, StoreError
from recsys.serving.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, OpenError, Tolerance

TOLERANCE = Tolerance(failures=3, cooldown=10.0, jitter=0.2)


@dataclass
class Time:
    """A clock that a test moves."""

    at: float = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.at


def breaker(time: Time, draw: float = 0.5) -> Breaker:
    return Breaker("store", TOLERANCE, time, lambda: draw)


def fail(made: Breaker, error: BaseException | None = None) -> None:
    """Ask the store once, which fails."""
    wanted = error or StoreError("down")
    with pytest.raises(type(wanted)), made.asking():
        raise wanted


def test_it_opens_after_failures_in_a_row_only() -> None:
    made = breaker(Time())
    for _ in range(5):
        fail(made)
        fail(made)
        with made.asking():
            pass
    assert made.state == CLOSED
    for _ in range(3):
        fail(made)
    assert made.state == OPEN
    with pytest.raises(OpenError, match=r"store: not asked: 3 questions in a row failed"), made.asking():
        pytest.fail("nobody asks a store past an open breaker")


def test_one_probe_closes_it_or_opens_it_again() -> None:
    time = Time()
    made = breaker(time)
    for _ in range(3):
        fail(made)
    time.at += 10
    assert made.state == HALF_OPEN
    fail(made)
    assert made.state == OPEN
    time.at += 10
    with made.asking():
        assert made.state == HALF_OPEN
        with pytest.raises(OpenError), made.asking():
            pytest.fail("one probe at a time")
    assert made.state == CLOSED


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 8.0), (0.5, 10.0), (0.999, 11.996)])
def test_the_cool_down_is_drawn(draw: float, seconds: float) -> None:
    time = Time()
    made = breaker(time, draw)
    for _ in range(3):
        fail(made)
    time.at += seconds - 0.01
    assert made.state == OPEN
    time.at += 0.02
    assert made.state == HALF_OPEN


def test_a_probe_that_never_comes_back_is_followed_by_another() -> None:
    time = Time()
    made = breaker(time)
    for _ in range(3):
        fail(made)
    time.at += 10
    lost = made.asking()
    lost.__enter__()
    time.at += 10
    with made.asking():
        pass
    assert made.state == CLOSED
    assert not lost.__exit__(StoreError, StoreError("late"), None)
    assert made.state == CLOSED


def test_an_answer_from_before_it_opened_does_not_close_it() -> None:
    made = breaker(Time())
    slow = made.asking()
    slow.__enter__()
    for _ in range(3):
        fail(made)
    slow.__exit__(None, None, None)
    assert made.state == OPEN


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (FeatureError("no such view"), CLOSED),
        (OnlineStoreError("no answer"), OPEN),
        (StoreError("no answer"), OPEN),
        (TimeoutError("driver"), OPEN),
        (KeyError("driver"), OPEN),
    ],
    ids=repr,
)
def test_a_wrong_question_is_no_failure_of_the_store(error: Exception, state: str) -> None:
    made = breaker(Time())
    for _ in range(3):
        fail(made, error)
    assert made.state == state


def test_of_many_threads_one_probes() -> None:
    time = Time()
    made = breaker(time)
    for _ in range(3):
        fail(made)
    time.at += 10
    inside, turned_away, together = [], [], threading.Barrier(16)
    done = threading.Event()

    def ask() -> None:
        together.wait()
        try:
            with made.asking():
                inside.append(1)
                done.wait(30)
        except OpenError:
            turned_away.append(1)
            if len(turned_away) == 15:
                done.set()

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inside), len(turned_away), made.state) == (1, 15, CLOSED)


class AnyOrder(RuleBasedStateMachine):
    """Questions that end in any order, beside a model of the breaker by its definition."""

    def __init__(self) -> None:
        """Begin closed."""
        super().__init__()
        self.time = Time()
        self.made = breaker(self.time)
        self.under_way: list[Any] = []
        self.in_a_row = 0
        self.opened: float | None = None
        self.probe: Any = None

    @rule()
    def begin(self) -> None:
        asking = self.made.asking()
        may = self.opened is None or self.time.at >= self.opened + 10
        if may:
            asking.__enter__()
            self.under_way.append(asking)
            if self.opened is not None:
                self.probe, self.opened = asking, self.time.at
        else:
            with pytest.raises(OpenError):
                asking.__enter__()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), well=st.booleans())
    def end(self, data: st.DataObject, well: bool) -> None:
        asking = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        if well:
            asking.__exit__(None, None, None)
        else:
            assert not asking.__exit__(StoreError, StoreError("down"), None)
        if self.opened is not None:
            if asking is self.probe:
                self.probe = None
                self.opened = None if well else self.time.at
                self.in_a_row = 0
            return
        self.in_a_row = 0 if well else self.in_a_row + 1
        if self.in_a_row == 3:
            self.opened = self.time.at

    @rule(seconds=st.sampled_from([1.0, 5.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.time.at += seconds

    @invariant()
    def it_is_what_the_model_says(self) -> None:
        if self.opened is None:
            assert self.made.state == CLOSED
        elif self.time.at < self.opened + 10 and self.probe is None:
            assert self.made.state == OPEN
        else:
            assert self.made.state == HALF_OPEN


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
