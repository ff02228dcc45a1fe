"""How does `recsys serve` run? One uvicorn worker over the resolvers of all placements."""

import logging

import uvicorn

from recsys.web.app import create_app
from recsys.workflows.serving import resolver_for
from recsys.workflows.workspace import Workspace


def run_server(workspace: Workspace, host: str, port: int) -> None:
    """Serve until the process is told to stop; what the resolvers follow is said on stderr."""
    spoken = logging.getLogger("recsys")
    spoken.setLevel(logging.INFO)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s:     %(message)s"))
    spoken.addHandler(handler)
    resolvers = {name: resolver_for(workspace, name) for name in workspace.catalog.placements}
    app = create_app(resolvers, workspace.event_log.write_exposures)
    uvicorn.run(app, host=host, port=port, log_level="info")
