"""Does the console of a shop that was lived through say what its commands say?"""

import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from recsys.web.server import application_of
from recsys.workflows.experiments.evaluate import frozen_report
from recsys.workflows.problem.funnel import funnel
from recsys.workflows.requests.why import why
from recsys.workflows.workspace import Workspace
from tests.reports.test_offline import read


@pytest.fixture(scope="module")
def client(replayed: Workspace) -> Iterator[TestClient]:
    with TestClient(application_of(replayed, None), base_url="http://127.0.0.1") as made:
        for _ in range(240):
            if made.get("/readyz").status_code == 200:
                break
            time.sleep(0.25)
        yield made


def words(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return " ".join(" ".join(read(answer.text).words).split())


def test_the_overview_knows_what_is_live_and_decided(client: TestClient, replayed: Workspace) -> None:
    said = words(client, "/")
    report = frozen_report(replayed, "home_ranker")
    assert report is not None
    for part in ("weekly_basket", "champion v1", "flat refused", "basket/v1 answers by default", "decided"):
        assert part in said
    assert report["verdict"]["name"] in said
    assert "Model discover has no champion" in said


def test_a_model_says_where_it_comes_from(client: TestClient, replayed: Workspace) -> None:
    said = words(client, "/models/basket?version=v2")
    weights = next(each for each in replayed.registry.search("basket") if each.version == "v2")
    for tag in ("recsys.data_digest", "recsys.logic_digest"):
        assert weights.tags[tag] in said
    parts = ("basket_full", "user_item", "rhythm", "pair_decay_90d", "Candidates", "What the model leans on")
    for part in (*parts, "champion then (basket/v1)"):
        assert part in said
    page = read(client.get("/models/basket?version=v2").text)
    sources = [
        str(attributes["src"]) for tag, attributes in page.tags if tag == "img" and "/charts/" in str(attributes)
    ]
    assert [client.get(source).status_code for source in sources] == [200] * len(sources)
    assert len(sources) >= 4


def test_a_problem_shows_the_funnel_that_was_asked_for_last(client: TestClient, replayed: Workspace) -> None:
    assert "was not asked yet" in words(client, "/problems/weekly_basket")
    found = funnel(replayed, "weekly_basket")
    said = words(client, "/problems/weekly_basket")
    for stage in found.whole.stages:
        assert f"{stage.stage} {stage.users:,}" in said
    for reason in found.advice.choice.reasons:
        assert reason in said


def test_an_experiment_has_the_frozen_reports_figures(client: TestClient, replayed: Workspace) -> None:
    said = words(client, "/experiments/home_ranker")
    report = frozen_report(replayed, "home_ranker")
    assert report is not None
    assert report["digest"] in said
    for found in report["analysis"]["effects"]:
        assert f"{100 * found['effect']['relative']['estimate']:+.2f}" in said
    assert "50 % of all, of a slot from 0.5 to 1" in said


def test_a_request_is_explained_as_by_the_command(client: TestClient, replayed: Workspace) -> None:
    start, end = replayed.catalog.experiment("home_ranker").plan.window()
    rows = replayed.event_log.exposures("home", start, end).to_pylist()
    chosen = next(row["request_id"] for row in rows if row["arm"] == "treatment")
    said = words(client, f"/requests?id={chosen}")
    found = why(replayed, chosen)
    assert found.explanation is not None
    assert "same items and scores" in said
    assert "same features" in said
    for each in found.explanation.items:
        assert each.item.item_id in said
    assert f"{found.explanation.candidates:,} candidates" in said


def test_lists_are_tried_as_they_would_be_answered_and_not_logged(client: TestClient, replayed: Workspace) -> None:
    def logged() -> int:
        start, end = replayed.catalog.experiment("home_ranker").plan.window()
        return len(replayed.event_log.exposures("home", start, end + (end - start)))

    user = str(
        replayed.event_log.exposures("home", *replayed.catalog.experiment("home_ranker").plan.window())["user_id"][0]
    )
    before = logged()
    said = words(client, f"/placements/home?user_id={user}")
    assert logged() == before
    assert "champion, control of home_ranker" in said
    assert "treatment of home_ranker" in said
    answered = client.post("/v1/recommend", json={"placement": "home", "user_id": user}).json()
    shown = said[said.index("champion, control of home_ranker") :]
    places = [shown.index(item["item_id"]) for item in answered["items"]]
    assert places == sorted(places)


def test_an_audience_says_how_each_channel_is_filled(client: TestClient) -> None:
    said = words(client, "/placements/coupon_mailing")
    for channel in ("phone", "sms", "email"):
        assert f"recsys serve-batch coupon_mailing --channel {channel}" in said
