"""Is an address that cannot be listened on refused in one sentence, before anything is loaded?"""

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.errors import AddressError
from recsys.web.address import bound, refusal

ROOT = Path(__file__).parents[2]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_free_address_is_held_and_refuses_until_somebody_listens() -> None:
    (held,) = bound("127.0.0.1", 0)
    port = held.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    held.listen()
    socket.create_connection(("127.0.0.1", port)).close()
    held.close()


def test_a_taken_port_is_told_with_what_to_do(taken: int) -> None:
    with pytest.raises(AddressError) as refused:
        bound("127.0.0.1", taken)
    assert str(refused.value) == f"127.0.0.1:{taken}: taken by another process: choose another with --port"


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(AddressError, match=r"^192\.0\.2\.1:0: not an address of this machine: .* --host$"):
        bound("192.0.2.1", 0)


def test_a_port_of_the_system_is_told_as_such() -> None:
    denied = refusal("::1", 80, PermissionError(errno.EACCES, "Permission denied"))
    assert str(denied) == "[::1]:80: this user may not listen there: choose a port from 1024 on with --port"


def run_in(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a project that declares an environment and nothing else."""
    environments = project / "registry/environments"
    environments.mkdir(parents=True)
    (project / "feature_repo").mkdir()
    (environments / "local.yaml").write_text("data: {source: completejourney}\n", encoding="utf-8")
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("more", [(), ("--workers", "2")])
def test_the_command_ends_with_1_and_one_line(taken: int, more: tuple[str, ...], tmp_path: Path) -> None:
    ended = run_in(tmp_path, "-m", "recsys", "serve", "--port", str(taken), *more)
    said = f"error: 127.0.0.1:{taken}: taken by another process: choose another with --port\n"
    assert (ended.returncode, ended.stderr) == (1, said)


LATE = """
import socket, sys, threading, time
from pathlib import Path
from fastapi import FastAPI
from recsys.web import server
from recsys.wiring import open_workspace

def slow(workspace, figures):
    taken.listen()  # as another process would, meanwhile
    threading.Thread(target=lambda: time.sleep(60), daemon=True).start()
    return FastAPI()

taken = socket.socket()
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
taken.bind(("127.0.0.1", 0))
server.application_of = slow
server.run_server(open_workspace("local", Path(sys.argv[1])), "127.0.0.1", taken.getsockname()[1], 1)
"""


def test_an_address_that_is_taken_while_the_service_loads_ends_it_with_1(tmp_path: Path) -> None:
    ended = run_in(tmp_path, "-c", LATE, str(tmp_path))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert json.loads(line)["message"].endswith(": taken by another process: choose another with --port")
