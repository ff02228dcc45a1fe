"""Does `recsys doctor` ask everything at once, give up on what hangs, and say what is wrong in one line each?"""

import fcntl
import importlib.metadata
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from recsys.cli import app
from recsys.errors import SpecError, StoreError
from recsys.ports import Check, Finding
from recsys.printing import diagnosis
from recsys.workflows.environment.doctor import Diagnosis, doctor
from recsys.workflows.exclusive import write_text
from tests.specs.registry_files import ENVIRONMENT, change
from tests.workflows.small_project import SmallProject


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    return SmallProject(tmp_path)


def examined(project: SmallProject, *checks: Check, limit_seconds: float = 10) -> dict[str, Finding]:
    """Return what is found, by name."""
    project.__dict__["checks"] = lambda: checks
    project.__dict__["prepare"] = lambda: None
    return {finding.name: finding for finding in doctor(project.open(), limit_seconds=limit_seconds).findings}


def raising(error: Exception) -> Callable[[], Iterator[Finding]]:
    def ask() -> Iterator[Finding]:
        yield Finding("store: connection", "ok", "there")
        raise error

    return ask


def test_what_hangs_is_given_up_and_the_others_have_answered(project: SmallProject) -> None:
    never = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield Finding("dead: address", "ok", "known")
        never.wait()

    def answers() -> Iterator[Finding]:
        yield Finding("alive", "ok", "here")

    began = time.monotonic()
    found = examined(project, Check("dead", hangs), Check("dead too", hangs), Check("alive", answers), limit_seconds=1)
    assert time.monotonic() - began < 9  # two wait for one second together
    never.set()
    assert found["alive"].status == "ok"
    assert found["dead: address"].status == "ok"
    given_up = found["dead, dead too"]
    assert (given_up.status, given_up.found) == ("failed", "no answer within 1 s")
    assert given_up.advice


def test_whatever_is_raised_is_one_line_without_a_password(project: SmallProject) -> None:
    said = "postgresql+psycopg://who:top/s:e@cret@host/db is\nnot there"
    found = examined(project, Check("log", raising(StoreError(said))), Check("other", raising(OSError(said))))
    for name in ("log", "other"):
        assert found[name].status == "failed"
        assert "who:***@host/db is not there" in found[name].found
        assert "\n" not in found[name].found
        assert "cret" not in found[name].found


def test_every_problem_of_a_declaration_is_told_and_each_once(project: SmallProject) -> None:
    error = SpecError(["a.yaml: url: not set", "a.yaml: path: not set"])
    examined(project, Check("one", raising(error)), Check("two", raising(error)))
    listed = [each for each in doctor(project.open()).findings if each.status == "failed"]
    assert [(each.name, each.found) for each in listed] == [("one, two", problem) for problem in error.problems]


def test_a_state_folder_that_cannot_be_written_fails_and_so_do_its_locks(project: SmallProject) -> None:
    change(project.files, ENVIRONMENT, "state", "occupied/state")
    (project.root / "occupied").write_text("a file")
    found = examined(project)
    assert found["state folder: write"].status == "failed"
    assert "Not a directory" in found["state folder: write"].found
    assert found["locks: exclusion"].status == "failed"


def test_a_sound_machine_leaves_nothing_in_the_state_folder(project: SmallProject) -> None:
    found = examined(project)
    assert {found[name].status for name in ("state folder: write", "locks: exclusion", "python: version")} == {"ok"}
    state = project.open().state
    assert [path for path in state.rglob("*") if path.is_file()] == []


def test_locks_that_keep_nobody_out_fail(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # as some network file systems do
    found = examined(project)
    assert found["locks: exclusion"].status == "failed"
    assert "local disk" in found["locks: exclusion"].advice


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "status"), [(10**11, "ok"), (10**9, "warning"), (10**7, "failed")])
def test_little_space_is_told(project: SmallProject, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, free))
    assert examined(project)["state folder: space"].status == status


def test_a_package_out_of_range_fails_by_name(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.9.9" if name == "pandas" else installed(name))
    found = examined(project)["python: packages"]
    assert found.status == "failed"
    assert "pandas is 1.9.9, required is" in found.found


def test_a_python_out_of_range_fails(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    found = examined(project)["python: version"]
    assert (found.status, found.found) == ("failed", "Python 3.9.1")
    assert ">=3.11" in found.advice


def test_outside_a_checkout_there_is_a_warning(project: SmallProject) -> None:
    assert examined(project)["git: commit"].status == "warning"


def test_a_declared_token_has_to_be_set(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "loopback" in examined(project)["serve: tokens"].found
    change(project.files, ENVIRONMENT, "serve", {"read_token": "SHOP_READ", "write_token": "SHOP_WRITE"})
    monkeypatch.setenv("SHOP_READ", "secret-of-readers")
    found = examined(project)["serve: tokens"]
    assert found.status == "failed"
    assert "SHOP_WRITE" in found.found
    assert "SHOP_READ" not in found.found
    monkeypatch.setenv("SHOP_WRITE", "secret-of-writers")
    found = examined(project)["serve: tokens"]
    assert found.status == "ok"
    assert "secret" not in found.found
    monkeypatch.setenv("SHOP_WRITE", "short")
    found = examined(project)["serve: tokens"]
    assert (found.status, found.found) == ("failed", "SHOP_WRITE: shorter than 16 characters")


def test_definitions_that_were_not_applied_are_named(project: SmallProject) -> None:
    assert examined(project)["feature definitions: applied"].found == "none was applied yet"
    project.apply()
    assert examined(project)["feature definitions: applied"].status == "ok"
    project.repository.files["feature_views"]["user_item"]["description"] = "changed"
    found = examined(project)["feature definitions: applied"]
    assert found.status == "warning"
    assert "feature_views/user_item" in found.found


def test_feature_tables_whose_files_are_gone_are_named(project: SmallProject) -> None:
    """By what a build wrote down, without a look into a file."""
    workspace = project.open()
    assert examined(project)["feature tables: files"].status == "warning"
    for name in ("user_item", "item_weekly"):
        write_text(workspace.feature_tables / name / "until-20171204.parquet", "rows")
    entry = {"files": {"until-20171204.parquet": 3}}
    write_text(workspace.feature_tables / "manifest.json", json.dumps({"user_item": entry, "item_weekly": entry}))
    assert examined(project)["feature tables: files"].found == "2 tables as they were built"
    (workspace.feature_tables / "user_item/until-20171204.parquet").unlink()
    gone = examined(project)["feature tables: files"]
    assert (gone.status, gone.advice) == ("failed", "restore them, or run `recsys features build`")
    assert gone.found == f"files are missing in {workspace.shown(workspace.feature_tables / 'user_item')}"


def test_the_table_and_the_lines_say_all_and_a_failure_ends_with_one() -> None:
    findings = (
        Finding("log: clock", "ok", "behind by 0.01 s"),
        Finding("store: eviction", "failed", "allkeys-lru", "set noeviction"),
        Finding("git: commit", "warning", "unknown", "work in a checkout"),
    )
    lines = diagnosis(Diagnosis("production", findings)).splitlines()
    assert [line.split()[0] for line in lines] == ["status", "------", "ok", "warning:", "failed:", "production:"]
    assert lines[-2].strip() == "failed: store: eviction: allkeys-lru: set noeviction"
    assert lines[-1].strip() == "production: 1 ok, 1 warnings, 1 failed"


def test_the_command_exits_by_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.workflows.files_project import FilesProject

    project = FilesProject(tmp_path)
    project.deliver(0, [])
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    project.declare(serve={"read_token": "RECSYS_NOT_SET"})
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "serve.read_token names RECSYS_NOT_SET" in done.output
