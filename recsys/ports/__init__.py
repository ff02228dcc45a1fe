"""What does the core need from the outside world?

Each Protocol has one real implementation per technology under adapters/ and one in-memory fake under tests/fakes;
both pass the same contract tests. The small frozen types beside them are what travels through.
"""

from recsys.ports.checks import Check, Finding, Status
from recsys.ports.clock import Clock
from recsys.ports.cluster import BatchFunction, Cluster
from recsys.ports.engine import Engine, FeatureTable, Step, Streams
from recsys.ports.event_archive import EventArchive, LogRows
from recsys.ports.event_log import (
    MADE_AT,
    Decisions,
    EventLog,
    Exposure,
    Ledger,
    LedgerEntry,
    NewIds,
    RoutedCount,
    RoutedCounts,
    ShownItem,
)
from recsys.ports.features import (
    Definitions,
    ErasedOnline,
    FeatureReader,
    FeatureRepository,
    FeatureSet,
    Groups,
    OnlineFeatures,
    OnlineRows,
    RequestTransform,
    UnitColumns,
    ViewInfo,
)
from recsys.ports.item_models import ItemModelStore, ItemWeights
from recsys.ports.models import (
    Columns,
    Estimator,
    ModelRegistry,
    NamedWeights,
    Ranker,
    Registration,
    TrainingRows,
    Weights,
)
from recsys.ports.search import Range, Settings, SettingsSearch, Trial
from recsys.ports.serving_copy import ServingCopy
from recsys.ports.shop import Delivery, ShopSource, SourceCount

__all__ = [
    "MADE_AT",
    "BatchFunction",
    "Check",
    "Clock",
    "Cluster",
    "Columns",
    "Decisions",
    "Definitions",
    "Delivery",
    "Engine",
    "ErasedOnline",
    "Estimator",
    "EventArchive",
    "EventLog",
    "Exposure",
    "FeatureReader",
    "FeatureRepository",
    "FeatureSet",
    "FeatureTable",
    "Finding",
    "Groups",
    "ItemModelStore",
    "ItemWeights",
    "Ledger",
    "LedgerEntry",
    "LogRows",
    "ModelRegistry",
    "NamedWeights",
    "NewIds",
    "OnlineFeatures",
    "OnlineRows",
    "Range",
    "Ranker",
    "Registration",
    "RequestTransform",
    "RoutedCount",
    "RoutedCounts",
    "ServingCopy",
    "Settings",
    "SettingsSearch",
    "ShopSource",
    "ShownItem",
    "SourceCount",
    "Status",
    "Step",
    "Streams",
    "TrainingRows",
    "Trial",
    "UnitColumns",
    "ViewInfo",
    "Weights",
]
