"""How is one registration written: its run, its logged model and its registered version?"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from recsys import schema
from recsys.errors import ModelError
from recsys.ports import Registration

FlavorWriter = Callable[[Path, Path, Any], None]
"""Writes (bundle, new folder, mlflow.models.Model): one type of ranker as an MLflow model."""

BUNDLE: Final = "ranker"
"""Folder of the bundle inside a logged model."""
REPORTS: Final = "reports"
"""Folder of the reports among a run's artefacts."""

LOGGED_MODEL: Final = "models:/"
"""How the source of a version begins that names a logged model by its id."""

_AT: Final = "_at_"
_PARAMETERS_A_CALL: Final = 100


def metric_to_mlflow(name: str) -> str:
    """Return a name that MLflow allows: `ndcg@10/user` becomes `ndcg_at_10/user`.

    Raises:
        ModelError: if the name could not be read back.
    """
    if _AT in name:
        message = f"metric {name}: it contains {_AT}, which stands for @ in MLflow; name it otherwise"
        raise ModelError(message)
    return name.replace("@", _AT)


def metric_from_mlflow(name: str) -> str:
    """Return the name of a metric that `metric_to_mlflow` made."""
    return name.replace(_AT, "@")


def record_run(client: Any, run_id: str, registration: Registration, scratch: Path) -> None:  # noqa: ANN401
    """Write parameters, reports and pictures into a run."""
    from mlflow.entities import Param

    parameters = [Param(name, str(value)) for name, value in registration.parameters.items()]
    for start in range(0, len(parameters), _PARAMETERS_A_CALL):
        client.log_batch(run_id, params=parameters[start : start + _PARAMETERS_A_CALL])
    if registration.reports or registration.pictures:
        folder = scratch / REPORTS
        folder.mkdir()
        for name, text in registration.reports.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, image in registration.pictures.items():
            (folder / name).write_bytes(image)
        client.log_artifacts(run_id, str(folder), REPORTS)


def record_model(
    client: Any,  # noqa: ANN401 - mlflow.MlflowClient
    run: Any,  # noqa: ANN401 - mlflow.entities.Run
    registration: Registration,
    bundle: Path,
    write_flavor: FlavorWriter,
) -> Any:  # noqa: ANN401 - mlflow.entities.LoggedModel
    """Write the ranker as a logged model of a run, with its bundle inside, and its metrics to both."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run_id = run.info.run_id
    logged = client.create_logged_model(
        run.info.experiment_id,
        name=registration.model_version.replace("/", "-"),
        source_run_id=run_id,
        tags=dict(run.data.tags),
    )
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    described = Model(
        artifact_path=logged.artifact_location,
        run_id=run_id,
        model_id=logged.model_id,
        model_uuid=logged.model_id,
        signature=_signature(registration.sample, registration.ranker.columns),
    )
    folder = bundle.parent / "model"
    write_flavor(bundle, folder, described)
    shutil.copytree(bundle, folder / BUNDLE)
    client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    _record_metrics(client, run_id, logged.model_id, registration.metrics)
    return logged


def record_version(client: Any, model: str, logged: Any, tags: Mapping[str, str]) -> int:  # noqa: ANN401
    """Make a logged model the newest version of the registered model, which is made when it is the first."""
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):
        # It is there already, or the next call says what is wrong.
        client.create_registered_model(model)
    # Without a server, MLflow looks models:/<id> up in its global URI, which may be another registry.
    remote = client.tracking_uri.startswith("http")
    source = f"{LOGGED_MODEL}{logged.model_id}" if remote else logged.artifact_location
    version = client.create_model_version(
        model, source, logged.source_run_id, tags=dict(tags), model_id=logged.model_id
    )
    return int(version.version)


@contextlib.contextmanager
def recorded_run(
    client: Any,  # noqa: ANN401 - mlflow.MlflowClient
    experiment_id: str,
    name: str,
    tags: Mapping[str, str],
) -> Iterator[Any]:
    """Open a run that the block ends, before its weights get their version; it is FAILED when the block raises."""
    run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    try:
        yield run
    except BaseException:
        # What went wrong in the block is the news, not that the run cannot be marked either.
        with contextlib.suppress(Exception):
            client.set_terminated(run.info.run_id, "FAILED")
        raise


def end_killed_runs(client: Any, experiment_id: str, tag: str, value: str) -> None:  # noqa: ANN401 - mlflow.MlflowClient
    """Mark runs with a tag as KILLED that still say RUNNING: their process ended before it could.

    A registration takes about a second, so there is hardly ever another one under way; if there is, its run is marked
    as FINISHED when it gets there.
    """
    pattern = f"attributes.status = 'RUNNING' and tags.`{tag}` = '{value}'"
    for run in client.search_runs([experiment_id], pattern):
        client.set_terminated(run.info.run_id, "KILLED")


def _record_metrics(
    client: Any,  # noqa: ANN401 - mlflow.MlflowClient
    run_id: str,
    model_id: str,
    metrics: Mapping[str, float],
) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    values = [
        Metric(metric_to_mlflow(name), float(value), now, 0, model_id=model_id) for name, value in metrics.items()
    ]
    if values:
        client.log_batch(run_id, metrics=values)


def _signature(sample: pa.Table, columns: tuple[str, ...]) -> Any:  # noqa: ANN401 - mlflow.ModelSignature
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    def kind(column: str) -> Any:  # noqa: ANN401 - mlflow.types.DataType
        field = sample.schema.field(column).type
        return DataType.double if pa.types.is_primitive(field) else DataType.string

    inputs = Schema([ColSpec(kind(column), column) for column in columns])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.double, schema.SCORE)]))
