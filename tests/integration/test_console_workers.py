"""Do the workers of one server show one site: the same session, the same pages, the same changes?"""

import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import psutil
import pytest

from recsys.wiring import open_workspace
from recsys.workflows.decision.promote import accept
from recsys.workflows.workspace import Workspace
from tests.chaos.own_servers import free_port, wait_until
from tests.integration.conftest import ROOT, edit
from tests.reports.test_offline import read

WORKERS: Final = 2
TOKEN: Final = "read-token-of-the-test"  # noqa: S105 - of the test's own
VARIABLE: Final = "SHOP_READ"
PAGES: Final = (
    "/",
    "/problems/weekly_basket",
    "/models/basket?version=v2",
    "/experiments/home_ranker",
    "/placements/home?user_id=household_1",
    "/docs",
)


@dataclass(frozen=True)
class Answer:
    """What one worker said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def words(self) -> str:
        """A page without its tags."""
        return " ".join(" ".join(read(self.body.decode()).words).split())


class Server:
    """`recsys serve` with its workers, each of which can be asked by itself."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        """Keep it."""
        self._process = process
        self._port = port
        self._workers: set[int] = set()
        self._kept: dict[int, http.client.HTTPConnection] = {}

    def begin(self) -> None:
        """Make connections until every worker has taken one, and wait until each is ready."""

        def all_have() -> bool:
            with suppress(OSError):
                connection, worker = self._connected()
                connection.close()
                self._workers.add(worker)
            return len(self._workers) == WORKERS

        wait_until(all_have, "every worker takes connections")
        for worker in self.workers:
            wait_until(partial(self._ready, worker), "a worker is ready")

    @property
    def workers(self) -> list[int]:
        """The processes that answer."""
        return sorted(self._workers)

    def _ready(self, worker: int) -> bool:
        return self.ask(worker, "/readyz").status == 200

    def ask(self, worker: int, path: str, form: dict[str, str] | None = None, cookie: str = "") -> Answer:
        """Ask one worker, over the connection that it took last, or a new one where that was closed for idleness."""
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        kept = self._kept.pop(worker, None)
        for connection in (kept, None):
            asked = connection or self._taken_by(worker)
            try:
                asked.request("GET" if form is None else "POST", path, form and urlencode(form), headers)
                answer = asked.getresponse()
                found = Answer(answer.status, answer.headers, answer.read())
            except (ConnectionError, http.client.RemoteDisconnected):
                asked.close()
                continue
            if asked.sock is not None:
                self._kept[worker] = asked
            return found
        message = f"worker {worker} closed a new connection"
        raise ConnectionError(message)

    def close(self) -> None:
        """Give up what connections there are."""
        for connection in self._kept.values():
            connection.close()

    def _taken_by(self, worker: int, seconds: float = 60) -> http.client.HTTPConnection:
        """Make connections until a worker has taken one."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            connection, taker = self._connected()
            if taker == worker:
                return connection
            connection.close()
        message = f"worker {worker} took no connection in {seconds} s"
        raise TimeoutError(message)

    def _connected(self) -> tuple[http.client.HTTPConnection, int]:
        """Return a connection and the process that has taken it."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.connect()
        own = connection.sock.getsockname()[1]
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            for child in psutil.Process(self._process.pid).children():
                with suppress(psutil.Error):
                    if own in {each.raddr.port for each in child.net_connections("tcp") if each.raddr}:
                        return connection, child.pid
            time.sleep(0.005)
        connection.close()
        message = "nobody has taken the connection"
        raise TimeoutError(message)


@pytest.fixture(scope="module")
def workspace(replayed: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the shop that was lived through, with a token for its pages."""
    project = tmp_path_factory.mktemp("workers") / "project"
    shutil.copytree(replayed.root, project)
    edit(
        project / "registry/environments/local.yaml",
        lambda spec: spec.update(serve={"read_token": VARIABLE, "poll": "300ms"}),
    )
    return open_workspace("local", project)


@pytest.fixture(scope="module")
def server(workspace: Workspace) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "recsys", "serve", "--port", str(port), "--workers", str(WORKERS)]
    with (workspace.root / "said.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=workspace.root,
            env=os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: TOKEN},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    found = Server(process, port)
    try:
        found.begin()
        yield found
    finally:
        found.close()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


def test_a_session_and_the_pages_are_those_of_every_worker(server: Server) -> None:
    first, second = server.workers
    for worker in (first, second):
        assert server.ask(worker, "/").headers["location"].startswith("/login")
    cookies: dict[int, str] = {}
    for worker in (first, second):
        begun = server.ask(worker, "/login", {"token": TOKEN, "next": "/"})
        assert begun.status == 303
        cookies[worker] = begun.headers["set-cookie"].partition(";")[0]
    for path in PAGES:
        pages = [server.ask(first, path, cookie=cookies[second]), server.ask(second, path, cookie=cookies[first])]
        assert {page.status for page in pages} == {200}, path
        assert len({page.body for page in pages}) == 1, f"{path}: workers differ"
    chart = next(
        str(attributes["src"])
        for tag, attributes in read(server.ask(first, PAGES[3], cookie=cookies[second]).body.decode()).tags
        if tag == "img" and "/charts/" in str(attributes)
    )
    drawn = [server.ask(worker, chart, cookie=cookies[first]) for worker in cookies]
    assert {each.status for each in drawn} == {200}
    assert len({each.body for each in drawn}) == 1
    assert {each.headers["cache-control"] for each in drawn} == {"no-store"}


def test_a_change_of_a_declaration_and_a_promotion_are_on_the_pages_of_every_worker(
    server: Server, workspace: Workspace
) -> None:
    workers = server.workers
    begun = server.ask(workers[0], "/login", {"token": TOKEN})
    cookie = begun.headers["set-cookie"].partition(";")[0]

    def said(path: str) -> list[str]:
        return [server.ask(worker, path, cookie=cookie).words for worker in workers]

    assert all("champion v1" in words and "basket/v1 answers by default" in words for words in said("/"))

    def other(spec: dict[str, Any]) -> None:
        spec["business_issue"] = "Families miss what they always buy"

    edit(workspace.root / "registry/problems/weekly_basket.yaml", other)
    assert all("Families miss what they always buy" in words for words in said("/problems/weekly_basket"))

    registry = workspace.registry
    weights = registry.resolve("basket", "logic-v2")
    assert weights is not None
    registry.set_alias(weights, "champion")
    accept(workspace, "basket")
    assert all("champion v2" in words for words in said("/"))
    wait_until(
        lambda: all("basket/v2 answers by default" in words for words in said("/")), "every worker answers by v2", 30
    )
    ledger = said("/models/basket?version=v2")
    assert len(set(ledger)) == 1
    assert "accept" in ledger[0]
