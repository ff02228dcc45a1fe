"""How does `recsys serve` run? One uvicorn worker over the resolvers of all placements."""

import ipaddress
import logging
import os

import uvicorn

from recsys.errors import RecsysError, SpecError
from recsys.serving.freshness import SessionFeatures
from recsys.web.app import Service, create_app
from recsys.web.guards import Tokens
from recsys.web.logs import JsonLines
from recsys.workflows.serving import resolver_for, session_features
from recsys.workflows.workspace import Workspace

LOGGER = logging.getLogger(__name__)


def run_server(workspace: Workspace, host: str, port: int) -> None:
    """Serve until the process is told to stop; what happens is said on stderr, a JSON document a line.

    Raises:
        SpecError: if a declared token is not set, or the address can be reached from elsewhere without one.
    """
    declared = workspace.environment.serve
    tokens = Tokens(read=_token(declared.read_token, "read_token"), write=_token(declared.write_token, "write_token"))
    if not _loopback(host) and (tokens.read is None or tokens.write is None):
        message = (
            f"serve: {host} can be reached from other machines, and environment {workspace.environment_name} does not"
            " declare both serve.read_token and serve.write_token: declare them, or listen on 127.0.0.1"
        )
        raise SpecError([message])
    _speak()
    resolvers = {name: resolver_for(workspace, name) for name in workspace.catalog.placements}
    service = Service(
        resolvers,
        workspace.event_log,
        workspace.clock,
        tokens,
        declared.maximum_body,
        declared.poll.total_seconds(),
        _warmed(session_features(workspace)),
    )
    uvicorn.run(create_app(service), host=host, port=port, log_level="warning", log_config=None, access_log=False)


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
    return token


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _speak() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("recsys", "uvicorn"):
        spoken = logging.getLogger(name)
        spoken.addHandler(handler)
        spoken.propagate = False
    logging.getLogger("recsys").setLevel(logging.INFO)
