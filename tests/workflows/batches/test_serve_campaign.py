"""Is a campaign's list of whom it may reach, cut and told as declared, and never half a list or somebody else's?"""

import errno
import json
import resource
import signal
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.forgotten import tombstone
from recsys.errors import ModelError, StoreError
from recsys.experiment.bucketing import bucket
from recsys.printing import campaign, campaign_document
from recsys.schema import USER
from recsys.serving.list_rows import MANIFEST
from recsys.workflows.batches import serve_campaign as module
from recsys.workflows.batches.campaign_files import SCHEMA, Campaign
from recsys.workflows.batches.folder import lock_name
from recsys.workflows.exclusive import exclusive
from tests.specs.registry_files import EXPERIMENT, findings
from tests.workflows.campaign_project import AUDIENCE, NOW, PROBLEM, SERVICE, USERS, CampaignProject, shop

NO_SPACE = "File too large"
LAYER = "layers/campaigns.yaml"


@pytest.fixture
def project(tmp_path: Path) -> CampaignProject:
    return CampaignProject(tmp_path)


def rows(done: Campaign) -> pa.Table:
    return pq.read_table(done.folder / "arm=default" / "part-00000.parquet", partitioning=None)


def reached(done: Campaign) -> list[str]:
    return [str(user) for user in rows(done)[USER].to_pylist()]


# ---------------------------------------------------------------- whom


def test_the_best_who_said_yes_are_reached(project: CampaignProject) -> None:
    """The last unit has the highest score and said no: it takes no place, and counts among those who should act."""
    done = project.serve()
    assert reached(done) == ["h18", "h17", "h16", "h15"]
    assert (done.eligible, done.opted_out, done.held_out, done.reachable, done.units) == (20, 1, 0, 19, 4)
    assert done.precision is not None
    assert done.recall is not None
    assert done.precision.estimate == pytest.approx(np.mean([0.19, 0.18, 0.17, 0.16]))
    assert done.recall.estimate == pytest.approx(0.70 / 2.10)
    assert done.tested is not None
    assert done.selects


def test_an_opt_out_between_two_runs_changes_the_list(project: CampaignProject) -> None:
    """Who leaves makes room for the next one; the others keep their request ids, so that nothing is logged twice."""
    first = rows(project.serve())
    assert project.serve().reused
    project.consent({"h17": 0.0})
    again = project.serve()
    assert not again.reused
    assert reached(again) == ["h18", "h16", "h15", "h14"]
    before, after = (
        dict(zip(table[USER].to_pylist(), table["request_id"].to_pylist(), strict=True))
        for table in (first, rows(again))
    )
    assert {user: after[user] for user in ("h18", "h16", "h15")} == {
        user: before[user] for user in ("h18", "h16", "h15")
    }
    project.consent({"h17": 1.0})
    assert reached(project.serve()) == ["h18", "h17", "h16", "h15"]


def test_a_yes_that_is_too_old_is_none(project: CampaignProject) -> None:
    project.consent({"h18": 1.0}, NOW + timedelta(days=5))
    project.come_to(NOW + timedelta(days=31))
    assert reached(project.serve()) == ["h18"]


def test_a_holdout_is_never_reached(project: CampaignProject) -> None:
    project.files[LAYER] = {"seed": "campaigns:", "holdout": [0.0, 0.5]}
    project.change(AUDIENCE, "holdouts", ["campaigns"])
    held = [user for user in USERS if bucket("campaigns:", user) < 5000]
    done = project.serve("letter")
    assert 0 < len(held) < len(USERS)
    assert sorted(reached(done)) == sorted(set(USERS) - set(held), reverse=False)[-12:]
    assert done.held_out == len(held)
    project.files[LAYER] = {"seed": "campaigns:", "holdout": [0.0, 0.1]}
    again = project.serve("letter")
    assert (again.reused, again.held_out) == (False, sum(bucket("campaigns:", user) < 1000 for user in USERS))


def test_who_was_forgotten_is_not_reached_though_still_online(project: CampaignProject) -> None:
    assert "h18" in reached(project.serve())
    for state in ("intent", "done"):
        project.ledger_kept.append(
            transaction="t",
            state=state,
            action="forget",
            subject="forgotten users",
            payload={"users": [tombstone("h18")], "rows": {}},
            author="ada",
            at=NOW,
        )
    done = project.serve()
    assert (reached(done), done.eligible) == (["h17", "h16", "h15", "h14"], 19)


# ---------------------------------------------------------------- how many


def test_a_capacity_larger_than_the_eligible_units_reaches_them_all_and_selects_nobody(
    project: CampaignProject,
) -> None:
    project.change(PROBLEM, "channels.letter.capacity", 500)
    done = project.serve("letter")
    assert reached(done) == list(reversed(USERS))
    assert not done.selects
    assert done.recall is not None
    assert (done.recall.estimate, done.recall.lower, done.recall.upper) == (1, 1, 1)
    assert "note: 500 are half of the units that may be reached or more: not a selection" in campaign(
        done, project.open()
    )


def test_half_of_those_who_may_be_reached_is_no_selection(project: CampaignProject) -> None:
    """Of 20 eligible units 8 said yes: four of them are half."""
    project.consent(dict.fromkeys(USERS[8:], 0.0))
    done = project.serve()
    assert (done.reachable, done.units, done.selects) == (8, 4, False)
    project.consent({"h08": 1.0})
    assert project.serve().selects


def test_an_empty_audience_is_an_empty_list(project: CampaignProject) -> None:
    project.push("active", {user: {"visits": 0.0} for user in USERS})
    done = project.serve()
    assert (done.eligible, done.units, done.precision, done.recall) == (0, 0, None, None)
    assert rows(done).schema.equals(SCHEMA)
    assert len(rows(done)) == 0
    assert "0 of 0 units" in campaign(done, project.open())
    assert project.serve().reused


def test_where_nobody_may_be_contacted_nobody_is_reached(project: CampaignProject) -> None:
    project.consent(dict.fromkeys(USERS, None))
    done = project.serve()
    assert (done.eligible, done.opted_out, done.units, done.precision) == (20, 20, 0, None)
    assert done.recall is not None
    assert done.recall.estimate == 0


def test_units_without_features_come_last_and_equal_ones_by_id(project: CampaignProject) -> None:
    project.push("taste", {user: {"affinity": None, "spare": None} for user in USERS[5:]})
    project.push("taste", {user: {"affinity": 0.5, "spare": 0.5} for user in USERS[2:4]})
    done = project.serve("letter")
    assert reached(done) == ["h02", "h03", "h04", "h01", "h00", *USERS[5:12]]
    assert np.isnan(rows(done)["score"].to_numpy()[5:]).all()


# ---------------------------------------------------------------- what stands in the folder


def test_each_contact_has_a_request_id_and_the_folder_says_what_it_is_made_from(project: CampaignProject) -> None:
    done = project.serve()
    table = rows(done)
    assert table.schema.equals(SCHEMA)
    assert len(set(table["request_id"].to_pylist())) == 4
    assert set(table["propensity"].to_pylist()) == {1.0}
    assert table["rank"].to_pylist() == [1, 2, 3, 4]
    manifest = json.loads((done.folder / MANIFEST).read_text())
    assert manifest["at"] == NOW.isoformat()
    assert set(manifest["watermarks"]) == {"active", "consent", "taste"}
    told = campaign_document(done, project.open())
    assert told["expected_recall"]["estimate"] == pytest.approx(1 / 3)
    assert told["selects"]
    shown = campaign(done, project.open())
    assert "of 20 eligible ones 1 may not be contacted there and 0 are held out" in shown
    assert "33.3% [" in shown


def test_a_list_of_the_past_is_final(project: CampaignProject) -> None:
    first = reached(project.serve())
    project.come_to(NOW + timedelta(hours=1))
    project.consent({"h18": 0.0})
    past = project.serve(at=NOW)
    assert past.reused
    assert reached(past) == first


def test_a_list_of_an_earlier_version_of_recsys_is_read(project: CampaignProject) -> None:
    """It knew of no opt-outs, holdouts and intervals."""
    done = project.serve()
    known = json.loads((done.folder / MANIFEST).read_text())
    for name in ("opted_out", "held_out", "precision", "recall", "tested", "watermarks", "rows"):
        del known[name]
    (done.folder / MANIFEST).write_text(json.dumps(known))
    project.come_to(NOW + timedelta(hours=1))
    past = project.serve(at=NOW)
    assert (past.reused, past.opted_out, past.recall) == (True, 0, None)


def test_two_audiences_do_not_share_a_folder(project: CampaignProject, tmp_path: Path) -> None:
    project.files["audiences/others.yaml"] = dict(project.files[AUDIENCE])
    out = tmp_path / "out"
    done = project.serve(out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(
        StoreError, match=r"it holds a batch of audience mailing, not of audience others: .*another --out"
    ):
        module.serve_campaign(project.open(), "others", "sms", out=out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (done.folder / MANIFEST).write_text('{"name": "of somebody else"}')
    with pytest.raises(StoreError, match="it holds a batch of something else, not of audience mailing"):
        project.serve(out=out)
    (done.folder / MANIFEST).write_text('{"identity": "of an earlier version"}')
    assert not project.serve(out=out).reused
    (done.folder / MANIFEST).write_text('{"half a man')
    assert not project.serve(out=out).reused
    (done.folder / MANIFEST).unlink()
    with pytest.raises(StoreError, match=r"it holds files and no _manifest\.json, so no batch"):
        project.serve(out=out)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_second_run_into_one_folder_is_refused_while_the_first_writes(
    project: CampaignProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    out = tmp_path / "out" if elsewhere else None
    folder = (out or project.root / ".recsys/batch/mailing") / "channel=sms" / f"date={NOW:%Y-%m-%d}"
    name = lock_name(project.open(), "mailing-sms-2017-12-01", folder)
    monkeypatch.setattr(module, "exclusive", partial(exclusive, wait_seconds=0.0))
    with (
        exclusive(project.open(), name, "recsys serve-batch mailing --channel sms"),
        pytest.raises(StoreError, match="refused after 0 s: `recsys serve-batch mailing --channel sms`"),
    ):
        project.serve(out=out)
    assert not folder.exists()
    assert project.serve(out=out).units == 4


@contextmanager
def files_no_larger_than(size: int) -> Generator[None]:
    """Let the kernel refuse to write on, as it does where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_leaves_the_list_before_it_and_no_half_of_the_new_one(project: CampaignProject) -> None:
    done = project.serve()
    first = rows(done)
    project.consent({"h17": 0.0})
    workspace = project.open()
    with files_no_larger_than(1_500), pytest.raises(OSError, match=NO_SPACE) as raised:
        module.serve_campaign(workspace, "mailing", "sms")
    assert raised.value.errno == errno.EFBIG
    assert rows(done).equals(first)
    assert json.loads((done.folder / MANIFEST).read_text())["units"] == 4
    assert reached(project.serve()) == ["h18", "h16", "h15", "h14"]
    assert [path.name for path in done.folder.parent.iterdir()] == [done.folder.name]


# ---------------------------------------------------------------- what is refused


def test_a_feature_that_left_the_service_since_training_is_named(project: CampaignProject) -> None:
    project.online = shop({SERVICE: ["taste:spare"]})
    project.online.materialize(NOW)
    project.consent({"h00": 1.0})
    with pytest.raises(
        ModelError,
        match=r"weights 1 of coupon/v1: feature service coupon_units changed .*: it has no affinity any more and it has"
        r" spare now; undo the edit, or declare a new version",
    ):
        project.serve()


def test_a_feature_whose_definition_changed_is_refused_though_its_name_is_the_same(project: CampaignProject) -> None:
    project.change(PROBLEM, "target.horizon", "7d")
    with pytest.raises(ModelError, match="its columns are the same, but a definition behind them, or the spec, is not"):
        project.serve()


def test_every_channel_says_whom_it_may_contact_once_one_does(tmp_path: Path) -> None:
    project = CampaignProject(tmp_path)
    project.files["layers/visits.yaml"] = {"seed": "visits:", "unit": "session_id", "holdout": [0.0, 0.1]}
    project.files["layers/plain.yaml"] = {"seed": "plain:"}
    project.change(AUDIENCE, "contact", {"sms": None, "fax": None})
    project.change(AUDIENCE, "holdouts", ["visits", "plain", "none"])
    shown = "registry/audiences/mailing.yaml"
    assert findings(tmp_path / "other", project.files) == (
        f"{shown}: contact.fax: no channel of problem coupons, which has sms, letter",
        (
            f"{shown}: contact: letter is not named: once one channel asks who may be contacted, each says so: give"
            " letter a view and a feature, or null"
        ),
        (
            f"{shown}: holdouts.0: visits: the layer assigns session_id, and a campaign reaches users: name a layer of"
            " user_id"
        ),
        f"{shown}: holdouts.1: plain: the layer has no holdout: give it one, or leave it out",
        f"{shown}: holdouts.2: none: not declared under registry/layers/; declared: plain, visits",
    )


def test_an_experiment_on_an_audience_is_refused_by_name(tmp_path: Path) -> None:
    project = CampaignProject(tmp_path)
    project.change(EXPERIMENT, "placement", "mailing")
    found = findings(tmp_path / "other", project.files)
    assert (
        "registry/experiments/home_ranker.yaml: placement: mailing: an audience: experiments split placements; a"
        " campaign is compared by the holdouts that its audience names"
    ) in found


def test_an_audience_is_not_named_as_an_experiment_is(tmp_path: Path) -> None:
    """`recsys evaluate` takes either by its name."""
    project = CampaignProject(tmp_path)
    project.files["audiences/home_ranker.yaml"] = dict(project.files[AUDIENCE])
    found = findings(tmp_path / "other", project.files)
    assert (
        "registry/audiences/home_ranker.yaml: name: an experiment has it too; `recsys evaluate` takes either"
    ) in found
