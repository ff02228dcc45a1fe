"""How does the demo ask a running `recsys serve` for a list?"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from recsys.errors import StoreError
from recsys.workflows.workspace import Workspace

_START_SECONDS: Final = 90
_FOLLOW_SECONDS: Final = 15


@dataclass(frozen=True)
class Server:
    """The running `recsys serve` that the demo asks."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    placement: str
    unit: str
    """For whom it is asked."""
    token: str | None
    """The bearer token that lists are given for; None where everybody gets them."""

    def wait_until_ready(self) -> None:
        """Wait for models and items to be loaded.

        Raises:
            StoreError: if the server ends or is not ready in time.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if self._ask("GET", "/readyz")[0] == HTTPStatus.OK:
                    return
            time.sleep(0.3)
        message = f"recsys serve on port {self.port}: not ready after {_START_SECONDS} s; its log is {self.log}"
        raise StoreError(message)

    def list(self) -> dict[str, Any]:
        """Ask until a model answers: just after items came online, or on a busy machine, it may be a lower rung."""
        started = time.monotonic()
        while (answer := self.recommend())["fallback"] and time.monotonic() - started < _FOLLOW_SECONDS:
            time.sleep(0.2)
        return answer

    def recommend(self) -> dict[str, Any]:
        """Ask for one household's list."""
        status, answer = self._ask("POST", "/v1/recommend", {"placement": self.placement, "user_id": self.unit})
        if status != HTTPStatus.OK:
            message = f"recsys serve on port {self.port}: answered {status}: {answer}; its log is {self.log}"
            raise StoreError(message)
        return answer

    def follow(self, model_version: str | None) -> tuple[dict[str, Any], float]:
        """Ask until a version answers; returns the answer and the seconds it took.

        Raises:
            StoreError: if the server goes on answering with another.
        """
        started = time.monotonic()
        while True:
            answer = self.recommend()
            spent = time.monotonic() - started
            if answer["model_version"] == model_version:
                return answer, spent
            if spent > _FOLLOW_SECONDS:
                message = (
                    f"recsys serve on port {self.port}: answers with {answer['model_version']}, not {model_version}"
                    f" after {spent:.0f} s; see {self.log}"
                )
                raise StoreError(message)
            time.sleep(0.2)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"Content-Type": "application/json"}
            if self.token is not None:
                headers["Authorization"] = f"Bearer {self.token}"
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


@contextmanager
def served(workspace: Workspace, placement: str, unit: str) -> Iterator[Server]:
    """Run `recsys serve` on a free loopback port, and end it afterwards.

    Args:
        workspace: the project.
        placement: whose lists are asked for.
        unit: for whom.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = workspace.state / "serve.log"
    command = [sys.executable, "-m", "recsys", "serve", "--port", str(port), "--env", workspace.environment_name]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this very program
            command, cwd=workspace.root, stdout=output, stderr=subprocess.STDOUT, env=os.environ.copy()
        )
    try:
        variable = workspace.environment.serve.read_token
        token = None if variable is None else os.environ.get(variable)
        yield Server(process, port, log, placement, unit, token)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
