"""Is what was sent of a batch in the log, once, of the right units, and as it was made?"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from recsys.adapters.sql_event_log import event_log
from recsys.cli import app
from recsys.data.forgotten import tombstone
from recsys.errors import DataError, StoreError
from recsys.ports import Exposure
from recsys.printing import sent, sent_document
from recsys.serving import feature_sample
from recsys.serving.list_rows import MANIFEST
from recsys.workflows.batches import exposures as module
from recsys.workflows.batches import sent as sent_module
from recsys.workflows.batches.sent import log_sent
from tests.workflows.campaign_project import NOW, USERS, CampaignProject
from tests.workflows.files_project import FilesProject

LATER = NOW + timedelta(hours=3)
COLUMNS = {
    "request_id": pa.string(),
    "user_id": pa.string(),
    "rank": pa.int32(),
    "item_id": pa.string(),
    "score": pa.float64(),
    "experiment": pa.string(),
    "model_version": pa.string(),
    "weights": pa.int64(),
    "fallback": pa.string(),
}


@pytest.fixture
def project(tmp_path: Path) -> CampaignProject:
    return CampaignProject(tmp_path)


def listed(user: str, items: str, arm: str = "default", **more: Any) -> list[dict[str, Any]]:
    """Return a unit's list, an item a letter."""
    by = {
        "experiment": None if arm == "default" else "home_ranker",
        "model_version": "basket/v2" if arm == "treatment" else "basket/v1",
        "weights": 7,
        "fallback": None,
        "arm": arm,
    }
    return [
        {"request_id": f"r-{user}", "user_id": user, "rank": at, "item_id": item, "score": 1 / at, **by, **more}
        for at, item in enumerate(items, start=1)
    ]


def batch(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """Write a placement's batch, two units a part."""
    units = list(dict.fromkeys(row["user_id"] for row in rows))
    kinds = COLUMNS | ({"propensity": pa.float64()} if any("propensity" in row for row in rows) else {})
    kinds |= {"overridden": pa.bool_()} if any("overridden" in row for row in rows) else {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        for part in range(0, len(units), 2):
            mine = [row for row in rows if row["arm"] == arm and row["user_id"] in units[part : part + 2]]
            target = folder / f"arm={arm}" / f"part-{part:05d}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(mine, pa.schema(list(kinds.items()))), target)
    manifest = {"placement": "home", "at": NOW.isoformat(), "watermarks": {"user_item": "2017-11-27T00:00:00+00:00"}}
    (folder / MANIFEST).write_text(json.dumps(manifest | {"rows": len(rows)} | changes))
    return folder


def logged(project: CampaignProject, *users: str) -> dict[str, Exposure]:
    found = {user: project.log_kept.request(f"r-{user}") for user in users}
    return {user: exposure for user, exposure in found.items() if exposure is not None}


# ---------------------------------------------------------------- lists of a placement


def test_what_was_sent_counts_as_decided_once(project: CampaignProject, tmp_path: Path) -> None:
    """Else an evaluation would take it for exposures that nobody decided, in the hours that a service counted."""
    rows = [*listed("u1", "abc", "control"), *listed("u2", "bc", "treatment"), *listed("u3", "c")]
    folder = batch(tmp_path / "batch", [*rows, *listed("u4", "a", "treatment", overridden=True)])
    project.clock.set(LATER)
    for _ in range(2):
        log_sent(project.open(), folder)
    found = project.log_kept.routed("home_ranker").to_pylist()
    hour = LATER.replace(minute=0)
    wanted = [(arm, hour, 1, 0) for arm in ("control", "treatment")]
    assert [tuple(row.values()) for row in found] == wanted


def test_each_list_is_an_exposure_of_its_arm_at_the_moment_of_sending(project: CampaignProject) -> None:
    folder = batch(project.root / "out", [*listed("a", "xyz"), *listed("b", "yx", "treatment"), *listed("c", "z")])
    project.come_to(LATER)
    done = log_sent(project.open(), folder)
    assert (done.lists, done.new, done.left_out, done.forgotten, done.unknown) == (3, 3, 0, 0, 0)
    shown = logged(project, "a", "b", "c")
    assert [(item.item_id, item.position, item.score) for item in shown["a"].items] == [
        ("x", 1, 1.0),
        ("y", 2, 0.5),
        ("z", 3, 1 / 3),
    ]
    assert (shown["a"].experiment, shown["a"].arm) == (None, None)
    assert (shown["b"].experiment, shown["b"].arm) == ("home_ranker", "treatment")
    assert (shown["b"].model_version, shown["b"].weights, shown["b"].fallback) == ("basket/v2", 7, None)
    assert {each.event_timestamp for each in shown.values()} == {LATER}
    assert shown["a"].asked == {"k": 10, "made_at": NOW.isoformat()}
    assert shown["a"].watermarks == {"user_item": "2017-11-27T00:00:00+00:00"}
    assert "3 exposures logged" in sent(done, project.open())


def test_a_second_run_logs_nothing_new_and_a_third_what_was_left_out(project: CampaignProject, tmp_path: Path) -> None:
    folder = batch(project.root / "out", [*listed("a", "xy"), *listed("b", "y"), *listed("c", "z")])
    only = tmp_path / "sent.txt"
    only.write_text("b\n\n a \nstranger\n")
    first = log_sent(project.open(), folder, only=only)
    assert (first.lists, first.new, first.left_out, first.unknown) == (2, 2, 1, 1)
    assert set(logged(project, "a", "b", "c")) == {"a", "b"}
    again = log_sent(project.open(), folder, only=only)
    assert (again.lists, again.new) == (2, 0)
    project.come_to(LATER)
    everybody = log_sent(project.open(), folder)
    assert (everybody.lists, everybody.new) == (3, 1)
    assert [each.event_timestamp for each in logged(project, "a", "b", "c").values()] == [NOW, NOW, LATER]
    told = sent(first, project.open())
    assert "1 lists were not sent" in told
    assert "note: 1 ids of the file have no list" in told
    assert "2 were logged before" in sent(everybody, project.open())
    assert sent_document(again, project.open())["new"] == 0


def test_ids_may_come_as_parquet(project: CampaignProject, tmp_path: Path) -> None:
    folder = batch(project.root / "out", [*listed("a", "xy"), *listed("b", "y")])
    pq.write_table(pa.table({"user_id": pa.array(["b"]).dictionary_encode()}), tmp_path / "ids.parquet")
    assert log_sent(project.open(), folder, only=tmp_path / "ids.parquet").lists == 1
    assert set(logged(project, "a", "b")) == {"b"}


def test_chances_and_testers_are_those_of_the_batch_where_it_tells_them(project: CampaignProject) -> None:
    """An older batch has neither: nothing was drawn, and testers are those of the declaration."""
    with_both = [
        *listed("household_1", "x", "control", propensity=0.25, overridden=False),
        *listed("b", "y", "treatment", propensity=1.0, overridden=True),
    ]
    log_sent(project.open(), batch(project.root / "out", with_both))
    found = logged(project, "household_1", "b")
    assert [each.overridden for each in found.values()] == [False, True]
    assert [each.items[0].propensity for each in found.values()] == [0.25, 1.0]
    older = CampaignProject(project.root / "older")
    log_sent(
        older.open(), batch(older.root / "out", [*listed("household_1", "x", "control"), *listed("b", "y", "control")])
    )
    found = logged(older, "household_1", "b")
    assert [each.overridden for each in found.values()] == [True, False]
    assert {each.items[0].propensity for each in found.values()} == {1.0}


def test_lists_without_a_model_keep_their_fallback(project: CampaignProject) -> None:
    rows = listed("a", "xy", model_version=None, weights=None, fallback="popular", score=None)
    log_sent(project.open(), batch(project.root / "out", rows))
    shown = logged(project, "a")["a"]
    assert (shown.model_version, shown.weights, shown.fallback) == (None, None, "popular")
    assert all(item.score != item.score for item in shown.items)


def test_who_was_forgotten_since_is_not_logged(project: CampaignProject) -> None:
    folder = batch(project.root / "out", [*listed("a", "xy"), *listed("b", "y")])
    project.ledger_kept.append(
        transaction="t",
        state="done",
        action="forget",
        subject="forgotten users",
        payload={"users": [tombstone("b")], "rows": {}},
        author="ada",
        at=NOW,
    )
    done = log_sent(project.open(), folder)
    assert (done.lists, done.forgotten) == (1, 1)
    assert set(logged(project, "a", "b")) == {"a"}
    assert "1 lists are of users who were forgotten since" in sent(done, project.open())


def test_rows_are_read_a_bounded_number_at_a_time(project: CampaignProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that lies across two chunks is one list."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    folder = batch(project.root / "out", [*listed("a", "xyz"), *listed("b", "zyx"), *listed("c", "y")])
    told: list[tuple[str, int, int]] = []
    done = log_sent(project.open(), folder, progress=lambda *step: told.append(step))
    assert (done.lists, done.new) == (3, 3)
    assert [len(each.items) for each in logged(project, "a", "b", "c").values()] == [3, 3, 1]
    assert told == sorted(told)
    assert told[-1] == ("rows", 7, 7)


# ---------------------------------------------------------------- contacts of a campaign


def test_a_campaigns_contacts_are_exposures_of_its_audience(project: CampaignProject) -> None:
    """A unit's request shows it one thing, the contact; its place in the one list is what was asked."""
    made = project.serve()
    project.come_to(LATER)
    done = log_sent(project.open(), made.folder)
    assert (done.place, done.lists, done.new) == ("mailing", 4, 4)
    table = project.log_kept.exposures("mailing", NOW, LATER + timedelta(seconds=1))
    assert sorted(table["user_id"].to_pylist()) == ["h15", "h16", "h17", "h18"]
    assert set(table["model_version"].to_pylist()) == {"coupon/v1"}
    by_user = dict(zip(table["user_id"].to_pylist(), table["request_id"].to_pylist(), strict=True))
    best = project.log_kept.request(by_user["h17"])
    assert best is not None
    assert best.asked == {"channel": "sms", "capacity": 4, "rank": 2, "made_at": NOW.isoformat()}
    assert [(item.item_id, item.position, item.score, item.propensity) for item in best.items] == [
        ("sms", 1, pytest.approx(0.18), 1.0)
    ]
    assert set(best.watermarks) == {"active", "consent", "taste"}
    assert len(best.feature_digest) == 16
    assert best.features == {"affinity": [0.18]}
    assert log_sent(project.open(), made.folder).new == 0


def test_a_campaign_keeps_the_features_of_a_share_and_of_the_first_few(
    project: CampaignProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of a small list would be nobody."""
    monkeypatch.setattr(feature_sample, "CONTACTS", 3)
    for share, count in ((0.01, 3), (1.0, 12), (0.0, 0)):
        project.change("environments/local.yaml", "serve.feature_rows", share)
        table = pq.read_table(project.serve("letter").folder / "arm=default", partitioning=None)
        kept = table.filter(pc.is_valid(table["features"]))
        assert len(kept) == count
        for row in kept.to_pylist():
            assert json.loads(row["features"]) == {"affinity": pytest.approx(row["score"])}


def test_a_batch_of_an_earlier_version_has_no_features(project: CampaignProject) -> None:
    made = project.serve()
    path = made.folder / "arm=default" / "part-00000.parquet"
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["features"]), path)
    assert log_sent(project.open(), made.folder).new == 4
    requests = project.log_kept.exposures("mailing", NOW, NOW + timedelta(seconds=1))["request_id"].to_pylist()
    assert project.log_kept.with_features("mailing", NOW, NOW + timedelta(seconds=1)) == []
    assert len(requests) == 4


def test_a_campaign_that_reached_nobody_logs_nothing(project: CampaignProject) -> None:
    project.consent(dict.fromkeys(USERS))
    done = log_sent(project.open(), project.serve().folder)
    assert (done.lists, done.new) == (0, 0)
    assert "0 exposures logged" in sent(done, project.open())


def test_a_list_that_was_made_again_before_it_was_sent_is_logged_as_it_is_now(project: CampaignProject) -> None:
    project.serve()
    project.consent({"h18": 0.0})
    assert log_sent(project.open(), project.serve().folder).lists == 4
    table = project.log_kept.exposures("mailing", NOW, NOW + timedelta(seconds=1))
    assert sorted(table["user_id"].to_pylist()) == ["h14", "h15", "h16", "h17"]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"placement": None}, "names neither placement nor audience: not the manifest of a batch, or of an earlier"),
        ({"watermarks": None}, "names no watermarks"),
        ({"placement": "elsewhere"}, "a batch of placement elsewhere, which is not declared here"),
        ({"placement": None, "audience": "them", "channel": "sms"}, "a batch of audience them, which is not declared"),
    ],
)
def test_a_foreign_manifest_is_refused_in_one_line(
    project: CampaignProject, change: Mapping[str, Any], words: str
) -> None:
    folder = batch(project.root / "out", listed("a", "x"))
    known = json.loads((folder / MANIFEST).read_text()) | change
    (folder / MANIFEST).write_text(json.dumps({name: value for name, value in known.items() if value is not None}))
    refused(project, folder, words)


def test_a_folder_without_a_manifest_or_with_a_damaged_one_is_no_batch(project: CampaignProject) -> None:
    folder = batch(project.root / "out", listed("a", "x"))
    (folder / MANIFEST).write_text('{"placement": "ho')
    refused(project, folder, "cannot be read")
    (folder / MANIFEST).write_text("[1]")
    refused(project, folder, "names neither placement nor audience")
    (folder / MANIFEST).unlink()
    refused(project, folder, "no batch: it has no _manifest.json: give the date's folder of a batch")
    refused(project, project.root / "nowhere", "no batch: it has no _manifest.json")
    refused(project, folder / "arm=default/part-00000.parquet", "no batch: it has no _manifest.json")


def test_files_that_are_not_of_a_batch_are_refused(project: CampaignProject) -> None:
    folder = batch(project.root / "out", listed("a", "x"))
    part = folder / "arm=default/part-00000.parquet"
    pq.write_table(pq.read_table(part, partitioning=None).drop_columns(["rank"]), part)
    refused(project, folder, "column rank is missing: not a file of a batch")
    part.write_bytes(b"PAR1 and no more")
    refused(project, folder, "cannot be read")


@pytest.mark.parametrize("at", [NOW - timedelta(seconds=1), LATER + timedelta(seconds=1)])
def test_a_batch_is_sent_after_it_is_made_and_logged_after_it_is_sent(project: CampaignProject, at: datetime) -> None:
    folder = batch(project.root / "out", listed("a", "x"))
    project.come_to(LATER)
    refused(project, folder, "a list is sent after it is made, and logged after it is sent", at=at)
    assert log_sent(project.open(), folder, at=NOW).new == 1


def test_ids_of_somebody_else_are_refused(project: CampaignProject, tmp_path: Path) -> None:
    folder = batch(project.root / "out", listed("a", "x"))
    (tmp_path / "ids").write_text("p\nq\n")
    refused(project, folder, "none of its 2 ids has a list in", only=tmp_path / "ids")
    refused(project, folder, "cannot be read", only=tmp_path / "missing")
    refused(project, folder, "no such file", only=tmp_path / "missing.parquet")
    (tmp_path / "nobody").write_text("")
    assert log_sent(project.open(), folder, only=tmp_path / "nobody").lists == 0


def refused(project: CampaignProject, folder: Path, words: str, **options: Any) -> None:
    with pytest.raises(DataError) as raised:
        log_sent(project.open(), folder, **options)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not logged(project, "a")


# ---------------------------------------------------------------- the command, and a log that fails on the way


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilesProject:
    """A project with a log on disk, whose clock stands at the batch."""
    made = FilesProject(tmp_path / "shop")
    made.declare(clock={"replay_from": NOW.isoformat()})
    monkeypatch.chdir(made.root)
    return made


def test_the_command_logs_each_list_once_into_a_log_on_disk(shop: FilesProject) -> None:
    batch(shop.root / "out", [*listed("a", "xyz"), *listed("b", "yx")])
    told = [json.loads(recsys("log", "sent", "out", "--json").stdout) for _ in range(2)]
    assert [(each["lists"], each["new"]) for each in told] == [(2, 2), (2, 0)]
    workspace = shop.open()
    assert len(workspace.event_log.exposures("home", NOW, LATER)) == 2
    assert len(workspace.event_log.impressions("home", NOW, LATER)) == 5
    workspace.event_log.close()  # type: ignore[attr-defined]
    refusal = recsys("log", "sent", "elsewhere")
    assert isinstance(refusal.exception, DataError)
    assert str(refusal.exception).startswith("elsewhere: no batch: it has no _manifest.json")


def test_what_a_failing_log_did_not_take_is_logged_by_the_same_command(
    shop: FilesProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole lists only: those of the transactions before the failure stay."""
    folder = batch(shop.root / "out", [row for number in range(12) for row in listed(f"u{number:02d}", "xyz")])
    monkeypatch.setattr(sent_module, "LISTS_AT_ONCE", 4)
    real, taken = event_log._insert_exposures, []

    def insert(connection: Any, waiting: Mapping[str, Exposure]) -> Any:
        if len(taken) == 2:
            message = "event log: the disk is full"
            raise StoreError(message)
        taken.append(len(waiting))
        return real(connection, waiting)

    monkeypatch.setattr(event_log, "_insert_exposures", insert)
    workspace = shop.open()
    with pytest.raises(StoreError, match="the disk is full"):
        log_sent(workspace, folder)
    assert taken == [4, 4]
    assert len(workspace.event_log.exposures("home", NOW, LATER)) == 8
    assert len(workspace.event_log.impressions("home", NOW, LATER)) == 24
    monkeypatch.setattr(event_log, "_insert_exposures", real)
    assert log_sent(workspace, folder).new == 4
    assert len(workspace.event_log.impressions("home", NOW, LATER)) == 36
    workspace.event_log.close()  # type: ignore[attr-defined]


def recsys(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))
