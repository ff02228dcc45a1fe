"""Is an experiment diagnosed before, during and after, without being edited, and is planted trouble found?"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.decision.diagnosis import Trouble
from recsys.errors import SpecError
from recsys.wiring import open_workspace
from recsys.workflows.diagnose import diagnose_all
from recsys.workflows.serving import known_units, resolver_for
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import edit


def test_an_experiment_that_has_not_begun_is_diagnosed_by_its_model(shop: Workspace) -> None:
    (found,) = diagnose_all(shop, "home_ranker")
    assert (found.arm, found.version, found.state) == ("treatment", "basket/v2", "before")
    assert found.model.metric == "gate at the training: ndcg@10/user over personal_frequency"
    assert (found.model.signal, found.clicks.signal, found.orders.signal) == ("good", "unclear", "unclear")
    assert found.diagnosis.trouble == Trouble.UNCLEAR
    assert any("the label of the next one is mature at 2017-12-11" in remark for remark in found.remarks)


def test_an_experiment_that_is_over_is_diagnosed_by_its_effects_and_is_left_as_it_was(replayed: Workspace) -> None:
    before = len(replayed.ledger.entries())
    (found,) = diagnose_all(replayed, "home_ranker")
    assert len(replayed.ledger.entries()) == before
    assert (found.arm, found.state in {"cut", "ended"}) == ("treatment", True)
    assert found.model.metric == "ndcg@10/user over personal_frequency"
    assert found.clicks.metric == "no metric of the experiment counts clicks"
    assert found.orders.metric == "precision@10"
    assert found.orders.interval is not None
    assert found.diagnosis.trouble in {Trouble.UNCLEAR, Trouble.MODEL, Trouble.STAGE}


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
