"""Does the service answer what is right, refuse what is wrong by its field, and let in only who may come?"""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import FeatureError, SpecError, StoreError
from recsys.schema import SESSION
from recsys.serving.fleet import Fleet
from recsys.serving.freshness import SessionFeatures
from recsys.serving.group_commit import GroupCommit
from recsys.specs.environment import Environment
from recsys.web.app import Limits, Service, create_app
from recsys.web.guards import Tokens
from recsys.web.logs import JsonLines
from recsys.web.server import run_server
from tests.fakes.clock import FixedClock
from tests.fakes.event_log import FakeEventLog
from tests.serving.small_shop import CONTEXT, NOW
from tests.serving.test_fleet import Shop
from tests.serving.test_resolver import World, experiment, world

PROBLEM: Final = "application/problem+json"
SECRET: Final = "s3cret-token"  # noqa: S105 - of the test's own
CLICK: Final = {"event_id": "e1", "event_type": "click", "user_id": "u1", "item_id": "a"}


class BrokenLog(FakeEventLog):
    """A log whose store does not answer."""

    def write_group(self, exposures: Any, outcomes: Any, routed: Any = ()) -> Any:
        """Fail."""
        del exposures, outcomes, routed
        message = "event log postgresql://shop:hunter2@db: does not answer"
        raise StoreError(message)


class Sessions(SessionFeatures):
    """Says which sessions followed, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        """Follow nothing yet."""
        self.error, self.followed = error, list[str]()

    def follow(self, events: pa.Table) -> int:
        """Note the sessions."""
        if self.error is not None:
            raise self.error
        self.followed += events[SESSION].drop_null().to_pylist()
        return len(self.followed)


def service(made: World | None = None, log: FakeEventLog | GroupCommit | None = None, **changes: Any) -> Service:
    """Make a service of one placement, home."""
    shown = made or world()
    if not isinstance(log, GroupCommit):
        log = GroupCommit(log or FakeEventLog(), wait_seconds=60)
        changes |= {"on_stop": log.close}
    declared = {"poll_seconds": 60, "allowed_hosts": ("testserver",)}
    return Service({"home": shown.resolver}, log, FixedClock(NOW), **(declared | changes))


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog()


@pytest.fixture
def client(log: FakeEventLog) -> Iterator[TestClient]:
    with TestClient(create_app(service(log=log))) as made:
        yield made


def assert_problem(response: Any, status: int, field: str | None = None) -> dict[str, Any]:
    """Check that a response is a problem document, of a field if one is named."""
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    if field is not None:
        assert field in [error["field"] for error in document["errors"]]
        assert document["detail"].startswith(document["errors"][0]["field"])
    return document


# ---------------------------------------------------------------- lists


def test_before_it_is_known_what_is_declared_a_request_is_to_be_asked_again_and_is_not_wrong() -> None:
    fleet = Fleet(source=Shop())
    client = TestClient(create_app(replace(service(), resolvers=fleet)))  # its poll has not begun
    asked = {"placement": "home", "user_id": "u1"}
    assert "still being loaded" in assert_problem(client.post("/v1/recommend", json=asked), 503)["detail"]
    fleet.sweep()
    assert client.post("/v1/recommend", json=asked).status_code == 200
    assert_problem(client.post("/v1/recommend", json={"placement": "elsewhere", "user_id": "u1"}), 422, "placement")


def test_a_list_is_answered_and_logged(client: TestClient, log: FakeEventLog) -> None:
    answer = client.post("/v1/recommend", json={"placement": "home", "user_id": "u1", "request_id": "r1"}).json()
    assert answer["request_id"] == "r1"
    assert [item["item_id"] for item in answer["items"]] == ["e", "a", "c"]
    assert answer["model_version"] == "basket/v2"
    logged = log.request("r1")
    assert logged is not None
    assert [item.item_id for item in logged.items] == ["e", "a", "c"]


def test_a_callers_items_are_ranked_where_a_source_takes_them_and_refused_where_none_does() -> None:
    takes = world(changes={"candidates": [{"source": "given", "limit": 3}]})
    app = create_app(replace(service(), resolvers={"given": takes.resolver, "home": world().resolver}))
    with TestClient(app) as client:
        asked = {"user_id": "u1", "k": 9, "candidates": ["d", "nobody", "a"]}
        answer = client.post("/v1/recommend", json={"placement": "given", **asked})
        assert answer.status_code == 200
        assert [item["item_id"] for item in answer.json()["items"]] == ["a", "d"]
        refused = client.post("/v1/recommend", json={"placement": "home", **asked})
        assert "none of the placement's sources takes them" in assert_problem(refused, 422, "candidates")["detail"]


def test_a_log_that_fails_does_not_fail_the_page() -> None:
    with TestClient(create_app(service(log=BrokenLog()))) as client:
        answer = client.post("/v1/recommend", json={"placement": "home", "user_id": "u1"})
        assert answer.status_code == 200
        assert len(answer.json()["items"]) == 3
        assert figures_of(client)['recsys_exposures_lost_total{placement="home"}'] >= 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": "u1"}, "placement"),
        ({"placement": "home"}, "user_id"),
        ({"placement": "cellar", "user_id": "u1"}, "placement"),
        ({"placement": "home", "user_id": ""}, "user_id"),
        ({"placement": "home", "user_id": "u" * 257}, "user_id"),
        ({"placement": "home", "user_id": "nul\x00"}, "user_id"),
        ({"placement": "home", "user_id": 7}, "user_id"),
        ({"placement": "home", "user_id": "u1", "k": 0}, "k"),
        ({"placement": "home", "user_id": "u1", "k": 1_001}, "k"),
        ({"placement": "home", "user_id": "u1", "candidates": ["a"] * 10_001}, "candidates"),
        ({"placement": "home", "user_id": "u1", "candidates": ["a", ""]}, "candidates.1"),
        ({"placement": "home", "user_id": "u1", "sesion_id": "s"}, "sesion_id"),
        ({"placement": "home", "user_id": "u1", "context": []}, "context"),
        ({"placement": "home", "user_id": "u1", "context": {"device": "phone"}}, "context.device"),
    ],
)
def test_a_field_that_breaks_a_rule_is_named(client: TestClient, body: dict[str, Any], field: str) -> None:
    assert_problem(client.post("/v1/recommend", json=body), 422, field)


@pytest.fixture
def page(log: FakeEventLog) -> Iterator[TestClient]:
    """Serve a placement that declares a context."""
    with TestClient(create_app(service(world(changes={"context": CONTEXT}), log))) as made:
        yield made


def test_what_the_caller_knows_is_taken_and_logged_and_no_value_leaves_otherwise(
    page: TestClient, log: FakeEventLog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = {"device": "a-rare-phone", "basket_value": 31, "since": "2024-02-04T23:00:00-01:00"}
    asked = {"placement": "home", "user_id": "u1", "request_id": "r1", "context": said}
    answer = page.post("/v1/recommend", json=asked)
    assert answer.status_code == 200
    logged = log.request("r1")
    assert logged is not None
    expected = {"device": "a-rare-phone", "basket_value": 31.0, "since": "2024-02-05T00:00:00+00:00"}
    assert logged.asked == {"k": 3, "context": expected}
    assert "rare" not in answer.text + page.get("/metrics").text + caplog.text
    page.post("/v1/recommend", json=asked | {"request_id": "r2", "context": {}})
    plain = log.request("r2")
    assert plain is not None
    assert plain.asked == {"k": 3}


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({"colour": "secret"}, "context.colour"),
        ({"device": 3}, "context.device"),
        ({"device": None}, "context.device"),
        ({"device": ["secret"]}, "context.device"),
        ({"device": ""}, "context.device"),
        ({"device": "secret" * 99}, "context.device"),
        ({"device": "secret\0"}, "context.device"),
        ({"device": "secret\ud800"}, "context.device"),
        ({"basket_value": "secret"}, "context.basket_value"),
        ({"basket_value": True}, "context.basket_value"),
        ({"basket_value": 1e16}, "context.basket_value"),
        ({"basket_value": float("inf")}, "context.basket_value"),
        ({"basket_value": float("nan")}, "context.basket_value"),
        ({"since": "secret"}, "context.since"),
        ({"since": "2024-02-05T12:00:00"}, "context.since"),
        ({"since": 7}, "context.since"),
        ({f"c{number}": "secret" for number in range(33)}, "context"),
        ("secret", "context"),
    ],
)
def test_a_context_that_the_placement_does_not_take_is_refused_by_its_field(
    page: TestClient, log: FakeEventLog, context: Any, field: str
) -> None:
    body = json.dumps({"placement": "home", "user_id": "u1", "request_id": "r1", "context": context})
    refused = page.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert_problem(refused, 422, field)
    assert "secret" not in refused.text
    assert log.request("r1") is None


def test_an_error_tells_no_values(client: TestClient) -> None:
    secret = "somebody@example.com" * 20
    said = client.post("/v1/recommend", json={"placement": "home", "user_id": secret}).text
    assert "somebody" not in said


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'{"placement": "home", "user_id": "\\ud800"}', 422),
        (b"\xff", 400),
    ],
)
def test_a_body_that_is_no_request_is_a_problem(client: TestClient, content: bytes, status: int) -> None:
    headers = {"content-type": "application/json"}
    assert_problem(client.post("/v1/recommend", content=content, headers=headers), status)


def test_paths_and_methods_that_are_not_there_are_problems(client: TestClient) -> None:
    assert_problem(client.get("/v1/nothing"), 404)
    assert_problem(client.get("/v1/recommend"), 405)


def test_a_body_beyond_the_limit_is_refused() -> None:
    with TestClient(create_app(service(limits=Limits(maximum_body=2_000)))) as client:
        body = {"placement": "home", "user_id": "u1", "candidates": ["a" * 200] * 20}
        assert_problem(client.post("/v1/recommend", json=body), 413)

        def drip() -> Iterator[bytes]:
            for _ in range(30):
                yield b" " * 100

        headers = {"content-type": "application/json"}
        assert_problem(client.post("/v1/recommend", content=drip(), headers=headers), 413)


def test_every_answer_names_its_request(client: TestClient) -> None:
    named = client.get("/healthz", headers={"x-request-id": "page-7"})
    assert named.headers["x-request-id"] == "page-7"
    for strange in ("two words", "x" * 129, ""):
        assert client.get("/healthz", headers={"x-request-id": strange}).headers["x-request-id"] not in {strange, ""}


# ---------------------------------------------------------------- events


def test_events_are_written_once_by_their_id(client: TestClient, log: FakeEventLog) -> None:
    assert client.post("/v1/events", json={"events": [CLICK]}).json() == {"received": 1, "new": 1}
    before = figures_of(client)
    again = [CLICK, CLICK | {"event_id": "e2", "event_timestamp": "2024-02-04T23:00:00+01:00"}, CLICK]
    assert client.post("/v1/events", json={"events": again}).json() == {"received": 3, "new": 1}
    rows = log.outcomes("click", NOW - timedelta(days=2), NOW + timedelta(days=1)).to_pylist()
    assert [(row["event_id"], row["event_timestamp"]) for row in rows] == [
        ("e2", datetime(2024, 2, 4, 22, tzinfo=UTC)),
        ("e1", NOW),
    ]
    assert {row["created_timestamp"] for row in rows} == {NOW}
    after = figures_of(client)
    for result, count in {"new": 1, "known": 1}.items():
        name = f'recsys_events_total{{result="{result}"}}'
        assert after[name] - before[name] == count


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_type": "Click!"}, "events.1.event_type"),
        ({"quantity": -1}, "events.1.quantity"),
        ({"value": "NaN"}, "events.1.value"),
        ({"event_timestamp": "2024-02-05T00:06:00Z"}, "events.1.event_timestamp"),
        ({"event_timestamp": "2024-02-04T00:00:00"}, "events.1.event_timestamp"),
        ({"event_timestamp": "0001-01-01T00:00:00+14:00"}, "events.1.event_timestamp"),
        ({"event_id": "e1", "item_id": "b"}, "events.1.event_id"),
    ],
)
def test_a_batch_with_a_wrong_event_writes_nothing(
    client: TestClient, log: FakeEventLog, changes: dict[str, Any], field: str
) -> None:
    events = [CLICK, CLICK | {"event_id": "e2"} | changes]
    assert_problem(client.post("/v1/events", json={"events": events}), 422, field)
    assert not len(log.outcomes("click", NOW - timedelta(days=9), NOW + timedelta(days=9)))


def test_a_clock_that_is_a_little_ahead_is_forgiven(client: TestClient, log: FakeEventLog) -> None:
    event = CLICK | {"event_timestamp": "2024-02-05T00:04:00Z"}
    assert client.post("/v1/events", json={"events": [event]}).json()["new"] == 1
    (row,) = log.outcomes("click", NOW, NOW + timedelta(days=1)).to_pylist()
    assert row["event_timestamp"] == NOW, "nothing is known before it happened"


def test_events_that_cannot_be_written_are_not_acknowledged_and_no_secret_is_told() -> None:
    with TestClient(create_app(service(log=BrokenLog()))) as client:
        refused = client.post("/v1/events", json={"events": [CLICK]})
        assert_problem(refused, 503)
        assert refused.headers["retry-after"] == "1"
        assert "hunter2" not in refused.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["events", "event_id", "event_type", "user_id", "item_id", "quantity", "event_timestamp"]
                ),
                inner,
            )
        ),
    )
)
def test_whatever_is_sent_the_answer_is_an_acknowledgement_or_a_problem(value: Any) -> None:
    with TestClient(create_app(service())) as client:
        answer = client.post("/v1/events", content=json.dumps(value), headers={"content-type": "application/json"})
        if answer.status_code != 200:
            assert_problem(answer, 422)


class BrokenClock(FixedClock):
    """A clock that nobody expects to fail."""

    def now(self) -> datetime:
        """Fail."""
        message = "the clock's file holds hunter2"
        raise ValueError(message)


def test_what_nothing_foresaw_is_a_problem_and_is_logged_by_its_request(caplog: pytest.LogCaptureFixture) -> None:
    broken = replace(service(), clock=BrokenClock())
    with TestClient(create_app(broken)) as client:
        failed = client.post("/v1/events", json={"events": [CLICK]}, headers={"x-request-id": "page-7"})
        assert_problem(failed, 500)
        assert "hunter2" not in failed.text
        assert figures_of(client)['recsys_responses_total{path="/v1/events",status="500"}'] >= 1
    (record,) = (line for line in caplog.records if line.name == "recsys.web.problems")
    assert record.getMessage() == "request page-7 failed"
    assert "hunter2" in JsonLines().format(record), "the log has the cause"


def test_the_document_of_the_service_says_which_paths_need_a_token() -> None:
    with TestClient(create_app(service(tokens=Tokens(write="w")))) as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert "security" in paths["/v1/events"]["post"]
    assert "security" not in paths["/v1/recommend"]["post"]


# ---------------------------------------------------------------- who may come in


def test_each_token_opens_its_own_doors() -> None:
    tokens = Tokens(read=SECRET, write="another")
    with TestClient(create_app(service(tokens=tokens))) as client:
        reading = {"authorization": f"Bearer {SECRET}"}
        writing = {"authorization": "Bearer another"}
        asked = {"placement": "home", "user_id": "u1"}
        for wrong in (
            {},
            writing,
            {"authorization": SECRET},
            {"authorization": "Bearer "},
            {"authorization": "Bearer é"},
        ):
            refused = client.post(
                "/v1/recommend", json=asked, headers=[(name.encode(), value.encode()) for name, value in wrong.items()]
            )
            assert SECRET not in json.dumps(assert_problem(refused, 401))
            assert refused.headers["www-authenticate"] == "Bearer"
        assert client.post("/v1/recommend", json=asked, headers=reading).status_code == 200
        assert_problem(client.post("/v1/events", json={"events": [CLICK]}, headers=reading), 401)
        assert client.post("/v1/events", json={"events": [CLICK]}, headers=writing).status_code == 200
        assert_problem(client.get("/metrics"), 401)
        assert client.get("/metrics", headers=reading).status_code == 200
        assert client.get("/healthz").status_code == 200


class Place:
    """As much of a workspace as a refusal needs."""

    environment_name = "shop"

    def __init__(self, **serve: Any) -> None:
        """Declare how it is served."""
        self.environment = Environment.model_validate({"data": {"source": "completejourney"}, "serve": serve})


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "shop.example"])  # noqa: S104 - refused
def test_an_address_that_others_reach_needs_tokens(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_READ", "r" * 16)
    for serve in ({}, {"read_token": "SHOP_READ"}):
        with pytest.raises(SpecError, match="can be reached from other machines"):
            run_server(Place(**serve), host, 0)  # type: ignore[arg-type]


def test_a_declared_token_has_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_READ", "")
    with pytest.raises(SpecError, match=r"serve\.read_token: environment variable SHOP_READ is not set or empty"):
        run_server(Place(read_token="SHOP_READ"), "127.0.0.1", 0)  # type: ignore[arg-type]  # noqa: S106 - a name
    monkeypatch.setenv("SHOP_READ", "guessable")
    with pytest.raises(SpecError, match="SHOP_READ holds 9 characters: a token has at least 16") as found:
        run_server(Place(read_token="SHOP_READ"), "127.0.0.1", 0)  # type: ignore[arg-type]  # noqa: S106 - a name
    assert "guessable" not in str(found.value)


# ---------------------------------------------------------------- what is told of itself


def figures_of(client: TestClient) -> dict[str, float]:
    """Return the figures by name and labels."""
    told = client.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain; version=")
    assert "u1" not in told.text
    lines = [line.rpartition(" ") for line in told.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_figures_are_told_by_what_is_declared(client: TestClient) -> None:
    def ask() -> dict[str, float]:
        client.post("/v1/recommend", json={"placement": "home", "user_id": "u1"})
        client.post("/v1/recommend", json={"placement": "home"})
        client.get("/nowhere/u1")
        return figures_of(client)

    # Once Feast is imported, Prometheus' client keeps figures in files, where they go on from one service to the next.
    before, after = ask(), ask()
    for name in (
        'recsys_answers_total{arm="",experiment="",fallback="",model_version="basket/v2",placement="home"}',
        'recsys_answer_seconds_count{placement="home"}',
        'recsys_responses_total{path="/v1/recommend",status="422"}',
        'recsys_responses_total{path="other",status="404"}',
    ):
        assert after[name] - before[name] == 1, name
    assert after['recsys_weights{model_version="basket/v2",placement="home"}'] == 2
    assert after['recsys_items{placement="home"}'] == 5


def test_a_line_of_the_log_is_a_document() -> None:
    record = logging.makeLogRecord({"name": "recsys.access", "levelno": 20, "levelname": "INFO", "msg": "answered"})
    record.__dict__ |= {"path": "/v1/recommend", "status": 200, "ms": 1.5, "request_id": "r1"}
    said = json.loads(JsonLines().format(record))
    assert said["message"] == "answered"
    assert (said["path"], said["status"], said["ms"], said["request_id"]) == ("/v1/recommend", 200, 1.5, "r1")
    assert said["time"].endswith("+00:00")


def test_a_request_is_said_with_its_id(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recsys.access")
    client.post("/v1/recommend", json={"placement": "home", "user_id": "u1"}, headers={"x-request-id": "page-7"})
    (record,) = (line for line in caplog.records if line.name == "recsys.access")
    assert vars(record)["request_id"] == "page-7"
    assert vars(record)["path"] == "/v1/recommend"
    assert "u1" not in JsonLines().format(record)


@pytest.mark.parametrize("durability", ["acknowledged", "buffered"])
def test_what_waits_for_the_log_is_told(durability: Any) -> None:
    """Lists are answered, events are written, and the queue is empty in the end."""
    kept = FakeEventLog()
    grouped = GroupCommit(kept, durability, wait_seconds=60)
    with TestClient(create_app(service(log=grouped))) as client:
        for number in range(3):
            body = {"placement": "home", "user_id": "u1", "request_id": f"r{number}"}
            assert client.post("/v1/recommend", json=body).status_code == 200
        assert client.post("/v1/events", json={"events": [CLICK]}).json() == {"received": 1, "new": 1}
        assert client.post("/v1/events", json={"events": [CLICK]}).json() == {"received": 1, "new": 0}
        figures = figures_of(client)
        assert figures["recsys_log_waiting_rows"] == 0
        assert figures["recsys_buffered_exposures_lost_total"] == 0
    assert grouped.close() == 0
    assert all(kept.request(f"r{number}") is not None for number in range(3))


def test_a_log_that_is_down_refuses_events_and_lets_lists_wait() -> None:
    grouped = GroupCommit(BrokenLog(), "buffered", queue_rows=20, wait_seconds=0.05)
    with TestClient(create_app(service(log=grouped))) as client:
        refused = client.post("/v1/events", json={"events": [CLICK]})
        assert_problem(refused, 503)
        assert refused.headers["retry-after"]
        before = figures_of(client)['recsys_exposures_lost_total{placement="home"}']
        for _ in range(12):
            answered = client.post("/v1/recommend", json={"placement": "home", "user_id": "u1"})
            assert answered.status_code == 200
            assert answered.json()["items"]
        figures = figures_of(client)
        assert 0 < figures["recsys_log_waiting_rows"] <= 20
        assert figures['recsys_exposures_lost_total{placement="home"}'] > before
    assert grouped.close(0.1) > 0


def test_every_decision_is_counted_whatever_became_of_its_exposure() -> None:
    """Also of exposures that are never handed to the log; a request that is asked again counts as such."""
    kept = FakeEventLog()
    grouped = GroupCommit(kept, wait_seconds=60)
    with TestClient(create_app(service(world(routers=[experiment()]), log=grouped))) as client:
        for number in (1, 2, 2):
            body = {"placement": "home", "user_id": f"u{number}", "request_id": f"r{number}"}
            assert client.post("/v1/recommend", json=body).json()["arm"]
    grouped.close()
    assert sum(kept.routed("home_ranker")["decided"].to_pylist()) == 3
    assert sum(kept.routed("home_ranker")["excused"].to_pylist()) == 1


def test_sessions_follow_what_was_logged(log: FakeEventLog) -> None:
    """Also events that were there before: what follows them may have been lost."""
    sessions = Sessions()
    with TestClient(create_app(service(log=log, sessions=sessions))) as client:
        for _ in range(2):
            assert client.post("/v1/events", json={"events": [CLICK | {"session_id": "s1"}]}).status_code == 200
        assert client.post("/v1/events", json={"events": [CLICK | {"event_id": "e2"}]}).status_code == 200
        assert sessions.followed == ["s1", "s1"]


@pytest.mark.parametrize("error", [FeatureError("online store: does not answer"), ValueError("unforeseen")])
def test_events_are_kept_where_sessions_cannot_follow(
    log: FakeEventLog, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The post succeeds; the failure is logged and counted."""
    counted = 'recsys_session_pushes_total{result="failed"}'
    with TestClient(create_app(service(log=log, sessions=Sessions(error)))) as client:
        before = figures_of(client)[counted]
        answer = client.post("/v1/events", json={"events": [CLICK | {"session_id": "s1"}]})
        assert answer.json() == {"received": 1, "new": 1}
        assert figures_of(client)[counted] == before + 1
    assert "features of sessions could not be pushed" in caplog.text
    assert len(log.session_events(["s1"], ["click"], 9)) == 1
