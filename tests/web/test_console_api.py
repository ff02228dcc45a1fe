"""Does the page of the API tell every route and field, and do its commands do what they say on a service that runs?"""

import argparse
import html
import http.client
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from recsys.web.app import create_app
from recsys.web.console.api_view import Here, api_view
from tests.fakes.event_log import FakeEventLog
from tests.reports.test_offline import read
from tests.serving.test_resolver import experiment, world
from tests.web.console_site import OneRequest, application, project, served
from tests.web.test_app import assert_problem, service

READ: Final = "read-token-of-the-test"
WRITE: Final = "write-token-of-the-test"
ROUTES: Final = {
    ("post", "/v1/recommend"),
    ("post", "/v1/events"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
}
VARIABLES: Final = {"read_token": "SHOP_READ", "write_token": "SHOP_WRITE"}


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> OneRequest:
    return OneRequest(project(tmp_path_factory.mktemp("project")).open())


@pytest.fixture(params=[False, True], ids=["open", "guarded"])
def tokens(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"SHOP_READ": READ, "SHOP_WRITE": WRITE} if request.param else {}


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog()


@pytest.fixture
def address(reads: OneRequest, tokens: dict[str, str], log: FakeEventLog) -> Iterator[str]:
    secrets = {"token": tokens.get("SHOP_READ"), "write": tokens.get("SHOP_WRITE")}
    tested = world(routers=[experiment(overrides={"household_1": "treatment"})])
    with served(application(reads, tested, log, **secrets, token_variables=VARIABLES)) as found:
        yield found


def asked(command: str, variables: dict[str, str]) -> tuple[int, str, str]:
    """Ask as curl would by a command line; return status, type and body."""
    options = argparse.ArgumentParser()
    options.add_argument("-sS", action="store_true", required=True)
    options.add_argument("-H", action="append", default=[])
    options.add_argument("-d")
    options.add_argument("address")
    name, *arguments = shlex.split(command.replace("\\\n", ""))  # a shell goes on with the line
    assert name == "curl"
    given = options.parse_args(arguments)
    where = urlsplit(given.address)
    for variable, value in variables.items():
        given.H = [header.replace(f"${variable}", value) for header in given.H]
    connection = http.client.HTTPConnection(where.netloc, timeout=30)
    headers = dict(header.split(": ", 1) for header in given.H)
    connection.request("GET" if given.d is None else "POST", where.path, given.d, headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers["content-type"], answer.read().decode()
    connection.close()
    return found


def commands(address: str, tokens: dict[str, str]) -> dict[str, str]:
    """Return the page's commands by their path."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {tokens['SHOP_READ']}"} if tokens else {}
    connection.request("GET", "/docs", headers=headers)
    page = connection.getresponse().read().decode()
    connection.close()
    shown = [html.unescape(each).strip() for each in re.findall(r"<code>(curl [^<]+)</code>", page)]
    assert READ not in page
    assert WRITE not in page
    return {urlsplit(shlex.split(each)[2]).path: each for each in shown}


def test_every_command_of_the_page_asks_this_service_and_is_answered(
    address: str, tokens: dict[str, str], log: FakeEventLog
) -> None:
    shown = commands(address, tokens)
    assert shown.keys() == {path for _, path in ROUTES}
    answers = {path: asked(command, tokens) for path, command in shown.items()}
    assert {path: status for path, (status, _, _) in answers.items()} == dict.fromkeys(shown, 200)
    listed = json.loads(answers["/v1/recommend"][2])
    assert listed["placement"] == "home"
    assert listed["items"]
    logged = log.request(listed["request_id"])
    assert logged is not None
    assert logged.overridden, "a tester's list is not analysed"
    assert json.loads(answers["/v1/events"][2]) == {"received": 1, "new": 1}
    assert json.loads(asked(shown["/v1/events"], tokens)[2]) == {"received": 1, "new": 0}
    assert json.loads(answers["/readyz"][2])["status"] == "ready"
    assert answers["/metrics"][1].startswith("text/plain")


def test_commands_name_the_token_that_their_route_needs_and_fail_without_it(
    address: str, tokens: dict[str, str]
) -> None:
    shown = commands(address, tokens)
    named = {path: sorted(set(re.findall(r"\$(\w+)", command))) for path, command in shown.items()}
    needed = {"/v1/recommend": ["SHOP_READ"], "/v1/events": ["SHOP_WRITE"], "/metrics": ["SHOP_READ"]}
    assert named == {path: needed.get(path, []) if tokens else [] for path in shown}
    for path in needed if tokens else ():
        assert asked(shown[path], {"SHOP_READ": "other", "SHOP_WRITE": "other"})[0] == 401


def test_the_page_tells_every_route_and_field_with_its_rule_and_meaning(reads: OneRequest) -> None:
    with TestClient(application(reads)) as client:
        document, page = client.get("/openapi.json").json(), client.get("/docs").text
    said = " ".join(" ".join(read(page).words).split())
    view = api_view(document, Here("http://127.0.0.1:8000"))
    assert {(route["method"], route["path"]) for route in view["routes"]} == ROUTES
    assert {(method, path) for path, operations in document["paths"].items() for method in operations} == ROUTES
    fields = [each for route in view["routes"] for each in [*(route["body"] or []), *route["answer"]]] + view["problem"]
    declared = [name for schema in document["components"]["schemas"].values() for name in schema["properties"]]
    assert {each["name"].rpartition(".")[2] for each in fields} == set(declared)
    assert all(each["meaning"] for each in fields), "every field says what it means"
    assert all(each["name"] in said for each in fields)
    for part in (
        "user_id required text 1 to 256 characters",
        "k whole number or null 1 to 1,000 Slots",
        "events[].quantity number 0 to 1,000,000,000, by default 1.0",
        "events[].event_timestamp time as ISO text or null",
        "context object of number or text at most 32 fields",
        "placements.*.refused optional object of texts Weights",
        "candidates list of texts at most 10,000 of them, each 1 to 256 characters, each without the character 0",
        "415 The body is not sent as JSON",
        "421 The service is not asked by this name",
    ):
        assert part in said, part
    links = {attributes.get("href") for tag, attributes in read(page).tags if tag == "a"}
    targets = {attributes["id"] for _, attributes in read(page).tags if "id" in attributes}
    assert "/openapi.json" in links
    assert {str(link)[1:] for link in links if str(link).startswith("#")} <= targets


def test_the_page_is_behind_the_token_and_the_document_tells_nothing_of_the_shop(reads: OneRequest) -> None:
    with TestClient(application(reads, token=READ), follow_redirects=False) as client:
        refused = client.get("/docs")
        assert refused.status_code == 303
        assert refused.headers["location"] == "/login?next=%2Fdocs"
        assert refused.text == ""
        first = client.get("/openapi.json")
    other = create_app(service(world(changes={"context": {"device": "text"}})))
    assert first.status_code == 200
    security = {"paths", "components"}
    assert {name: part for name, part in first.json().items() if name not in security} == {
        name: part for name, part in other.openapi().items() if name not in security
    }
    assert first.json()["components"]["schemas"] == json.loads(json.dumps(other.openapi()["components"]["schemas"]))


def test_without_a_console_there_is_no_page_and_never_a_viewer_from_elsewhere() -> None:
    with TestClient(create_app(service())) as client:
        for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
            assert_problem(client.get(path), 404)
        assert client.get("/openapi.json").status_code == 200


def test_the_address_that_was_asked_is_written_for_a_shell(reads: OneRequest) -> None:
    with TestClient(application(reads)) as client:
        page = client.get("/docs", headers={"host": "[::1]:8000"}).text
    assert "curl -sS &#39;http://[::1]:8000/healthz&#39;" in page


@pytest.mark.parametrize("hostile", ["http://h/$(id)", "http://h/'; id; '", "http://h/`id`"])
def test_nothing_of_an_address_is_run(hostile: str) -> None:
    view = api_view(create_app(service()).openapi(), Here(hostile, {"a'b": "$(id)"}))
    for route in view["routes"]:
        words = shlex.split(route["command"].replace("\\\n", ""))
        assert words[:3] == ["curl", "-sS", f"{hostile}{route['path']}"]
    listed: dict[str, Any] = next(route for route in view["routes"] if route["path"] == "/v1/recommend")
    assert json.loads(shlex.split(listed["command"])[-1]) == {"placement": "a'b", "user_id": "$(id)", "k": 5}
