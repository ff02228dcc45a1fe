"""What holds for every test: no telemetry, repeatable properties, and no server test skipped where servers are due."""

import os
import sys
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

REQUIRED: Final = {
    "server": ("RECSYS_REQUIRE_SERVERS", "start the server"),
    "browser": ("RECSYS_REQUIRE_BROWSER", "apt-get install chromium, and make install"),
    "spark": ("RECSYS_REQUIRE_SPARK", "make spark, and install Java 17"),
}
"""Marker -> the variable that is 1 where such tests have to run, and what to do: a skipped one then fails."""

_NOT_ALLOWED: Final = {
    marker: f": a {marker} test may not be skipped, because {variable}=1; {advice}"
    for marker, (variable, advice) in REQUIRED.items()
}
_TESTS: Final = Path(__file__).parent

for _name, _value in {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "FEAST_USAGE": "False"}.items():
    os.environ.setdefault(_name, _value)
os.environ.pop("COLUMNS", None)  # of whoever runs the tests: output is looked at with its lines whole

# CI is set by GitHub and by .ci/run. A first run imports libraries inside an example, so no example has a deadline.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

_LANES: Final = ("reliability", "chaos", "failures", "integration")
"""Folders whose tests share a shop that is dear to make: each folder in one process. The longest begins first, which
runs two commands at a time; those whose tests wait for locks and servers that hang go beside it.
Tests with `spark` in their name share a session, and a process too."""


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
            if "spark" in nodeid.lower():
                return "spark"
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
    """Turn the skip of a test into a failure where what it needs is required."""
    report = yield
    required = [marker for marker in REQUIRED if _required(marker) and item.get_closest_marker(marker)]
    if report.skipped and not hasattr(report, "wasxfail") and required:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        line = f"{item.nodeid}: {reason.removeprefix('Skipped: ')}"
        report.outcome = "failed"
        report.longrepr = line + _NOT_ALLOWED[required[0]]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one place which tests did not run that had to."""
    failed = [str(report.longrepr) for report in terminalreporter.stats.get("failed", [])]
    for marker, ending in _NOT_ALLOWED.items():
        lines = [line.removesuffix(ending) for line in failed if line.endswith(ending)]
        if lines:
            title = f"{len(lines)} {marker} tests skipped, and {REQUIRED[marker][0]}=1"
            terminalreporter.section(title, sep="=", red=True)
            for line in lines:
                terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def spark() -> Iterator[Mapping[str, str]]:
    """Give the settings of the one Spark session of this process."""
    from tests.spark import spark_session

    with spark_session() as settings:
        yield settings


def _close_connection(store: Any) -> None:
    if store._conn is not None:
        store._conn.close()


def _required(marker: str) -> bool:
    return os.environ.get(REQUIRED[marker][0]) == "1"
