"""How is a store asked that may never answer? By a thread of its own, past a breaker, and for so long only."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from recsys.errors import StoreError
from recsys.serving.breaker import Breaker

T = TypeVar("T")

_IDLE_SECONDS: Final = 10.0
"""A thread without work ends after that."""
_THREADS: Final = 8
"""Questions to one store at a time; so many threads may hang in one that does not answer."""


class LateError(StoreError):
    """A store did not answer in time."""


class Gate:
    """The way to one store whose driver has no time-out of its own.

    The threads are daemons: one that hangs does not keep the process from ending.
    """

    def __init__(self, breaker: Breaker, threads: int = _THREADS) -> None:
        """Start no thread yet.

        Args:
            breaker: of the store.
            threads: questions at a time.
        """
        self.breaker = breaker
        self._most = threads
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = 0
        self._busy = 0

    def ask(self, question: Callable[[], T], seconds: float) -> T:
        """Return what a question gives.

        Raises:
            OpenError: at once, if the breaker is open.
            LateError: if there was no answer in so many seconds; it may still be carried out.
        """
        with self.breaker.asking():
            answer: Future[T] = Future()
            self._begin(question, answer)
            try:
                return answer.result(seconds)
            except TimeoutError as error:
                if answer.done():  # the question itself raised it
                    raise
                answer.cancel()
                message = f"{self.breaker.store}: no answer in {seconds:.3g} s: check that it runs and can be reached"
                raise LateError(message) from error

    def _begin(self, question: Callable[[], T], answer: "Future[T]") -> None:
        def carry_out() -> None:
            try:
                if answer.set_running_or_notify_cancel():
                    try:
                        result = question()
                    except BaseException as error:  # noqa: BLE001 - it belongs to who asked
                        answer.set_exception(error)
                    else:
                        answer.set_result(result)
            finally:
                with self._lock:
                    self._busy -= 1

        with self._lock:
            self._busy += 1
            self._queue.put(carry_out)
            if self._busy > self._started and self._started < self._most:
                self._started += 1
                name = f"{self.breaker.store} {self._started}"
                threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                carry_out = self._queue.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._queue.empty():
                        self._started -= 1
                        return
            else:
                carry_out()
