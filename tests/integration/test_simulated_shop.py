"""Does a shop whose orders come late and are cancelled go through the same cycle, without a leak?"""

from datetime import UTC, datetime, timedelta

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, SUPERSEDED_TIMESTAMP
from recsys.specs.simulation import Simulation
from recsys.wiring import open_workspace
from recsys.workflows.data.ingest import ingest
from recsys.workflows.data.simulate import simulate
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling.dataset import build_dataset, check_dataset
from recsys.workflows.modeling.train import train
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import copy_project, edit, feast_apply

START = datetime(2017, 9, 25, tzinfo=UTC)
"""So that ten weeks end where the shipped environment's clock stands."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A shop of 300 users over ten weeks, with its feature tables built and online."""
    project = copy_project(tmp_path_factory.mktemp("simulated"))
    simulate(Simulation(users=300, days=70, start=START, seed=3), project / "shop")
    edit(
        project / "registry/environments/local.yaml",
        lambda spec: spec.update(data={"source": "files", "path": "shop"}),
    )
    edit(
        project / "registry/models/basket/v2.yaml",
        lambda model: model.update(training={"decision_times": 3}, testing={"decision_times": 2}),
    )
    workspace = open_workspace("local", project)
    ingest(workspace)
    build_tables(workspace)
    feast_apply(project)
    materialize(workspace)
    return workspace


def test_late_and_cancelled_orders_come_in(simulated: Workspace) -> None:
    events = pq.read_table(simulated.events)
    late = pc.greater(events[CREATED_TIMESTAMP], pc.add(events[EVENT_TIMESTAMP], timedelta(hours=1)))
    assert pc.sum(late).as_py() > 50
    assert events[SUPERSEDED_TIMESTAMP].null_count < len(events) - 20
    assert pq.read_metadata(simulated.tables / "refused" / "events.parquet").num_rows == 0


@pytest.mark.parametrize("table", ["user_weekly", "item_weekly", "user_item", "user_line"])
def test_tables_hold_other_versions_of_what_became_known_late(simulated: Workspace, table: str) -> None:
    rows = pq.read_table(simulated.feature_tables / table)
    later = pc.sum(pc.greater(rows[CREATED_TIMESTAMP], rows[EVENT_TIMESTAMP])).as_py()
    assert 0 < later < len(rows) / 2


def test_no_row_of_its_training_set_knows_more_than_its_decision_time(simulated: Workspace) -> None:
    built = build_dataset(simulated, "basket/v2").dataset
    assert len(built.rows("learn")) > 1_000
    found = check_dataset(simulated, "basket/v2")
    assert (found.violations, found.intact) == ((), True)


def test_a_households_own_past_beats_what_everybody_buys(simulated: Workspace) -> None:
    edit(
        simulated.root / "registry/models/basket/v1.yaml",
        lambda model: model.update(testing={"decision_times": 2}),
    )
    trained = train(open_workspace("local", simulated.root), "basket/v1")
    assert trained.report["gate"]["passed"], trained.report["gate"]["reason"]
