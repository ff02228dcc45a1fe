"""How does one of several workers begin? By a workspace of its own, in a process that the supervisor has spawned."""

import json
import os
from pathlib import Path

from fastapi import FastAPI

from recsys.web.server import SERVED, application_of, speak
from recsys.wiring import open_workspace


def application() -> FastAPI:
    """Return the worker's application; the supervisor's environment says what it serves."""
    speak()
    told = json.loads(os.environ[SERVED])
    return application_of(open_workspace(told["environment"], Path(told["root"])), told["figures"])
