"""Is a state folder that is none named before anything else is tried?"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from recsys.cli import app
from recsys.errors import StoreError
from tests.integration.conftest import copy_project


@pytest.mark.parametrize("command", ["validate", "doctor", "funnel weekly_basket", "history basket", "serve"])
def test_a_file_in_its_place_is_said_in_one_line(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = copy_project(tmp_path / "shop")
    (project / ".recsys").write_text("not a folder")
    monkeypatch.chdir(project)
    done = CliRunner().invoke(app, command.split())
    line = str(done.exception)
    assert isinstance(done.exception, StoreError), line
    assert line.startswith("environment local: ")
    assert ".recsys: not a folder" in line
    assert "registry/environments/local.yaml" in line
    assert (project / ".recsys").read_text() == "not a folder"
