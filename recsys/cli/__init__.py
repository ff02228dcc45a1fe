"""What can be done from the command line? Parse, call one workflow, print.

Only typer is imported at the top; each command imports what it uses.
"""

# The order is that of `recsys --help`: the life cycle.
# isort: off
from recsys.cli import tour  # noqa: F401 - each module adds its commands
from recsys.cli import declarations  # noqa: F401
from recsys.cli import problems  # noqa: F401
from recsys.cli import simulation  # noqa: F401
from recsys.cli import data  # noqa: F401
from recsys.cli import models  # noqa: F401
from recsys.cli import lists  # noqa: F401
from recsys.cli import experiments  # noqa: F401
from recsys.cli import experiment_power  # noqa: F401
from recsys.cli import monitoring  # noqa: F401
from recsys.cli import event_log  # noqa: F401
from recsys.cli.app import app, main

__all__ = ["app", "main"]
