"""Is a model diagnosed by what came of its lists, and are features that are not the tables' found to be the trouble?"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.errors import SpecError
from recsys.wiring import open_workspace
from recsys.workflows.monitoring.diagnose import diagnose_all
from recsys.workflows.serving.resolvers import known_units, resolver_for
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import edit


def test_a_model_is_diagnosed_by_what_came_of_its_lists(replayed: Workspace) -> None:
    (found,) = diagnose_all(replayed, "basket")
    assert (found.arm, found.version, found.state) == (None, "basket/v1", "now")
    assert found.orders.metric == "purchase of what was shown, a request, against 2017-11-06 to 2017-12-04"
    assert found.orders.interval is not None
    assert found.orders.interval.lower < found.orders.interval.estimate < found.orders.interval.upper
    with pytest.raises(SpecError, match="nothing: neither an experiment nor a model"):
        diagnose_all(replayed, "nothing")


def test_served_features_that_are_not_those_of_the_tables_are_the_trouble(shop: Workspace, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(shop.root, project)
    edit(project / "registry/environments/local.yaml", lambda spec: spec.update(serve={"feature_rows": 1.0}))
    workspace = open_workspace("local", project)
    at = workspace.clock.now()
    resolver = resolver_for(workspace, "home", experiments={})
    resolver.refresh()
    units = known_units(workspace, "home", at)[:10]
    workspace.event_log.write_exposures([resolver.recommend(unit).exposure for unit in units])
    for path in (workspace.feature_tables / "user_item").glob("*.parquet"):
        rows = pq.read_table(path)
        place = rows.schema.get_field_index("pair_baskets")
        pq.write_table(rows.set_column(place, "pair_baskets", pc.add(rows["pair_baskets"], 1.0)), path)
    edit(
        project / "registry/monitors/basket.yaml",
        lambda spec: spec["skew"].update(maximum_restated_share=0.0),
    )
    command = [sys.executable, "-m", "recsys", "diagnose", "basket/v1", "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    (told,) = json.loads(done.stdout)
    assert told["trouble"] == "features"
    assert "were restated since" in told["reason"]
    assert told["next"][0].startswith("`recsys skew basket/v1`")
