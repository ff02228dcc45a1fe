"""Does a read of a Redis server end in the caller's time, whatever the server or the network does?"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.errors import OnlineStoreError
from tests.adapters.redis_servers import own_redis
from tests.chaos.proxy import HANG, REFUSE, THROUGH, Proxy

pytestmark = pytest.mark.server

CONFIGURED = 60.0
"""Seconds of the configured time-outs: what ends earlier ended in the caller's time."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with own_redis(tmp_path) as redis, Proxy(redis.port) as made:
        yield made


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("mode", [HANG, REFUSE])
def test_a_read_ends_in_the_callers_time_and_the_next_one_goes_through(
    proxy: Proxy, mode: str, connected: bool
) -> None:
    from recsys.adapters.packed_online_store.redis_client import connect, failures
    from recsys.adapters.packed_online_store.redis_patience import patience

    client = connect(f"redis://127.0.0.1:{proxy.port}/0", CONFIGURED, CONFIGURED)
    if connected:
        client.set("a", "1")
    proxy.be(mode)
    began = time.monotonic()
    with pytest.raises(OnlineStoreError, match="cannot be read"), failures("store", "read"), patience(0.3):
        client.get("a")
    assert time.monotonic() - began < CONFIGURED / 4
    proxy.be(THROUGH)
    client.set("a", "2")
    with patience(30):
        assert client.get("a") == b"2"
    (connection,) = client.connection_pool._available_connections
    assert client.get("a") == b"2"
    assert connection._get_socket().gettimeout() == CONFIGURED, "a read without a caller's time has the configured one"
    client.close()


def test_no_time_is_no_read(proxy: Proxy) -> None:
    from recsys.adapters.packed_online_store.redis_client import connect, failures
    from recsys.adapters.packed_online_store.redis_patience import patience

    client = connect(f"redis://127.0.0.1:{proxy.port}/0", CONFIGURED, CONFIGURED)
    with pytest.raises(OnlineStoreError, match="time"), failures("store", "read"), patience(0):
        client.get("a")
    client.close()


def test_pauses_between_attempts_are_drawn_and_bounded() -> None:
    from recsys.adapters.packed_online_store.redis_patience import DrawnPauses, patience

    pauses = DrawnPauses()
    drawn = {pauses.compute(attempt) for attempt in range(1, 20)}
    assert len(drawn) > 10
    assert all(0 <= pause <= 0.2 for pause in drawn)
    with patience(0):
        assert pauses.compute(9) == 0
