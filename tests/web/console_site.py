"""What is a console over a project in memory: its experiment decided, its versions evaluated, its lists answered?"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import uvicorn
from fastapi import FastAPI

from recsys.decision.alerts import Alert
from recsys.evaluation.drift import ColumnDrift
from recsys.evaluation.quality import Quality
from recsys.modeling.offline_evaluation import plain_values
from recsys.ports import Registration
from recsys.serving.group_commit import GroupCommit
from recsys.statistics.bootstrap import Interval
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
    "api": "/docs",
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
            "problem": "weekly_basket",
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
            "labels": {"a": f"Coffee {self.item}"},
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
    _keep(project, "problems/weekly_basket.json", funnel_document())
    _keep(project, "basket/v2-drift.json", drift_document())
    return project


def _keep(project: PromotedProject, name: str, document: dict[str, Any]) -> None:
    path = project.root / ".recsys/reports" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def funnel_document(reason: str = "clicks need 6 days and correlate 0.71 with orders") -> dict[str, Any]:
    """Return what `recsys funnel` keeps of two stages."""
    evidence = "by the log: 52% of the events order came without click" if reason.startswith("clicks") else reason
    figures = {"visits": 90, "events": 120, "value_share": 1.0, "correlation": 0.7, "correlation_per_visit": 0.4}
    figures |= {"events_per_user": 1.5, "events_per_day": 9.0, "bypass": 0.1, "late": 0.0, "from_top": 0.5}
    need: dict[str, Any] = {"units": 1_200, "days": 6, "detectable": 0.04, "mean": 0.1}
    need |= {"units_bounds": {"lower": 1_000, "upper": 1_500}, "days_bounds": {"lower": 5, "upper": None}}
    stages = [
        figures | {"stage": name, "users": 80, "from_before": share, "need": need}
        for name, share in (("click", None), ("order", 0.25))
    ]
    nothing = dict.fromkeys(("units", "units_bounds", "days", "days_bounds", "detectable"))
    stages[1]["need"] = need | nothing
    reading = {"segment": None, "users": 80, "small": False, "valued": True, "stages": stages}
    return {
        "problem": "weekly_basket",
        "planning": {"minimum_effect": 0.05, "alpha": 0.05, "power": 0.8, "traffic": 0.5, "maximum_days": 60},
        "within": "7d",
        "from": "2023-11-01T00:00:00+00:00",
        "to": "2024-02-01T00:00:00+00:00",
        "entered_before": "2024-01-25T00:00:00+00:00",
        "known_units": 100,
        "confidence": 0.95,
        "funnel": reading,
        "by": "age",
        "segments": [reading | {"segment": reason}],
        "dropped": [{"stage": "click", "rows": 3, "read": 120, "why": reason}],
        "refused": [reason],
        "model_stage": "click",
        "reasons": [reason],
        "channels": [{"channel": "feed", "metric": None, "days": None, "days_bounds": None, "reason": reason}],
        "weak": [
            {"stage": "order", "share": 0.25, "lost_most": True, "lever": "product", "evidence": [evidence]},
        ],
        "findings": [reason],
    }


def drift_document(message: str = "drift: sold moved: PSI 0.31; drift.maximum_psi is 0.25") -> dict[str, Any]:
    """Return what `recsys drift` keeps of weights whose labels are mature."""
    moved = ColumnDrift("sold", 0.31, {"2024-01-29": 0.31}, "ks", 1e-9, 2e-9, 0.0, 0.125)
    still = ColumnDrift("times", 0.01, {}, "none", float("nan"), float("nan"), 0.0, 0.0)
    then, now = Interval(0.30, 0.29, 0.31), Interval(0.21, 0.20, 0.22)
    quality = Quality("ndcg@10/user", "popularity", then, now, Interval(0.7, 0.6, 0.8), None, Interval(1.1, 1.0, 1.2))
    return {
        "model_version": "basket/v2",
        "weights": 3,
        "before": ["2024-01-01T00:00:00+00:00"],
        "now": ["2024-01-22T00:00:00+00:00", "2024-01-29T00:00:00+00:00"],
        "columns": plain_values((still, moved)),
        "quality": plain_values(quality) | {"standing": quality.standing(0.9)},
        "alerts": [asdict(Alert("drift", "sold", 0.31, 0.25, message))],
    }


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
    _keep(project, "problems/weekly_basket.json", funnel_document(HOSTILE))
    _keep(project, "basket/v2-drift.json", drift_document(HOSTILE))
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
    write: str | None = None,
    **console: Any,
) -> FastAPI:
    """Return a service with pages."""
    group = GroupCommit(log or FakeEventLog(), wait_seconds=60)
    service = Service(
        {"home": (shown or world()).resolver},
        group,
        FixedClock(NOW),
        Tokens(read=token, write=write),
        poll_seconds=60,
        allowed_hosts=("testserver",),
        console=Console(reads, "local", "http://127.0.0.1:5000", "http://127.0.0.1:8888/p/shop", **console),
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
