"""How long does one caller wait for a Redis server? As long as is configured, or as long as its request still has.

The client has one time-out for all commands of a connection. Here a thread says how long it can wait, and connecting,
every read and the pauses between attempts keep to that.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from redis import Connection, SSLConnection, UnixDomainSocketConnection
from redis.backoff import AbstractBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError

_ENDS: Final[ContextVar[float | None]] = ContextVar("ends", default=None)
"""By the monotonic clock; None where only the configured time-outs count."""
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.2


@contextmanager
def patience(seconds: float | None) -> Iterator[None]:
    """Let every command of this thread in the block end within so many seconds, all attempts together."""
    if seconds is None:
        yield
        return
    token = _ENDS.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ENDS.reset(token)


def _left() -> float | None:
    ends = _ENDS.get()
    if ends is None:
        return None
    left = ends - time.monotonic()
    if left <= 0:
        message = "no answer in the time that the request had"
        raise RedisTimeoutError(message)
    return left


class DrawnPauses(AbstractBackoff):
    """Pauses of a random length up to a bound that doubles, and never beyond the caller's time."""

    def compute(self, failures: int) -> float:
        """Return the seconds before the next attempt."""
        pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**failures))  # noqa: S311 -- no secret
        ends = _ENDS.get()
        return pause if ends is None else min(pause, max(ends - time.monotonic(), 0.0))


class _Patient:
    """Of a connection: keeps to the caller's time."""

    socket_timeout: float | None
    socket_connect_timeout: float | None
    _shortened = False

    def connect(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the client's own
        left = _left()
        if left is None:
            return super().connect(*arguments, **options)  # type: ignore[misc] # of the client's connection
        configured = self.socket_connect_timeout, self.socket_timeout
        self.socket_connect_timeout = min(left, configured[0] or left)
        self.socket_timeout = min(left, configured[1] or left)
        try:
            return super().connect(*arguments, **options)  # type: ignore[misc] # of the client's connection
        finally:
            self.socket_connect_timeout, self.socket_timeout = configured
            self._shortened = True

    def read_response(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the client's own
        left = _left()
        if left is not None:
            self.update_current_socket_timeout(min(left, self.socket_timeout or left))  # type: ignore[attr-defined]
            self._shortened = True
        elif self._shortened:
            self.update_current_socket_timeout(self.socket_timeout)  # type: ignore[attr-defined]
            self._shortened = False
        return super().read_response(*arguments, **options)  # type: ignore[misc] # of the client's connection


class PatientConnection(_Patient, Connection):
    """By TCP."""


class PatientTlsConnection(_Patient, SSLConnection):
    """By TLS."""


class PatientSocketConnection(_Patient, UnixDomainSocketConnection):
    """By a socket of this machine."""


def connection_class(url: str) -> type[Connection] | type[UnixDomainSocketConnection]:
    """Return the class of a URL's connections."""
    by_scheme = {"rediss": PatientTlsConnection, "unix": PatientSocketConnection}
    return by_scheme.get(url.partition(":")[0], PatientConnection)
