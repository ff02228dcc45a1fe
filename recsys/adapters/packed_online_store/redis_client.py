"""How is a Redis server reached in bounded time, and what does a person do when it is not?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from recsys.adapters.packed_online_store.redis_scripts import OTHER_KEYS
from recsys.errors import FeatureError, OnlineStoreError

if TYPE_CHECKING:
    from redis import Redis


CONNECTIONS: Final = 64
"""Of one process to one server; a thread has one at a time."""
RETRIES: Final = 2
"""After a failure of the connection; all commands may be repeated."""


def connect(url: str, connect_timeout: float, timeout: float) -> "Redis":
    """Return a client that gives up in time, and tries again after pauses that are drawn; it connects when it is asked.

    Args:
        url: redis://user:password@host:port/database, rediss:// or unix://.
        connect_timeout: seconds to wait for a connection.
        timeout: seconds to wait for an answer.

    Raises:
        FeatureError: the client library is missing, or the URL is not one.
    """
    try:
        from redis import ConnectionPool, Redis
        from redis.retry import Retry

        from recsys.adapters.packed_online_store.redis_patience import DrawnPauses, connection_class
    except ModuleNotFoundError as error:
        message = "online store redis: the package redis is not installed: pip install 'recsys[redis]'"
        raise FeatureError(message) from error
    try:
        pool = ConnectionPool.from_url(
            url,
            connection_class=connection_class(url),
            max_connections=CONNECTIONS,
            socket_connect_timeout=connect_timeout,
            socket_timeout=timeout,
            protocol=2,  # all that is needed, and understood by every server
            retry=Retry(DrawnPauses(), RETRIES),
        )
    except ValueError as error:
        # What the client says of an address may hold a part of its password.
        message = (
            "online store redis: online_store.url: cannot be read: write redis://user:password@host:port/database, with"
            " / : @ and ? of a password as %2F %3A %40 and %3F"
        )
        raise FeatureError(message) from error
    client: Redis = Redis.from_pool(pool)
    return client


@contextmanager
def failures(name: str, done: str) -> Iterator[None]:
    """Turn what the server or the network says into one line.

    Args:
        name: the store's.
        done: read or written.

    Raises:
        OnlineStoreError: instead of the client's errors.
    """
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError) as error:
        again = "; what was written before stays, write again" if done == "written" else ""
        message = f"{name} cannot be {done}: {error}: {_advice(error)}{again}"
        raise OnlineStoreError(message) from error


def _advice(error: Exception) -> str:
    """Return what a person can do about what the server says."""
    from redis.exceptions import AuthenticationError, NoPermissionError

    text = str(error)
    if isinstance(error, AuthenticationError | NoPermissionError):
        return "give online_store.url a user and password that may use hashes and scripts below the prefix"
    if text.startswith(OTHER_KEYS):
        return "the view was created with other join keys meanwhile; run `feast apply`"
    if "OOM" in text or "maxmemory" in text or "MISCONF" in text:
        return "the server takes no writes; free its memory or disk"
    if "READONLY" in text or "read only replica" in text:
        return "it is a replica; name the primary in online_store.url"
    if "WRONGTYPE" in text:
        return "another program uses this key; choose another online_store.key_prefix"
    return "start the server, or correct online_store.url"
