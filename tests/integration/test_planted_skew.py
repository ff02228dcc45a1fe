"""Is a clean system found clean, and is each planted cause of skew found and named, by view and feature?"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.adapters.clocks import ReplayedClock
from recsys.errors import ExperimentError, SpecError
from recsys.evaluation.skew.causes import Cause
from recsys.evaluation.skew.findings import Skew
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, EVENTS, QUANTITY, USER, VALUE
from recsys.wiring import open_workspace
from recsys.workflows.batches.sent import log_sent
from recsys.workflows.batches.serve_batch import serve_batch
from recsys.workflows.batches.serve_campaign import serve_campaign
from recsys.workflows.data.ingest import ingest
from recsys.workflows.decision.promote import promote_first
from recsys.workflows.declarations.plan import apply
from recsys.workflows.features.build import build_tables
from recsys.workflows.modeling.train import train
from recsys.workflows.monitoring.skew import Skewed, skew
from recsys.workflows.serving.resolvers import FixedClock, known_units, resolver_for
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import edit, feast_apply, small_campaign

WEDNESDAY = datetime(2017, 12, 6, 12, tzinfo=UTC)
"""Two days and a half after the shop's features came online."""
MONDAY = datetime(2017, 12, 11, tzinfo=UTC)
SENT = datetime(2017, 12, 5, tzinfo=UTC)
"""A day after lists and contacts were made."""
UNITS = 12
CONTACTS = 50
COUPON = "coupon/v1"


def serve(workspace: Workspace, at: datetime, prefix: str) -> None:
    """Answer some units' requests by the experiment's arms, and log every one with its features."""
    experiments = {"home_ranker": workspace.catalog.experiment("home_ranker")}
    resolver = resolver_for(workspace, "home", clock=FixedClock(at), experiments=experiments)
    resolver.refresh()
    units = known_units(workspace, "home", at)[-UNITS:]
    answers = [resolver.recommend(unit, request_id=f"{prefix}-{unit}").exposure for unit in units]
    assert {answer.model_version for answer in answers} == {"basket/v1", "basket/v2"}
    workspace.event_log.write_exposures(answers)


def send(workspace: Workspace, at: datetime) -> None:
    """Write a campaign and the lists of a placement now, and send the campaign and some of the lists at a moment."""
    campaign = serve_campaign(workspace, "coupon_mailing", "email")
    lists = serve_batch(workspace, "home")
    ids = workspace.root / "ids.txt"
    ids.write_text("\n".join(known_units(workspace, "home", workspace.clock.now())[-2 * UNITS : -UNITS]))
    assert isinstance(workspace.clock, ReplayedClock)
    workspace.clock.move(at)
    assert log_sent(workspace, campaign.folder).new == CONTACTS
    assert log_sent(workspace, lists.folder, only=ids).new == UNITS


def look(workspace: Workspace, name: str | None = "home_ranker") -> Skewed:
    """Compare what was served, or sent, from the experiment's start on."""
    return skew(workspace, name, until=MONDAY + timedelta(days=1))


def named(found: Skew) -> set[tuple[Cause, str]]:
    """Return each cause with the view that it lies in."""
    return {(each.cause, each.view) for each in found.findings}


@pytest.fixture(scope="module")
def served(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the shop that has answered some requests, sent some lists and run a campaign."""
    project = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(shop.root, project)
    small_campaign(project)
    edit(project / "registry/environments/local.yaml", lambda spec: spec.update(serve={"feature_rows": 1.0}))
    workspace = open_workspace("local", project)
    apply(workspace)
    train(workspace, COUPON)
    promote_first(workspace, COUPON)
    send(workspace, SENT)
    serve(workspace, WEDNESDAY, "clean")
    return workspace


@pytest.fixture
def project(served: Workspace, tmp_path: Path) -> Iterator[Path]:
    """A copy of it in which something may go wrong."""
    target = tmp_path / "project"
    shutil.copytree(served.root, target)
    yield target
    shutil.rmtree(target)


def test_a_clean_system_reports_zero(served: Workspace) -> None:
    """Of requests, of lists and contacts that were made a day before they were sent, and of all together."""
    for name, requests, rows in (
        ("home_ranker", 2 * UNITS, 20 * UNITS),
        ("coupon", CONTACTS, CONTACTS),
        (COUPON, CONTACTS, CONTACTS),
        (None, 2 * UNITS + CONTACTS, 20 * UNITS + CONTACTS),
    ):
        done = look(served, name)
        assert (done.skew.requests, done.skew.rows) == (requests, rows)
        assert done.skew.findings == ()
        assert (done.skew.skewed_rows, done.skew.restated_rows) == (0, 0)
        assert done.alerts == ()
        assert done.unchecked == ()


def test_a_sample_takes_so_many_of_each_model(served: Workspace) -> None:
    done = skew(served, until=MONDAY, sample=5)
    assert (done.logged, done.skew.requests, done.skew.rows) == (2 * UNITS + CONTACTS, 10, 50 + 5)


def test_a_view_whose_materialize_did_not_run_is_named(project: Path) -> None:
    workspace = open_workspace("local", project)
    views = {"item_weekly", "user_weekly", "user_line"}
    workspace.features.materialize(MONDAY, WEDNESDAY - timedelta(days=3), views)
    serve(workspace, MONDAY + timedelta(hours=9), "late")
    done = look(workspace)
    assert named(done.skew) == {(Cause.LATE, "user_item")}
    assert {"pair_baskets", "pair_days_since"} <= {each.feature for each in done.skew.findings}
    assert 0 < done.skew.skewed_rows < done.skew.rows
    assert done.skew.restated_rows == 0
    (alert,) = done.alerts
    assert "most by late materialize of user_item" in alert.message


def test_a_campaign_and_lists_that_were_made_from_late_views_are_named(project: Path) -> None:
    """Late is what was behind when they were made, not what was when they were sent."""
    workspace = open_workspace("local", project)
    views = {"item_weekly", "user_weekly", "user_line"}
    workspace.features.materialize(MONDAY, WEDNESDAY - timedelta(days=3), views)
    workspace.clock.move(MONDAY + timedelta(hours=9))  # type: ignore[attr-defined]
    send(workspace, MONDAY + timedelta(hours=12))
    workspace.features.materialize(MONDAY, WEDNESDAY - timedelta(days=3))
    contacts, lists = look(workspace, "coupon"), look(workspace)
    assert named(contacts.skew) == {(Cause.LATE, "user_campaign")}
    assert named(lists.skew) == {(Cause.LATE, "user_item")}
    assert all("2017-12-11 09:00" in each.example for each in (*contacts.skew.findings, *lists.skew.findings))
    assert "contact by email" in contacts.skew.findings[0].example
    (alert,) = contacts.alerts
    assert "most by late materialize of user_campaign" in alert.message


def test_events_that_were_restated_after_serving_are_named_and_are_no_fault_of_serving(project: Path) -> None:
    source = project / "delivered"
    source.mkdir()
    tables = project / ".recsys/tables"
    for name in ("items", "users"):
        shutil.copy(tables / f"{name}.parquet", source)
    events = pq.read_table(tables / "events.parquet").select(EVENTS.names).cast(EVENTS)
    workspace = open_workspace("local", project)
    contacts = workspace.event_log.exposures("coupon_mailing", SENT, WEDNESDAY)[USER].to_pylist()
    mine = pa.array([*known_units(workspace, "home", WEDNESDAY)[-UNITS:], *contacts[:UNITS]])
    lately = pc.and_(
        pc.greater(events[EVENT_TIMESTAMP], pa.scalar(datetime(2017, 11, 20, tzinfo=UTC))),
        pc.less(events[EVENT_TIMESTAMP], pa.scalar(datetime(2017, 12, 4, tzinfo=UTC))),
    )
    bought = events.filter(pc.and_(pc.and_(pc.is_in(events[USER], mine), lately), pc.greater(events[QUANTITY], 0)))
    known = {QUANTITY: 0.0, VALUE: 0.0, CREATED_TIMESTAMP: WEDNESDAY + timedelta(days=1)}
    cancelled = [row | known for row in bought.to_pylist()]
    assert len(cancelled) > 20
    pq.write_table(
        pa.concat_tables([events, pa.Table.from_pylist(cancelled, events.schema)]), source / "events.parquet"
    )
    edit(
        project / "registry/environments/local.yaml",
        lambda spec: spec.update(data={"source": "files", "path": "delivered"}),
    )
    workspace = open_workspace("local", project)
    workspace.clock.move(MONDAY)  # type: ignore[attr-defined]
    ingest(workspace)
    build_tables(workspace)
    done = look(workspace)
    assert {each.cause for each in done.skew.findings} == {Cause.RESTATED}
    assert {"user_item", "user_weekly"} <= {each.view for each in done.skew.findings}
    assert done.skew.skewed_rows == 0
    assert done.skew.restated_rows > 0
    reached = look(workspace, "coupon")
    assert {each.cause for each in reached.skew.findings} == {Cause.RESTATED}
    assert "user_weekly" in {each.view for each in reached.skew.findings}
    assert reached.skew.skewed_rows == 0
    assert 0 < reached.skew.restated_rows <= 2 * UNITS, "only contacts of units of whom something was cancelled"


def test_a_changed_ttl_is_named_with_what_it_was(project: Path) -> None:
    views = project / "feature_repo/views.py"
    views.write_text(views.read_text().replace("WEEKLY = timedelta(days=7)", "WEEKLY = timedelta(days=1)"))
    feast_apply(project)
    done = look(open_workspace("local", project))
    assert named(done.skew) == {(Cause.TTL, "item_weekly"), (Cause.TTL, "user_weekly")}
    assert {each.detail for each in done.skew.findings} == {"ttl 1w, now 1d"}
    assert done.alerts


def test_a_changed_function_is_named(project: Path) -> None:
    module = project / "feature_repo/request_time.py"
    before = '"pair_share": known(number("pair_baskets") / user_baskets)'
    assert before in module.read_text()
    module.write_text(module.read_text().replace(before, f"{before[:-1]} * 2)"))
    feast_apply(project)
    done = look(open_workspace("local", project))
    assert [(each.cause, each.view, each.feature, each.detail) for each in done.skew.findings] == [
        (Cause.CHANGED, "rhythm", "pair_share", "code")
    ]


def test_a_table_of_other_code_and_a_view_that_was_late_are_both_named(project: Path) -> None:
    workspace = open_workspace("local", project)
    workspace.features.materialize(MONDAY, WEDNESDAY - timedelta(days=3), {"item_weekly", "user_weekly", "user_line"})
    serve(workspace, MONDAY + timedelta(hours=9), "late")
    module = project / "feature_repo/transforms.py"
    before = "user_baskets_28d=_.baskets.sum(where=recent)"
    assert before in module.read_text()
    module.write_text(module.read_text().replace(before, "user_baskets_28d=(2 * _.baskets.sum(where=recent))"))
    workspace = open_workspace("local", project)
    build_tables(workspace)
    done = look(workspace)
    both = {(Cause.LATE, "user_item"), (Cause.CHANGED, "user_weekly")}
    assert named(done.skew) == both
    changed = {(each.feature, each.detail) for each in done.skew.findings if each.cause == Cause.CHANGED}
    assert changed == {("user_baskets_28d", "its table's code")}
    assert named(look(workspace, "coupon").skew) == {(Cause.CHANGED, "user_weekly")}


def test_requests_of_a_version_that_is_gone_are_told_and_the_others_compared(project: Path) -> None:
    workspace = open_workspace("local", project)
    first, *_ = workspace.event_log.with_features("home", SENT, MONDAY)
    shown = workspace.event_log.request(first)
    assert shown is not None
    workspace.event_log.write_exposures([replace(shown, request_id="gone", model_version="basket/v0")])
    done = look(workspace)
    assert done.skew.requests == 2 * UNITS
    (line,) = done.unchecked
    assert line.startswith("basket/v0, 1 requests: model version 'basket/v0' is not declared")
    workspace.event_log.write_exposures(
        [replace(shown, request_id="alone", model_version="basket/v0", event_timestamp=MONDAY)]
    )
    with pytest.raises(ExperimentError, match="home_ranker: nothing can be compared: basket/v0, 1 requests: "):
        skew(workspace, "home_ranker", since=MONDAY, until=MONDAY + timedelta(days=1))


def test_the_command_ends_with_the_code_of_an_alert(project: Path) -> None:
    command = [sys.executable, "-m", "recsys", "skew", "home_ranker", "--to", "2017-12-12"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode, "nothing beyond the monitor's limits" in done.stdout) == (0, True), done.stderr
    workspace = open_workspace("local", project)
    shown = workspace.event_log.request(f"clean-{known_units(workspace, 'home', WEDNESDAY)[-1]}")
    assert shown is not None
    assert shown.features is not None
    table = workspace.feature_tables / "user_item"
    for path in table.glob("*.parquet"):  # every version rewritten in place, as by a build from other events
        rows = pq.read_table(path)
        place = rows.schema.get_field_index("pair_baskets")
        pq.write_table(rows.set_column(place, "pair_baskets", pc.add(rows["pair_baskets"], 0.5)), path)
    found = look(workspace)
    assert named(found.skew) == {(Cause.RESTATED, "user_item")}
    monitor = project / "registry/monitors/basket.yaml"
    monitor.write_text("skew: {maximum_restated_share: 0.0}\n")
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "ALERT skew" in done.stdout


def test_what_cannot_be_compared_is_refused(project: Path) -> None:
    workspace = open_workspace("local", project)
    with pytest.raises(ExperimentError, match=r"coupon: no request or contact is logged .* `recsys log sent`"):
        skew(workspace, "coupon", until=SENT)
    with pytest.raises(ExperimentError, match=r"it was never trained; run `recsys train --model-version discover/v1`"):
        skew(workspace, "discover/v1")
    bare = workspace.event_log.request(workspace.event_log.with_features("home", SENT, MONDAY)[0])
    assert bare is not None
    before = SENT - timedelta(days=7)
    workspace.event_log.write_exposures([replace(bare, request_id="bare", event_timestamp=before, features=None)])
    with pytest.raises(
        ExperimentError, match=r"of 1 requests and contacts .* none has its features logged: set `serve"
    ):
        skew(workspace, "basket", until=SENT)
    with pytest.raises(SpecError, match="nobody: neither an experiment nor a model"):
        skew(workspace, "nobody")
    with pytest.raises(SpecError, match=r"basket/v9: model basket has no such version; it has basket/flat, basket/v1"):
        skew(workspace, "basket/v9")
