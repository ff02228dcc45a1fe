"""Is a household with rows in every store gone from all of them, and does the shop go on?"""

import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.errors import ModelError
from recsys.ports import Exposure
from recsys.schema import USER
from recsys.wiring import open_workspace
from recsys.workflows.batches.serve_batch import serve_batch
from recsys.workflows.data.forget import forget
from recsys.workflows.data.ingest import ingest
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.dataset import check_dataset
from recsys.workflows.workspace import Workspace

VIEWS = ("user_weekly", "user_item", "user_line")


@pytest.fixture(scope="module")
def lived(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Give a copy of the shop with a batch, and with the online store that a replay would have."""
    project = tmp_path_factory.mktemp("forgetting") / "project"
    shutil.copytree(shop.root, project)
    workspace = open_workspace("local", project)
    workspace.adapters.features(workspace.replay_state / "home_ranker").materialize(workspace.clock.now())
    serve_batch(workspace, "home")
    return workspace


def users_of(path: Path) -> set[str]:
    return set(pq.ParquetFile(path).read([USER])[USER].to_pylist()) if USER in pq.read_schema(path).names else set()


def files_with(state: Path, user: str) -> set[str]:
    """Return the parquet files that have rows of a user."""
    return {str(path.relative_to(state)) for path in state.rglob("*.parquet") if user in users_of(path)}


def test_a_household_is_forgotten_everywhere_and_the_shop_goes_on(lived: Workspace) -> None:
    now = lived.clock.now()
    readers = {
        "online store": lived.features,
        "replay of home_ranker": lived.adapters.features(lived.replay_state / "home_ranker"),
    }
    (batch,) = (lived.state / "batch" / "home").glob("date=*")
    asked = set.union(*(users_of(path) for path in (lived.state / "datasets").rglob("requests.parquet")))
    user = min(asked & set.union(*map(users_of, batch.rglob("*.parquet"))))
    assert {name.partition("/")[0] for name in files_with(lived.state, user)} == {
        "tables",
        "features",
        "datasets",
        "batch",
    }
    shown = Exposure("r", "home", user, None, None, None, False, None, None, None, now, "", {}, ())
    lived.event_log.write_exposures([shown])
    before = {view: {name: reader.online_all(view).num_rows for name, reader in readers.items()} for view in VIEWS}

    done = forget(lived, [user])

    places = {where.split("/")[0].split(":")[0] for where in done.rows}
    assert places == {"event log", *readers, "tables", "features", "datasets", "batch"}
    assert files_with(lived.state, user) == set()
    assert lived.event_log.exposures("home", now, now + timedelta(days=1)).num_rows == 0
    for view in VIEWS:
        for name, reader in readers.items():
            gone = done.rows.get(f"{name}: {view}", 0)
            assert reader.online_all(view).num_rows == before[view][name] - gone
            assert reader.online_group(view, user) is None
    assert done.rows["online store: user_item"] == done.rows["replay of home_ranker: user_item"] > 0
    assert forget(lived, [user]).rows == {}

    again = open_workspace("local", lived.root)
    assert ingest(again).reused
    build_tables(again)
    materialize(again)
    assert files_with(again.state, user) == set()
    assert again.features.online_group("user_item", user) is None
    with pytest.raises(ModelError, match="before users were forgotten"):
        check_dataset(again, "basket/v2")
