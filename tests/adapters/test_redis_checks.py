"""What does a doctor say of a Redis server that is closed, deaf, locked, full, a replica, or forgets?"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from recsys.adapters.packed_online_store.redis import RedisBackend
from recsys.adapters.packed_online_store.redis_client import connect
from recsys.ports import Finding
from tests.adapters.redis_servers import OwnRedis, own_redis
from tests.stalling_proxy import StallingProxy

pytestmark = pytest.mark.server
PREFIX = "shop:"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    with own_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(started: OwnRedis) -> Iterator[Any]:
    """Give an administrator's client; what a test set is taken back."""
    from redis import Redis

    client = Redis(port=started.port)
    yield client
    client.replicaof("NO", "ONE")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 0)
    client.config_set("appendonly", "yes")
    client.config_set("save", "")
    client.config_set("requirepass", "")
    client.flushall()
    client.close()


def found(url: str, timeout: float = 2.0) -> dict[str, Finding]:
    client = connect(url, timeout, timeout)
    findings = {each.name: each for each in RedisBackend(client, PREFIX).findings()}
    client.close()
    return findings


def test_a_sound_server_is_ok_and_nothing_is_left_on_it(started: OwnRedis, redis: Any) -> None:
    said = found(started.url)
    assert {each.status for each in said.values()} == {"ok"}
    assert set(said) == {
        f"online store: {what}" for what in ("connection", "version", "role", "eviction", "persistence", "rows")
    }
    assert redis.dbsize() == 0


def test_a_closed_port_fails_with_its_address_and_without_its_password() -> None:
    said = found("redis://shop:topsecret@127.0.0.1:1/0")
    assert list(said) == ["online store: connection"]
    failed = said["online store: connection"]
    assert failed.status == "failed"
    assert "127.0.0.1:1" in failed.found
    assert "topsecret" not in failed.found


def test_a_server_that_says_nothing_is_given_up(started: OwnRedis) -> None:
    proxy = StallingProxy("127.0.0.1", started.port)
    proxy.stall()
    began = time.monotonic()
    try:
        assert found(f"redis://127.0.0.1:{proxy.port}/0", timeout=0.3)["online store: connection"].status == "failed"
    finally:
        proxy.close()
    assert time.monotonic() - began < 10


def test_a_wrong_password_fails(started: OwnRedis, redis: Any) -> None:
    redis.config_set("requirepass", "right")
    said = found(f"redis://:wrong@127.0.0.1:{started.port}/0")["online store: connection"]
    assert said.status == "failed"
    assert "user and password" in said.found
    assert "wrong@" not in said.found


@pytest.mark.parametrize(
    ("policy", "maxmemory", "status"),
    [
        ("allkeys-lru", 100_000_000, "failed"),
        ("allkeys-lru", 0, "warning"),
        ("volatile-lru", 100_000_000, "ok"),  # features have no time to live
        ("noeviction", 100_000_000, "ok"),
    ],
)
def test_what_would_evict_features_is_told(
    started: OwnRedis, redis: Any, policy: str, maxmemory: int, status: str
) -> None:
    redis.config_set("maxmemory", maxmemory)
    redis.config_set("maxmemory-policy", policy)
    said = found(started.url)["online store: eviction"]
    assert said.status == status
    assert policy in said.found
    assert ("noeviction" in said.advice) == (status != "ok")


def test_a_full_server_is_a_warning_and_rows_that_it_refuses_a_failure(started: OwnRedis, redis: Any) -> None:
    redis.config_set("maxmemory", 500_000)  # less than it uses when it is empty
    said = found(started.url)
    assert said["online store: eviction"].status == "warning"
    assert said["online store: rows"].status == "failed"
    assert "free its memory" in said["online store: rows"].found


def test_a_server_that_keeps_nothing_is_a_warning(started: OwnRedis, redis: Any) -> None:
    redis.config_set("appendonly", "no")
    said = found(started.url)["online store: persistence"]
    assert said.status == "warning"
    assert "features build" in said.advice
    redis.config_set("save", "3600 1")
    assert found(started.url)["online store: persistence"].status == "ok"


def test_a_replica_fails_and_no_row_is_tried(started: OwnRedis, redis: Any) -> None:
    redis.replicaof("127.0.0.1", "1")
    said = found(started.url)
    assert said["online store: role"].status == "failed"
    assert "127.0.0.1:1" in said["online store: role"].found
    assert "online store: rows" not in said


def test_a_user_who_may_not_ask_for_settings_is_a_warning_and_one_without_scripts_a_failure(
    started: OwnRedis, redis: Any
) -> None:
    redis.acl_setuser("shop", enabled=True, passwords=["+pass"], categories=["+@all"], commands=["-info"], keys=["*"])
    redis.acl_setuser("poor", enabled=True, passwords=["+pass"], categories=["+@all", "-@scripting"], keys=["*"])
    try:
        said = found(f"redis://shop:pass@127.0.0.1:{started.port}/0")
        assert said["online store: settings"].status == "warning"
        assert "+info" in said["online store: settings"].advice
        assert said["online store: rows"].status == "ok"
        said = found(f"redis://poor:pass@127.0.0.1:{started.port}/0")["online store: rows"]
        assert said.status == "failed"
        assert "scripts" in said.found
    finally:
        redis.acl_deluser("shop", "poor")


def test_an_old_server_fails(started: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    from redis import Redis

    told = Redis.info
    monkeypatch.setattr(Redis, "info", lambda self, *section: told(self, *section) | {"redis_version": "3.2.1"})
    said = found(started.url)["online store: version"]
    assert (said.status, said.found) == ("failed", "Redis 3.2.1")


def test_a_view_whose_rows_were_evicted_is_not_known_any_more(started: OwnRedis, redis: Any) -> None:
    import numpy as np

    from recsys.adapters.packed_online_store.backend import Packed, Place

    backend = RedisBackend(connect(started.url, 2, 2), PREFIX)
    place, clock = Place("shop", "user_weekly", ("user_id",)), np.array([5], np.int64)
    backend.write(place, Packed(["u1"], [b"x"], clock, clock, b"id", b"schema", clock))
    assert backend.kept(place).watermark == 5
    redis.delete(f"{PREFIX}shop:rows:user_weekly")
    assert backend.kept(place).watermark is None
