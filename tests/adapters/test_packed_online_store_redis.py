"""Does the Redis store lose nothing and wait for nobody for ever, when servers and writers come and go?"""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys.adapters.packed_online_store import PackedRedisOnlineStore
from recsys.errors import FeatureError
from tests.adapters.packed_stores import (
    PAIRS,
    USERS,
    Opened,
    key,
    packed_stores,
    pushed,
    redis_settings,
    repo_config,
    rows,
)
from tests.adapters.redis_servers import OwnRedis, own_redis

pytestmark = pytest.mark.server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnRedis]:
    with own_redis(tmp_path) as started:
        yield started


def of_server(server: OwnRedis, **more: Any) -> Opened:
    settings = {**redis_settings(server.url, "own:"), "connect_timeout_seconds": 0.3, "timeout_seconds": 0.3, **more}
    return Opened("redis", PackedRedisOnlineStore(), repo_config(server.folder, settings))


def everything(opened: Opened) -> list[Callable[[], object]]:
    """Every call that needs the server."""
    store, cfg = opened.store, opened.config
    return [
        lambda: store.read_group(cfg, PAIRS, "a"),
        lambda: store.read_all(cfg, PAIRS),
        lambda: store.online_read(cfg, PAIRS, [key("a", 1)]),
        lambda: store.watermark(cfg, PAIRS),
        lambda: store.generation(cfg, PAIRS),
        lambda: store.write_arrow(cfg, PAIRS, rows(("a", 1, 1, 1, 1))),
        lambda: store.online_write_batch(cfg, USERS, pushed(("a", None, 1, 1, 1)), None),
        lambda: store.update(cfg, [USERS], [PAIRS], [], [], partial=False),
        lambda: store.teardown(cfg, [PAIRS], []),
        lambda: store.forget(cfg),
    ]


def test_a_server_that_is_down_is_one_line_in_bounded_time(server: OwnRedis) -> None:
    server.kill()
    for call in everything(of_server(server)):
        begun = time.monotonic()
        with pytest.raises(FeatureError, match=rf"redis 127.0.0.1:{server.port}.*'own:'.*refused.*start the server"):
            call()
        assert time.monotonic() - begun < 10


def test_a_server_that_does_not_answer_is_one_line_in_bounded_time(server: OwnRedis) -> None:
    opened = of_server(server)
    opened.store.write_arrow(opened.config, PAIRS, rows(("a", 1, 1, 1, 1)))
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        for call in everything(opened):
            begun = time.monotonic()
            with pytest.raises(FeatureError, match=r"cannot be (read|written): Timeout.*start the server"):
                call()
            assert time.monotonic() - begun < 10
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert opened.group(PAIRS, "a").num_rows == 1


def test_an_address_where_nobody_answers_the_connection(tmp_path: Path) -> None:
    """A socket that listens and accepts nobody."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        own = OwnRedis(tmp_path, deaf.getsockname()[1])
        begun = time.monotonic()
        with pytest.raises(FeatureError, match=r"cannot be read"):
            of_server(own).store.read_all(of_server(own).config, PAIRS)
        assert time.monotonic() - begun < 10


def test_a_restarted_server_is_used_again(server: OwnRedis) -> None:
    """Its scripts are gone with it, the acknowledged rows are not."""
    opened = of_server(server)
    for step in range(3):
        assert opened.store.write_arrow(opened.config, PAIRS, rows(("a", step, 1, 1, step), ("b", step, 1, 1, 1))) == 2
        assert opened.store.write_arrow(opened.config, USERS, rows(("a", 1, step, 1, step))) == 1
        server.kill()
        server.start()
    assert sorted(opened.group(PAIRS, "a").column("value").to_pylist()) == [0, 1, 2]
    assert opened.group(USERS, "a").column("value").to_pylist() == [2]


def test_a_server_killed_during_a_materialize_keeps_whole_values_and_the_same_write_completes(server: OwnRedis) -> None:
    opened = of_server(server)
    users, items = 3000, 4
    first = rows(*((f"u{n}", item, 1, 1, 1) for n in range(users) for item in range(items)))
    second = rows(*((f"u{n}", item, 2, 2, 2) for n in range(users) for item in range(items)))
    opened.store.write_arrow(opened.config, PAIRS, first)
    opened.store.write_arrow(opened.config, USERS, first)
    killer = threading.Timer(0.02, server.kill)
    killer.start()
    with pytest.raises(FeatureError, match=r"cannot be (written|read).*"):
        _write_for_ever(opened, second)
    killer.join()
    server.start()
    stored = [row["value"] for row in opened.all(PAIRS)]
    seen = [stored[n : n + items] for n in range(0, users * items, items)]
    assert all(group in ([1] * items, [2] * items) for group in seen)
    opened.store.write_arrow(opened.config, PAIRS, second)
    assert {row["value"] for row in opened.all(PAIRS)} == {2}
    assert opened.store.write_arrow(opened.config, USERS, second) == users * items


def _write_for_ever(opened: Opened, table: pa.Table) -> None:
    while True:
        opened.store.write_arrow(opened.config, PAIRS, table)


def _write_until_killed(folder: Path, settings: dict[str, Any], begun: Any) -> None:
    config = repo_config(folder, settings)
    store = PackedRedisOnlineStore()
    for step in range(2, 10_000):
        table = rows(*((f"u{n}", item, step, step, step) for n in range(1000) for item in range(3)))
        store.write_arrow(config, PAIRS, table)
        store.write_arrow(config, USERS, table)
        begun.value = step


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("pause", [0.05, 0.2])
def test_a_killed_writer_leaves_whole_values_and_readers_go_on(tmp_path: Path, pause: float) -> None:
    for opened in packed_stores("redis", tmp_path):
        context = multiprocessing.get_context("fork")
        begun = context.Value("q", 0)
        settings = opened.config.online_store.model_dump()
        writer = context.Process(target=_write_until_killed, args=(tmp_path, settings, begun))
        writer.start()
        try:
            while begun.value == 0:
                assert writer.is_alive()
            ended = threading.Event()
            threading.Timer(pause, ended.set).start()
            while not ended.is_set():
                assert len(set(opened.group(PAIRS, "u500").column("value").to_pylist())) == 1
                assert opened.group(USERS, "u500").num_rows == 1
        finally:
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
        stored = opened.all(PAIRS)
        assert all(len({row["value"] for row in stored[n : n + 3]}) == 1 for n in range(0, 3000, 3))
        assert min(row["value"] for row in stored) >= begun.value
        last = rows(*((f"u{n}", item, 10_000, 1, 0) for n in range(1000) for item in range(3)))
        assert opened.store.write_arrow(opened.config, PAIRS, last) == 3000
        assert {row["value"] for row in opened.all(PAIRS)} == {0}


def test_a_scan_of_the_view_sees_every_row_that_stays(tmp_path: Path) -> None:
    for opened in packed_stores("redis", tmp_path):
        opened.store.write_arrow(opened.config, USERS, rows(*((f"u{n}", 1, 1, 1, 1) for n in range(5000))))
        ended = threading.Event()

        def add(opened: Opened = opened, ended: threading.Event = ended) -> None:
            step = 0
            while not ended.is_set():
                step += 1
                many = ((f"new{step}_{n}", 1, 1, 1, 1) for n in range(500))
                opened.store.write_arrow(opened.config, USERS, rows(*many))

        writer = threading.Thread(target=add)
        writer.start()
        try:
            for _ in range(5):
                seen = opened.store.read_all(opened.config, USERS).column("user_id").to_pylist()
                assert len(seen) == len(set(seen))
                assert {f"u{n}" for n in range(5000)} <= set(seen)
        finally:
            ended.set()
            writer.join()


def test_groups_larger_than_one_call_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.adapters.packed_online_store.redis.BYTES_A_CALL", 1000)
    for opened in packed_stores("redis", tmp_path):
        for value in (1, 2):
            table = rows(*((f"u{n}", item, value, 1, value) for n in range(30) for item in range(n + 1)))
            assert opened.store.write_arrow(opened.config, PAIRS, table) == 465
        assert opened.group(PAIRS, "u29").num_rows == 30
        assert {row["value"] for row in opened.all(PAIRS)} == {2}


def test_prefixes_are_namespaces_and_forgetting_one_leaves_the_others(tmp_path: Path) -> None:
    for opened in packed_stores("redis", tmp_path):
        base = opened.config.online_store.key_prefix
        configs = [opened.configured(key_prefix=f"{base}{name}") for name in ("a:", "a?", "a*", "[a]:", "a\\")]
        for number, cfg in enumerate(configs):
            opened.store.write_arrow(cfg, USERS, rows(("a", 1, 1, 1, number)))
        for number, cfg in enumerate(configs):
            assert opened.store.read_all(cfg, USERS).column("value").to_pylist() == [number]
            opened.store.forget(cfg)
            counts = [opened.store.read_all(each, USERS).num_rows for each in configs]
            assert counts == [0] * (number + 1) + [1] * (len(configs) - number - 1)


def test_faults_of_the_server_are_named(server: OwnRedis) -> None:
    import redis

    opened = of_server(server)
    client = redis.Redis(port=server.port)
    client.set("own:test:rows:users", "another program's")
    with pytest.raises(FeatureError, match=r"another program uses this key; choose another online_store.key_prefix"):
        opened.store.read_all(opened.config, USERS)
    client.delete("own:test:rows:users")
    client.config_set("maxmemory", "1mb")
    with pytest.raises(FeatureError, match=r"cannot be written: .*free its memory"):
        opened.store.write_arrow(opened.config, USERS, rows(("a", 1, 1, 1, 1)))
    client.config_set("maxmemory", "0")
    client.replicaof("127.0.0.1", str(server.port))
    with pytest.raises(FeatureError, match=r"it is a replica; name the primary"):
        opened.store.write_arrow(opened.config, USERS, rows(("a", 1, 1, 1, 1)))
    client.replicaof("NO", "ONE")  # type: ignore[no-untyped-call]
    client.config_set("requirepass", "secret")
    with pytest.raises(FeatureError, match=r"user and password"):
        of_server(server).store.read_all(opened.config, USERS)
    wrong = of_server(server, url=f"redis://:hidden@127.0.0.1:{server.port}/0")
    with pytest.raises(FeatureError, match=r"user and password") as refused:
        wrong.store.read_all(wrong.config, USERS)
    assert "hidden" not in str(refused.value)
    right = of_server(server, url=f"redis://:secret@127.0.0.1:{server.port}/0")
    assert right.store.write_arrow(right.config, USERS, rows(("a", 1, 1, 1, 1))) == 1
    client.close()


def test_what_cannot_be_a_client_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = repo_config(tmp_path, redis_settings("http://127.0.0.1", "x:"))
    with pytest.raises(FeatureError, match=r"online_store.url: .*write redis://user:password@host:port/database"):
        PackedRedisOnlineStore().read_all(cfg, USERS)
    monkeypatch.setitem(sys.modules, "redis", None)
    cfg = repo_config(tmp_path, redis_settings("redis://127.0.0.1", "x:"))
    with pytest.raises(FeatureError, match=r"not installed: pip install 'recsys\[redis\]'"):
        PackedRedisOnlineStore().read_all(cfg, USERS)
