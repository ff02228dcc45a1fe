"""How does `recsys serve` run? One process, or several workers on one socket under a supervisor that replaces them."""

import json
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from recsys.errors import RecsysError, SpecError
from recsys.serving.fleet import Fleet
from recsys.serving.freshness import SessionFeatures
from recsys.serving.group_commit import GroupCommit
from recsys.serving.stores import Stores
from recsys.specs.environment import SHORTEST_TOKEN, Serving
from recsys.web.address import bound, refusal
from recsys.web.guards import Tokens
from recsys.web.hosts import loopback
from recsys.web.logs import JsonLines
from recsys.workflows.serving.live_serving import LiveSource
from recsys.workflows.serving.resolvers import session_features
from recsys.workflows.workspace import Workspace

LOGGER = logging.getLogger(__name__)

SERVED: Final = "RECSYS_SERVED"
"""The environment variable by which workers are told what they serve: JSON with root, environment and figures."""
_FIGURES: Final = ("PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR")
"""Where the client library keeps figures for several processes, by its own name and by the one that Feast looks at."""
_HEALTH_SECONDS: Final = 60
"""A worker that does not answer its supervisor for so long is replaced; importing takes seconds at a start."""
_GRACE_SECONDS: Final = 10


def run_server(workspace: Workspace, host: str, port: int, workers: int | None = None) -> NoReturn:
    """Serve until the process is told to stop, and end it; what happens is said on stderr, a JSON document a line.

    Args:
        workspace: the project.
        host: to listen on.
        port: to listen on.
        workers: processes; as the environment declares by default.

    Raises:
        SpecError: if a declared token is not set, or the address can be reached from elsewhere without one.
        AddressError: if the address is taken, or this user may not listen there.
    """
    declared = workspace.environment.serve
    tokens = _tokens(declared)
    if not loopback(host) and (tokens.read is None or tokens.write is None):
        message = (
            f"serve: {host} can be reached from other machines, and environment {workspace.environment_name} does not"
            " declare both serve.read_token and serve.write_token: declare them, or listen on 127.0.0.1"
        )
        raise SpecError([message])
    sockets = bound(host, port)
    shared: dict[str, Any] = {
        "host": host,
        "port": port,
        "log_level": "warning",
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": _GRACE_SECONDS,
    }
    speak()
    try:
        if (workers or declared.workers) == 1:
            application = application_of(workspace, None)
            _listen(sockets)
            uvicorn.Server(uvicorn.Config(application, **shared)).run(sockets)
            failed = False
        else:
            _listen(sockets)
            failed = _supervise(workspace, workers or declared.workers, shared, sockets)
    except KeyboardInterrupt:
        failed = False
    except OSError as error:  # another process took the address while this one loaded
        LOGGER.error("%s", refusal(host, port, error))  # noqa: TRY400 - one line says it all
        failed = True
    except SystemExit:  # uvicorn's, which has said why
        failed = True
    except Exception:
        LOGGER.exception("the service stops")
        failed = True
    _leave(1 if failed else 0)


def _listen(sockets: Sequence[socket.socket]) -> None:
    """Listen, for uvloop does not tell that another process does already."""
    for each in sockets:
        each.listen()


def _supervise(workspace: Workspace, workers: int, shared: dict[str, Any], sockets: list[socket.socket]) -> bool:
    """Serve by several processes; return whether they were given up because one could not start."""
    with tempfile.TemporaryDirectory(prefix="recsys-figures-", ignore_cleanup_errors=True) as figures:
        os.environ |= dict.fromkeys(_FIGURES, figures)
        os.environ[SERVED] = json.dumps(
            {"root": str(workspace.root), "environment": workspace.environment_name, "figures": figures}
        )
        config = uvicorn.Config(
            "recsys.web.worker:application",
            factory=True,
            workers=workers,
            timeout_worker_healthcheck=_HEALTH_SECONDS,
            **shared,
        )
        supervisor = Multiprocess(config, sockets)
        supervisor.run()
        return any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)


def _leave(code: int) -> NoReturn:
    """End the process at once: a thread in a store would bring an interpreter down that is taken apart around it."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def application_of(workspace: Workspace, figures: str | None) -> FastAPI:
    """Return the application over a workspace.

    Args:
        workspace: the project, opened by this process.
        figures: the folder in which the workers of one server keep their figures; None of a process that is alone.
    """
    # Imported here, so that the supervisor of several workers keeps no figures of its own.
    from recsys.web.app import Limits, Service, create_app
    from recsys.web.console.pages import Console
    from recsys.workflows.console.source import ConsoleSource

    declared = workspace.environment.serve
    stores = Stores()
    log = GroupCommit(
        workspace.event_log,
        declared.durability,
        queue_rows=declared.log_queue,
        wait_seconds=declared.log_wait.total_seconds(),
    )
    service = Service(
        Fleet(source=LiveSource(workspace, stores), stores=stores),
        log,
        workspace.clock,
        _tokens(declared),
        Limits(declared.budget, declared.concurrent, declared.waiting, declared.maximum_body),
        declared.poll.total_seconds(),
        figures,
        sessions=_warmed(session_features(workspace)),
        allowed_hosts=declared.allowed_hosts,
        console=Console(
            ConsoleSource(workspace),
            workspace.environment_name,
            declared.mlflow_ui,
            declared.feast_ui,
            {name: variable for name in ("read_token", "write_token") if (variable := getattr(declared, name))},
        ),
        on_stop=log.close,
    )
    return create_app(service)


def _tokens(declared: Serving) -> Tokens:
    return Tokens(read=_token(declared.read_token, "read_token"), write=_token(declared.write_token, "write_token"))


def _warmed(sessions: SessionFeatures | None) -> SessionFeatures | None:
    """Compile what follows events before the first one comes; what fails now is tried again with each event."""
    if sessions is not None:
        try:
            sessions.warm()
        except RecsysError:
            LOGGER.exception("features of sessions cannot follow events yet")
    return sessions


def _token(variable: str | None, field: str) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable, "")
    if not token:
        message = f"serve.{field}: environment variable {variable} is not set or empty: set it to the token"
        raise SpecError([message])
    if len(token) < SHORTEST_TOKEN:
        message = (
            f"serve.{field}: environment variable {variable} holds {len(token)} characters: a token has at least"
            f" {SHORTEST_TOKEN}, such as `openssl rand -hex 32` makes, for nothing else keeps guesses out"
        )
        raise SpecError([message])
    return token


def speak() -> None:
    """Write what recsys and uvicorn log on stderr, a JSON document a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("recsys", "uvicorn"):
        spoken = logging.getLogger(name)
        spoken.handlers = [handler]
        spoken.propagate = False
    logging.getLogger("recsys").setLevel(logging.INFO)
