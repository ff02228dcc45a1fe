"""Which servers does `serving.py` ask, and what came of it?"""

import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOAD = Path(__file__).with_name("serving_load.py")
READY_WITHIN_SECONDS = 90

_BARE = """
import json, sys
import uvicorn
from fastapi import FastAPI
from recsys.web.bodies import RecommendRequest

answer = json.loads(sys.argv[2])
app = FastAPI()

@app.post("/v1/recommend")
async def recommend(request: RecommendRequest):
    return answer

@app.get("/readyz")
async def ready():
    return {}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
"""


@dataclass(frozen=True)
class Server:
    """A server on a port of this machine."""

    port: int
    process: int

    @property
    def resident(self) -> float:
        """Resident megabytes of its process."""
        pages = int(Path(f"/proc/{self.process}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True)
class Served:
    """What came of a load."""

    milliseconds: Sequence[float] = ()
    statuses: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def joined(self, other: "Served") -> "Served":
        """Return both together."""
        names = {*self.statuses, *other.statuses}
        statuses = {name: self.statuses.get(name, 0) + other.statuses.get(name, 0) for name in names}
        return Served([*self.milliseconds, *other.milliseconds], statuses, self.seconds + other.seconds)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.milliseconds) / self.seconds

    @property
    def median(self) -> float:
        """Milliseconds."""
        return statistics.median(self.milliseconds)

    def __str__(self) -> str:
        """Write it in a line."""
        p99 = statistics.quantiles(self.milliseconds, n=100)[98]
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items()))
        return (
            f"median {self.median:8.3f} ms, p99 {p99:8.3f} ms, longest {max(self.milliseconds):8.1f} ms,"
            f" {self.rate:7.0f} requests/s ({statuses})"
        )


@contextlib.contextmanager
def recsys_serve(project: Path, workers: int = 1, durability: str = "acknowledged") -> Iterator[Server]:
    """Run `recsys serve` until the block ends; the environment's file is as it was once the service is ready."""
    port = _free_port()
    command = [sys.executable, "-m", "recsys", "serve", "--port", str(port), "--workers", str(workers)]
    environment = project / "registry" / "environments" / "local.yaml"
    declared = environment.read_text(encoding="utf-8")
    with contextlib.ExitStack() as running:
        environment.write_text(f"{declared}\nserve: {{durability: {durability}}}\n", encoding="utf-8")
        try:
            process = running.enter_context(_running(command, project, port))
        finally:
            environment.write_text(declared, encoding="utf-8")
        yield Server(port, process)


@contextlib.contextmanager
def bare_route(answer: Mapping[str, Any]) -> Iterator[Server]:
    """Run a FastAPI application whose one route reads the same body and returns a fixed answer."""
    port = _free_port()
    with _running([sys.executable, "-c", _BARE, str(port), json.dumps(answer)], ROOT, port) as process:
        yield Server(port, process)


def post_events(server: Server, events: Sequence[Mapping[str, Any]]) -> float:
    """Post events in one batch; return the seconds until they were acknowledged, their sessions' features pushed."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = json.dumps({"events": list(events)})
    begun = time.perf_counter()
    connection.request("POST", "/v1/events", body, {"Content-Type": "application/json"})
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - begun


def load(server: Server, bodies: Sequence[str], connections: int, seconds: float, rate: float | None = None) -> Served:
    """Ask a server from another process; `rate` is in requests a second, as fast as it answers by default."""
    asked = {
        "port": server.port,
        "path": "/v1/recommend",
        "bodies": list(bodies),
        "connections": connections,
        "seconds": seconds,
        "rate": rate,
    }
    done = subprocess.run(
        [sys.executable, str(LOAD)], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True
    )
    told = json.loads(done.stdout)
    return Served(told["ms"], told["statuses"], told["seconds"])


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, port: int) -> Iterator[int]:
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{' '.join(command[:4])} did not become ready")
            time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
