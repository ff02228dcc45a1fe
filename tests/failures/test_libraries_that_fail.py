"""Does every library that fails end in one line that says what to do, in bounded time, and never in a traceback?"""

import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import pytest

from tests.failures.conftest import BOUND_SECONDS, Project, assert_one_line

TRAIN = ("train", "--model-version", "basket/v1", "--known-at", "2017-11-27")
PROMOTE = ("promote", "--model-version", "basket/v1")
BATCH = ("serve-batch", "home")
BUILD = ("features", "build")
NOBODY = 65534

# ---------------------------------------------------------------- MLflow


@pytest.fixture
def closed_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def hung_port() -> Generator[int]:
    """A port whose listener takes connections and never answers."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize(
    "command", [TRAIN, PROMOTE, BATCH, ("rollback", "basket", "--reason", "complaints")], ids=" ".join
)
def test_mlflow_is_down(project: Project, closed_port: int, command: tuple[str, ...]) -> None:
    project.set_environment(mlflow_uri=f"http://127.0.0.1:{closed_port}")
    project.refuses(*command, words=(f"model registry http://127.0.0.1:{closed_port}", "refused", "check that MLflow"))


@pytest.mark.parametrize("command", [TRAIN, PROMOTE, BATCH], ids=" ".join)
def test_mlflow_hangs(project: Project, hung_port: int, command: tuple[str, ...]) -> None:
    project.set_environment(mlflow_uri=f"http://127.0.0.1:{hung_port}")
    project.refuses(*command, words=(f"model registry http://127.0.0.1:{hung_port}", "timed out", "check that MLflow"))


# ---------------------------------------------------------------- SQLite: locked, damaged


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "CREATE TABLE held_by_a_test (a)"):
    connection.execute(statement)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold() -> Generator[Callable[[Path], None]]:
    """Lock a database file in another process until the test ends."""
    holders = []

    def start(path: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(path)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

    yield start
    for holder in holders:
        holder.communicate(timeout=30)


@pytest.mark.parametrize(
    ("database", "command", "what"),
    [
        ("event_log", ("history", "basket"), "event log"),
        ("event_log", PROMOTE, "event log"),
        ("event_log", BATCH, "event log"),
        ("mlflow", PROMOTE, "model registry"),
        ("online", BATCH, "online store"),
        ("online", BUILD, "online store"),
    ],
)
def test_a_database_is_locked_by_another_process(
    project: Project, hold: Callable[[Path], None], database: str, command: tuple[str, ...], what: str
) -> None:
    (project.state / "materialized.json").touch()
    if command == BUILD:
        (project.state / "materialized.json").write_text("")
    hold(project.state / f"{database}.db")
    project.refuses(*command, words=(what, f"{database}.db", "locked", "end it"))


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database at all " * 500)


def _scrambled(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:200] + random.Random(4).randbytes(len(content) - 200))  # noqa: S311 - any bytes will do


@pytest.mark.parametrize("damage", [_garbage, _scrambled])
@pytest.mark.parametrize(
    ("database", "command", "words"),
    [
        ("event_log", ("history", "basket"), ("event log", "restore a copy")),
        ("event_log", BATCH, ("event log", "restore a copy")),
        ("mlflow", TRAIN, ("model registry", "restore a copy")),
        ("mlflow", PROMOTE, ("model registry", "restore a copy")),
        ("online", BATCH, ("online store", "delete it", "recsys features build")),
        ("registry", BATCH, ("Feast registry", "delete it", "feast apply")),
        ("registry", TRAIN, ("Feast registry", "delete it", "feast apply")),
    ],
)
def test_a_database_is_damaged(
    project: Project, damage: Callable[[Path], None], database: str, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    path = project.state / f"{database}.db"
    for name in (f"{database}.db-wal", f"{database}.db-shm"):
        (project.state / name).unlink(missing_ok=True)
    damage(path)
    project.refuses(*command, words=(f"{database}.db", *words))


# ---------------------------------------------------------------- files that are gone or cut off


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def test_a_feature_table_was_deleted(project: Project) -> None:
    shutil.rmtree(project.state / "features" / "user_item")
    project.refuses(*TRAIN, words=("user_item", "recsys features build"))
    assert project.run(*BUILD)[0] == 0
    assert project.run(*TRAIN)[0] == 0


def test_a_feature_table_is_cut_off(project: Project) -> None:
    (path,) = (project.state / "features" / "user_item").glob("*.parquet")
    _cut(path)
    project.refuses(
        *TRAIN, words=("user_item", "cannot be read as parquet", "delete the file", "recsys features build")
    )


@pytest.mark.parametrize("command", [TRAIN, BATCH, BUILD], ids=" ".join)
def test_feast_s_registry_is_missing(project: Project, command: tuple[str, ...]) -> None:
    (project.state / "registry.db").unlink()
    if command == BUILD:
        (project.state / "materialized.json").write_text("{")
    project.refuses(*command, words=("Feast registry", "missing", "feast apply"))


@pytest.mark.parametrize("command", [TRAIN, BATCH, BUILD], ids=" ".join)
def test_the_events_are_missing(project: Project, command: tuple[str, ...]) -> None:
    (project.state / "tables" / "events.parquet").unlink()
    project.refuses(*command, words=("events", "recsys ingest"))


@pytest.mark.parametrize("command", [BATCH, BUILD], ids=" ".join)
def test_the_events_are_cut_off(project: Project, command: tuple[str, ...]) -> None:
    _cut(project.state / "tables" / "events.parquet")
    project.refuses(*command, words=("events", "recsys ingest"))
    assert project.run("ingest")[0] == 0


@pytest.mark.parametrize("name", ["tables/manifest.json", "features/manifest.json", "materialized.json"])
def test_a_record_of_what_was_built_is_damaged_and_made_again(project: Project, name: str) -> None:
    (project.state / name).write_text('{"data"')
    assert project.run("ingest")[0] == 0
    code, err, _ = project.run(*BUILD)
    assert code == 0, err


# ---------------------------------------------------------------- no space, no permission


@pytest.fixture
def full_disk(project: Project, tmp_path: Path) -> Generator[Project]:
    """The project on a file system of its own, which is full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size for path in project.root.rglob("*") if path.is_file()) // 2**20 + 8
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs root and the right to mount a small file system")
    try:
        shutil.copytree(project.root, disk / "project")
        filler = os.open(disk / "filler", os.O_CREAT | os.O_WRONLY)
        try:
            while True:
                os.write(filler, bytes(65536))
        except OSError:
            os.close(filler)
        yield Project(disk / "project", project.monkeypatch, project.capsys)
    finally:
        project.monkeypatch.chdir(tmp_path)
        subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S607


@pytest.mark.parametrize(
    ("command", "undone"),
    [(("ingest",), "tables/manifest.json"), (BUILD, "features/manifest.json"), (TRAIN, None), (BATCH, None)],
)
def test_the_disk_is_full(full_disk: Project, command: tuple[str, ...], undone: str | None) -> None:
    if undone is not None:
        (full_disk.state / undone).unlink()
    full_disk.refuses(*command, words=("free disk space",))


def _as_nobody(project: Project, arguments: tuple[str, ...], told: Path) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    code, err, seconds = project.run(*arguments)
    told.write_text(f"{code}\n{seconds}\n{err}", encoding="utf-8")


@pytest.mark.parametrize("command", [("ingest",), BUILD, TRAIN, PROMOTE, BATCH], ids=" ".join)
def test_the_state_folder_may_not_be_written(project: Project, tmp_path: Path, command: tuple[str, ...]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user who may read and not write")
    told = tmp_path / "told"
    told.touch()
    told.chmod(0o666)
    subprocess.run(["chmod", "-R", "a+rX,go-w", str(project.root)], check=True)  # noqa: S607
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    child = multiprocessing.get_context("fork").Process(target=_as_nobody, args=(project, command, told))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    code, seconds, err = told.read_text(encoding="utf-8").split("\n", 2)
    assert code == "1", err
    assert_one_line(err, ("check that",))
    assert float(seconds) < BOUND_SECONDS


def test_a_definition_of_another_type_is_told_by_a_process_that_reads_the_files(project: Project) -> None:
    """Feast checks types while its classes are made; processes that read its registry only leave that out."""
    views = project.root / "feature_repo" / "views.py"
    text = views.read_text(encoding="utf-8")
    views.write_text(text.replace("ttl=WEEKLY", 'ttl="7d"', 1), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "recsys", "plan"], cwd=project.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert_one_line(done.stderr, ("feature repository feature_repo/", '"ttl"', "timedelta"))


def test_importing_feast_in_a_hurry_leaves_nothing_changed() -> None:
    """Typeguard checks what is decorated afterwards, and Feast's classes are those of the registry's own reading."""
    code = """
import typeguard
before = typeguard.typechecked
from recsys.adapters.feast_features import prepare_feast
prepare_feast()
assert typeguard.typechecked is before
from feast import Entity
Entity(name=3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "TypeCheckError" not in done.stderr
    assert "AssertionError" not in done.stderr
