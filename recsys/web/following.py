"""How does a process follow its stores while it answers? One thread, which no request waits for."""

import logging
import random
import threading
from collections.abc import Callable
from typing import Final

from recsys.serving.fleet import Fleet

LOGGER = logging.getLogger(__name__)

_JITTER: Final = 0.1
"""Pauses differ by so much of their length, so that workers do not ask the stores together."""
_STOP_SECONDS: Final = 2.0


class Poll:
    """Sweeps a fleet again and again."""

    def __init__(self, fleet: Fleet, seconds: float, then: Callable[[], None]) -> None:
        """Start nothing yet.

        Args:
            fleet: what is followed.
            seconds: between two sweeps.
            then: called after each.
        """
        self._fleet = fleet
        self._seconds = seconds
        self._then = then
        self._stopped = threading.Event()
        # A daemon: a store that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more; a sweep under way is waited for, though not for long."""
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._fleet.sweep()
                self._then()
            except Exception:
                LOGGER.exception("a poll failed; what was followed before goes on serving")
            pause = self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- no secret
            self._stopped.wait(pause)
