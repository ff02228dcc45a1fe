"""What holds for every test: no telemetry, repeatable properties, and no server test skipped where servers are due."""

import os
import sys
from collections.abc import Generator
from typing import Any, Final

import hypothesis
import pytest

REQUIRE_SERVERS: Final = "RECSYS_REQUIRE_SERVERS"
"""Set to 1 where Redis and PostgreSQL have to answer: a skipped server test then fails."""

for _name, _value in {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "FEAST_USAGE": "False"}.items():
    os.environ.setdefault(_name, _value)

# CI is set by GitHub and by .ci/run. A first run imports libraries inside an example, so no example has a deadline.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

_skipped = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the list of server tests that were skipped against the rule."""
    config.stash[_skipped] = []


def pytest_runtest_setup() -> None:
    """Let Feast's own SQLite store close its connection with itself: Python 3.13 warns of one that is left open."""
    module = sys.modules.get("feast.infra.online_stores.sqlite")
    if module is not None and "__del__" not in vars(module.SqliteOnlineStore):
        module.SqliteOnlineStore.__del__ = _close_connection


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Turn the skip of a server test into a failure where servers are required."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _required() and item.get_closest_marker("server"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        line = f"{item.nodeid}: {reason.removeprefix('Skipped: ')}"
        item.config.stash[_skipped].append(line)
        report.outcome = "failed"
        report.longrepr = f"{line}: a server test may not be skipped, because {REQUIRE_SERVERS}=1; start the server"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say in one place which server tests did not run."""
    lines = config.stash[_skipped]
    if lines:
        terminalreporter.section(f"{len(lines)} server tests skipped, and {REQUIRE_SERVERS}=1", sep="=", red=True)
        for line in lines:
            terminalreporter.write_line(line)


def _close_connection(store: Any) -> None:
    if store._conn is not None:
        store._conn.close()


def _required() -> bool:
    return os.environ.get(REQUIRE_SERVERS) == "1"
