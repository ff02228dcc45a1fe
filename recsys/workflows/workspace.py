"""What does a command work on?

The declarations of a project and the adapters of one environment, each opened at first use.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from recsys.errors import DataError, SpecError
from recsys.modeling.moments import Moments
from recsys.ports import (
    Check,
    Clock,
    Cluster,
    Engine,
    Estimator,
    EventArchive,
    EventLog,
    FeatureReader,
    FeatureRepository,
    FeatureTable,
    ItemModelStore,
    Ledger,
    ModelRegistry,
    ServingCopy,
    SettingsSearch,
    ShopSource,
)
from recsys.specs.catalog import Catalog
from recsys.specs.environment import Environment
from recsys.specs.metric import Metric
from recsys.specs.model import CatBoostAlgorithm


class Adapters(Protocol):
    """How each port is made in this environment; the composition root chooses."""

    def prepare(self) -> None:
        """Import what the clients of stores need: that takes seconds, which are none of a store's to answer in."""
        ...

    def source(self) -> ShopSource:
        """Return where the shop's past comes from."""
        ...

    def engine(self) -> Engine:
        """Return what runs SQL and transforms."""
        ...

    def cluster(self) -> Cluster | None:
        """Return what runs a function side by side, or None where this process does all."""
        ...

    def features(self, namespace: Path | None) -> FeatureReader:
        """Return features from a namespace folder (a replay's), or from the configured stores."""
        ...

    def item_models(self, namespace: Path | None) -> ItemModelStore:
        """Return the item-item models of candidate sources, of a namespace folder (a replay's) or the environment's."""
        ...

    def declared_features(self) -> FeatureReader:
        """Return what the feature repository's files declare, applied or not."""
        ...

    def feature_repository(self) -> FeatureRepository:
        """Return the definitions of features, by the files and by the feature store."""
        ...

    def transforms(self, module: Path) -> Mapping[str, str]:
        """Return the tables of a feature repository's transforms.py, and their normalized code."""
        ...

    def feature_tables(self, module: Path) -> Mapping[str, FeatureTable]:
        """Return the tables of a feature repository's transforms.py: code, keys and periods."""
        ...

    def registry(self) -> ModelRegistry:
        """Return the registered models."""
        ...

    def serving_copy(self) -> ServingCopy:
        """Return where a service keeps what its answers are made from."""
        ...

    def event_log(self) -> EventLog:
        """Return the log of exposures and outcomes."""
        ...

    def event_archive(self) -> EventArchive:
        """Return the event log as a whole: what is exported, pruned and erased."""
        ...

    def ledger(self) -> Ledger:
        """Return the audit of decisions."""
        ...

    def checks(self) -> Sequence[Check]:
        """Return what `recsys doctor` asks of each store."""
        ...

    def search(self, database: Path) -> SettingsSearch:
        """Return what tries settings of a model, and keeps its trials in a file."""
        ...

    def estimator(
        self, algorithm: CatBoostAlgorithm, columns: tuple[str, ...], metric: Metric | None = None
    ) -> Estimator:
        """Return what fits an algorithm over columns; the metric is the gate's, by which a fit may be stopped."""
        ...


class Workspace:
    """A project in one environment."""

    def __init__(self, root: Path, environment_name: str, catalog: Catalog, clock: Clock, adapters: Adapters) -> None:
        """Hold what the composition root chose.

        Args:
            root: the project's folder: registry/ and feature_repo/ lie in it.
            environment_name: a file under registry/environments/.
            catalog: the declarations, cross-checked.
            clock: the environment's time.
            adapters: how to open everything else.
        """
        self.root = root
        self.environment_name = environment_name
        self.catalog = catalog
        self.clock = clock
        self.adapters = adapters

    @property
    def environment(self) -> Environment:
        """The environment's declaration."""
        return self.catalog.environment(self.environment_name)

    @property
    def state(self) -> Path:
        """The one folder that commands write into."""
        return self.root / self.environment.state

    @property
    def feature_repository(self) -> Path:
        """The Feast repository's folder."""
        return self.root / self.environment.feature_repo

    @property
    def tables(self) -> Path:
        """The folder of events.parquet, items.parquet and users.parquet."""
        return self.state / "tables"

    @property
    def events(self) -> Path:
        """The event table."""
        return self.tables / "events.parquet"

    @property
    def feature_tables(self) -> Path:
        """The folder of feature tables, a folder each."""
        return self.state / "features"

    @property
    def datasets(self) -> Path:
        """The folder of training sets."""
        return self.state / "datasets"

    @property
    def replay_state(self) -> Path:
        """The folder of replays' online namespaces."""
        return self.state / "replay"

    @cached_property
    def engine(self) -> Engine:
        """Runs SQL and transforms."""
        return self.adapters.engine()

    @cached_property
    def features(self) -> FeatureReader:
        """Features by the configured stores."""
        return self.adapters.features(None)

    @cached_property
    def item_models(self) -> ItemModelStore:
        """Item-item models of candidate sources, as requests read them."""
        return self.adapters.item_models(None)

    @cached_property
    def moments(self) -> Moments:
        """Past moments, read once a process."""
        return Moments(self.features, self.environment.limits.memory_bytes)

    @cached_property
    def registry(self) -> ModelRegistry:
        """Registered models."""
        return self.adapters.registry()

    @cached_property
    def event_log(self) -> EventLog:
        """Exposures and outcomes."""
        return self.adapters.event_log()

    @cached_property
    def event_archive(self) -> EventArchive:
        """The event log as a whole."""
        return self.adapters.event_archive()

    @cached_property
    def ledger(self) -> Ledger:
        """The audit of decisions."""
        return self.adapters.ledger()

    def afresh(self) -> "Workspace":
        """Return the same with nothing opened, as another process can be handed it."""
        return Workspace(self.root, self.environment_name, self.catalog, self.clock, self.adapters)

    def shown(self, path: Path) -> str:
        """Return a path as people read it: relative to the project."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def find_root(start: Path) -> Path:
    """Return the project's folder: the nearest one, from `start` upwards, that holds registry/.

    Raises:
        SpecError: if there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "registry" / "environments").is_dir():
            return folder
    raise SpecError([f"{start}: no recsys project here or above it: a project has a folder registry/environments/"])


def file_digest(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256.

    Raises:
        DataError: if the file is not there, or may not be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        message = f"{path}: {error.strerror}; `recsys ingest` makes the tables"
        raise DataError(message) from error
