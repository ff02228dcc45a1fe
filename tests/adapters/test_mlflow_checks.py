"""What does a doctor say of an MLflow that is closed, deaf, of another version, or cannot write its artefacts?"""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from recsys.adapters.mlflow_registry import artifact_findings, mlflow_findings, prepare_mlflow
from recsys.adapters.mlflow_registry.connection import Connection
from recsys.ports import Finding
from tests.adapters.object_store import own_bucket
from tests.chaos.own_servers import own_mlflow
from tests.servers import postgres_database


@pytest.fixture(autouse=True)
def imported() -> None:
    prepare_mlflow()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_mlflow(tmp_path_factory.mktemp("mlflow")) as port:
        yield f"http://127.0.0.1:{port}"


def found(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {each.name.rpartition(": ")[2]: each for each in findings}


def test_a_file_registry_is_asked_by_a_model_that_is_deleted_again(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert "the first training" in found(mlflow_findings(uri))["connection"].found
    assert not (tmp_path / "mlflow.db").exists()
    client = Connection(uri).client
    said = found(mlflow_findings(uri))
    assert {each.status for each in said.values()} == {"ok"}
    assert "registered and deleted" in said["permission"].found
    assert list(client.search_registered_models()) == []


@pytest.mark.server
def test_an_empty_postgresql_is_ok_and_stays_empty() -> None:
    with postgres_database() as url:
        said = found(mlflow_findings(url))
        assert {each.status for each in said.values()} == {"ok"}
        engine = sa.create_engine(url)
        assert sa.inspect(engine).get_table_names() == []
        engine.dispose()


def test_a_server_is_asked_for_its_version_too(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = found(mlflow_findings(server))
    assert list(said) == ["connection", "version", "permission"]
    assert {each.status for each in said.values()} == {"ok"}
    monkeypatch.setattr("mlflow.__version__", "2.9.0")
    said = found(mlflow_findings(server))
    assert said["version"].status == "warning"
    assert "client 2.9.0" in said["version"].found


def test_a_closed_port_fails_soon_and_without_the_password() -> None:
    began = time.monotonic()
    said = found(mlflow_findings("http://who:topsecret@127.0.0.1:1"))
    assert time.monotonic() - began < 15
    assert list(said) == ["connection"]
    assert said["connection"].status == "failed"
    assert "topsecret" not in said["connection"].found


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        said = found(mlflow_findings(f"http://127.0.0.1:{deaf.getsockname()[1]}"))
    assert time.monotonic() - began < 30
    assert said["connection"].status == "failed"
    assert "timed out" in said["connection"].found


def test_a_folder_is_written_and_left_as_it_was(tmp_path: Path) -> None:
    said = found(artifact_findings("sqlite:///mlflow.db", str(tmp_path / "not" / "yet")))
    assert said["write"].status == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    said = found(artifact_findings("sqlite:///mlflow.db", str(tmp_path / "occupied" / "artefacts")))
    assert said["write"].status == "failed"
    assert "occupied" in said["write"].found


def test_a_database_keeps_no_artefacts() -> None:
    said = found(artifact_findings("sqlite:///mlflow.db", None))
    assert said["place"].status == "failed"
    assert "artifact_root" in said["place"].advice


def test_a_server_s_own_place_is_written_through_it_and_a_folder_beside_it_is_a_warning(
    server: str, tmp_path: Path
) -> None:
    said = found(artifact_findings(server, None))
    assert said["write"].status == "ok"
    assert said["write"].found.startswith("mlflow-artifacts:")
    said = found(artifact_findings(server, str(tmp_path)))
    assert (said["place"].status, said["write"].status) == ("warning", "ok")


def test_a_bucket_is_written_read_and_deleted_and_one_that_is_missing_fails() -> None:
    with own_bucket("shop-models") as stored:
        said = found(artifact_findings("sqlite:///mlflow.db", "s3://shop-models/recsys"))
        assert said["write"].status == "ok", said
        assert stored() == []
        said = found(artifact_findings("sqlite:///mlflow.db", "s3://no-such-bucket/recsys"))
        assert said["write"].status == "failed"
        assert "NoSuchBucket" in said["write"].found


def test_an_object_store_without_its_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "boto3", None)
    said = found(artifact_findings("sqlite:///mlflow.db", "s3://shop-models/recsys"))
    assert said["write"].status == "failed"
    assert said["write"].advice == "pip install 'recsys[s3]'"
