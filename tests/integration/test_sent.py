"""Do lists that were written, sent and answered by purchases make an experiment, and can each be made again?"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.adapters.clocks import ReplayedClock
from recsys.data.knowledge import known_sql
from recsys.printing import why as told
from recsys.schema import EVENTS, ITEM, PURCHASE, USER
from recsys.wiring import open_workspace
from recsys.workflows.batches.sent import log_sent
from recsys.workflows.batches.serve_batch import Batch, serve_batch
from recsys.workflows.declarations.plan import apply
from recsys.workflows.experiments.evaluate import evaluate
from recsys.workflows.requests.why import Explaining
from recsys.workflows.workspace import Workspace

START = datetime(2017, 12, 4, tzinfo=UTC)
SENT = START + timedelta(hours=6)
WEEK = timedelta(days=7)
NAME = "home_ranker"


@pytest.fixture(scope="module")
def project(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the shop, its experiment applied."""
    root = tmp_path_factory.mktemp("sent") / "project"
    shutil.copytree(shop.root, root)
    workspace = open_workspace("local", root)
    apply(workspace)
    return workspace


@pytest.fixture(scope="module")
def lived(project: Workspace) -> tuple[Workspace, Batch, pa.Table]:
    """The lists of the experiment's first day, sent to all but every tenth household, and a week of purchases."""
    done = serve_batch(project, "home")
    lists = pq.read_table(done.folder)
    units = sorted(set(lists[USER].to_pylist()))
    sent = [unit for number, unit in enumerate(units) if number % 10]
    ids = project.root / "sent.parquet"
    pq.write_table(pa.table({USER: sent}), ids)
    assert isinstance(project.clock, ReplayedClock)
    project.clock.move(SENT + WEEK)
    logged = log_sent(project, done.folder, SENT, ids)
    assert (logged.lists, logged.new, logged.left_out, logged.unknown) == (
        len(sent),
        len(sent),
        len(units) - len(sent),
        0,
    )
    assert log_sent(project, done.folder, SENT, ids).new == 0
    query = f"""
        select * from ({known_sql("events", SENT + WEEK)}) where event_type = '{PURCHASE}' and quantity > 0
        and event_timestamp > timestamptz '{SENT}' and event_timestamp <= timestamptz '{SENT + WEEK}'
    """
    bought = project.engine.query(query, {"events": project.events}).select(EVENTS.names).cast(EVENTS)
    project.event_log.write_outcomes(bought)
    return project, done, lists.filter(pc.is_in(lists[USER], value_set=pa.array(sent)))


def test_lists_that_were_sent_are_the_exposures_of_their_arms(lived: tuple[Workspace, Batch, pa.Table]) -> None:
    """And an evaluation counts on each what its unit bought in the week after the sending."""
    project, _, lists = lived
    project.clock.move(SENT + WEEK + timedelta(days=21))  # type: ignore[attr-defined]
    analysis = evaluate(project, NAME).document["analysis"]
    arms = units_of_arms(lists, testers=set(project.catalog.experiment(NAME).overrides))
    assert analysis["health"]["units"] == {arm: len(units) for arm, units in arms.items()}
    assert analysis["health"]["failures"] == []
    outcomes = project.event_log.outcomes(PURCHASE, SENT, SENT + WEEK + timedelta(seconds=1))
    pairs = set(zip(outcomes[USER].to_pylist(), outcomes[ITEM].to_pylist(), strict=True))
    for arm, units in arms.items():
        mine = lists.filter(pc.is_in(lists[USER], value_set=pa.array(sorted(units))))
        hits = [pair in pairs for pair in zip(mine[USER].to_pylist(), mine[ITEM].to_pylist(), strict=True)]
        assert sum(hits) > 10
        found = next(each for each in analysis["arms"] if each["arm"] == arm)
        assert found["requests"] == len(units)
        assert [each["model_version"] for each in found["weights"]] == [
            project.catalog.experiment(NAME).arms[arm].model_version
        ]
        assert found["means"]["precision@10"] == pytest.approx(sum(hits) / (10 * len(units)))


def units_of_arms(lists: pa.Table, testers: set[str]) -> Mapping[str, set[str]]:
    """Return the units of each arm, by the batch; testers are not analysed."""
    pairs = set(zip(lists["arm"].to_pylist(), lists[USER].to_pylist(), strict=True))
    return {arm: {unit for other, unit in pairs if other == arm} - testers for arm in ("control", "treatment")}


def test_every_list_that_was_sent_can_be_made_again(lived: tuple[Workspace, Batch, pa.Table]) -> None:
    """From the moment of the batch, not of its sending: ages and decays are of that moment."""
    project, _, lists = lived
    again = Explaining(project)
    for request_id in sorted(set(lists["request_id"].to_pylist()))[:25]:
        exposure = project.event_log.request(request_id)
        assert exposure is not None
        assert exposure.event_timestamp == SENT
        found = again.why(exposure)
        assert found.items_equal, request_id
        assert found.digest_equal, request_id
        assert found.arm_now == exposure.arm
        assert "sent from a batch that was made at 2017-12-04T00:00" in told(found)
        older = again.why(replace(exposure, feature_digest=""))  # a batch of an earlier version kept none
        assert older.digest_equal is None
        assert "digest not logged" in told(older)
