"""Is it worth asking a store now? After some failures in a row nobody waits on it until a probe has succeeded.

pybreaker holds a lock while the store is asked, so that threads would wait for one another, and circuitbreaker has no
lock at all; hence these states of our own.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from recsys.errors import RecsysError, StoreError

LOGGER = logging.getLogger(__name__)

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half-open"
STATES: Final = (CLOSED, HALF_OPEN, OPEN)


class OpenError(StoreError):
    """The store was not asked: its breaker is open."""


@dataclass(frozen=True)
class Tolerance:
    """When a breaker opens, and when it lets a probe through."""

    failures: int = 5
    """In a row, time-outs among them."""
    cooldown: float = 5.0
    """Seconds without a question once it is open."""
    jitter: float = 0.2
    """The cool-down is drawn between 1 - jitter and 1 + jitter times that, so that workers do not probe together."""


class Breaker:
    """The breaker of one store; any number of threads ask it, and none waits in it."""

    def __init__(
        self,
        store: str,
        tolerance: Tolerance | None = None,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Begin closed.

        Args:
            store: its name, for messages and figures.
            tolerance: when it opens and probes.
            now: seconds of a clock that never goes back.
            draw: evenly from [0, 1).
        """
        self.store = store
        self._tolerance = tolerance or Tolerance()
        self._now = now
        self._draw = draw
        self._lock = threading.Lock()
        self._failures = 0
        self._until: float | None = None
        self._probe: object | None = None

    @property
    def state(self) -> str:
        """Return closed, open, or half-open: where the next question, or one under way, is a probe."""
        with self._lock:
            if self._until is None:
                return CLOSED
            return OPEN if self._now() < self._until and self._probe is None else HALF_OPEN

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask the store in this block; what it raises comes through, and counts as a failure.

        An error of this package that is no StoreError does not: the store was there, and the question was wrong.

        Raises:
            OpenError: at once, if the store is not to be asked now.
        """
        ticket = self._admit()
        try:
            yield
        except BaseException as error:
            if isinstance(error, RecsysError) and not isinstance(error, StoreError):
                self._succeeded(ticket)
            else:
                self._failed(ticket, error)
            raise
        self._succeeded(ticket)

    def _admit(self) -> object:
        """Return what tells this question from others."""
        ticket = object()
        with self._lock:
            if self._until is None:
                return ticket
            if self._now() < self._until:
                message = f"{self.store}: not asked: {self._failures} questions in a row failed; it is tried again soon"
                raise OpenError(message)
            # Until the probe has come back others are turned away; one that never does is followed by another.
            self._probe = ticket
            self._until = self._now() + self._cooldown()
        return ticket

    def _succeeded(self, ticket: object) -> None:
        with self._lock:
            if self._until is None:
                self._failures = 0
                return
            if ticket is not self._probe:
                return  # it was asked before the breaker opened, and says nothing of now
            self._until = self._probe = None
            self._failures = 0
        LOGGER.warning("%s answers again", self.store)

    def _failed(self, ticket: object, error: BaseException) -> None:
        with self._lock:
            if self._until is not None:
                if ticket is self._probe:
                    self._probe = None
                    self._until = self._now() + self._cooldown()
                return
            self._failures += 1
            if self._failures < self._tolerance.failures:
                return
            self._until = self._now() + self._cooldown()
            failures = self._failures
        LOGGER.warning("%s is not asked for a while: %d questions in a row failed: %s", self.store, failures, error)

    def _cooldown(self) -> float:
        return self._tolerance.cooldown * (1 + self._tolerance.jitter * (2 * self._draw() - 1))
