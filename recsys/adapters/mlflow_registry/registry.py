"""How does `ports.ModelRegistry` map to runs, logged models, versions and aliases of MLflow?"""

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow.parquet as pq

from recsys.adapters.mlflow_registry import recording
from recsys.adapters.mlflow_registry.changes import Changes
from recsys.adapters.mlflow_registry.connection import Connection, reason_of
from recsys.adapters.mlflow_registry.sample import check_sample
from recsys.errors import ModelError
from recsys.ports import Ranker, Registration, Weights

Loader = Callable[[Path], Ranker]
"""Loads the bundle of one type of ranker."""

VERSION_TAG: Final = "recsys.model_version"
"""Tag with the logic that weights belong to, such as v2."""
UNKNOWN: Final = "unknown"
"""The logic of weights that were registered without that tag, by other tools."""

_SAMPLE: Final = "sample.parquet"
_NAME: Final = re.compile(r"[\w.\-]+")
_ALIAS: Final = re.compile(r"(?!latest$|[vV]\d+$)[\w\-]+")
_PAGE: Final = 1000

T = TypeVar("T")


class MlflowRegistry:
    """`ports.ModelRegistry` over an MLflow server or MLflow's own tables in a database."""

    def __init__(
        self,
        tracking_uri: str,
        artifact_root: str | Path | None,
        loaders: Mapping[str, Loader],
        flavors: Mapping[str, recording.FlavorWriter],
    ) -> None:
        """Keep the settings; MLflow is imported and reached on first use.

        Args:
            tracking_uri: `sqlite:///path/to/mlflow.db`, `postgresql+psycopg://…`, or a server's `http://…`.
            artifact_root: folder of the artefacts of new experiments (made), or the address of an object store such as
                `s3://bucket/path`; None where a server keeps them.
            loaders: for each type of ranker (`type` in its `ranker.json`), what loads its bundle.
            flavors: for each type of ranker, what writes its bundle as an MLflow model.
        """
        self._connection = Connection(tracking_uri)
        self._changes = Changes(tracking_uri)
        self._artifact_root = artifact_root
        self._loaders = dict(loaders)
        self._flavors = dict(flavors)

    def register(self, registration: Registration) -> Weights:
        """Store weights and their evidence as a new version of the registered model.

        Raises:
            ModelError: if the ranker is of no known type, or does not give the scores of its sample.
            StoreError: if MLflow cannot be written; a run that was begun is marked as failed.
        """
        name = registration.model_version
        model, version = _split(name)
        check_sample(name, registration.ranker, registration.sample)
        tags = {VERSION_TAG: version, **registration.tags}
        with self._connection.failures(f"register {name}"), tempfile.TemporaryDirectory() as scratch:
            bundle = Path(scratch) / recording.BUNDLE
            registration.ranker.save(bundle)
            pq.write_table(registration.sample, bundle / _SAMPLE)
            flavor = _of_type(bundle, self._flavors)
            client = self._connection.client
            experiment = self._experiment(model)
            recording.end_killed_runs(client, experiment, VERSION_TAG, version)
            with recording.recorded_run(client, experiment, version, tags) as run:
                recording.record_run(client, run.info.run_id, registration, Path(scratch))
                logged = recording.record_model(client, run, registration, bundle, flavor)
                client.set_terminated(run.info.run_id, "FINISHED")
                number = recording.record_version(client, model, logged, tags)
        return Weights(model, number, version, tags)

    def search(self, model: str) -> Sequence[Weights]:
        """Return all weights of a registered model, oldest first; empty when the model is unknown."""
        if not _NAME.fullmatch(model):
            return ()
        found: list[Weights] = []
        token: str | None = ""
        with self._connection.failures(f"search {model}"):
            while token is not None:
                page = self._connection.client.search_model_versions(
                    f"name = '{model}'", max_results=_PAGE, page_token=token or None
                )
                found.extend(_weights(version) for version in page)
                token = page.token or None
        return tuple(sorted(found, key=lambda weights: weights.number))

    def resolve(self, model: str, alias: str) -> Weights | None:
        """Return the weights an alias names, or None when model or alias is unknown."""
        with self._connection.failures(f"resolve {model}@{alias}"):
            client = self._connection.client
            version = self._connection.found(lambda: client.get_model_version_by_alias(model, alias))
        return None if version is None else _weights(version)

    def aliases(self, model: str) -> Mapping[str, int]:
        """Return each alias of a registered model and the number of the weights that it names."""
        if not _NAME.fullmatch(model):
            return {}
        with self._connection.failures(f"read the aliases of {model}"):
            client = self._connection.client
            found = self._connection.found(lambda: client.get_registered_model(model))
        return {} if found is None else {alias: int(number) for alias, number in found.aliases.items()}

    def stamp(self) -> str | None:
        """Return another text after any commit to a SQLite file; None for a server."""
        return self._changes.stamp()

    def set_alias(self, weights: Weights, alias: str) -> None:
        """Let an alias name these weights.

        Raises:
            ModelError: if MLflow reserves the alias, or these weights are not registered.
        """
        if not _ALIAS.fullmatch(alias):
            message = (
                f"alias {alias} of model {weights.model}: letters, digits, - and _, and MLflow reserves"
                " latest and v<number>; use champion or logic-<version>"
            )
            raise ModelError(message)
        with self._connection.failures(f"set {weights.model}@{alias}"):
            self._version(weights)
            self._connection.client.set_registered_model_alias(weights.model, alias, str(weights.number))

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias if it is there."""
        with self._connection.failures(f"delete {model}@{alias}"):
            client = self._connection.client
            self._connection.found(lambda: client.delete_registered_model_alias(model, alias))

    def load(self, weights: Weights) -> Ranker:
        """Load a ranker from the registry's artefacts, and check that it gives the scores of its sample.

        Raises:
            ModelError: if these weights are not registered, are damaged, or score otherwise than at training.
            StoreError: if MLflow cannot be reached.
        """
        name = f"{weights.model}/{weights.number}"
        with tempfile.TemporaryDirectory() as scratch:
            with self._connection.failures(f"load {name}"):
                location = str(self._version(weights).source)
                if location.startswith(recording.LOGGED_MODEL):
                    # MLflow would look the id up in its global URI, which may be another registry.
                    model_id = location.removeprefix(recording.LOGGED_MODEL)
                    location = self._connection.client.get_logged_model(model_id).artifact_location
                folder = self._download(location, recording.BUNDLE, scratch, name)
            return self._checked(name, folder)

    def _checked(self, name: str, folder: Path) -> Ranker:
        """Return the ranker of a bundle that came down whole, if it gives the scores of its sample."""
        try:
            ranker = _of_type(folder, self._loaders)(folder)
            sample = pq.read_table(folder / _SAMPLE)
        except ModelError:
            raise
        except Exception as error:  # whatever a library says of a damaged file
            message = f"weights {name}: damaged: {type(error).__name__}: {reason_of(error)}; train and register again"
            raise ModelError(message) from error
        check_sample(name, ranker, sample)
        return ranker

    def add_reports(self, weights: Weights, reports: Mapping[str, str]) -> None:
        """Keep further reports with weights; one of the same name is replaced.

        Raises:
            ModelError: if there are no such weights.
            StoreError: if the registry cannot be reached.
        """
        with self._connection.failures(f"keep reports of {weights.model}"):
            run_id = self._version(weights).run_id
            for name, text in reports.items():
                self._connection.client.log_text(run_id, text, f"{recording.REPORTS}/{name}")

    def report(self, weights: Weights, name: str) -> str:
        """Return a report that is kept with the weights.

        Raises:
            ModelError: if these weights have no report of that name.
        """
        with self._connection.failures(f"read report {name}"), tempfile.TemporaryDirectory() as scratch:
            client = self._connection.client
            run = client.get_run(self._version(weights).run_id)
            known = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, recording.REPORTS)]
            if name not in known:
                message = (
                    f"weights {weights.model}/{weights.number}: they have no report {name};"
                    f" their reports are {', '.join(sorted(known)) or 'none'}"
                )
                raise ModelError(message)
            location = f"{run.info.artifact_uri}/{recording.REPORTS}"
            return self._download(location, name, scratch, weights.model).read_text(encoding="utf-8")

    def _experiment(self, model: str) -> str:
        from mlflow.exceptions import MlflowException

        client, name = self._connection.client, f"recsys/{model}"
        if (experiment := client.get_experiment_by_name(name)) is not None:
            return str(experiment.experiment_id)
        location = None
        if self._artifact_root is not None and "://" in str(self._artifact_root):
            location = f"{str(self._artifact_root).rstrip('/')}/{model}"
        elif self._artifact_root is not None:
            folder = Path(self._artifact_root).absolute() / model
            folder.mkdir(parents=True, exist_ok=True)
            location = folder.as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            # Another process may have been faster.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def _version(self, weights: Weights) -> Any:  # noqa: ANN401 - mlflow's ModelVersion
        client = self._connection.client
        version = self._connection.found(lambda: client.get_model_version(weights.model, str(weights.number)))
        if version is None:
            message = (
                f"weights {weights.number} of model {weights.model}: not in registry {self._connection.name};"
                " take a number that MLflow shows, or train and register again"
            )
            raise ModelError(message)
        return version

    def _download(self, location: str, path: str, scratch: str, owner: str) -> Path:
        from mlflow.artifacts import download_artifacts

        uri = f"{location.rstrip('/')}/{path}"
        try:
            found = self._connection.found(
                lambda: download_artifacts(artifact_uri=uri, dst_path=scratch, tracking_uri=self._connection.uri)
            )
        except FileNotFoundError:
            found = None
        if found is None:
            message = f"weights {owner}: {path} is not among their artefacts; train and register again"
            raise ModelError(message)
        return Path(found)


def _split(model_version: str) -> tuple[str, str]:
    model, _, version = model_version.partition("/")
    if not (_NAME.fullmatch(model) and re.fullmatch(r"[\w\-]+", version)):
        message = f"model version {model_version}: it is <model>/<version>, such as basket/v2"
        raise ModelError(message)
    return model, version


def _weights(version: Any) -> Weights:  # noqa: ANN401 - mlflow's ModelVersion
    tags = dict(version.tags)
    return Weights(version.name, int(version.version), tags.get(VERSION_TAG, UNKNOWN), tags)


def _of_type(bundle: Path, known: Mapping[str, T]) -> T:
    path = bundle / "ranker.json"
    try:
        kind = str(json.loads(path.read_text(encoding="utf-8"))["type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"ranker bundle {path.name}: {reason_of(error)}: it names its type; train and register again"
        raise ModelError(message) from error
    if kind not in known:
        message = f"ranker of type {kind}: it is none of {', '.join(sorted(known))}, which this environment knows"
        raise ModelError(message)
    return known[kind]
