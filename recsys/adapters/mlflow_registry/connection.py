"""How is MLflow reached in bounded time, without chatter, and with failures that say what to do?"""

import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from recsys.errors import ModelError, StoreError
from recsys.specs.variables import without_password

_WAIT_SECONDS: Final = 5
_SETTINGS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_WAIT_SECONDS),
    # By default a dead server is asked for more than 200 seconds.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # Bars for downloads of some kilobytes.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Prints two lines on stdout for each run, where --json promises one document.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Runs are tagged with the commit by this package; a machine without git is not worth a warning.
    "GIT_PYTHON_REFRESH": "quiet",
}
_CAUSE: Final = re.compile(r"""\(Caused by \w+\(["'](?:.*\): )?(.*)["']\)\)""")
"""What urllib3 puts at the end of a line that repeats the address four times."""
_ABSENT: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})

T = TypeVar("T")


class Connection:
    """One MLflow client of one URI, made on first use; MLflow is imported then, which takes seconds."""

    def __init__(self, uri: str) -> None:
        """Keep the URI; nothing is imported or opened yet."""
        self.uri = uri
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def name(self) -> str:
        """Return the URI without its password."""
        return without_password(self.uri)

    @property
    def client(self) -> Any:  # noqa: ANN401 - mlflow.MlflowClient, which is imported late
        """Return the client; tracking and registry are the same URI, and no global of MLflow is set."""
        with self._lock:
            if self._client is None:
                self._client = _make_client(self.uri)
            return self._client

    def found(self, read: Callable[[], T]) -> T | None:
        """Return what a call gives, or None where MLflow says that there is no such thing."""
        from mlflow.exceptions import MlflowException

        try:
            return read()
        except MlflowException as error:
            # An unknown alias of a known model comes as an invalid parameter.
            unknown = error.error_code == "INVALID_PARAMETER_VALUE" and "not found" in str(error)
            if unknown or error.error_code in _ABSENT:
                return None
            raise

    @contextmanager
    def failures(self, what: str) -> Iterator[None]:
        """Turn what MLflow and its stores raise into `StoreError`; errors of this package pass."""
        _import_mlflow()
        import requests
        import sqlalchemy
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (ModelError, StoreError):
            raise
        except (
            MlflowException,
            OSError,
            requests.exceptions.RequestException,
            sqlalchemy.exc.SQLAlchemyError,
        ) as error:
            reason = reason_of(error)
            advice = "check that MLflow and its artefact folder can be reached and written"
            if "disk is full" in reason or "No space left" in reason:
                advice = "free disk space and run this again"
            message = f"model registry {self.name}: cannot {what}: {reason}; {advice}"
            raise StoreError(message) from error


def reason_of(error: Exception) -> str:
    """Return the first line of what MLflow or its store says, without passwords."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    lines = [line for line in lines if not line.startswith("(raised as a result of")]
    if not lines:
        return type(error).__name__
    cause = _CAUSE.search(lines[0])
    return without_password(cause[1] if cause else lines[0]).rstrip(".")


def prepare_mlflow() -> None:
    """Import MLflow and what its client imports at its first question, which takes seconds."""
    _import_mlflow()
    import mlflow.artifacts

    with warnings.catch_warnings():
        _accept_old_loader()  # its tables are mapped at the import
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
        import sqlalchemy.orm

        sqlalchemy.orm.configure_mappers()


def _accept_old_loader() -> None:
    """Let MLflow map its tables with a deprecated option of SQLAlchemy."""
    from sqlalchemy.exc import SADeprecationWarning

    warnings.filterwarnings("ignore", "The ``noload`` loader strategy", SADeprecationWarning)


def _import_mlflow() -> Any:  # noqa: ANN401 - a module
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    # They tell at INFO, a line a step, how a new database got its tables, and that a version takes a moment.
    for logger in ("alembic", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    # It logs the traceback of every failure, and raises it too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return mlflow


def _make_client(uri: str) -> Any:  # noqa: ANN401 - mlflow.MlflowClient
    mlflow = _import_mlflow()
    if uri.startswith(("http://", "https://")):
        return mlflow.MlflowClient(uri, uri)
    _check_database(uri)
    with warnings.catch_warnings():
        _accept_old_loader()  # its tables are mapped here and at the first question
        client = mlflow.MlflowClient(uri, uri)
        client.search_registered_models(max_results=1)
        client.search_experiments(max_results=1)
    return client


def _check_database(uri: str) -> None:
    """Open a database once before MLflow does, which would try for more than a minute."""
    import sqlalchemy as sa

    try:
        url = sa.engine.make_url(uri)
        if url.get_backend_name() == "sqlite":
            Path(str(url.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
            arguments = {"timeout": _WAIT_SECONDS}
        else:
            arguments = {"connect_timeout": _WAIT_SECONDS}
        engine = sa.create_engine(url, connect_args=arguments)
        try:
            with engine.connect() as connection:
                sa.inspect(connection).get_table_names()
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        message = f"model registry {without_password(uri)}: cannot open: {reason_of(error)}; {_advice(error)}"
        raise StoreError(message) from error


def _advice(error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error).lower()
    if "locked" in text:
        return f"another process held the file for {_WAIT_SECONDS} s: end it and run this again"
    if "malformed" in text or "not a database" in text:
        return "the file is damaged or of another kind: move it away, and restore a copy if there is one"
    return (
        "it is sqlite:///path/to/mlflow.db, postgresql+psycopg://user@host:5432/database,"
        " or the http:// address of a server that runs"
    )
