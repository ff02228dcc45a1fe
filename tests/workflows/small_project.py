"""What is a project whose stores are all in memory, and how is one thing in it changed?"""

import copy
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schema
from recsys.planning.plan import Plan
from recsys.ports import Cluster, Registration, ViewInfo, Weights
from recsys.specs.catalog import load
from recsys.workflows.declarations.plan import Applied, apply, plan
from recsys.workflows.workspace import Workspace
from tests.fakes.clock import FixedClock
from tests.fakes.engine import FakeEngine
from tests.fakes.event_log import FakeEventLog
from tests.fakes.feature_repository import FakeFeatureRepository
from tests.fakes.features import FakeFeatures
from tests.fakes.ledger import FakeLedger
from tests.fakes.ranker import FakeRanker
from tests.fakes.registry import FakeRegistry
from tests.specs.registry_files import ENVIRONMENT, Files, change, files, write

START: Final = datetime(2017, 12, 4, tzinfo=UTC)
"""When the experiment of the small registry starts; it runs four weeks."""
BEFORE: Final = START - timedelta(days=3)
HOUSEHOLDS: Final = 400

_DEFINITIONS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "feature_views": {
        "item_weekly": {
            "join_keys": ["item_id"],
            "features": {"item_baskets_28d": "number", "item_baskets_91d": "number"},
            "description": "what everybody takes",
        },
        "user_item": {
            "join_keys": ["user_id", "item_id"],
            "features": {"pair_baskets": "number", "pair_weeks": "number"},
            "description": "what one household takes",
        },
    },
    "request_transforms": {},
    "feature_services": {"basket_full": {"references": ["user_item:pair_baskets"]}},
}


@dataclass
class SmallProject:
    """Declarations in a folder, and everything else in memory."""

    root: Path
    files: Files = field(default_factory=files)
    repository: FakeFeatureRepository = field(
        default_factory=lambda: FakeFeatureRepository(copy.deepcopy(_DEFINITIONS))
    )
    tables: dict[str, str] = field(default_factory=lambda: {"item_weekly": "return items", "user_item": "return pairs"})
    clock: FixedClock = field(default_factory=lambda: FixedClock(BEFORE))
    ledger_kept: FakeLedger = field(default_factory=FakeLedger)
    registry_kept: FakeRegistry = field(default_factory=FakeRegistry)
    log_kept: FakeEventLog = field(default_factory=FakeEventLog)

    def __post_init__(self) -> None:
        """Let stores that are no files stand in the environment: they are there from the beginning."""
        for store in ("mlflow_uri", "event_log"):
            change(self.files, ENVIRONMENT, store, "memory://")

    def open(self) -> Workspace:
        """Write the files as they are now and open them."""
        shutil.rmtree(self.root / "registry", ignore_errors=True)
        catalog = load(write(self.root, self.files))
        return Workspace(self.root, "local", catalog, self.clock, self)

    def plan(self) -> Plan:
        """Plan what the files say now."""
        return plan(self.open())

    def apply(self, expected: str | None = None) -> Applied:
        """Apply what the files say now."""
        return apply(self.open(), expected)

    def change(self, path: str, name: str, value: object) -> None:
        """Set a dotted field of a declaration."""
        change(self.files, path, name, value)

    def come_to(self, moment: datetime) -> None:
        """Move the clock."""
        self.clock.set(moment)

    def train(self, version: str, **more: str) -> Weights:
        """Register weights of a version as its logic is now; what else is given are tags after `recsys.`."""
        workspace = self.open()
        features = self.declared_features().feature_set(workspace.catalog.model(version).feature_service)
        tags = {f"recsys.{name}": value for name, value in more.items()}
        tags |= {"recsys.logic_digest": workspace.catalog.logic_digest(version, features.digest)}
        return self.registry_kept.register(Registration(version, FakeRanker(), tags, {}, {}, {}, pa.table({})))

    def shop(self) -> None:
        """Let every household buy once, before the experiment."""
        at = pa.array([BEFORE - timedelta(days=1)] * HOUSEHOLDS, schema.TIMESTAMP)
        ids = [f"h{number}" for number in range(HOUSEHOLDS)]
        columns = {name: pa.nulls(HOUSEHOLDS, schema.EVENT_TABLE.field(name).type) for name in schema.EVENT_TABLE.names}
        columns |= {schema.USER: pa.array(ids), schema.EVENT_ID: pa.array(ids)}
        columns |= {schema.EVENT_TIMESTAMP: at, schema.CREATED_TIMESTAMP: at}
        path = self.root / ".recsys/tables/events.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)

    # ------------------------------------------------------------ Adapters, as far as plans need them

    def engine(self) -> FakeEngine:
        """Return DuckDB in memory."""
        return FakeEngine()

    def cluster(self) -> Cluster | None:
        """Return none: this process does all."""
        return None

    def declared_features(self) -> FakeFeatures:
        """Return features as the repository's files define them; they have no rows."""
        views = [
            ViewInfo(
                name=name,
                join_keys=tuple(view["join_keys"]),
                features=tuple(view["features"]),
                # Beside the kinds stands what else a digest of the view has to cover.
                kinds=dict.fromkeys(view["features"], "number")
                | {"types": str(view["features"]), "transform": self.tables.get(name, "")},
                ttl=None,
            )
            for name, view in self.repository.files["feature_views"].items()
        ]
        empty = {
            view.name: pa.table(
                {
                    **{key: pa.array([], pa.string()) for key in view.join_keys},
                    **{feature: pa.array([], pa.float64()) for feature in view.features},
                    schema.EVENT_TIMESTAMP: pa.array([], schema.TIMESTAMP),
                    schema.CREATED_TIMESTAMP: pa.array([], schema.TIMESTAMP),
                }
            )
            for view in views
        }
        services = {name: one["references"] for name, one in self.repository.files["feature_services"].items()}
        return FakeFeatures(views, empty, services)

    def feature_repository(self) -> FakeFeatureRepository:
        """Return the definitions."""
        return self.repository

    def transforms(self, module: Path) -> Mapping[str, str]:
        """Return the tables' code."""
        assert module.name == "transforms.py"
        return dict(self.tables)

    def ledger(self) -> FakeLedger:
        """Return the one ledger."""
        return self.ledger_kept

    def event_log(self) -> FakeEventLog:
        """Return the one log."""
        return self.log_kept

    def registry(self) -> FakeRegistry:
        """Return the one registry."""
        return self.registry_kept
