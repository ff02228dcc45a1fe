"""What is a console over a project in memory: its experiment decided, its versions evaluated, its lists answered?"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import uvicorn
from fastapi import FastAPI

from recsys.ports import Registration
from recsys.serving.group_commit import GroupCommit
from recsys.web.app import Service, create_app
from recsys.web.console.pages import Console
from recsys.web.guards import Tokens
from recsys.workflows.console.source import ConsoleSource, Document
from tests.fakes.clock import FixedClock
from tests.fakes.event_log import FakeEventLog
from tests.fakes.ranker import FakeRanker
from tests.reports.test_experiment import evaluated
from tests.reports.test_offline import HOSTILE, list_document
from tests.serving.small_shop import NOW, pair, shop, sold
from tests.serving.test_resolver import World, world
from tests.specs.registry_files import EXPERIMENT, PROBLEM
from tests.workflows.promoted_project import NAME, PromotedProject, made

PAGES: Final = {
    "overview": "/",
    "problem": "/problems/weekly_basket",
    "model": "/models/basket?version=v2",
    "experiment": f"/experiments/{NAME}",
    "ask": "/requests",
    "request": "/requests?id=r1",
    "placement": "/placements/home",
    "try": "/placements/home?user_id=u1",
}


class OneRequest(ConsoleSource):
    """Explains one request, which would need a feature store."""

    item = "a"

    def request(self, request_id: str) -> Document:
        """Return what `recsys why` says of a list with a stage after the model."""
        slots = [self.item, "b", "c"]
        return {
            "request_id": request_id,
            "placement": "home",
            "user_id": "u1",
            "session_id": None,
            "at": NOW.isoformat(),
            "asked": {"k": 3, "context": {"device": self.item}},
            "experiment": NAME,
            "arm": "treatment",
            "arm_now": "treatment",
            "overridden": False,
            "model_version": "basket/v2",
            "weights": 2,
            "fallback": None,
            "watermarks": {},
            "logged": [],
            "features": {
                "source": "logged row",
                "as_of": NOW.isoformat(),
                "digest": "d",
                "digest_equal": False,
                "differing": {"times": 1},
            },
            "recomputed": {
                "items_equal": True,
                "candidates": 9,
                "sources": {"personal": 4, "popular": 5},
                "filtered": {"seen": 2},
                "stages": [{"stage": "pin", "before": ["b", "c", "d"], "after": slots, "left_out": 0}],
                "items": [
                    {
                        "position": place,
                        "item_id": item,
                        "score": None if place == 1 else 0.5,
                        "rank": None if place == 1 else place - 1,
                        "propensity": 1.0,
                        "sources": [] if place == 1 else ["popular"],
                        "features": {} if place == 1 else {"times": 2.0, "brand": self.item},
                        "contributions": {},
                    }
                    for place, item in enumerate(slots, 1)
                ],
            },
        }


def project(folder: Path) -> PromotedProject:
    """Return a project with v1 and v2 trained and evaluated, and an experiment that says SHIP."""
    project = made(folder)
    offline, experiment = (json.loads(text) for text in _reports())
    for version in ("v1", "v2"):
        project.registry_kept.set_alias(_trained(project, f"basket/{version}", offline), f"logic-{version}")
    project.append(experiment | {"experiment": NAME})
    return project


@cache
def _reports() -> tuple[str, str]:
    """Return an offline report and an experiment's, as JSON."""
    return json.dumps(list_document() | {"model_version": "basket/v2"}), json.dumps(evaluated())


def _trained(project: PromotedProject, version: str, document: dict[str, Any]) -> Any:
    tags = {"recsys.gate": "passed", "recsys.data_digest": "0a1b2c3d", "recsys.known_at": NOW.isoformat()}
    reports = {"report.json": json.dumps(document)}
    return project.registry_kept.register(Registration(version, FakeRanker(), tags, {}, {}, reports, pa.table({})))


def hostile(project: PromotedProject) -> PromotedProject:
    """Let whatever people write in a project be markup."""
    project.change(PROBLEM, "business_issue", HOSTILE)
    project.change(PROBLEM, "owners", {"product": HOSTILE, "engineering": HOSTILE})
    project.change(EXPERIMENT, "hypothesis", HOSTILE)
    project.change(EXPERIMENT, "overrides", {HOSTILE: "treatment"})

    def everywhere(report: dict[str, Any]) -> None:
        report["verdict"]["reason"] = report["analysis"]["hypothesis"] = HOSTILE
        report["analysis"]["health"]["failures"] = [HOSTILE]

    project.alter(everywhere, seal=False)
    project.ledger_kept.append(
        transaction="t",
        state="done",
        action="promote",
        subject="basket",
        payload={
            "aliases": {"champion": {"before": 1, "after": 3}},
            "model_version": "basket/v2",
            "override": HOSTILE,
            "overridden": [HOSTILE],
            "experiment": HOSTILE,
        },
        author=HOSTILE,
        at=project.clock.now(),
    )
    return project


def hostile_world() -> World:
    """Return a shop whose items and makers are markup."""
    features = shop(item_week=[sold(HOSTILE, 9), sold("b", 3), sold("c", 1)], pair=[pair("u1", HOSTILE, 4)])
    return world(features)


def application(
    reads: ConsoleSource,
    shown: World | None = None,
    log: FakeEventLog | None = None,
    token: str | None = None,
    **limits: Any,
) -> FastAPI:
    """Return a service with pages."""
    group = GroupCommit(log or FakeEventLog(), wait_seconds=60)
    service = Service(
        {"home": (shown or world()).resolver},
        group,
        FixedClock(NOW),
        Tokens(read=token),
        poll_seconds=60,
        console=Console(reads, "local", "http://127.0.0.1:5000", "http://127.0.0.1:8888/p/shop", **limits),
        on_stop=group.close,
    )
    return create_app(service)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve an application on loopback until the block ends, and return where."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)
