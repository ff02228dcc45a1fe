"""How does one of several workers begin? By a workspace of its own, in a process that the supervisor has spawned."""

import json
import logging
import os
import sys
from pathlib import Path

from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from recsys.errors import RecsysError
from recsys.web.server import SERVED, application_of, speak
from recsys.wiring import open_workspace

LOGGER = logging.getLogger(__name__)


def application() -> FastAPI:
    """Return the worker's application; the supervisor's environment says what it serves."""
    speak()
    told = json.loads(os.environ[SERVED])
    try:
        return application_of(open_workspace(told["environment"], Path(told["root"])), told["figures"])
    except RecsysError:
        LOGGER.exception("a worker cannot begin")
        sys.exit(STARTUP_FAILURE)  # the supervisor gives up, where it would begin a worker that died anew
