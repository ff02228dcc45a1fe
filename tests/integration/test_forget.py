"""Is a household that lived through the whole life cycle gone from all of it, and does the shop go on?"""

import shutil
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.errors import ModelError
from recsys.schema import USER
from recsys.wiring import open_workspace
from recsys.workflows.dataset import build_dataset, check_dataset
from recsys.workflows.features import build_tables, materialize
from recsys.workflows.forget import forget
from recsys.workflows.ingest import ingest
from recsys.workflows.serve_batch import serve_batch
from recsys.workflows.workspace import Workspace

VIEWS = ("user_weekly", "user_item", "user_line")


@pytest.fixture(scope="module")
def lived(replayed: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Give a copy of the replayed shop with a batch."""
    project = tmp_path_factory.mktemp("forgetting") / "project"
    shutil.copytree(replayed.root, project)
    workspace = open_workspace("local", project)
    serve_batch(workspace, "home")
    return workspace


def files_with(state: Path, user: str) -> set[str]:
    """Return the parquet files that have rows of a user."""
    return {
        str(path.relative_to(state))
        for path in state.rglob("*.parquet")
        if USER in pq.read_schema(path).names and user in pq.ParquetFile(path).read([USER])[USER].to_pylist()
    }


def test_a_household_is_forgotten_everywhere_and_the_shop_goes_on(lived: Workspace) -> None:
    namespaces = [lived.features, lived.adapters.features(lived.replay_state / "home_ranker")]
    user = pq.read_table(next((lived.state / "batch" / "home").rglob("*.parquet")))[USER][0].as_py()
    other = {view: [reader.online_all(view).num_rows for reader in namespaces] for view in VIEWS}
    files = files_with(lived.state, user)
    assert {name.partition("/")[0] for name in files} == {"tables", "features", "datasets", "batch"}
    known_at = lived.clock.now()
    start, end = known_at.replace(year=2017, month=1), known_at.replace(year=2018, month=12)
    assert user in lived.event_log.exposures("home", start, end)[USER].to_pylist()

    done = forget(lived, [user])

    places = {where.split("/")[0].split(":")[0] for where in done.rows}
    assert places == {"event log", "online store", "replay of home_ranker", "tables", "features", "datasets", "batch"}
    assert files_with(lived.state, user) == set()
    assert user not in lived.event_log.exposures("home", start, end)[USER].to_pylist()
    for view in VIEWS:
        gone = [done.rows.get(f"{where}: {view}", 0) for where in ("online store", "replay of home_ranker")]
        left = [reader.online_all(view).num_rows for reader in namespaces]
        assert left == [before - erased for before, erased in zip(other[view], gone, strict=True)]
        assert all(reader.online_group(view, user) is None for reader in namespaces)
    assert forget(lived, [user]).rows == {}

    again = open_workspace("local", lived.root)
    assert ingest(again).reused
    build_tables(again)
    materialize(again)
    with pytest.raises(ModelError, match="before users were forgotten"):
        check_dataset(again, "basket/v2", datetime.fromisoformat(_known_at(again)))
    built = build_dataset(again, "basket/v2")
    assert not built.reused
    assert user not in built.dataset.rows("requests")[USER].to_pylist()
    assert serve_batch(again, "home").units == serve_batch(lived, "home").units


def _known_at(workspace: Workspace) -> str:
    """Return the moment of the training set that the shop was made with."""
    (folder, *_) = sorted((workspace.datasets / "basket" / "v2").iterdir())
    return f"{folder.name[:4]}-{folder.name[4:6]}-{folder.name[6:8]}T00:00:00+00:00"
