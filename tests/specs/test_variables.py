"""Are environment variables put into declared addresses, is a missing one named, and are passwords hidden?"""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import SpecError
from recsys.specs.environment import Environment
from recsys.specs.variables import expanded, without_password

ROOT = Path(__file__).parents[2]
DATA = {"source": "completejourney"}


def test_variables_take_their_place_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "db.internal")
    monkeypatch.setenv("NAME", "a${HOST}b$1")  # a value is not expanded again
    assert expanded("x://${HOST}:5/${NAME}?$HOST", "here") == "x://db.internal:5/a${HOST}b$1?$HOST"


def test_every_missing_variable_is_a_line_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("ABSENT", raising=False)
    with pytest.raises(SpecError) as caught:
        expanded("${ABSENT}/${EMPTY}/${ABSENT}", "a.yaml: url")
    assert len(caught.value.problems) == 2
    for name, problem in zip(("ABSENT", "EMPTY"), caught.value.problems, strict=True):
        assert problem.startswith(f"a.yaml: url: ${{{name}}}: environment variable {name} is not set or empty")


def test_an_address_knows_the_state_folder_and_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = Environment.model_validate({"data": DATA, "mlflow_uri": "${DB}/mlflow", "artifact_root": None})
    state = Path("/state")
    assert declared.address("event_log", "here", state) == "sqlite:////state/event_log.db"
    assert declared.address("artifact_root", "here", state) == ""
    monkeypatch.setenv("DB", "postgresql+psycopg://u:{state}@h")  # a password is taken as it is
    assert declared.address("mlflow_uri", "here", state) == "postgresql+psycopg://u:{state}@h/mlflow"
    monkeypatch.delenv("DB")
    with pytest.raises(SpecError, match=r"registry/environments/here\.yaml: mlflow_uri: \$\{DB\}"):
        declared.address("mlflow_uri", "here", state)


def test_the_files_of_production_hold_no_address_and_no_secret() -> None:
    environment = yaml.safe_load((ROOT / "registry/environments/production.yaml").read_text())
    feast = yaml.safe_load((ROOT / "feature_repo/feature_store.production.yaml").read_text())
    stores = [environment[name] for name in ("mlflow_uri", "artifact_root", "event_log")]
    stores += [feast["registry"]["path"], feast["online_store"]["url"], environment["data"]["path"]]
    assert all(store.startswith("${RECSYS_") and store.endswith("}") for store in stores)
    documented = (ROOT / "docs/operations.md").read_text()
    assert all(f"`{store[2:-1]}`" in documented for store in stores)


@given(st.text(st.characters(exclude_characters=" \t\n\r\x0b\x0c", categories=["L", "N", "P"]), min_size=4))
def test_no_password_of_an_address_is_shown(password: str) -> None:
    secret = f"q7{password}q7"
    for text in (f"redis://who:{secret}@host/0 failed", f"cannot open x://:{secret}@host", f"x://h?password={secret}"):
        if "&" in secret or ";" in secret:
            continue  # in a query they end a value
        assert secret not in without_password(text)
    assert without_password(f"redis://who:{secret}@host/0 failed") == "redis://who:***@host/0 failed"


def test_an_address_without_a_password_stays() -> None:
    for text in ("sqlite:////state/mlflow.db", "https://mlflow.internal:5000/x", "s3://bucket/path"):
        assert without_password(text) == text
