"""Is the excess refused at once, does nothing hang, and does a service tell of its stores?"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from recsys.errors import StoreError
from recsys.ports import Exposure, NewIds, RoutedCount
from recsys.serving.breaker import Breaker, Tolerance
from recsys.serving.fleet import Fleet
from recsys.serving.gate import Gate
from recsys.serving.stores import Stores
from recsys.web.app import Limits, create_app
from tests.fakes.event_log import FakeEventLog
from tests.fakes.features import FakeFeatures
from tests.serving.test_resolver import BY_TIMES, Hooked, World, failing, small, world
from tests.web.test_app import CLICK, assert_problem, figures_of, service

ASKED = {"placement": "home", "user_id": "u1"}


class HangingLog(FakeEventLog):
    """A log that answers nothing until it is told to."""

    def __init__(self) -> None:
        """Hang from the beginning."""
        super().__init__()
        self.back = threading.Event()

    def write_group(
        self, exposures: Sequence[Exposure], outcomes: pa.Table, routed: Sequence[RoutedCount] = ()
    ) -> NewIds:
        """Hang, then write."""
        self.back.wait(60)
        return super().write_group(exposures, outcomes, routed)


def slow_world(gate: threading.Event) -> World:
    """Make a world whose ranker scores only once a gate is open."""
    made = world()
    made.register("basket/v2", Hooked(BY_TIMES, lambda _: _opened(gate)), "champion")
    gate.set()
    made.resolver.follow()
    gate.clear()
    return made


def _opened(gate: threading.Event) -> None:
    assert gate.wait(60)


def test_beyond_what_may_wait_the_excess_is_told_so_at_once() -> None:
    gate = threading.Event()
    app = create_app(service(slow_world(gate), limits=Limits(concurrent=2, waiting=3)))
    with TestClient(app) as client, ThreadPoolExecutor(12) as clients:
        asked = [clients.submit(client.post, "/v1/recommend", json=ASKED) for _ in range(12)]
        deadline = time.monotonic() + 60
        while sum(each.done() for each in asked) < 7:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        refused = [each.result() for each in asked if each.done()]
        for answer in refused:
            assert_problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert client.post("/v1/events", json={"events": [CLICK]}).status_code == 200, "events have places of their own"
        gate.set()
        answers = [each.result() for each in asked]
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [503] * 7
        assert client.post("/v1/recommend", json=ASKED).status_code == 200


def test_a_request_whose_time_passes_in_the_queue_gets_what_needs_no_time() -> None:
    gate = threading.Event()
    limits = Limits(timedelta(milliseconds=100), concurrent=1, waiting=3)
    app = create_app(service(slow_world(gate), limits=limits))
    with TestClient(app) as client, ThreadPoolExecutor(2) as clients:
        first = clients.submit(client.post, "/v1/recommend", json=ASKED)
        second = clients.submit(client.post, "/v1/recommend", json=ASKED)
        time.sleep(0.3)
        gate.set()
        fallbacks = {first.result().json()["fallback"], second.result().json()["fallback"]}
    assert "popular list: no model could answer" in fallbacks


def test_a_log_that_hangs_costs_an_answer_no_more_than_its_time_and_then_nothing() -> None:
    log = HangingLog()
    stores = Stores(log=Gate(Breaker("event log", Tolerance(failures=3, cooldown=60))))
    made = world()
    fleet = Fleet({"home": made.resolver}, stores=stores)
    app = create_app(replace(service(made, log, limits=Limits(timedelta(milliseconds=200))), resolvers=fleet))
    with TestClient(app) as client:
        lost = 'recsys_exposures_lost_total{placement="home"}'
        before = figures_of(client)[lost]
        answers = [client.post("/v1/recommend", json=ASKED) for _ in range(10)]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["fallback"] for answer in answers} == {None}
        assert figures_of(client)[lost] - before == 10
        assert figures_of(client)['recsys_breaker{store="event log"}'] == 2
        assert client.get("/readyz").json()["breakers"]["event log"] == "open"
        assert_problem(client.post("/v1/events", json={"events": [CLICK]}), 503)
        log.back.set()


def test_refused_weights_and_stores_that_cannot_be_followed_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()
    bad = made.register("basket/v2", failing(ValueError("does not fit")), "champion")
    app = create_app(service(made, poll_seconds=0.02))
    with TestClient(app) as client:
        deadline = time.monotonic() + 60
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < deadline
        monkeypatch.setattr(made.registry, "resolve", _no_answer)
        while not (told := client.get("/readyz").json()["placements"]["home"]).get("troubles"):
            assert time.monotonic() < deadline
        assert told["champion"] == "basket/v2"
        assert told["refused"] == {f"basket/{bad.number}": "ValueError: does not fit"}
        assert told["troubles"] == {"model registry and ledger": "registry: no answer"}
        figures = figures_of(client)
        assert figures['recsys_weights{model_version="basket/v2",placement="home"}'] == 2
        assert figures['recsys_weights_refused{placement="home"}'] == 1
        assert figures['recsys_stores_not_followed{placement="home"}'] == 1
        answer = client.post("/v1/recommend", json=ASKED).json()
        assert answer["fallback"] == "last good model: a store could not be followed"
        assert answer["weights"] == 2


class SlowStore(FakeFeatures):
    """A store that takes twenty milliseconds."""

    def __init__(self) -> None:
        """Take over a shop."""
        self.__dict__.update(small().__dict__)

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Wait and read."""
        time.sleep(0.02)
        return super().online_group(view, key, within=within)


def test_a_placement_has_a_budget_of_its_own() -> None:
    limits = Limits(timedelta(seconds=60))
    for budget, fallback in (("1ms", "popular list: no model could answer"), ("60s", None)):
        made = world(SlowStore(), changes={"budget": budget})
        with TestClient(create_app(service(made, limits=limits))) as client:
            assert client.post("/v1/recommend", json=ASKED).json()["fallback"] == fallback


def _no_answer(*_: Any) -> None:
    message = "registry: no answer"
    raise StoreError(message)
