"""Do plan and apply hold together with real Feast, MLflow and SQLite, on a shop with trained versions?"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recsys import cli
from recsys.wiring import open_workspace
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import edit

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def project(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small shop, to be applied and edited."""
    root = tmp_path_factory.mktemp("planned") / "project"
    shutil.copytree(shop.root, root)
    return root


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in the shop's folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(project)

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recsys", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@contextmanager
def rewritten(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    """Let a file be another for a while."""
    before = path.read_text()
    path.write_text(change(before))
    try:
        yield
    finally:
        path.write_text(before)


def entries(project: Path) -> int:
    return len(open_workspace("local", project).ledger.entries())


def test_plan_apply_plan(project: Path, run: Run) -> None:
    before = entries(project)
    code, out, _ = run("plan", "--json")
    assert code == 0
    planned: dict[str, Any] = json.loads(out)
    changes = {step["subject"]: step["change"] for step in planned["steps"]}
    assert set(changes.values()) == {"added"}
    assert {"feature_views/user_item", "request_transforms/rhythm", "transforms/user_line"} <= set(changes)
    assert {"environments/local", "models/basket/v2", "experiments/home_ranker"} <= set(changes)
    assert "feast/registry" not in changes  # plain feast apply had told it
    (experiment,) = [step for step in planned["steps"] if step["subject"] == "experiments/home_ranker"]
    assert "known units" in experiment["notes"][0]
    assert entries(project) == before

    code, out, _ = run("apply", "--plan", planned["digest"], "--json")
    assert code == 0
    done = json.loads(out)
    assert done["digest"] == planned["digest"]
    assert entries(project) == before + len(changes) + 1

    assert "No changes" in run("plan")[1]
    assert "No changes" in run("apply")[1]
    assert entries(project) == before + len(changes) + 1


def test_an_edited_trained_logic_is_refused(project: Path, run: Run) -> None:
    before = entries(project)
    path = project / "registry/models/basket/v2.yaml"
    kept = path.read_text()
    edit(path, lambda spec: spec["algorithm"].update(depth=4))
    try:
        planned, applied = run("plan"), run("apply")
    finally:
        path.write_text(kept)
    assert "algorithm.depth: 6 -> 4" in planned[1]
    for code, _, err in (planned, applied):
        assert code == 1
        assert "registry/models/basket/v2.yaml: logic: " in err
        assert "trained logic does not change" in err
    assert not applied[1]
    assert entries(project) == before


def test_an_edited_transform_lists_what_it_hits(project: Path, run: Run) -> None:
    with rewritten(
        project / "feature_repo/transforms.py",
        lambda text: text.replace('"line_id", "line")', '"line_id", "line").limit(9)'),
    ):
        code, out, err = run("plan", "--json")
    assert code == 1
    (step,) = json.loads(out)["steps"]
    assert step["subject"] == "transforms/user_line"
    assert [change["field"] for change in step["fields"]] == ["code"]
    assert step["hits"] == {
        "model_versions": ["basket/v2", "basket/v3", "discover/v1"],
        "arms": ["home_ranker.treatment"],
        "running": ["home_ranker"],
    }
    assert "undo the edit of transforms/user_line" in err
    assert "experiment home_ranker stands on it and runs until 2018-01-01" in err


def test_words_in_the_feature_repository_reach_feast(project: Path, run: Run) -> None:
    with rewritten(
        project / "feature_repo/services.py", lambda text: text.replace("How often a household has", "How often it has")
    ):
        code, out, _ = run("apply")
        assert code == 0
        assert "~ feature_services/basket_frequency" in out
        assert "~ feast/registry" in out
        assert "No changes" in run("plan")[1]
        store = open_workspace("local", project).adapters.feature_repository().registered()
        assert store["feature_services"]["basket_frequency"]["description"].startswith("How often it has")
    assert run("apply")[0] == 0
