"""What holds for every test: no telemetry, repeatable properties, and no server test skipped where servers are due."""

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

REQUIRE_SERVERS: Final = "RECSYS_REQUIRE_SERVERS"
"""Set to 1 where Redis and PostgreSQL have to answer: a skipped server test then fails."""

_NOT_ALLOWED: Final = f": a server test may not be skipped, because {REQUIRE_SERVERS}=1; start the server"
_TESTS: Final = Path(__file__).parent

for _name, _value in {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "FEAST_USAGE": "False"}.items():
    os.environ.setdefault(_name, _value)

# CI is set by GitHub and by .ci/run. A first run imports libraries inside an example, so no example has a deadline.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

_LANES: Final = ("reliability", "chaos", "integration", "failures")
"""Folders whose tests share a shop that is dear to make: each folder in one process. The longest begins first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: _lane(item.path.relative_to(_TESTS).parts[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep what shares a fixture in one process of `pytest -n`: a file, or a folder of the lanes."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByShop(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.split("/")[1]
            return folder if folder in _LANES else file

    return ByShop(config, log)


def _lane(folder: str) -> int:
    return _LANES.index(folder) if folder in _LANES else len(_LANES)


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
        report.outcome = "failed"
        report.longrepr = line + _NOT_ALLOWED
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one place which server tests did not run."""
    failed = terminalreporter.stats.get("failed", [])
    lines = [str(report.longrepr) for report in failed if str(report.longrepr).endswith(_NOT_ALLOWED)]
    if lines:
        terminalreporter.section(f"{len(lines)} server tests skipped, and {REQUIRE_SERVERS}=1", sep="=", red=True)
        for line in lines:
            terminalreporter.write_line(line.removesuffix(_NOT_ALLOWED))


def _close_connection(store: Any) -> None:
    if store._conn is not None:
        store._conn.close()


def _required() -> bool:
    return os.environ.get(REQUIRE_SERVERS) == "1"
