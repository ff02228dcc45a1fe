"""Does Feast's registry file stay whole, and is what a killed writer left removed by the next?"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.repo_config import RegistryConfig

from recsys.adapters.atomic_registry_store import AtomicFileRegistryStore


@pytest.fixture
def store(tmp_path: Path) -> AtomicFileRegistryStore:
    return AtomicFileRegistryStore(RegistryConfig(path="registry.db"), tmp_path)


def ended() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_registry_is_read_as_it_was_written(store: AtomicFileRegistryStore, tmp_path: Path) -> None:
    written = Registry(registry_schema_version="7")
    store.update_registry_proto(written)
    assert store.get_registry_proto() == written
    assert [path.name for path in tmp_path.iterdir()] == ["registry.db"]


def test_what_a_killed_writer_left_is_removed_at_once(store: AtomicFileRegistryStore, tmp_path: Path) -> None:
    (tmp_path / f"registry.{platform.node()}.{ended()}.partial").write_bytes(b"half")
    store.update_registry_proto(Registry())
    assert [path.name for path in tmp_path.iterdir()] == ["registry.db"]


def test_what_another_writer_is_at_stays(store: AtomicFileRegistryStore, tmp_path: Path) -> None:
    theirs = {
        f"registry.{platform.node()}.{os.getppid()}.partial",
        f"registry.another-machine.{ended()}.partial",
        f"another.{platform.node()}.{ended()}.partial",
    }
    for name in theirs:
        (tmp_path / name).write_bytes(b"half")
    store.update_registry_proto(Registry())
    assert {path.name for path in tmp_path.iterdir()} == {"registry.db", *theirs}


def test_what_is_too_old_to_be_worked_on_is_removed(store: AtomicFileRegistryStore, tmp_path: Path) -> None:
    left = tmp_path / f"registry.another-machine.{os.getpid()}.partial"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 3600,) * 2)
    store.update_registry_proto(Registry())
    assert not left.exists()
