"""What is a project in memory whose placement serves two arms, to households that bought something?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schema
from recsys.ports import Registration, ViewInfo, Weights
from recsys.workflows.batches.serve_batch import Batch, serve_batch
from recsys.workflows.decision.promote import promote_first
from recsys.workflows.workspace import Workspace
from tests.fakes.event_log import FakeEventLog
from tests.fakes.features import FakeFeatures
from tests.fakes.item_models import FakeItemModels
from tests.fakes.ranker import FakeRanker
from tests.specs.registry_files import PLACEMENT
from tests.workflows.small_project import START, SmallProject

HOUSEHOLDS: Final = 100
ITEMS: Final = 30
SERVICE: Final = "basket_full"
SERVICES: Final[Mapping[str, Sequence[str]]] = {SERVICE: ["user_item:pair_baskets", "item_weekly:item_baskets_28d"]}
_VIEWS: Final = (
    ViewInfo(
        "item_weekly",
        (schema.ITEM,),
        ("item_baskets_28d", "item_baskets_91d"),
        {"item_baskets_28d": "number", "item_baskets_91d": "number"},
        None,
    ),
    ViewInfo(
        "user_item",
        (schema.USER, schema.ITEM),
        ("pair_baskets", "pair_weeks"),
        {"pair_baskets": "number", "pair_weeks": "number"},
        None,
    ),
)
_STAGES: Final = [{"stage": "pin", "items": ["i29"], "position": 2}, {"stage": "explore", "position": 10, "among": 5}]


@dataclass
class BatchProject(SmallProject):
    """Households of which each bought a few of thirty items; weights 1 are champion and control, 2 are treatment."""

    online: FakeFeatures = field(default_factory=lambda: shop(SERVICES))
    item_models_kept: FakeItemModels = field(default_factory=FakeItemModels)
    log_kept: FakeEventLog = field(default_factory=FakeEventLog)

    def __post_init__(self) -> None:
        """Bring features online, register both arms' weights, and let the events say who bought."""
        super().__post_init__()
        self.change(PLACEMENT, "rerank", _STAGES)
        self.come_to(START)
        self.online.materialize(START)
        self.register("basket/v1", FakeRanker((("pair_baskets", 1.0), ("item_baskets_28d", 0.5))))
        self.register("basket/v2", FakeRanker((("pair_baskets", -1.0), ("item_baskets_28d", 1.0))))
        promote_first(self.open(), "basket/v1")
        self.buy()
        (self.root / ".recsys/materialized.json").write_text("{}")

    def register(self, version: str, ranker: FakeRanker) -> Weights:
        """Put weights into service, of the version's logic as it is now."""
        workspace = self.open()
        features = self.online.feature_set(workspace.catalog.model(version).feature_service)
        logic = workspace.catalog.logic_digest(version, features.digest)
        tags = {"recsys.gate": "passed", "recsys.logic_digest": logic, "recsys.data_digest": "data"}
        weights = self.registry_kept.register(Registration(version, ranker, tags, {}, {}, {}, pa.table({})))
        self.registry_kept.set_alias(weights, f"logic-{weights.version}")
        return weights

    def buy(self, households: int = HOUSEHOLDS) -> None:
        """Let so many households buy once."""
        at = pa.array([START - timedelta(days=1)] * households, schema.TIMESTAMP)
        ids = [f"h{number:03d}" for number in range(households)]
        columns = {name: pa.nulls(households, schema.EVENT_TABLE.field(name).type) for name in schema.EVENT_TABLE.names}
        columns |= {schema.USER: pa.array(ids), schema.EVENT_ID: pa.array(ids)}
        columns |= {
            schema.EVENT_TYPE: pa.array(["purchase"] * households),
            schema.QUANTITY: pa.array([1.0] * households),
        }
        columns |= {schema.EVENT_TIMESTAMP: at, schema.CREATED_TIMESTAMP: at}
        path = self.root / ".recsys/tables/events.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)

    def serve(self, workspace: Workspace | None = None, **options: Any) -> Batch:
        """Do what the command does, eight units a part."""
        return serve_batch(workspace or self.open(), "home", **{"units_a_part": 8, **options})

    def features(self, namespace: Path | None) -> FakeFeatures:
        """Return the one store."""
        assert namespace is None
        return self.online

    def item_models(self, namespace: Path | None) -> FakeItemModels:
        """Return the one store of item-item models."""
        assert namespace is None
        return self.item_models_kept

    def event_log(self) -> FakeEventLog:
        """Return the one log."""
        return self.log_kept


def shop(services: Mapping[str, Sequence[str]]) -> FakeFeatures:
    """Return what is known of items and of households with them; the last ten households bought nothing that is."""
    random = np.random.default_rng(4)
    items = [f"i{number:02d}" for number in range(ITEMS)]
    sold = pa.array(random.integers(1, 9, ITEMS).astype(float))
    pairs = [(f"h{unit:03d}", items[i]) for unit in range(HOUSEHOLDS - 10) for i in random.choice(ITEMS, 6, False)]
    counts = pa.array(random.integers(1, 5, len(pairs)).astype(float))
    tables = {
        "item_weekly": pa.table(
            {schema.ITEM: items, "item_baskets_28d": sold, "item_baskets_91d": sold, **_clocks(ITEMS)}
        ),
        "user_item": pa.table(
            {
                schema.USER: [unit for unit, _ in pairs],
                schema.ITEM: [item for _, item in pairs],
                "pair_baskets": counts,
                "pair_weeks": counts,
                **_clocks(len(pairs)),
            }
        ),
    }
    return FakeFeatures(_VIEWS, tables, services)


def _clocks(count: int) -> dict[str, pa.Array]:
    at = pa.array([START - timedelta(days=1)] * count, schema.TIMESTAMP)
    return {schema.EVENT_TIMESTAMP: at, schema.CREATED_TIMESTAMP: at}
