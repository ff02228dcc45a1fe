"""How does a test get a PostgreSQL and an MLflow server of its own, on free ports?"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

START_SECONDS: Final = 120


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> float:
    """Wait until something is so; return the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not in {seconds} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def own_postgres() -> Iterator[int]:
    """Give the port of a PostgreSQL server that trusts user postgres; skip the test where the programs are missing."""
    initdb, postgres = _program("initdb"), _program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("the programs initdb and postgres are not installed")
    # It refuses to run as root, and another user cannot look into pytest's folders.
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="recsys-postgres-"))
    if user is not None:
        os.chown(folder, user, -1)
    port = free_port()
    data = folder / "data"
    command = [initdb, "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"]
    server = None
    try:
        subprocess.run(command, check=True, capture_output=True, user=user, cwd=folder, timeout=START_SECONDS)
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        server = subprocess.Popen(
            [postgres, "-D", str(data), "-p", str(port), *options],
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: listens(port), "PostgreSQL answers")
        yield port
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_mlflow(folder: Path, port: int | None = None) -> Iterator[int]:
    """Give the port of an MLflow server that keeps everything in a folder; the same folder gives the same registry."""
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "kept")]
    with (folder / "mlflow.log").open("wb") as log:
        # It has children: a session of its own ends as a whole.
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: _healthy(port), f"MLflow answers: {folder / 'mlflow.log'}")
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=30)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _program(name: str) -> str | None:
    if (found := shutil.which(name)) is not None:
        return found
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else None
