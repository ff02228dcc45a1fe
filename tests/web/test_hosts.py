"""Is the service asked by its own names only, and by no page of another site?"""

import ipaddress
import json
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketDisconnect

from recsys.specs.environment import Serving
from recsys.web.app import create_app
from recsys.web.guards import Tokens
from recsys.web.hosts import Hosts, named
from tests.fakes.event_log import FakeEventLog
from tests.serving.small_shop import NOW
from tests.web.test_app import CLICK, PROBLEM, SECRET, assert_problem, service

EVERYWHERE: Final = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/",
    "/docs",
    "/static/console.css",
    "/nowhere",
)
BOTH: Final = Tokens(read=SECRET, write=SECRET)


def client(declared: tuple[str, ...] = (), tokens: Tokens | None = None, log: FakeEventLog | None = None) -> TestClient:
    return TestClient(create_app(service(log=log, allowed_hosts=declared, tokens=tokens or Tokens())))


def status(asked: TestClient, host: str, path: str = "/healthz") -> int:
    return int(asked.get(path, headers={"host": host}).status_code)


@pytest.mark.parametrize("tokens", [Tokens(), Tokens(read=SECRET), Tokens(write=SECRET)])
def test_without_both_tokens_only_loopback_and_declared_names_are_answered(tokens: Tokens) -> None:
    asked = client(("shop.internal", "*.shops.internal", "10.0.0.7", "[fd00::7]"), tokens)
    for host in ("127.0.0.1", "127.8.9.1:80", "localhost:8000", "LOCALHOST", "localhost.", "[::1]", "[::1]:8000"):
        assert status(asked, host) == 200, host
    for host in (
        "shop.internal",
        "Shop.Internal:8000",
        "a.b.shops.internal:1",
        "10.0.0.7:9",
        "[fd00::7]",
        "[FD00::7]:9",
    ):
        assert status(asked, host) == 200, host
    for host in (
        "evil.example",
        "evil.example:8000",
        "shops.internal",
        "myshop.internal",
        "shop.internal.evil.example",
    ):
        assert status(asked, host) == 421, host
    for host in ("localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.1", "[::2]", "10.0.0.8"):
        assert status(asked, host) == 421, host


def test_a_foreign_name_is_refused_on_every_path_with_what_to_declare() -> None:
    asked = client()
    for path in EVERYWHERE:
        refused = assert_problem(asked.get(path, headers={"host": "evil.example:8000"}), 421)
        assert "asked as evil.example" in refused["detail"]
        assert "serve.allowed_hosts" in refused["detail"]
    body = {"placement": "home", "user_id": "u1"}
    assert_problem(asked.post("/v1/recommend", json=body, headers={"host": "evil.example"}), 421)


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b", "[::1", "::1", "a:b", "a:123456", "é", "."])
def test_what_is_no_host_is_a_bad_request(host: str) -> None:
    answer = client().get("/healthz", headers=[(b"host", host.encode())])
    assert_problem(answer, 400)
    assert named([host.encode()]) is None


def test_no_host_and_two_are_bad_requests() -> None:
    assert named([]) is None
    assert named([b"localhost", b"evil.example"]) is None
    two = client().get("/healthz", headers=[("host", "localhost"), ("host", "localhost")])
    assert_problem(two, 400)


def test_with_both_tokens_any_name_is_answered_unless_some_are_declared() -> None:
    assert [status(client((), BOTH), host) for host in ("shop.example", "", "a b")] == [200] * 3
    asked = client(("shop.example",), BOTH)
    assert [status(asked, host) for host in ("shop.example", "127.0.0.1", "evil.example")] == [200, 200, 421]


def test_a_websocket_by_a_foreign_name_is_closed() -> None:
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client().websocket_connect("/", headers={"host": "evil.example"}),
    ):
        pass
    assert closed.value.code == 1008


@given(
    st.sampled_from(["evil.example", "shop.internal", "a.shop.internal", "shops.internal", "10.0.0.7", "[fd00::7]"]),
    st.sampled_from(["", ":1", ":8000"]),
    st.sets(st.sampled_from(["shop.internal", "*.shop.internal", "10.0.0.7", "[fd00::7]"])),
)
def test_names_are_matched_as_starlette_matches_them(host: str, port: str, declared: set[str]) -> None:
    """Its own middleware is the oracle for what is declared; what it lacks is said in decision 0040."""
    other = TrustedHostMiddleware(PlainTextResponse("in"), allowed_hosts=sorted(declared), www_redirect=False)
    answered = TestClient(other).get("/", headers={"host": f"{host}{port}"}).status_code == 200
    name = named([f"{host}{port}".encode()])
    assert name is not None
    assert Hosts(declared).answer(name) == answered


@given(st.ip_addresses())
def test_of_addresses_those_of_loopback_are_answered(address: Any) -> None:
    shown = f"[{address}]" if address.version == 6 else str(address)
    assert Hosts().answer(shown) == ipaddress.ip_address(address).is_loopback


@pytest.mark.parametrize("wrong", ["*", "http://shop", "shop:80", "Shop", "*shop", "shop/", "a..b", "::1", "", "a.*"])
def test_a_declared_host_is_a_name_without_a_port(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Serving.model_validate({"allowed_hosts": [wrong]})


# ---------------------------------------------------------------- what a foreign page can send


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ],
)
def test_a_body_that_a_page_of_any_site_can_send_is_refused(kind: str | None) -> None:
    log = FakeEventLog()
    asked = client(log=log)
    headers = {"host": "localhost", "origin": "https://evil.example"} | ({} if kind is None else {"content-type": kind})
    for path, body in (("/v1/events", {"events": [CLICK]}), ("/v1/recommend", {"placement": "home", "user_id": "u1"})):
        refused = asked.post(path, content=json.dumps(body), headers=headers)
        assert "Content-Type: application/json" in assert_problem(refused, 415)["detail"]
    assert log._exposures == {}
    assert not len(log.outcomes("click", NOW.replace(year=2000), NOW.replace(year=2100)))


def test_a_page_of_another_site_gets_no_leave_to_send_json() -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST", "host": "localhost"}
    answer = client().options("/v1/events", headers=asked | {"access-control-request-headers": "content-type"})
    assert_problem(answer, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_json_is_taken_whatever_its_letters_and_parameters() -> None:
    for number, kind in enumerate(("application/json; charset=utf-8", "Application/JSON")):
        body = json.dumps({"events": [CLICK | {"event_id": f"e{number}"}]})
        answer = client().post("/v1/events", content=body, headers={"content-type": kind, "host": "localhost"})
        assert answer.json() == {"received": 1, "new": 1}


def test_a_token_is_asked_for_before_the_body_is_looked_at() -> None:
    assert_problem(client(tokens=BOTH).post("/v1/events", content="x", headers={"content-type": "text/plain"}), 401)


# ---------------------------------------------------------------- headers


def test_every_answer_keeps_itself_from_other_sites() -> None:
    asked = client()
    answers = [asked.get(path, headers={"host": "localhost"}) for path in EVERYWHERE]
    answers += [asked.get("/healthz", headers={"host": "evil.example"}), asked.post("/v1/events", content="x")]
    answers.append(
        asked.post("/v1/recommend", json={"placement": "home", "user_id": "u1"}, headers={"host": "localhost"})
    )
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
    assert {answer.headers["content-type"] for answer in answers if answer.status_code > 399} == {PROBLEM}
