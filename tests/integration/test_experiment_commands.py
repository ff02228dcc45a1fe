"""Do the commands on experiments work in a project that has nothing yet but its declarations?"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from growthbook import GrowthBook

from tests.integration.conftest import copy_project, edit
from tests.integration.test_command_line import Terminal


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A terminal in a copy of the shipped project, whose experiment has a part of a layer."""
    project = copy_project(tmp_path / "shop")
    (project / "registry/layers").mkdir()
    (project / "registry/layers/page.yaml").write_text('seed: "page:"\nholdout: [0.0, 0.1]\n')
    layer = {"name": "page", "range": [0.1, 0.6]}
    edit(project / "registry/experiments/home_ranker.yaml", lambda spec: spec.update(layer=layer))
    monkeypatch.chdir(project)
    monkeypatch.delenv("RECSYS_ENV", raising=False)
    return Terminal(monkeypatch, capsys)


def test_status_reads_and_writes_nothing(terminal: Terminal) -> None:
    (found,) = terminal.json("experiment", "status", "home_ranker")
    assert (found["stage"], found["applied"], found["layer"]["name"]) == ("running", None, "page")
    code, out, _ = terminal.run("experiment", "status")
    assert code == 0
    assert "[0.1, 0.6) of page" in out
    assert not Path(".recsys").exists()
    code, _, err = terminal.run("experiment", "status", "other")
    assert code == 1
    assert err == "error: experiment 'other' is not declared under registry/experiments/; declared: home_ranker\n"


def test_assigned_arms_are_those_of_the_exported_payload(terminal: Terminal) -> None:
    households = [f"household_{number}" for number in range(2_000)]
    pq.write_table(pa.table({"id": households}), "ids.parquet")
    done = terminal.json(
        "experiment", "assign", "home_ranker", "ids.parquet", "--output", "arms.parquet", "--column", "id"
    )
    assert (done["rows"], done["overridden"]) == (2_000, 1)
    arms = pq.read_table("arms.parquet")["arm"].to_pylist()
    assert {arm: arms.count(arm) for arm in done["arms"]} == done["arms"]

    _, out, _ = terminal.run("experiment", "export", "--format", "growthbook")
    payload = json.loads(out)
    written = terminal.json("experiment", "export", "home_ranker", "--output", "sdk.json")
    assert (written["experiments"], written["left_out"]) == (["home_ranker"], [])
    assert json.loads(Path("sdk.json").read_text()) == payload
    client = GrowthBook(features=payload["features"])
    for household, arm in zip(households, arms, strict=True):
        client.set_attributes({"user_id": household})
        assert (client.eval_feature("home").value or {}).get("arm") == arm


def test_a_null_is_one_line(terminal: Terminal) -> None:
    pq.write_table(pa.table({"user_id": ["a", None]}), "ids.parquet")
    code, out, err = terminal.run("experiment", "assign", "home_ranker", "ids.parquet", "--output", "arms.parquet")
    assert (code, out) == (1, "")
    assert err == (
        "error: ids.parquet: column user_id: row 2 is null: every assigned unit has an id: leave such rows out; nothing"
        " was written\n"
    )
    assert not Path("arms.parquet").exists()


def test_another_format_is_wrong_usage(terminal: Terminal) -> None:
    code, _, err = terminal.run("experiment", "export", "--format", "csv")
    assert code == 2
    assert "growthbook" in err
