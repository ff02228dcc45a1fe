"""Does a problem that selects units, or predicts counts and amounts, live the whole cycle on the small shop?"""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from recsys.candidates.pool import to_numpy
from recsys.cli import app
from recsys.errors import FeatureError, LeakageError, ModelError, SpecError
from recsys.experiment.bucketing import bucket
from recsys.modeling import audience
from recsys.modeling.training_set import LEARN
from recsys.printing import why as told
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, REQUEST_TIMESTAMP, SCORE, TIMESTAMP, USER
from recsys.serving.contact import contactable
from recsys.serving.units import AudienceRows
from recsys.specs.metric import LIST_METRICS
from recsys.wiring import open_workspace
from recsys.workflows.batches.sent import log_sent
from recsys.workflows.batches.serve_campaign import serve_campaign
from recsys.workflows.data.forget import forget
from recsys.workflows.decision.promote import promote_first
from recsys.workflows.declarations.validate import validate
from recsys.workflows.features.build import build_tables, materialize
from recsys.workflows.modeling import training_data
from recsys.workflows.modeling.dataset import build_dataset, check_dataset
from recsys.workflows.modeling.train import Trained, train
from recsys.workflows.monitoring.diagnose import diagnose_all
from recsys.workflows.monitoring.drift import Drifted, drift
from recsys.workflows.requests.why import Explaining, why
from recsys.workflows.requests.why_document import document
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import edit, feast_apply, small_campaign

NOW = datetime(2017, 12, 4, tzinfo=UTC)
COUPON = "coupon/v1"
UNITS = "registry/audiences/coupon_mailing.yaml"
OWNERS = {"product": "p", "engineering": "e"}


@pytest.fixture(scope="module")
def project(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the shop, its channels as small as it is, and two problems of regression beside the shipped ones."""
    root = tmp_path_factory.mktemp("campaigns") / "project"
    shutil.copytree(shop.root, root)
    small_campaign(root)
    algorithm = {"type": "catboost", "loss": "RMSE", "iterations": 40, "depth": 4}
    common = {"testing": {"decision_times": 2, "resamples": 200}, "training": {"decision_times": 4}}
    _declare(
        root,
        "problems/spend",
        entity={"unit": USER, "item": None},
        target={"event": "purchase", "horizon": "7d", "measure": "amount"},
        channels={"call": {"capacity": 20}},
    )
    _declare(root, "audiences/spenders", problem="spend", model="spend", units=_read(root / UNITS)["units"])
    _declare(
        root,
        "models/spend/v1",
        problem="spend",
        placement="spenders",
        feature_service="coupon_campaign",
        algorithm=algorithm | {"categorical": [f"profile_{name}" for name in training_columns(root)]},
        baselines={"spend": "user_weekly:user_value_91d"},
        gate={"metric": "value@20/global", "against": "spend", "minimum_ratio": 0.5},
        **common,
    )
    _declare(
        root,
        "problems/quantity",
        target={"event": "purchase", "horizon": "7d", "measure": "count"},
        channels={"feed": {"k": 10}},
    )
    home = _read(root / "registry/placements/home.yaml")
    _declare(root, "placements/order", **(home | {"problem": "quantity", "model": "quantity"}))
    _declare(
        root,
        "models/quantity/v1",
        problem="quantity",
        placement="order",
        feature_service="basket_full",
        algorithm=algorithm | {"categorical": ["item_department"]},
        baselines={"popularity": "item_weekly:item_baskets_28d"},
        gate={"metric": "precision@10/user", "against": "popularity"},
        **common,
    )
    return open_workspace("local", root)


def training_columns(root: Path) -> list[str]:
    """Return what a household says of itself, by the shipped model."""
    categorical = _read(root / "registry/models/coupon/v1.yaml")["algorithm"]["categorical"]
    return [name.removeprefix("profile_") for name in categorical]


def _declare(root: Path, name: str, **fields: Any) -> None:
    path = root / "registry" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.startswith("problems/"):
        fields = {"business_issue": "i", "owners": OWNERS, "formulation": "regression", **fields}
    path.write_text(yaml.safe_dump(fields))


def _read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


@pytest.fixture(scope="module")
def trained(project: Workspace) -> Trained:
    """The coupon model, the champion whatever 150 households can decide."""
    done = train(project, COUPON)
    promote_first(project, COUPON)
    return done


# ---------------------------------------------------------------- one list of units


def test_a_campaign_is_trained_and_judged_on_one_list_a_decision_time(project: Workspace, trained: Trained) -> None:
    report = trained.report
    assert (report["kind"], report["requests"]) == ("units", 3)
    assert {name.partition("@")[2] for name in report["metrics"]["model"]} == {"5/global", "20/global", "50/global"}
    learn = build_dataset(project, COUPON).dataset.rows(LEARN)
    assert ITEM not in learn.column_names
    assert set(learn[LABEL].to_pylist()) == {0.0, 1.0}


def test_its_rows_know_no_more_than_their_decision_times(project: Workspace, trained: Trained) -> None:
    found = check_dataset(project, trained.weights.model_version)
    assert (found.violations, found.unchecked) == ((), ())
    assert found.intact


def test_a_label_that_is_not_what_the_units_did_is_refused(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    truly = audience.audience_requests

    def wrong(*given: Any) -> Any:
        made = truly(*given)
        flipped = pc.subtract(pa.scalar(1, pa.float32()), made.rows[LABEL])
        rows = made.rows.set_column(made.rows.column_names.index(LABEL), LABEL, flipped)
        return type(made)(rows, made.users, made.moments, made.relevant, made.eligible)

    monkeypatch.setattr(training_data, "audience_requests", wrong)
    with pytest.raises(LeakageError, match="a label that is not what the events say: redeemed within 2w") as raised:
        build_dataset(project, COUPON, datetime(2017, 11, 27, tzinfo=UTC))
    assert "item_id" not in str(raised.value)


def test_a_campaign_reaches_the_units_with_the_highest_probabilities(project: Workspace, trained: Trained) -> None:
    """Cut at the channel's capacity; a longer list begins with the shorter one."""
    lists = {}
    for channel, capacity in (("phone", 5), ("sms", 20), ("email", 50)):
        done = serve_campaign(project, "coupon_mailing", channel)
        table = pq.read_table(done.folder / "arm=default")
        assert (done.units, len(table), done.weights) == (capacity, capacity, trained.weights.number)
        assert table["rank"].to_pylist() == list(range(1, capacity + 1))
        assert len(set(table["request_id"].to_pylist())) == capacity
        scores = table[SCORE].to_numpy()
        assert (np.diff(scores) <= 0).all()
        assert 0 < scores.min() <= scores.max() < 1
        assert done.precision is not None
        assert done.precision.estimate == pytest.approx(scores.mean())
        assert done.precision.lower <= done.precision.estimate <= done.precision.upper
        lists[channel] = table[USER].to_pylist()
    assert lists["email"][:20] == lists["sms"]
    assert lists["sms"][:5] == lists["phone"]


def test_what_a_campaign_should_reach_is_told_of_all_eligible_units(project: Workspace, trained: Trained) -> None:
    """Recall is the share of the expected redeemers that the list holds; a longer list holds more of them."""
    model = project.catalog.model(COUPON)
    wanted = project.features.feature_set(model.feature_service)
    audience_spec = project.catalog.audience("coupon_mailing")
    eligible = contactable(project.features, audience_spec, "sms", [], frozenset(), NOW).units
    ranker = project.registry.load(trained.weights)
    columns = AudienceRows(project.features, wanted, eligible, NOW).columns(np.arange(len(eligible)))
    scores = np.sort(ranker.score(columns))[::-1]
    recalls = []
    for channel, capacity in (("phone", 5), ("sms", 20), ("email", 50)):
        recall = serve_campaign(project, "coupon_mailing", channel).recall
        assert recall is not None
        assert recall.estimate == pytest.approx(scores[:capacity].sum() / scores.sum())
        assert 0 <= recall.lower < recall.estimate < recall.upper <= 1
        recalls.append(recall.estimate)
    assert recalls == sorted(recalls)
    tested = serve_campaign(project, "coupon_mailing", "sms").tested
    highest = trained.report["reliability"]["bins"][-1]
    assert tested is not None
    assert (tested.predicted, tested.observed.estimate) == (highest["predicted"], highest["observed"]["estimate"])


def test_its_scores_are_those_of_training_rows_of_that_moment(project: Workspace, trained: Trained) -> None:
    """Features online are features as known then, column by column, and so are the scores."""
    model = project.catalog.model(COUPON)
    wanted = project.features.feature_set(model.feature_service)
    rows = project.features.snapshot("user_weekly", NOW)
    eligible = audience.eligible_units(rows, project.catalog.audience("coupon_mailing").units, NOW, None)
    stamps = pa.array([NOW] * len(eligible), TIMESTAMP)
    asked = pa.table({USER: eligible, EVENT_TIMESTAMP: stamps, REQUEST_TIMESTAMP: stamps})
    joined = project.features.historical(asked, wanted)
    online = AudienceRows(project.features, wanted, eligible, NOW).columns(np.arange(len(eligible)))
    for name in wanted.columns:
        np.testing.assert_array_equal(online[name], to_numpy(joined[name]), err_msg=name)
    ranker = project.registry.load(trained.weights)
    scores = ranker.score({name: to_numpy(joined[name]) for name in wanted.columns})
    expected = dict(zip(eligible.to_pylist(), scores.tolist(), strict=True))
    done = serve_campaign(project, "coupon_mailing", "email")
    written = pq.read_table(done.folder / "arm=default")
    assert done.eligible == len(eligible)
    assert {user: expected[user] for user in written[USER].to_pylist()} == dict(
        zip(written[USER].to_pylist(), written[SCORE].to_pylist(), strict=True)
    )


def test_a_campaign_that_would_come_out_the_same_is_left_alone(project: Workspace, trained: Trained) -> None:
    del trained
    first = serve_campaign(project, "coupon_mailing", "sms")
    before = (first.folder / "arm=default/part-00000.parquet").stat().st_mtime_ns
    again = serve_campaign(project, "coupon_mailing", "sms")
    assert again.reused
    assert (first.folder / "arm=default/part-00000.parquet").stat().st_mtime_ns == before
    assert json.loads((first.folder / "_manifest.json").read_text())["channel"] == "sms"
    assert first.selects
    assert first.folder.parts[-2:] == ("channel=sms", "date=2017-12-04")


def test_what_cannot_be_sent_is_refused(project: Workspace, trained: Trained) -> None:
    """No channel, one of another name, a placement, the past, a model without a champion."""
    del trained
    with pytest.raises(
        SpecError, match=r"channel: none is given; problem coupon_campaign has email \(50 units\), phone \(5"
    ):
        serve_campaign(project, "coupon_mailing", None)
    with pytest.raises(SpecError, match="channel: fax is none of them"):
        serve_campaign(project, "coupon_mailing", "fax")
    with pytest.raises(SpecError, match="placement home: --channel sms: a placement gives every unit its list"):
        serve_campaign(project, "home", "sms")
    with pytest.raises(FeatureError, match="the online store has moved on to 2017-12-04 and keeps no past"):
        serve_campaign(project, "coupon_mailing", "sms", datetime(2017, 11, 20, tzinfo=UTC))
    with pytest.raises(ModelError, match=r"model spend has no champion, .*run `recsys promote --model-version spend/"):
        serve_campaign(project, "spenders", "call")


def test_a_contact_that_was_sent_is_explained_by_the_features_of_its_moment(
    project: Workspace, trained: Trained
) -> None:
    """The same score from the same features, and which of them made it."""
    done = serve_campaign(project, "coupon_mailing", "sms")
    logged = log_sent(project, done.folder)
    assert (logged.lists, logged.new) == (20, 20)
    assert log_sent(project, done.folder).new == 0
    table = pq.read_table(done.folder / "arm=default")
    again = Explaining(project)
    for request_id in table["request_id"].to_pylist():
        exposure = project.event_log.request(request_id)
        assert exposure is not None
        found = again.why(exposure)
        assert found.digest_equal
        assert found.items_equal
    found = why(project, table["request_id"][3].as_py(), shap=True)
    assert found.explanation is not None
    assert set(found.explanation.items[0].contributions) == set(project.registry.load(trained.weights).columns)
    shown = told(found)
    assert "campaign: place 4 of the 20 that sms can reach" in shown
    assert "the same items and scores again" in shown
    assert document(found)["features"]["digest_equal"] is True
    assert not again.why(replace(found.exposure, user_id=table[USER][4].as_py())).items_equal


def test_consent_and_a_holdout_of_the_shop_are_kept(project: Workspace, trained: Trained) -> None:
    """Who was never mailed said nothing, so nobody of them is reached; nor is anybody of the holdout."""
    del trained
    root = project.root
    (root / "registry/layers").mkdir(exist_ok=True)
    (root / "registry/layers/campaigns.yaml").write_text("seed: 'campaigns:'\nholdout: [0.0, 0.3]\n")
    asked = {"view": "user_campaign", "feature": "campaign_mailed", "minimum": 1}
    fields = {"contact": {"phone": asked, "sms": asked, "email": None}, "holdouts": ["campaigns"]}
    before = (root / UNITS).read_text()
    edit(root / UNITS, lambda spec: spec.update(fields))
    try:
        workspace = open_workspace("local", root)
        assert validate(workspace).audiences == 2
        done = serve_campaign(workspace, "coupon_mailing", "sms")
        mailed = workspace.features.online_all("user_campaign")
        willing = set(mailed.filter(pc.greater_equal(mailed["campaign_mailed"], 1))[USER].to_pylist())
        reached = pq.read_table(done.folder / "arm=default")[USER].to_pylist()
        assert len(reached) == 20
        assert set(reached) <= {user for user in willing if bucket("campaigns:", user) >= 3_000}
        assert done.opted_out > 0
        assert done.held_out > 0
        assert done.eligible == done.reachable + done.opted_out + done.held_out
        letters = serve_campaign(workspace, "coupon_mailing", "email")
        assert (letters.opted_out, letters.units) == (0, 50)
    finally:
        (root / UNITS).write_text(before)


def test_what_a_campaign_brought_is_read_once_its_weeks_are_over(
    project: Workspace, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On what households did in the weeks after; the same user forgotten is gone from what was kept, too."""
    del trained
    root = tmp_path / "project"
    shutil.copytree(project.root, root)
    (root / "registry/layers").mkdir(exist_ok=True)
    (root / "registry/layers/campaigns.yaml").write_text("seed: 'campaigns:'\nholdout: [0.0, 0.3]\n")
    edit(root / UNITS, lambda spec: spec.update(holdouts=["campaigns"]))
    workspace = open_workspace("local", root)
    list(workspace.event_archive.prune(NOW + timedelta(days=1)))  # what other tests sent, to those held out here too
    shutil.rmtree(root / ".recsys/campaigns", ignore_errors=True)
    done = serve_campaign(workspace, "coupon_mailing", "email")
    log_sent(workspace, done.folder)
    monkeypatch.chdir(root)
    command = ["evaluate", "coupon_mailing", "--json"]
    assert json.loads(CliRunner().invoke(app, command).stdout)["verdict"]["name"] == "WAIT"
    later = NOW + timedelta(days=14)
    (root / ".recsys/clock.json").write_text(json.dumps({"now": later.isoformat()}))
    found = json.loads(CliRunner().invoke(app, command).stdout)
    events = pq.read_table(root / ".recsys/tables/events.parquet")
    acted = set(
        events.filter(
            pc.and_(
                pc.equal(events["event_type"], "redeemed"),
                pc.and_(
                    pc.greater(events[EVENT_TIMESTAMP], pa.scalar(NOW, TIMESTAMP)),
                    pc.less_equal(events[EVENT_TIMESTAMP], pa.scalar(later, TIMESTAMP)),
                ),
            )
        )[USER].to_pylist()
    )
    chosen = pq.read_table(done.folder / "arm=default")[USER].to_pylist()
    (campaign,) = found["campaigns"]
    assert campaign["acted"] == len(acted & set(chosen)) > 0
    assert campaign["stated_precision"]["estimate"] == pytest.approx(campaign["expected_precision"]["estimate"])
    (everybody,) = found["brought"]
    assert everybody["contacts"] == {"reached": 49, "held_out": done.would_be}
    assert {each["metric"] for each in everybody["metrics"]} == {"orders", "revenue"}
    assert everybody["metrics"][1]["cuped"]
    assert found["health"]["failures"] == []
    assert found["verdict"]["name"] in {"UNCLEAR", "ADDS", "HARMS"}
    assert "verdict: " in CliRunner().invoke(app, command[:2]).stdout
    gone = forget(open_workspace("local", root), [chosen[0]])
    assert any(where.startswith("campaigns/coupon_mailing/email-20171204") for where in gone.rows)
    after = json.loads(CliRunner().invoke(app, command).stdout)
    assert after["campaigns"][0]["sent"] == 49
    assert after["health"]["lost"] == {"reached": 1, "held_out": 0}


def test_its_drift_is_of_what_units_did_and_of_probabilities(
    project: Workspace, trained: Trained, tmp_path: Path
) -> None:
    """Four weeks later: one list a decision time, labels and scores of units, nothing that only lists of items have."""
    root = tmp_path / "project"
    shutil.copytree(project.root, root)
    later = {"clock": {"replay_from": "2018-01-01T00:00:00+00:00"}}
    edit(root / "registry/environments/local.yaml", lambda spec: spec.update(later))
    workspace = open_workspace("local", root)
    found = drift(workspace, "coupon")
    assert isinstance(found, Drifted)
    assert found.weights.number == trained.weights.number
    assert [f"{time:%m-%d}" for time in found.now] == ["11-27", "12-04", "12-11", "12-18"]
    named = {each.column for each in found.columns}
    assert {LABEL, SCORE, "days_since_mailed"} <= named
    assert not named & {"taken items", "candidate sources"}
    assert LABEL not in {each.column for each in found.correlated}
    assert (found.report.kind, found.quality.metric) == ("units", "recall@50/global")
    assert found.quality.calibration is not None
    assert 0 < found.quality.calibration.error < 0.2
    assert (found.quality.total, found.leaks) == (None, ())
    (said,) = diagnose_all(workspace, "coupon")
    assert (said.state, said.clicks.signal, said.orders.signal) == ("now", "unclear", "unclear")
    assert not any(step.startswith("Clicks") for step in said.diagnosis.next_steps)


CONSENT_TABLE = '''
def user_consent(events: ir.Table, users: ir.Table, until: datetime) -> ir.Table:
    """Who may be sent messages: whom the shop ever mailed."""
    mailed = events.filter(_.event_type == "mailed").group_by("user_id").aggregate(first=_.event_timestamp.min())
    rows = mailed.select("user_id", event_timestamp=_week_end(mailed["first"]), may_text=ibis.literal(1.0))
    return _up_to(rows, until)


TABLES: Mapping'''
CONSENT_VIEW = """
user_consent = FeatureView(
    name="user_consent",
    entities=[user],
    ttl=timedelta(days=730),
    schema=number_fields("may_text"),
    source=PushSource(name="user_consent_answers", batch_source=_source("user_consent")),
)
"""
PUSH = """
import sys
import pandas as pd
from feast import FeatureStore
from feast.data_source import PushMode
now = pd.Timestamp("2017-12-03T12:00:00Z")
answer = {"user_id": [sys.argv[1]], "may_text": [0.0], "event_timestamp": [now], "created_timestamp": [now]}
FeatureStore(repo_path=".").push("user_consent_answers", pd.DataFrame(answer), to=PushMode.ONLINE)
"""


def test_a_no_that_is_pushed_by_feast_counts_at_once(project: Workspace, trained: Trained, tmp_path: Path) -> None:
    """The table of answers grows by weeks; a push is newer than any row of it, also after the next materialize."""
    del trained
    root = tmp_path / "project"
    shutil.copytree(project.root, root)
    transforms, views = root / "feature_repo/transforms.py", root / "feature_repo/views.py"
    code = transforms.read_text().replace("\nTABLES: Mapping", CONSENT_TABLE, 1)
    for table in ("user_profile,", '("user_id",),', "1,"):
        line = f'    "user_profile": {table}\n'
        code = code.replace(line, line + line.replace("user_profile", "user_consent"), 1)
    transforms.write_text(code)
    views.write_text(views.read_text() + CONSENT_VIEW)
    asked = {"view": "user_consent", "feature": "may_text"}
    edit(root / UNITS, lambda spec: spec.update(contact={"phone": asked, "sms": asked, "email": None}))
    workspace = open_workspace("local", root)
    build_tables(workspace)
    feast_apply(root)
    materialize(workspace)
    first = serve_campaign(workspace, "coupon_mailing", "sms")
    best = pq.read_table(first.folder / "arm=default")[USER][0].as_py()
    subprocess.run([sys.executable, "-c", PUSH, best], cwd=root / "feature_repo", check=True, timeout=120)
    workspace = open_workspace("local", root)
    for _ in range(2):
        done = serve_campaign(workspace, "coupon_mailing", "sms")
        assert best not in pq.read_table(done.folder / "arm=default")[USER].to_pylist()
        assert (done.opted_out, done.units) == (first.opted_out + 1, 20)
        workspace.features.materialize(NOW)


# ---------------------------------------------------------------- counts and amounts


def test_an_amount_of_each_unit_is_predicted(project: Workspace) -> None:
    """The reach is measured in money; the model is not far from the spend of 13 weeks, with which it is compared."""
    done = train(project, "spend/v1")
    dataset = build_dataset(project, "spend/v1").dataset
    label = dataset.rows(LEARN)[LABEL].to_numpy()
    assert label.max() > 50
    assert (label == 0).any()
    assert set(done.report["metrics"]["model"]) == {"value@20/global", "recall@20/global"}
    value = done.report["metrics"]["model"]["value@20/global"]["estimate"]
    assert value > 1.5 * label.mean()
    assert done.in_service, done.report["gate"]["reason"]
    assert check_dataset(project, "spend/v1").violations == ()


def test_what_was_predicted_is_compared_in_total(project: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(project.root, root)
    later = {"clock": {"replay_from": "2017-12-25T00:00:00+00:00"}}
    edit(root / "registry/environments/local.yaml", lambda spec: spec.update(later))
    found = drift(open_workspace("local", root), "spend/v1")
    assert isinstance(found, Drifted)
    assert found.quality.calibration is None
    assert found.quality.total is not None
    assert 0.5 < found.quality.total.lower < found.quality.total.estimate < found.quality.total.upper < 2


def test_a_count_of_each_item_is_predicted(project: Workspace) -> None:
    """Labels are quantities, and what is bought in larger ones scores higher; lists are judged by what was taken.

    Fuel is sold by the thousand, so a list by quantity is no list of what is taken most often: the gate refuses it.
    """
    done = train(project, "quantity/v1")
    dataset = build_dataset(project, "quantity/v1").dataset
    rows = dataset.rows(LEARN)
    label = rows[LABEL].to_numpy()
    assert label.max() > 1
    assert (label == 0).any()
    ranker = project.registry.load(done.weights)
    scores = ranker.score({name: to_numpy(rows[name]) for name in ranker.columns})
    bulk, none = scores[label >= 100], scores[label == 0]
    assert len(bulk)
    assert np.mean(np.median(bulk) > none) > 0.99, "a mean of squares sees little but what is sold by the thousand"
    assert set(done.report["metrics"]["model"]) == {f"{name}@10/user" for name in LIST_METRICS}
    assert not done.in_service
    assert check_dataset(project, "quantity/v1").violations == ()
