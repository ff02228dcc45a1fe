"""Does the console say what is, to those who may see it, escaped, in time, and without changing anything?"""

import html
import json
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree as ET

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DataError, StoreError
from recsys.reports.drawing import INK
from recsys.reports.offline import page as offline_page
from recsys.web.console.rendering import POLICY
from recsys.web.console.rendering import _value as written_as
from recsys.web.console.session import COOKIE, SECONDS, Sessions, local_path
from recsys.workflows.console.source import ConsoleSource, Document
from tests.adapters.test_event_log_contract import exposure
from tests.docs.test_examples import fault
from tests.fakes.event_log import FakeEventLog
from tests.reports.test_offline import HOSTILE, list_document, read
from tests.serving.small_shop import NOW
from tests.serving.test_resolver import experiment, world
from tests.web.console_site import PAGES, OneRequest, application, drift_document, hostile, hostile_world, project
from tests.workflows.promoted_project import NAME, PromotedProject
from tests.workflows.small_project import BEFORE, START, SmallProject

SECRET: Final = "s3cret-token"  # noqa: S105 - of the test's own


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> PromotedProject:
    return project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def reads(shop: PromotedProject) -> OneRequest:
    return OneRequest(shop.open())


@pytest.fixture(scope="module")
def client(reads: OneRequest) -> Iterator[TestClient]:
    with TestClient(application(reads, world(routers=[experiment()]))) as made:
        yield made


def words(text: str) -> str:
    """Return what a page says, without its tags."""
    return " ".join(" ".join(read(text).words).split())


# ---------------------------------------------------------------- what the pages say


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_there_and_lets_nothing_in_from_elsewhere(client: TestClient, name: str) -> None:
    answer = client.get(PAGES[name])
    assert answer.status_code == 200, words(answer.text)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert (
        answer.headers["cross-origin-opener-policy"] == answer.headers["cross-origin-resource-policy"] == "same-origin"
    )
    found = read(answer.text)
    loaded = [dict(attributes).get(name) for tag, attributes in found.tags for name in ("src", "data", "action")]
    loaded += [attributes.get("href") for tag, attributes in found.tags if tag == "link"]
    assert all(address.startswith("/") for address in loaded if address)
    assert not {"script", "style", "iframe"} & {tag for tag, _ in found.tags}
    assert not [attributes for _, attributes in found.tags if "style" in attributes or "onclick" in attributes]


def test_the_overview_goes_from_the_issue_to_the_experiment_and_says_what_to_do(client: TestClient) -> None:
    said = words(client.get("/").text)
    order = ["Households find too few", "growth", "basket", "champion v1", "home", "live", NAME, "decided", "SHIP"]
    places = [0]
    for part in order:
        places.append(said.index(part, places[-1]))
    attention = said[: places[1]]
    assert f"recsys promote {NAME}" in attention


def test_a_problem_says_what_each_channel_measures_and_its_funnel(client: TestClient) -> None:
    page = client.get(PAGES["problem"]).text
    said = words(page)
    assert "feed 10 slots of each unit's list ndcg@10/user, precision@10/user" in said
    assert "Model click. clicks need 6 days and correlate 0.71 with orders" in said
    for part in (
        "Worth and need",
        "1,200 [1,000, 1,500]",
        "6 [5, never]",
        "unknown",
        "order: 25.0 % of those before reach it",
        "by the log: 52% of the events order came without click",
        "recsys funnel weekly_basket",
    ):
        assert part in said
    (chart,) = re.findall(r'src="(/charts/problems/weekly_basket/funnel.svg[^"]*)"', page)
    assert client.get(chart).status_code == 200


def test_a_model_says_what_moved_since_and_whether_it_is_good_now(client: TestClient) -> None:
    said = words(client.get(PAGES["model"]).text)
    assert "bad ndcg@10/user 0.2100 [0.2000, 0.2200] on matured labels, 0.3000 when it was trained" in said
    assert "alert drift: sold moved" in said
    assert "sold 0.3100 2.0e-09 0 12.5000 times 0.0100 - 0 0" in said
    said = words(client.get("/models/basket?version=v1").text)
    assert "was not asked yet" in said
    assert "recsys drift basket/v1" in said


def test_a_model_says_versions_lineage_gate_importance_and_record(client: TestClient) -> None:
    said = words(client.get(PAGES["model"]).text)
    for part in (
        "basket/v1",
        "basket/v2",
        "0a1b2c3d",
        "user_item",
        "pair_baskets",
        "pair_count",
        "promote",
        "rollback basket --reason ",
    ):
        assert part in said
    assert client.get("/models/basket?version=v9").status_code == 404


def test_an_experiment_says_traffic_effects_verdict_and_what_would_change_it(client: TestClient) -> None:
    page = client.get(PAGES["experiment"]).text
    said = words(page)
    for part in (
        "SHIP",
        "What would change it".lower(),
        "0.5",
        "at every look",
        "Funnel",
        "Everything ran as declared",
        "ada",
    ):
        assert part in said
    bars = [attributes for tag, attributes in read(page).tags if tag == "rect" and "taken" in str(attributes["class"])]
    assert [(bar["x"], bar["width"]) for bar in bars if "x" in bar] == [("0", "5000"), ("5000", "5000")]


def test_a_request_says_how_each_item_came_to_its_slot(client: TestClient) -> None:
    said = words(client.get(PAGES["request"]).text)
    assert "1 b a Coffee a new 2 c b down 1 3 d c down 1" in said
    assert "times in 1 slots" in said


LINKED: Final = {
    "experiment": (
        "/problems/weekly_basket",
        "/models/basket?version=v1",
        "/models/basket?version=v2",
        "/placements/home",
    ),
    "model": ("/problems/weekly_basket", "/models/basket", "/placements/home"),
    "problem": ("/",),
    "placement": ("/problems/weekly_basket", "/models/basket?version=v1"),
    "try": ("/problems/weekly_basket", "/models/basket?version=v1", "/models/basket?version=v2"),
    "request": ("/requests", "/problems/weekly_basket", "/models/basket?version=v2"),
    "api": ("/",),
}
"""Page to where it leads, beside the head of the site."""
TRAILS: Final = {
    "experiment": f"Overview / weekly_basket / home / {NAME}",
    "model": "Overview / weekly_basket / basket / v2",
    "problem": "Overview / weekly_basket",
    "placement": "Overview / weekly_basket / home",
    "try": "Overview / weekly_basket / home",
    "request": "Overview / Why a list / r1",
    "api": "Overview / API",
}


@pytest.mark.parametrize("name", LINKED)
def test_a_page_leads_to_what_it_speaks_of_and_every_link_is_one(client: TestClient, name: str) -> None:
    page = client.get(PAGES[name]).text
    main = page[page.index("<main") :]
    led = {html.unescape(found) for found in re.findall(r'<a[^>]* href="(/[^"]*)"', main)}
    assert led >= set(LINKED[name])
    pages = {found.partition("#")[0] for found in led if not found.startswith(("/charts", "/requests?"))}
    assert {found: client.get(found).status_code for found in pages} == dict.fromkeys(pages, 200)
    trail = read(main[main.index('<nav class="trail"') :].partition("</nav>")[0]).words
    assert " ".join(" ".join(trail).split()) == TRAILS[name]
    inside = set(re.findall(r'href="#([^"]+)"', main))
    assert inside <= set(re.findall(r'id="([^"]+)"', page))


def test_what_answered_leads_to_the_versions(client: TestClient) -> None:
    page = client.get(PAGES["experiment"]).text
    answered = page[page.index("What answered") :].partition("</section>")[0]
    assert "/models/basket?version=v2" in answered


def test_the_overview_says_what_the_funnel_found_and_each_versions_state(client: TestClient) -> None:
    said = words(client.get("/").text)
    assert "Model click: clicks need 6 days" in said
    assert "v1 champion v2 in service" in said


def test_a_user_of_whom_nothing_is_known_is_told_apart(client: TestClient) -> None:
    assert "Nothing is known of" not in words(client.get("/placements/home?user_id=u1").text)
    assert "Nothing is known of somebody" in words(client.get("/placements/home?user_id=somebody").text)


def test_the_champion_of_a_report_is_that_of_then() -> None:
    document = list_document()
    document["metrics"]["champion"] = document["metrics"]["model"]
    assert "champion at training" in words(offline_page(document))
    assert "champion then (basket/v1)" in words(offline_page(document | {"champion": "basket/v1"}))


BROWSER: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_a_browser_sees_a_page_where_there_is_none_and_a_program_a_problem(client: TestClient) -> None:
    answer = client.get("/nope", headers={"accept": BROWSER})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"] == POLICY
    assert "Back to the overview" in words(answer.text)
    for accept in ("*/*", "application/json"):
        answer = client.get("/nope", headers={"accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_contact_of_a_campaign_says_its_place_and_not_how_a_list_came_about(shop: PromotedProject) -> None:
    class Contact(OneRequest):
        def request(self, request_id: str) -> Document:
            found = dict(super().request(request_id))
            found["asked"] = {"channel": "sms", "capacity": 1000, "rank": 42, "made_at": "2017-12-04T06:00:00+00:00"}
            found["features"] = {**found["features"], "digest_equal": None}
            only = {**found["recomputed"]["items"][1], "item_id": "sms", "position": 1, "sources": []}
            found["recomputed"] = {**found["recomputed"], "sources": {}, "filtered": {}, "stages": [], "items": [only]}
            return found

    with TestClient(application(Contact(shop.open()), world(routers=[experiment()]))) as client:
        said = words(client.get(PAGES["request"]).text)
    assert "home : place 42 of the 1,000 that sms can reach" in said
    assert "sent from a batch of 2017-12-04 06:00" in said
    assert "not logged features" in said
    for part in ("candidates", "stage by stage", "pinned"):
        assert part not in said


def test_lists_are_tried_beside_each_other_and_never_logged(reads: OneRequest) -> None:
    log = FakeEventLog()
    with TestClient(application(reads, world(routers=[experiment()]), log)) as client:
        said = words(client.get(PAGES["try"]).text)
        assert "champion, treatment of home_ranker" in said
        assert "control of home_ranker" in said
        assert re.search(r"would be answered by arm (control|treatment) of home_ranker", said)
        assert re.search(r"basket/v2 .* e 9 a 2 c 2 basket/v1 .* b new 5 c up 1 4 d new 3", said)
    assert log._exposures == {}


def test_every_command_that_a_page_shows_is_one(client: TestClient) -> None:
    shown = set()
    for path in (*PAGES.values(), "/models/basket?version=v1", "/problems/nobody"):
        shown.update(re.findall(r"<code[^>]*>(recsys [^<]+)</code>", client.get(path).text))
    assert len(shown) >= 4
    assert [
        (line, fault(shlex.split(html.unescape(line)))) for line in shown if fault(shlex.split(html.unescape(line)))
    ] == []


# ---------------------------------------------------------------- before there is anything, and after


def test_a_new_project_sees_its_first_steps_and_no_page_fails(tmp_path: Path) -> None:
    new = SmallProject(tmp_path)
    new.come_to(START)
    with TestClient(application(OneRequest(new.open()))) as client:
        pages = {name: client.get(PAGES[name]) for name in PAGES if name != "request"}
        assert {name: answer.status_code for name, answer in pages.items()} == dict.fromkeys(pages, 200)
        said = {name: words(answer.text) for name, answer in pages.items()}
        steps = ("recsys ingest", "recsys apply", "features build", "train --model-version basket/v1", "promote")
        places = [said["overview"].index(step) for step in steps]
        assert places == sorted(places)
        assert "done" not in said["overview"]
        assert "not applied" in said["overview"]
        assert "running" not in said["experiment"]
        assert "recsys train --model-version basket/v2" in said["model"]
        assert "recsys funnel weekly_basket" in said["overview"]
        assert "No request is in the log yet" in said["ask"]
        (tmp_path / ".recsys/tables").mkdir(parents=True)
        new.shop()
        new.come_to(BEFORE)
        new.apply()
        said["overview"] = words(client.get("/").text)
        assert said["overview"].count("to do") == 3
        assert said["overview"].count("done") == 2


def test_steps_end_with_the_first_champion(client: TestClient) -> None:
    assert "First steps" not in client.get("/").text


def test_alerts_of_the_champions_drift_need_attention(tmp_path: Path) -> None:
    drifted = project(tmp_path)
    path = tmp_path / ".recsys/reports/basket/v1-drift.json"
    alerts = [{"kind": "drift", "message": f"drift: column {name} moved"} for name in "abc"]
    with TestClient(application(OneRequest(drifted.open()))) as client:
        assert "moved" not in words(client.get("/").text)
        path.write_text(json.dumps(drift_document() | {"model_version": "basket/v1", "weights": 1, "alerts": alerts}))
        said = words(client.get("/").text)
        assert "basket/v1: drift: column a moved" in said
        assert "recsys diagnose basket" in said
        assert "1 alerts more" in said
        path.write_text(json.dumps(drift_document() | {"weights": 9, "alerts": alerts}))
        assert "moved" not in words(client.get("/").text), "they are of other weights"


def test_what_a_report_says_to_do_is_not_said_again_once_it_was_done(tmp_path: Path) -> None:
    decided = project(tmp_path)
    advice = [f"`recsys promote {NAME}` makes it the champion"]
    decided.alter(lambda report: report.update(next=advice, digest="d1"), seal=False)
    with TestClient(application(OneRequest(decided.open()))) as client:
        said = words(client.get(PAGES["experiment"]).text)
        assert f"recsys promote {NAME}" in said
        decided.ledger_kept.append(
            transaction="t",
            state="done",
            action="promote",
            subject="basket",
            payload={
                "aliases": {"champion": {"before": 1, "after": 3}},
                "model_version": "basket/v2",
                "experiment": NAME,
                "digest": "d1",
            },
            author="eve",
            at=decided.clock.now(),
        )
        said = words(client.get(PAGES["experiment"]).text)
        assert "by eve" in said
        assert f"recsys promote {NAME}" not in said


def test_requests_of_late_are_there_to_choose_from(tmp_path: Path) -> None:
    logged = project(tmp_path)
    arms = ("control", "treatment")
    logged.log_kept.write_exposures(
        exposure(f"request-{number:03}", NOW, user_id=f"u{number % 30}", arm=arms[number % 30 < 20])
        for number in range(120)
    )
    with TestClient(application(OneRequest(logged.open()), world(routers=[experiment()]))) as client:
        page = client.get(PAGES["ask"]).text
        links = re.findall(r'href="/requests\?id=(request-[0-9]+)"', page)
        assert len(links) == len(set(links)) == 12
        said = words(page)
        assert said.count("control of") == said.count("treatment of") == 6, "of each kind by turns"
        assert client.get(f"/requests?id={links[0]}").status_code == 200
        users = re.findall(r'href="/placements/home\?user_id=(u[0-9]+)"', client.get(PAGES["placement"]).text)
        assert len(users) == len(set(users)) == 8
        assert "somebody_new" in client.get(PAGES["placement"]).text


def test_a_request_that_cannot_be_explained_leaves_the_form_and_the_others(shop: PromotedProject) -> None:
    class Unknown(OneRequest):
        def request(self, request_id: str) -> Document:
            message = f"the log has no request {request_id}"
            raise DataError(message)

    with TestClient(application(Unknown(shop.open()))) as client:
        answer = client.get("/requests?id=nobody")
        assert answer.status_code == 404
        assert "the log has no request nobody" in words(answer.text)
        assert 'value="nobody"' in answer.text
        assert client.get("/requests").status_code == 200


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "-"), (float("nan"), "-"), (0.5, "0.5000"), (1e-7, "1.0e-07"), (1234.0, "1,234"), (-3.4e38, "-3.4e+38")],
)
def test_values_are_written_so_that_they_can_be_read(value: float | None, written: str) -> None:
    assert written_as(value) == written


# ---------------------------------------------------------------- what people write stays text


def test_markup_in_names_ids_and_reasons_stays_text(tmp_path: Path) -> None:
    class Hostile(OneRequest):
        item = HOSTILE

    written = hostile(project(tmp_path))
    with TestClient(application(Hostile(written.open()), hostile_world())) as client:
        for name, path in PAGES.items():
            answer = client.get(path)
            assert answer.status_code == 200, name
            found = read(answer.text)
            assert "script" not in {tag for tag, _ in found.tags}
            shown = [word for word in found.words if HOSTILE in word]
            assert shown or name in ("ask", "placement", "api"), name
        for path in ("/problems/", "/models/", "/experiments/", "/requests?id=", "/placements/"):
            assert "<script" not in client.get(path, params=None).text
            assert "<script" not in client.get(f"{path}{HOSTILE}").text


# ---------------------------------------------------------------- stores and files that fail


def test_a_name_that_there_is_not_is_a_page_that_says_so(client: TestClient) -> None:
    for kind in ("problems", "models", "experiments", "placements"):
        answer = client.get(f"/{kind}/nobody")
        assert answer.status_code == 404
        assert "nobody" in words(answer.text)


class Failing(OneRequest):
    """Reads that fail as they are told."""

    error: Exception = StoreError("event log postgresql://db: does not answer: start it")

    def experiment(self, name: str) -> Any:
        """Fail."""
        del name
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (StoreError("event log: does not answer: start it"), 503, "does not answer: start it"),
        (DataError("the log has no such request"), 404, "no such request"),
        (RuntimeError("internal detail"), 500, "The service's log has the cause"),
    ],
)
def test_what_cannot_be_read_is_said_on_a_page(shop: PromotedProject, error: Exception, status: int, said: str) -> None:
    reads = Failing(shop.open())
    reads.error = error
    with TestClient(application(reads)) as client:
        answer = client.get(PAGES["experiment"])
        assert answer.status_code == status
        assert said in words(answer.text)
        assert "internal detail" not in answer.text
        assert client.get("/").status_code == 200


class Hanging(OneRequest):
    """Reads that wait for a store that never answers."""

    def __init__(self, *arguments: Any) -> None:
        """Hang until told otherwise."""
        super().__init__(*arguments)
        self.answered = threading.Event()

    def experiment(self, name: str) -> Any:
        """Hang."""
        self.answered.wait(30)
        return super().experiment(name)


def test_a_store_that_hangs_costs_a_page_its_time_and_no_list_anything(shop: PromotedProject) -> None:
    reads = Hanging(shop.open())
    with TestClient(application(reads, seconds=0.2)) as client:
        for _ in range(4):
            answer = client.get(PAGES["experiment"])
            assert answer.status_code == 503
            assert "no answer in 0.2 s" in words(answer.text)
            listed = client.post("/v1/recommend", json={"placement": "home", "user_id": "u1"})
            assert listed.status_code == 200
            assert len(listed.json()["items"]) == 3
        reads.answered.set()


def test_an_overview_without_its_registry_says_what_it_does_not_know(tmp_path: Path) -> None:
    broken = project(tmp_path)
    reads = ConsoleSource(broken.open())

    def down(_: str) -> None:
        message = "MLflow: does not answer"
        raise StoreError(message)

    broken.registry_kept.search = down  # type: ignore[method-assign,assignment] # by command
    with TestClient(application(reads)) as client:
        said = words(client.get("/").text)
        assert "MLflow: does not answer" in said
        assert "not known now" in said
        assert NAME in said


def test_declarations_are_read_again_and_those_that_do_not_load_leave_what_was(tmp_path: Path) -> None:
    edited = project(tmp_path)
    with TestClient(application(ConsoleSource(edited.open()))) as client:
        path = tmp_path / "registry/problems/weekly_basket.yaml"
        before = path.read_text()
        path.write_text(before.replace("Households find", "Families find"))
        assert "Families find" in words(client.get("/").text)
        path.write_text("business_issue: [")
        said = words(client.get("/").text)
        assert "Families find" in said
        assert "registry/ does not load now" in said
        path.write_text(before)
        said = words(client.get("/").text)
        assert "does not load" not in said
        assert "Households find" in said


# ---------------------------------------------------------------- pictures


def test_pictures_are_drawn_apart_follow_the_night_and_may_be_kept(client: TestClient) -> None:
    page = read(client.get(PAGES["experiment"]).text)
    pictures = {str(attributes["src"]): attributes["alt"] for tag, attributes in page.tags if tag == "img"}
    charts = {source: words for source, words in pictures.items() if "/charts/" in source}
    assert [source.rpartition("/")[2].partition(".")[0] for source in charts] == [
        "effects",
        "cumulative",
        "daily",
        "funnel",
    ]
    assert all(charts.values())
    for source in charts:
        answer = client.get(source)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "immutable" in answer.headers["cache-control"]
        assert {"sandbox", "frame-ancestors 'none'"} <= set(answer.headers["content-security-policy"].split("; "))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "prefers-color-scheme: dark" in answer.text
        assert answer.text.count(INK) == 1
        ET.fromstring(answer.text)  # noqa: S314 - what we drew ourselves
    assert client.get(f"/charts/experiments/{NAME}/other.svg").status_code == 404
    assert client.get("/charts/models/basket/v9/metrics.svg").status_code == 404
    assert client.get("/charts/nothing/basket/metrics.svg").status_code == 404


def test_every_picture_of_a_model_has_figures(client: TestClient) -> None:
    page = read(client.get(PAGES["model"]).text)
    sources = [
        str(attributes["src"]) for tag, attributes in page.tags if tag == "img" and "/charts/" in str(attributes)
    ]
    assert len(sources) >= 5
    assert [client.get(source).status_code for source in sources] == [200] * len(sources)


# ---------------------------------------------------------------- the token


@pytest.fixture
def guarded(reads: OneRequest) -> Iterator[TestClient]:
    with TestClient(application(reads, token=SECRET), follow_redirects=False) as made:
        yield made


def test_without_the_token_every_page_leads_to_the_form_and_shows_nothing(guarded: TestClient) -> None:
    for path in PAGES.values():
        answer = guarded.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=%2F")
        assert answer.text == ""
    picture = guarded.get(f"/charts/experiments/{NAME}/effects.svg")
    assert picture.status_code == 401
    drawn = guarded.get(f"/charts/experiments/{NAME}/effects.svg", headers={"Authorization": f"Bearer {SECRET}"})
    assert drawn.status_code == 200
    assert drawn.headers["cache-control"] == "no-store", "who has signed out leaves no picture behind"
    form = guarded.get("/login?next=/experiments/home_ranker")
    assert form.status_code == 200
    assert form.headers["content-security-policy"] == POLICY
    refused = guarded.post("/login", data={"token": "guess"})
    for outside in (picture, form, refused):
        assert "http://" not in outside.text, "no address of another site of the shop is told"
        assert "Sign out" not in outside.text


def test_without_the_token_an_unknown_address_tells_nothing_of_the_site(guarded: TestClient) -> None:
    answer = guarded.get("/nope", headers={"accept": BROWSER})
    assert answer.status_code == 404
    assert "127.0.0.1:5000" not in answer.text
    assert "Sign out" not in answer.text


def test_the_form_begins_a_session_that_ends(guarded: TestClient) -> None:
    wrong = guarded.post("/login", data={"token": "guess", "next": "/"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    right = guarded.post("/login", data={"token": SECRET, "next": "/experiments/home_ranker"})
    assert right.status_code == 303
    assert right.headers["location"] == "/experiments/home_ranker"
    cookie = right.headers["set-cookie"]
    assert SECRET not in cookie
    assert {"httponly", "samesite=lax", f"max-age={SECONDS}"} <= set(cookie.lower().split("; "))
    assert [guarded.get(path).status_code for path in PAGES.values()] == [200] * len(PAGES)
    assert guarded.post("/v1/recommend", json={"placement": "home", "user_id": "u1"}).status_code == 401
    left = guarded.post("/logout")
    assert left.status_code == 303
    assert guarded.get("/").status_code == 303


@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_a_form_of_another_site_neither_signs_in_nor_out(guarded: TestClient, path: str) -> None:
    sent = {"token": SECRET, "next": "/"}
    for site in ("cross-site", "same-site"):
        answer = guarded.post(path, data=sent, headers={"sec-fetch-site": site})
        assert answer.status_code == 403
        assert "another site" in words(answer.text)
        assert "set-cookie" not in answer.headers
    for site in ("same-origin", "none", ""):
        assert guarded.post(path, data=sent, headers={"sec-fetch-site": site}).status_code == 303


def test_nothing_is_signed_in_or_out_by_an_address(guarded: TestClient) -> None:
    assert guarded.get("/logout").status_code == 405
    answer = guarded.get("/login", params={"token": SECRET})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "body",
    [f"token={SECRET}&next={'a' * 9_000}", "&".join(["a=1"] * 200) + f"&token={SECRET}", "\xff=%ff", ""],
)
def test_what_the_form_would_never_send_opens_nothing(guarded: TestClient, body: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = guarded.post("/login", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_token_that_is_markup_or_no_text_is_only_wrong(guarded: TestClient) -> None:
    for token in (HOSTILE, "é", "\ud800", "x" * 5_000):
        sent = token.encode("utf-8", "surrogatepass")
        answer = guarded.post("/login", data={"token": sent, "next": HOSTILE})
        assert answer.status_code == 401
        assert HOSTILE not in answer.text


def test_over_https_the_cookie_stays_there(reads: OneRequest) -> None:
    with TestClient(application(reads, token=SECRET), base_url="https://testserver", follow_redirects=False) as client:
        cookie = client.post("/login", data={"token": SECRET}).headers["set-cookie"]
    assert "secure" in cookie.lower().split("; ")


def test_a_bearer_may_read_pages_too(guarded: TestClient) -> None:
    assert guarded.get("/", headers={"Authorization": f"Bearer {SECRET}"}).status_code == 200
    assert guarded.get("/", headers={"Authorization": "Bearer guess"}).status_code == 303


@pytest.mark.parametrize("forged", ["", ".", "9999999999.", "9999999999.0", "x.y", "9999999999." + "0" * 64, "é.é"])
def test_a_forged_cookie_opens_nothing(guarded: TestClient, forged: str) -> None:
    answer = guarded.get("/", headers={"cookie": f"{COOKIE}={forged}".encode()})
    assert answer.status_code == 303


def test_a_session_is_over_in_time_and_with_another_token(reads: OneRequest) -> None:
    moment = [1_000.0]
    sessions = Sessions(SECRET, lambda: moment[0])
    with TestClient(application(reads, token=SECRET)) as client:
        request = client.build_request("GET", "/")
    from starlette.requests import Request
    from starlette.responses import Response

    response = Response()
    sessions.begin(response, secure=False)
    value = response.headers["set-cookie"].partition(";")[0]

    def asking(held: Sessions) -> bool:
        headers = [(b"cookie", value.encode())]
        return held.open_to(Request({"type": "http", "headers": headers, "method": request.method}))

    assert asking(sessions)
    assert not asking(Sessions("another", lambda: moment[0]))
    moment[0] += SECONDS
    assert not asking(sessions)


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", "evil", "/a\nb"]
)
def test_the_form_leads_nowhere_else(wanted: str) -> None:
    assert local_path(wanted) == "/"
    assert local_path("/models/basket?version=v2") == "/models/basket?version=v2"


@given(st.text(alphabet="/\\.:@?#%;a\t\n \x00é\u2028", max_size=12))
def test_wherever_the_form_leads_it_is_this_site(wanted: str) -> None:
    led = local_path(wanted)
    assert urlsplit(urljoin("https://shop.internal/login", led.replace("\\", "/"))).netloc == "shop.internal"
