"""Does every command print one JSON document, and one clear line when it refuses?"""

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recsys import cli
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import edit

UNKNOWN = "error: model 'cellar': not declared; declared: basket, coupon, discover"


class Terminal:
    """Runs commands in the small shop's folder, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Take what replaces the arguments and what catches the output."""
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr of a command."""
        self._monkeypatch.setattr(sys, "argv", ["recsys", *arguments])
        self._capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return the one JSON document that a command prints."""
        ended, out, err = self.run(*arguments, "--json")
        assert ended == code, err
        return json.loads(out)


@pytest.fixture
def terminal(replayed: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A terminal below the small shop's folder: commands find the project upwards, never by the current folder."""
    monkeypatch.chdir(replayed.root / "feature_repo")
    return Terminal(monkeypatch, capsys)


def test_each_stage_gives_one_json_document(terminal: Terminal) -> None:
    assert terminal.json("validate")["models"] == 6
    assert "3 placements, 1 audience, 4 metrics, 0 layers, 1 experiment, 1 monitor, " in terminal.run("validate")[1]
    assert terminal.json("ingest")["reused"]
    built = terminal.json("features", "build")
    assert built["materialized_until"].startswith("2018-01-01")
    assert [table["reused"] for table in built["tables"]] == [True] * 9
    trained = terminal.json("train", "--model-version", "basket/v2", "--known-at", "2017-12-04")
    assert trained["report"]["gate"]["passed"] is trained["in_service"]
    assert trained["reused"]
    batch = terminal.json("serve-batch", "home")
    assert batch["rows"] == 10 * batch["units"]
    assert batch["folder"].startswith(".recsys/batch/home/")
    assert terminal.json("replay", "home_ranker")["steps"] == 8
    report = terminal.json("evaluate", "home_ranker")
    assert report["frozen"]
    recorded = terminal.json("history", "basket")
    assert recorded[0]["action"] == "serve"
    assert {"promote", "serve"} <= {entry["action"] for entry in recorded}


def test_a_refused_gate_exits_1_and_still_prints_its_report(terminal: Terminal) -> None:
    refused = terminal.json("train", "--model-version", "basket/flat", "--known-at", "2017-12-04", code=1)
    assert not refused["report"]["gate"]["passed"]
    assert not refused["in_service"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--model-version", "basket/v9"), ("basket/v9", "not declared", "basket/v1")),
        (("train", "--model-version", "basket/v2", "--known-at", "soon"), ("soon", "ISO time")),
        (("evaluate", "cellar"), ("experiment 'cellar'", "home_ranker")),
        (("promote", "--model-version", "basket/v2"), ("has champion", "roll back")),
        (("rollback", "cellar", "--reason", "worse"), (UNKNOWN,)),
        (("accept", "cellar"), (UNKNOWN,)),
        (("history", "cellar"), (UNKNOWN,)),
        (("drift", "cellar"), (UNKNOWN,)),
        (("skew", "cellar"), ("cellar: neither an experiment nor a model", "models: basket, coupon, discover")),
        (("diagnose", "cellar"), ("cellar: neither an experiment nor a model", "models: basket, coupon, discover")),
        (("skew", "--from", "2017-09-01", "--to", "2017-06-01"), ("--from 2017-09-01 lies after --to 2017-06-01",)),
        (("evaluate", "home_ranker", "--from", "2030-01-01"), ("--from 2030-01-01 lies after the clock, 2018-01-01",)),
        (("funnel", "weekly_basket", "--from", "2030-01-01"), ("--from 2030-01-01 lies after the clock, 2018-01-01",)),
        (
            ("log", "export", "--output", "out", "--from", "2017-09-01", "--to", "2017-09-01"),
            ("is the same as --to 2017-09-01",),
        ),
        (("serve-batch", "home", "--date", "2017-11-13"), ("2017-11-13", "keeps no past")),
        (("validate", "--env", "moon"), ("environment 'moon'", "local")),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(
    terminal: Terminal, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    code, out, err = terminal.run(*arguments)
    assert code == 1
    assert not out
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


def test_bad_usage_is_exit_code_2(terminal: Terminal) -> None:
    assert terminal.run("promote")[0] == 2
    for alone in (("--override",), ("--reason", "a law"), ("--override", "--reason", " ")):
        code, _, err = terminal.run("promote", "home_ranker", *alone)
        assert code == 2
        assert "--override and --reason go together" in err
    assert terminal.run("train")[0] == 2
    for unsaid in ((), ("--reason", " ")):
        code, _, err = terminal.run("rollback", "basket", *unsaid)
        assert (code, "--reason" in err) == (2, True)
    assert terminal.run("launch")[0] == 2
    code, _, err = terminal.run("history")
    assert code == 2
    assert err.startswith("Usage: recsys history ")
    assert "Missing argument" in err


def test_every_finding_is_reported_at_once(terminal: Terminal, replayed: Workspace) -> None:
    problem = replayed.root / "registry/problems/weekly_basket.yaml"
    model = replayed.root / "registry/models/basket/v1.yaml"
    before = problem.read_text(), model.read_text()
    edit(problem, lambda spec: spec.update(formulation="guessing", colour="red"))
    edit(model, lambda spec: spec.update(placement="cellar"))
    try:
        code, _, err = terminal.run("validate")
    finally:
        problem.write_text(before[0])
        model.write_text(before[1])
    assert code == 1
    for word in ("problems/weekly_basket.yaml: formulation", "colour", "models/basket/v1.yaml: placement: cellar"):
        assert word in err


def test_a_reference_into_feast_that_leads_nowhere_is_found(terminal: Terminal, replayed: Workspace) -> None:
    model = replayed.root / "registry/models/basket/v2.yaml"
    before = model.read_text()
    edit(model, lambda spec: spec.update(feature_service="basket_fuller"))
    try:
        code, _, err = terminal.run("validate")
    finally:
        model.write_text(before)
    assert code == 1
    assert "feature service 'basket_fuller': not declared" in err
    assert "basket_full" in err


def test_a_file_that_is_no_python_is_the_one_finding(terminal: Terminal, replayed: Workspace) -> None:
    """What reads features says no more of it, for nothing can be said of what a file that cannot be read declares."""
    views = replayed.root / "feature_repo/views.py"
    before = views.read_text()
    lines = len(before.splitlines())
    views.write_text(f"{before}broken = (1,\n")
    try:
        code, _, err = terminal.run("validate")
    finally:
        views.write_text(before)
    said = f"error: feature_repo/views.py:{lines + 1}: '(' was never closed: `feast apply` fails on it too\n"
    assert (code, err) == (1, said)


def test_an_override_is_shown_wherever_its_version_is(
    replayed: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(replayed.root, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    terminal, reason = Terminal(monkeypatch, capsys), "a law changes on Monday"
    shown = replayed.event_log.exposures("home", datetime(2017, 12, 4, tzinfo=UTC), datetime(2018, 1, 1, tzinfo=UTC))
    mine = next(row for row in shown.to_pylist() if row["model_version"] == "basket/v2")
    looks = [("why", mine["request_id"]), ("serve-batch", "home"), ("evaluate", "home_ranker")]
    for look in looks:
        assert "champion_overrides" not in terminal.json(*look)
    code, out, err = terminal.run("promote", "home_ranker", "--override", "--reason", reason)
    assert code == 0, err
    for look in looks:
        (found,) = terminal.json(*look)["champion_overrides"]
        assert (found["model_version"], found["reason"]) == ("basket/v2", reason)
        assert found["refused"]
        _, out, _ = terminal.run(*look)
        assert f"OVERRIDE: basket/v2 is champion by {found['author']}" in out
        assert reason in out
