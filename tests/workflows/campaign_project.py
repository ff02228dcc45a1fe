"""What is a project in memory whose campaign has a champion, and units who said whom they want to hear from?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.ports import Registration, ViewInfo, Weights
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, TIMESTAMP, USER
from recsys.workflows.batches.campaign_files import Campaign
from recsys.workflows.batches.serve_campaign import serve_campaign
from recsys.workflows.decision.promote import promote_first
from tests.fakes.features import FakeFeatures
from tests.fakes.ranker import FakeRanker
from tests.workflows.small_project import SmallProject

NOW: Final = datetime.fromisoformat("2017-12-01T06:00:00+00:00")
MONTH: Final = timedelta(days=30)
AUDIENCE: Final = "audiences/mailing.yaml"
PROBLEM: Final = "problems/coupons.yaml"
VERSION: Final = "models/coupon/v1.yaml"
SERVICE: Final = "coupon_units"
USERS: Final = tuple(f"h{number:02d}" for number in range(20))

_VIEWS: Final = (
    ViewInfo("active", (USER,), ("visits",), {"visits": "number"}, None),
    ViewInfo("consent", (USER,), ("may_sms",), {"may_sms": "number"}, MONTH),
    ViewInfo("taste", (USER,), ("affinity", "spare"), {"affinity": "number", "spare": "number"}, None),
)
_SERVICES: Final = {SERVICE: ["taste:affinity"]}
_DECLARED: Final[Mapping[str, Any]] = {
    PROBLEM: {
        "business_issue": "Coupons go to households that never redeem them",
        "owners": {"product": "crm", "engineering": "ml"},
        "entity": {"unit": "user_id", "item": None},
        "target": {"event": "redeemed", "horizon": "14d"},
        "formulation": "classification",
        "channels": {"sms": {"capacity": 4}, "letter": {"capacity": 12}},
    },
    AUDIENCE: {
        "problem": "coupons",
        "model": "coupon",
        "units": {"view": "active", "feature": "visits"},
        "contact": {"sms": {"view": "consent", "feature": "may_sms"}, "letter": None},
    },
    VERSION: {
        "problem": "coupons",
        "placement": "mailing",
        "feature_service": SERVICE,
        "algorithm": {"type": "catboost", "loss": "Logloss", "calibration": "sigmoid"},
        "baselines": {"visits": "active:visits"},
        "gate": {"metric": "recall@4/global", "against": "visits"},
    },
}


@dataclass
class CampaignProject(SmallProject):
    """Twenty active households of rising affinity, .01 to .20; all but the last have said yes to messages."""

    online: FakeFeatures = field(default_factory=lambda: shop(_SERVICES))

    def __post_init__(self) -> None:
        """Declare the campaign, and let its weights be the champion."""
        super().__post_init__()
        self.files |= json.loads(json.dumps(_DECLARED))
        self.come_to(NOW)
        self.online.materialize(NOW)
        self.consent(dict.fromkeys(USERS[:-1], 1.0) | {USERS[-1]: 0.0})
        self.register()
        promote_first(self.open(), "coupon/v1")
        marker = self.root / ".recsys/materialized.json"
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text("{}")

    def register(self, columns: Sequence[str] = ("affinity",)) -> Weights:
        """Register weights of the version as its logic is now."""
        workspace = self.open()
        logic = workspace.catalog.logic_digest("coupon/v1", self.online.feature_set(SERVICE).digest)
        tags = {"recsys.gate": "passed", "recsys.logic_digest": logic, "recsys.data_digest": "data"}
        observed = {"estimate": 0.1, "lower": 0.05, "upper": 0.2}
        report = {"reliability": {"bins": [{"predicted": 0.15, "observed": observed, "count": 40}]}}
        ranker = FakeRanker(tuple((name, 1.0) for name in columns))
        reports = {"report.json": json.dumps(report)}
        weights = self.registry_kept.register(Registration("coupon/v1", ranker, tags, {}, {}, reports, pa.table({})))
        self.registry_kept.set_alias(weights, "logic-v1")
        return weights

    def consent(self, said: Mapping[str, float | None], at: datetime = NOW) -> None:
        """Let units say whether they want messages."""
        self.push("consent", {user: {"may_sms": may} for user, may in said.items()}, at)

    def push(self, view: str, units: Mapping[str, Mapping[str, float | None]], at: datetime = NOW) -> None:
        """Write rows of a view online: unit to its features."""
        rows = [{USER: user, **values, EVENT_TIMESTAMP: at, CREATED_TIMESTAMP: at} for user, values in units.items()]
        columns = [(USER, pa.string()), *((name, pa.float64()) for name in self.online.view(view).features), *_CLOCKS]
        self.online.push(view, pa.Table.from_pylist(rows, pa.schema(columns)))

    def serve(self, channel: str = "sms", **options: Any) -> Campaign:
        """Do what the command does."""
        return serve_campaign(self.open(), "mailing", channel, **options)

    def features(self, namespace: Path | None) -> FakeFeatures:
        """Return the one store."""
        assert namespace is None
        return self.online


_CLOCKS: Final = ((EVENT_TIMESTAMP, TIMESTAMP), (CREATED_TIMESTAMP, TIMESTAMP))


def shop(services: Mapping[str, Sequence[str]]) -> FakeFeatures:
    """Return the households' rows, with nothing online yet."""
    users = USERS
    stamps = {name: pa.array([NOW] * len(users), TIMESTAMP) for name, _ in _CLOCKS}
    ids = pa.array(list(users), pa.string())
    affinity = pa.array(np.arange(1, len(users) + 1) / 100)
    nobody = {USER: pa.array([], pa.string()), "may_sms": pa.array([], pa.float64())}
    tables = {
        "active": pa.table({USER: ids, "visits": pa.array([1.0] * len(users), pa.float64()), **stamps}),
        "consent": pa.table({**nobody, **{name: pa.array([], kind) for name, kind in _CLOCKS}}),
        "taste": pa.table({USER: ids, "affinity": affinity, "spare": affinity, **stamps}),
    }
    return FakeFeatures(_VIEWS, tables, services, pushed=["active", "consent", "taste"])
