"""What is a shop in which nothing is planted, for `drift.py`: its project, its rows, and nights of checks?"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import yaml
from numpy.typing import NDArray

from recsys.evaluation.drift import Sample
from recsys.schema import LABEL, USER
from recsys.specs.simulation import Simulation
from recsys.wiring import open_workspace
from recsys.workflows.data.ingest import ingest
from recsys.workflows.data.simulate import simulate
from recsys.workflows.features.build import build_tables
from recsys.workflows.modeling.judging import source_names
from recsys.workflows.modeling.train import train
from recsys.workflows.monitoring.drift.samples import reference_rows, sample_of
from recsys.workflows.monitoring.drift.weights import kept_dataset, weights_of

VERSION = "basket/still"
"""Personal frequency, with the columns of basket/v2: nothing is fitted, so a training takes seconds."""
START = datetime(2017, 1, 2, tzinfo=UTC)
USERS, DAYS = 300, 196
TRAINED = tuple(START + timedelta(weeks=week) for week in (17, 20, 23))
LATER = timedelta(weeks=5)
"""After a training: four decisions are mature."""
ROOT = Path(__file__).parents[1]


def made(project: Path) -> Path:
    """Make the shop and its features, where they are not there yet."""
    if (project / ".recsys/registry.db").exists():
        return project
    for name in ("registry", "feature_repo"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    simulate(Simulation(users=USERS, days=DAYS, start=START, seed=3), project / "shop")
    path = project / "registry/environments/local.yaml"
    at = TRAINED[-1] + LATER
    path.write_text(
        yaml.safe_dump(
            yaml.safe_load(path.read_text())
            | {"data": {"source": "files", "path": "shop"}, "clock": {"replay_from": at.isoformat()}}
        )
    )
    spec = {
        "problem": "weekly_basket",
        "placement": "home",
        "feature_service": "basket_full",
        "algorithm": {"type": "feature", "feature": "pair_baskets"},
        "baselines": {"popularity": "item_weekly:item_baskets_28d"},
        "gate": {"metric": "ndcg@10/user", "against": "popularity"},
    }
    (project / f"registry/models/{VERSION}.yaml").write_text(yaml.safe_dump(spec))
    workspace = open_workspace("local", project)
    ingest(workspace)
    build_tables(workspace)
    subprocess.run(  # last: by its registry the shop is known to be whole
        [str(Path(sys.executable).with_name("feast")), "apply"],
        cwd=project / "feature_repo",
        capture_output=True,
        check=True,
    )
    return project


def rows(project: Path, version: str, most: int, each: int) -> tuple[Sample, NDArray[np.float64]]:
    """Return the columns that a trained version's test rows are compared by, and their labels.

    Args:
        project: has the version's training set.
        version: such as basket/v2.
        most: units, the first by their names.
        each: rows of a unit at most, drawn by a seed.
    """
    workspace = open_workspace("local", project)
    weights = weights_of(workspace, version)
    found = reference_rows(kept_dataset(workspace, weights))
    units = pc.unique(found[USER]).sort()[:most]
    found = found.filter(pc.is_in(found[USER], units))
    place = np.random.default_rng(0).permutation(len(found))
    codes = pc.index_in(found[USER], units).to_numpy()
    order = np.lexsort((place, codes))
    starts = np.searchsorted(codes[order], np.arange(len(units)))
    rank = np.arange(len(found)) - starts[codes[order]]
    found = found.take(np.sort(order[rank < each]))
    spec = workspace.catalog.model(version)
    features = workspace.features.feature_set(spec.feature_service).columns
    sample = sample_of(found, features, workspace.registry.load(weights), source_names(workspace, spec))
    return sample, found[LABEL].to_numpy().astype(np.float64)


def nights(project: Path) -> Iterator[tuple[datetime, int, dict[str, Any]]]:
    """Yield when it was trained, and exit code and document of `recsys drift` five weeks later."""
    for trained in TRAINED:
        train(open_workspace("local", project), VERSION, trained)
        night = project / f".nights/{trained:%Y-%m-%d}"
        shutil.rmtree(night, ignore_errors=True)
        shutil.copytree(project, night, ignore=shutil.ignore_patterns(".nights", "shop"))
        path = night / "registry/environments/local.yaml"
        spec = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(spec | {"clock": {"replay_from": (trained + LATER).isoformat()}}))
        command = [sys.executable, "-m", "recsys", "drift", VERSION, "--json"]
        done = subprocess.run(command, cwd=night, capture_output=True, text=True, check=False)
        if not done.stdout:
            raise RuntimeError(done.stderr)
        yield trained, done.returncode, json.loads(done.stdout)
