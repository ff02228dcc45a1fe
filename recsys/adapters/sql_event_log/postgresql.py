"""How does a connection to PostgreSQL fail in bounded time when its server hangs?

`connect_timeout` bounds the connecting, `tcp_user_timeout` a network that takes no bytes, `lock_timeout` a wait for
others. A server that is stopped while its kernel goes on taking bytes is found by none of them: only by its silence.
"""

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator

    import psycopg

SILENCE_SECONDS: Final = 10.0
"""How long a server may say nothing; longer than it lets a statement wait for a lock, which it would say."""


def connect(*arguments: Any, **options: Any) -> "psycopg.Connection[Any]":  # noqa: ANN401 - psycopg's own
    """Connect as psycopg does; the connection is given up when its server is silent for too long.

    The bound is the connection's `silence_seconds`; None waits without end.
    """
    import psycopg

    class Connection(psycopg.Connection[Any]):
        silence_seconds: float | None = SILENCE_SECONDS

        def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - psycopg's own
            return super().wait(_heard(self, gen), *arguments, **options)

    return Connection.connect(*arguments, **options)


def _heard(connection: Any, exchange: Any) -> "Generator[Any, Any, Any]":  # noqa: ANN401 - psycopg's own
    """Carry an exchange with the server on, as long as something is heard of it."""
    import psycopg

    try:
        wanted = next(exchange)
        heard = time.monotonic()
        while True:
            ready = yield wanted
            bound = connection.silence_seconds
            if ready:
                heard = time.monotonic()
            elif bound is not None and time.monotonic() - heard > bound:
                # Closed, so that the pool does not hand it out again.
                connection.pgconn.finish()
                message = f"the server said nothing for {bound:g} s"
                raise psycopg.OperationalError(message)
            wanted = exchange.send(ready)
    except StopIteration as ended:
        return ended.value
