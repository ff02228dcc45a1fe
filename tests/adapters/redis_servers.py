"""How does a test get a Redis server of its own, which it may stop, freeze and kill?"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class OwnRedis:
    """A server on a free port that keeps an append-only file, so that a restart finds what was acknowledged."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import redis

        program = shutil.which("redis-server")
        assert program
        command = [program, "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.port)
        deadline = time.monotonic() + 30
        while True:
            try:
                client.ping()
                break
            except redis.RedisError:
                time.sleep(0.02)
            assert self.process.poll() is None
            assert time.monotonic() < deadline
        client.close()

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def own_redis(folder: Path) -> Iterator[OwnRedis]:
    """Give a started server, and end it afterwards; skip the test where the program is missing."""
    if shutil.which("redis-server") is None:
        pytest.skip("the program redis-server is not installed")
    pytest.importorskip("redis")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = OwnRedis(folder, port)
    try:
        server.start()
        yield server
    finally:
        server.kill()
