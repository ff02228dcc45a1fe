"""Is a store that never answers given up in time, and asked again when it does?"""

import threading
import time

import pytest

from recsys.errors import StoreError
from recsys.serving.breaker import OPEN, Breaker, OpenError, Tolerance
from recsys.serving.gate import Gate, LateError


def gate(threads: int = 2, failures: int = 100) -> Gate:
    return Gate(Breaker("store", Tolerance(failures=failures, cooldown=60)), threads)


def test_an_answer_and_an_error_come_through() -> None:
    made = gate()
    assert made.ask(lambda: 7, 30) == 7
    with pytest.raises(StoreError, match="down"):
        made.ask(lambda: _raise(StoreError("down")), 30)
    with pytest.raises(TimeoutError, match="the driver's own"):
        made.ask(lambda: _raise(TimeoutError("the driver's own")), 30)


def test_a_store_that_hangs_is_given_up_in_time_and_answers_again() -> None:
    made, back = gate(), threading.Event()
    began = time.monotonic()
    for _ in range(4):  # more than there are threads: the last ones are not even begun
        with pytest.raises(LateError, match=r"store: no answer in 0\.05 s"):
            made.ask(lambda: back.wait(60), 0.05)
    assert time.monotonic() - began < 20
    back.set()
    assert made.ask(lambda: 7, 30) == 7


def test_nobody_waits_once_the_breaker_is_open() -> None:
    made, back = gate(failures=2), threading.Event()
    for _ in range(2):
        with pytest.raises(LateError):
            made.ask(lambda: back.wait(60), 0.05)
    assert made.breaker.state == OPEN
    asked = []
    with pytest.raises(OpenError):
        made.ask(lambda: asked.append(1), 30)
    assert not asked
    back.set()


def test_threads_are_shared_by_questions_at_once() -> None:
    made = gate(threads=4)
    together = threading.Barrier(4)
    answers: list[int] = []

    def ask(number: int) -> None:
        answers.append(made.ask(lambda: (together.wait(30), number)[1], 30))

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(answers) == [0, 1, 2, 3]


def _raise(error: Exception) -> None:
    raise error
