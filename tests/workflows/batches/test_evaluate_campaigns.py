"""Does `recsys evaluate AUDIENCE` say what sent campaigns brought, once it can be known, and nothing before?"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import schema
from recsys.errors import DataError, SpecError
from recsys.experiment.bucketing import bucket
from recsys.printing import campaigns_evaluated as told
from recsys.schema import USER
from recsys.serving.list_rows import ELIGIBLE
from recsys.workflows.batches.campaign_files import Campaign
from recsys.workflows.batches.evaluate_campaigns import CampaignsEvaluated, evaluate_campaigns
from recsys.workflows.batches.sent import log_sent
from recsys.workflows.batches.serve_campaign import serve_campaign
from recsys.workflows.data.kept_campaigns import FOLDER, forget_lists, keep_campaign, kept_campaigns
from tests.workflows.campaign_project import AUDIENCE, NOW, PROBLEM, USERS, CampaignProject

LAYER = "layers/campaigns.yaml"
SEED = "campaigns:"
DAY = timedelta(days=1)
SHARE = 0.4
HELD = [user for user in USERS if bucket(SEED, user) < SHARE * 10_000]


@pytest.fixture
def project(tmp_path: Path) -> CampaignProject:
    """Give a project that holds some of twenty units out, and of which nobody has done anything yet."""
    made = CampaignProject(tmp_path)
    made.files[LAYER] = {"seed": SEED, "holdout": [0.0, SHARE]}
    made.change(AUDIENCE, "holdouts", ["campaigns"])
    happened(made)
    return made


def happened(project: CampaignProject, *events: tuple[str, timedelta], **more: Any) -> None:
    """Let users redeem so long after `NOW`, and somebody else do something else every day."""
    days = [{USER: "passer-by", "event_type": "visit", "at": NOW + number * DAY} for number in range(-3, 80)]
    rows = [{USER: user, "event_type": "redeemed", "at": NOW + after, **more} for user, after in events]
    content = []
    for number, row in enumerate([*days, *rows]):
        at = row.pop("at")
        stamps = {schema.EVENT_TIMESTAMP: at, schema.CREATED_TIMESTAMP: row.pop("known", at)}
        content.append({schema.EVENT_ID: f"e{number}", "quantity": 1.0, "value": 2.0, **stamps, **row})
    path = project.root / ".recsys/tables/events.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(content, schema.EVENT_TABLE), path)


def sent(project: CampaignProject, channel: str = "letter", **options: Any) -> Campaign:
    done = serve_campaign(project.open(), "mailing", channel)
    log_sent(project.open(), done.folder, **options)
    return done


def evaluated(project: CampaignProject, **options: Any) -> CampaignsEvaluated:
    return evaluate_campaigns(project.open(), "mailing", **options)


def on_list(done: Campaign) -> list[str]:
    return list(pq.read_table(done.folder / "arm=default" / "part-00000.parquet", partitioning=None)[USER].to_pylist())


def after(days: float) -> datetime:
    return NOW + timedelta(days=days)


# ---------------------------------------------------------------- what is written and kept


def test_whom_a_list_was_chosen_from_stands_beside_it_and_is_no_list(project: CampaignProject) -> None:
    """Readers of parquet do not see it, so that who is held out is not sent to by mistake; nor is it logged."""
    project.change(PROBLEM, "channels.letter.capacity", 6)
    done = sent(project)
    rows = {row[USER]: row for row in pq.read_table(done.folder / ELIGIBLE).to_pylist()}
    chosen = on_list(done)
    assert set(rows) == set(USERS)
    assert {user for user, row in rows.items() if row["held_out"]} == set(HELD)
    assert sorted(rows, key=lambda user: rows[user]["rank"] or 99)[: len(chosen)] == chosen
    above = {user for user, row in rows.items() if row["above_cut"]}
    assert above == {user for user in USERS if user >= min(chosen)}
    assert done.would_be == len(above & set(HELD)) > 0
    assert set(pq.read_table(done.folder)[USER].to_pylist()) == set(chosen)
    logged = project.log_kept.exposures("mailing", NOW, after(1))
    assert set(logged[USER].to_pylist()) == set(chosen)


def test_a_list_that_is_made_again_after_it_was_sent_is_evaluated_all_the_same(project: CampaignProject) -> None:
    first = sent(project)
    folder, chosen = first.folder, on_list(first)
    project.come_to(NOW + timedelta(hours=2))
    again = serve_campaign(project.open(), "mailing", "letter")
    assert again.folder == folder
    project.come_to(after(15))
    (found,) = evaluated(project).document["campaigns"]
    assert (found["made_at"], found["sent"]) == (NOW.isoformat(), len(chosen))
    assert evaluated(project).document["unsent"] == 0


def test_a_list_of_another_folder_is_kept_and_one_of_items_is_not(project: CampaignProject, tmp_path: Path) -> None:
    done = serve_campaign(project.open(), "mailing", "letter", out=tmp_path / "out")
    for _ in range(2):
        assert keep_campaign(project.open(), done.folder)
    assert [each.made_at for each in kept_campaigns(project.open(), "mailing")] == [NOW]
    (done.folder / ELIGIBLE).unlink()
    assert not keep_campaign(project.open(), done.folder)
    assert not keep_campaign(project.open(), tmp_path)


# ---------------------------------------------------------------- when it can be read


def test_nothing_is_said_before_the_window_is_over(project: CampaignProject) -> None:
    sent(project)
    project.change(PROBLEM, "target.settle_delay", "2d")
    project.come_to(after(16) - timedelta(microseconds=1))
    early = evaluated(project)
    assert early.document["verdict"]["name"] == "WAIT"
    assert "2017-12-17 06:00" in early.document["verdict"]["reason"]
    assert early.document["campaigns"] == []
    assert "waits: letter of 2017-12-01" in told(early, "page")
    project.come_to(after(16))
    assert evaluated(project).document["verdict"]["name"] == "UNCLEAR"


def test_events_that_were_not_brought_in_yet_are_waited_for(project: CampaignProject) -> None:
    """Else everybody would seem to have done nothing."""
    sent(project)
    path = project.root / ".recsys/tables/events.parquet"
    table = pq.read_table(path)
    known = [at < after(10) for at in table[schema.CREATED_TIMESTAMP].to_pylist()]
    pq.write_table(table.filter(pa.array(known)), path)
    project.come_to(after(20))
    verdict = evaluated(project).document["verdict"]
    assert verdict["name"] == "WAIT"
    assert verdict["reason"].startswith("Events are known up to 2017-12-10 07:00 UTC")


def test_without_a_sent_list_there_is_nothing_and_without_events_nothing_can_be_said(project: CampaignProject) -> None:
    serve_campaign(project.open(), "mailing", "letter")
    found = evaluated(project).document
    assert found["verdict"] == {"name": "WAIT", "reason": "No list of this time was sent and logged."}
    (project.root / ".recsys/tables/events.parquet").unlink()
    with pytest.raises(DataError, match=r"audience mailing: .*events\.parquet is missing; run `recsys ingest` first"):
        evaluated(project)
    with pytest.raises(SpecError, match="audience"):
        evaluate_campaigns(project.open(), "nobody")


# ---------------------------------------------------------------- what it says


def test_what_came_and_what_was_added_are_counted_from_the_sending_on(project: CampaignProject) -> None:
    """Acts before it, after the window, cancelled ones and those of who may not be contacted where they belong."""
    done = sent(project)
    chosen = on_list(done)
    redeemed = [chosen[0], chosen[1], chosen[2], HELD[-1]]
    happened(project, *((user, 2 * DAY) for user in redeemed), (chosen[4], -DAY), (chosen[5], 15 * DAY))
    project.come_to(after(20))
    found = evaluated(project).document
    (campaign,) = found["campaigns"]
    assert (campaign["acted"], campaign["eligible_acted"]) == (3, 4)
    assert campaign["precision"] == pytest.approx(3 / len(chosen))
    assert campaign["recall"] == pytest.approx(3 / 4)
    assert campaign["stated_precision"] == pytest.approx(campaign["expected_precision"])
    assert campaign["stated_recall"]["estimate"] == pytest.approx(campaign["expected_recall"]["estimate"])
    (everybody,) = found["brought"]
    full = len(chosen) == done.capacity
    assert everybody["contacts"] == {"reached": len(chosen) - full, "held_out": done.would_be}
    assert everybody["primary"]["held_out"] == pytest.approx(1 / done.would_be)
    (tenths,) = found["calibration"]
    assert tenths["contacts"] == len(chosen)
    assert found["health"]["failures"] == []


def test_a_cancellation_counts_from_when_it_is_known(project: CampaignProject) -> None:
    done = sent(project)
    user = on_list(done)[0]
    happened(project, (user, 2 * DAY))
    project.come_to(after(20))
    assert evaluated(project).document["campaigns"][0]["acted"] == 1
    path = project.root / ".recsys/tables/events.parquet"
    table = pq.read_table(path).to_pylist()
    act = next(row for row in table if row["event_type"] == "redeemed")
    cancelled = {**act, "quantity": 0.0, schema.CREATED_TIMESTAMP: after(10)}
    act[schema.SUPERSEDED_TIMESTAMP] = after(10)
    pq.write_table(pa.Table.from_pylist([*table, cancelled], schema.EVENT_TABLE), path)
    found = evaluated(project).document
    assert found["campaigns"][0]["acted"] == 0
    assert found["brought"][0]["primary"]["reached"] == 0


def test_who_was_not_sent_counts_in_what_was_added_and_not_in_precision(project: CampaignProject) -> None:
    ids = project.root / "sent.txt"
    done = serve_campaign(project.open(), "mailing", "letter")
    chosen = on_list(done)
    ids.write_text("\n".join(chosen[:3]))
    log_sent(project.open(), done.folder, only=ids)
    happened(project, (chosen[0], DAY), (chosen[3], DAY))
    project.come_to(after(20))
    found = evaluated(project).document
    (campaign,) = found["campaigns"]
    assert (campaign["sent"], campaign["listed"], campaign["acted"]) == (3, len(chosen), 1)
    assert campaign["stated_precision"] != campaign["expected_precision"]
    (everybody,) = found["brought"]
    assert everybody["sent_share"] == pytest.approx(3 / everybody["contacts"]["reached"])
    assert everybody["primary"]["reached"] == pytest.approx(2 / everybody["contacts"]["reached"])


def test_channels_are_told_apart_and_together(project: CampaignProject) -> None:
    short = sent(project, "sms")
    sent(project, "letter")
    happened(project, (on_list(short)[0], DAY))
    project.come_to(after(20))
    found = evaluated(project).document
    assert [each["channel"] for each in found["campaigns"]] == ["letter", "sms"]
    assert [each["scope"] for each in found["brought"]] == ["all", "letter", "sms"]
    everybody, letter, sms = found["brought"]
    assert everybody["contacts"]["reached"] == letter["contacts"]["reached"] + sms["contacts"]["reached"]
    assert everybody["units"]["reached"] == letter["units"]["reached"]
    assert sms["overlapping"] == sms["contacts"]["reached"]
    assert everybody["primary"]["reached"] == pytest.approx(1 / everybody["contacts"]["reached"])


def test_a_period_is_of_lists_by_when_they_were_made(project: CampaignProject) -> None:
    sent(project)
    project.come_to(after(3))
    sent(project)
    project.come_to(after(30))
    assert len(evaluated(project).document["campaigns"]) == 2
    (first,) = evaluated(project, until=after(3)).document["campaigns"]
    (second,) = evaluated(project, since=after(3)).document["campaigns"]
    assert (first["made_at"], second["made_at"]) == (NOW.isoformat(), after(3).isoformat())
    assert evaluated(project, since=after(3)).page.name == "mailing-part.html"


def test_without_a_holdout_there_is_nobody_to_compare_with(tmp_path: Path) -> None:
    project = CampaignProject(tmp_path)
    happened(project)
    sent(project)
    project.come_to(after(20))
    found = evaluated(project).document
    assert found["verdict"]["name"] == "UNCLEAR"
    assert "Nobody was held out" in found["verdict"]["reason"]
    assert len(found["campaigns"]) == 1
    assert (found["brought"], found["health"]) == ([], None)


def test_holdouts_are_read_as_they_were_when_the_lists_were_made(project: CampaignProject) -> None:
    """What the file says today changes nothing; where lists differ, only who never changed sides is compared."""
    sent(project)
    project.files[LAYER] = {"seed": SEED, "holdout": [0.0, 0.7]}
    project.come_to(after(20))
    before = evaluated(project).document
    assert before["health"]["held_out_share"] == pytest.approx(SHARE)
    assert before["health"]["mismatched"] == 0
    sent(project)
    project.come_to(after(40))
    both = evaluated(project).document["health"]
    assert both["held_out_share"] == pytest.approx(0.4 / 0.7)
    assert both["switched"] > 0


def test_units_held_out_that_were_contacted_make_it_invalid(project: CampaignProject) -> None:
    """A second list kept no holdout."""
    sent(project)
    project.change(AUDIENCE, "holdouts", [])
    project.come_to(after(1))
    sent(project)
    project.come_to(after(30))
    found = evaluated(project).document
    assert found["verdict"]["name"] == "INVALID"
    assert "were contacted all the same" in found["verdict"]["reason"]


def test_contacts_of_a_list_of_which_nothing_is_kept_are_counted(project: CampaignProject) -> None:
    done = serve_campaign(project.open(), "mailing", "letter")
    (done.folder / ELIGIBLE).unlink()
    log_sent(project.open(), done.folder)
    sent(project, "sms")
    project.come_to(after(20))
    found = evaluated(project)
    assert found.document["unknown_contacts"] == len(on_list(done))
    assert "contacts are of lists of which nothing is kept" in told(found, "page")


# ---------------------------------------------------------------- what becomes of what is kept


def test_what_is_kept_goes_with_the_last_contact_that_the_log_has(
    project: CampaignProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(project)
    folder = project.root / ".recsys" / FOLDER / "mailing"
    assert forget_lists(project.open(), NOW) == 0
    assert forget_lists(project.open(), after(1)) == 0
    monkeypatch.setattr(project.log_kept, "_exposures", {})
    assert forget_lists(project.open(), after(1)) == 1
    assert list(folder.iterdir()) == []


def test_a_kept_list_that_is_damaged_is_named(project: CampaignProject) -> None:
    sent(project)
    (folder,) = (project.root / ".recsys" / FOLDER / "mailing").iterdir()
    project.come_to(after(20))
    (folder / ELIGIBLE).write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"_eligible\.parquet: cannot be read .*copy it from the batch"):
        evaluated(project)
    (folder / "_manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"_manifest\.json: cannot be read"):
        evaluated(project)


# ---------------------------------------------------------------- how it is shown


def report(project: CampaignProject) -> tuple[Mapping[str, Any], str, str]:
    done = sent(project)
    happened(project, *((user, DAY) for user in on_list(done)))
    project.come_to(after(20))
    found = evaluated(project)
    return found.document, told(found, "page.html"), found.page.read_text()


def test_the_same_figures_stand_in_terminal_json_and_page(project: CampaignProject) -> None:
    document, said, page = report(project)
    assert document["verdict"]["name"] == "ADDS"
    assert "verdict: ADDS. redeemed: +1,000.0 by 1,000 contacts" in said
    assert "health: sound" in said
    assert "<strong>ADDS.</strong>" in page
    assert "What contacts added" in page
    assert "Calibration" in page
    beside = json.loads((project.root / ".recsys/reports/campaigns/mailing.json").read_text())
    assert beside == json.loads(json.dumps(document))


def test_names_stay_text_in_the_page(project: CampaignProject) -> None:
    project.change(PROBLEM, "business_issue", "<script>alert(1)</script>")
    _, _, page = report(project)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
