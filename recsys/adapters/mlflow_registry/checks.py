"""What does `recsys doctor` have to know of MLflow: can it be reached, read and written, and its artefacts too?"""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from recsys.adapters.mlflow_registry.connection import Connection
from recsys.adapters.sql_checks import sql_findings
from recsys.errors import StoreError
from recsys.ports import Finding
from recsys.specs.variables import without_password

_TABLES: Final = ("experiments", "runs", "registered_models", "model_versions", "registered_model_aliases")
_MADE_BY: Final = "the first training"
_VERSION_SECONDS: Final = 5


def mlflow_findings(uri: str) -> Iterator[Finding]:
    """Ask the registry: a model of a random name is registered and deleted again."""
    served = uri.startswith(("http://", "https://"))
    if not served:
        empty = False
        for finding in sql_findings("model registry", uri, _TABLES, _MADE_BY):
            empty = empty or _MADE_BY in finding.found
            yield finding
            if finding.status == "failed":
                return
        if empty:
            return  # MLflow would make its tables when it is asked
    connection = Connection(uri)
    try:
        with connection.failures("read"):
            connection.client.search_registered_models(max_results=1)
    except StoreError as error:
        yield Finding("model registry: connection", "failed", str(error))
        return
    if served:
        yield Finding("model registry: connection", "ok", connection.name)
        yield _server_version(uri)
    yield _registered(connection)


def _server_version(uri: str) -> Finding:
    import mlflow
    import requests

    try:
        said = requests.get(f"{uri.rstrip('/')}/version", timeout=_VERSION_SECONDS)
        theirs = said.text.strip() if said.ok else ""
    except requests.exceptions.RequestException:
        theirs = ""
    ours = mlflow.__version__
    if not theirs or len(theirs.split(".")) < 2:  # noqa: PLR2004 - major and minor
        return Finding(
            "model registry: version", "warning", "the server does not tell its version", f"it has to be {ours}"
        )
    text = f"server {theirs}, client {ours}"
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        return Finding("model registry: version", "warning", text, "install the same minor version on both sides")
    return Finding("model registry: version", "ok", text)


def _registered(connection: Connection) -> Finding:
    name = f"recsys-doctor-{uuid.uuid4().hex}"
    try:
        with connection.failures("register a model and delete it"):
            connection.client.create_registered_model(name)
            connection.client.delete_registered_model(name)
    except StoreError as error:
        return Finding("model registry: permission", "failed", str(error))
    return Finding("model registry: permission", "ok", "a model was registered and deleted")


def artifact_findings(uri: str, root: str | None) -> Iterator[Finding]:
    """Ask the place of weights and reports: a small file is written, read and deleted.

    Args:
        uri: of MLflow.
        root: where new experiments keep their artefacts; None where the MLflow server says it.
    """
    served = uri.startswith(("http://", "https://"))
    if root is None:
        yield from _servers_own(uri, served=served)
        return
    if "://" not in root:
        if served:
            advice = "let artifact_root be null or an object store, unless all machines see this folder under this name"
            yield Finding("artefacts: place", "warning", f"{root}: a folder, beside an MLflow server", advice)
        folder = Path(root).absolute()
        root = next(path for path in (folder, *folder.parents) if path.exists()).as_uri()
    yield _written(root, uri)


def _servers_own(uri: str, *, served: bool) -> Iterator[Finding]:
    if not served:
        advice = "declare artifact_root, a folder or an object store: a database keeps no artefacts"
        yield Finding("artefacts: place", "failed", "artifact_root is null, and MLflow is a database", advice)
        return
    connection = Connection(uri)
    with connection.failures("read its default experiment"):
        location = str(connection.client.get_experiment("0").artifact_location)
    if not location.startswith("mlflow-artifacts:") and location.startswith(("/", "file:")):
        advice = "start it with --artifacts-destination, so that it takes artefacts over HTTP, or declare artifact_root"
        yield Finding("artefacts: place", "failed", f"{location}: a folder of the server's own machine", advice)
        return
    yield _written(location, uri)


def _written(root: str, uri: str) -> Finding:
    """Write, read and delete a file, by MLflow's own client of such a place."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    shown, name = without_password(root), f"recsys-doctor-{uuid.uuid4().hex}.txt"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, name)
            file.write_text(name, encoding="utf-8")
            repository: Any = get_artifact_repository(root, tracking_uri=uri)
            repository.log_artifact(str(file))
            try:
                read = Path(repository.download_artifacts(name, dst_path=f"{scratch}/")).read_text(encoding="utf-8")
            finally:
                repository.delete_artifacts(name)
    except ModuleNotFoundError as error:
        extra = "'recsys[s3]'" if error.name in {"boto3", "botocore"} else str(error.name)
        return Finding(
            "artefacts: write", "failed", f"{shown}: the package {error.name} is missing", f"pip install {extra}"
        )
    except Exception as error:  # noqa: BLE001 - whatever a client of an object store raises
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        advice = "check that the place exists, that its credentials are in the environment, and that they may write"
        return Finding("artefacts: write", "failed", f"{shown}: {without_password(said)}", advice)
    if read != name:
        return Finding(
            "artefacts: write", "failed", f"{shown}: what was written is not what was read", "look at its disk"
        )
    return Finding("artefacts: write", "ok", f"{shown}: a file was written, read and deleted")
