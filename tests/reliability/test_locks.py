"""Does a lock keep two commands apart, name its holder, and outlive a kill?"""

import fcntl
import os
import shutil
import threading
from pathlib import Path

import pytest

from recsys.errors import StoreError
from recsys.wiring import open_workspace
from recsys.workflows.exclusive import ALIASES, FEATURES, exclusive
from recsys.workflows.workspace import Workspace
from tests.reliability.conftest import Shop


@pytest.fixture
def workspace(first: Shop, tmp_path: Path) -> Workspace:
    """The shop's declarations, and no state yet."""
    for name in ("registry", "feature_repo"):
        shutil.copytree(first.template / name, tmp_path / name)
    return open_workspace("local", tmp_path)


def test_a_refusal_names_command_process_and_time(workspace: Workspace) -> None:
    with (
        exclusive(workspace, ALIASES, "recsys promote home_ranker"),
        pytest.raises(
            StoreError,
            match=rf"recsys rollback basket: refused.*`recsys promote home_ranker` \(pid {os.getpid()}\)"
            r" since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 is at work \(\.recsys/locks/aliases\.lock\)",
        ),
        exclusive(workspace, ALIASES, "recsys rollback basket", wait_seconds=0),
    ):
        pytest.fail("two held one lock")


def test_a_waiting_command_says_so_once_and_goes_on(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(workspace, FEATURES, "recsys features build"):
            held.set()
            free.wait(timeout=30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(timeout=30)
    timer = threading.Timer(1.3, free.set)
    timer.start()
    with exclusive(workspace, FEATURES, "recsys train --model-version basket/v2", shared=True):
        pass
    holder.join()
    timer.join()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("recsys train --model-version basket/v2: waits up to 60 s: `recsys features build` (pid ")


def test_readers_share_and_a_writer_is_told_of_all_of_them(workspace: Workspace) -> None:
    with (
        exclusive(workspace, FEATURES, "recsys train --model-version basket/v1", shared=True),
        exclusive(workspace, FEATURES, "recsys replay home_ranker", shared=True),
    ):
        with exclusive(workspace, FEATURES, "recsys serve-batch home", shared=True):
            pass
        with (
            pytest.raises(StoreError) as refused,
            exclusive(workspace, FEATURES, "recsys features build", wait_seconds=0),
        ):
            pytest.fail("a writer held the lock beside readers")
    assert "basket/v1` (pid" in str(refused.value)
    assert "and `recsys replay home_ranker`" in str(refused.value)
    assert "serve-batch" not in str(refused.value)
    with exclusive(workspace, FEATURES, "recsys features build", wait_seconds=0):
        pass


def test_what_a_killed_holder_wrote_is_not_believed(workspace: Workspace) -> None:
    path = workspace.state / "locks/features.lock"
    path.parent.mkdir(parents=True)
    path.write_text('{"command": "recsys ingest", "pid": 4194999, "since": "2017-12-04T00:00:00+00:00"}\nhalf a li')
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with (
            pytest.raises(StoreError, match="another command is at work"),
            exclusive(workspace, FEATURES, "recsys ingest", wait_seconds=0),
        ):
            pytest.fail("two held one lock")
    with exclusive(workspace, FEATURES, "recsys ingest", wait_seconds=0):
        assert "4194999" not in path.read_text()


def test_a_state_folder_that_cannot_be_written_is_one_clear_line(workspace: Workspace) -> None:
    workspace.state.mkdir()
    (workspace.state / "locks").write_text("a file where the folder should be")
    with (
        pytest.raises(StoreError, match=r"lock \.recsys/locks/aliases\.lock: cannot be opened"),
        exclusive(workspace, ALIASES, "recsys promote home_ranker"),
    ):
        pytest.fail("it held a lock that is not there")
