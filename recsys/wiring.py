"""Which adapter serves which port in an environment? The composition root: the only file that chooses."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recsys.errors import StoreError
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
    Ranker,
    ServingCopy,
    SettingsSearch,
    ShopSource,
)
from recsys.specs.catalog import load
from recsys.specs.environment import Environment
from recsys.specs.metric import Metric
from recsys.specs.model import CatBoostAlgorithm
from recsys.specs.variables import expanded
from recsys.workflows.workspace import Workspace, find_root

_TELEMETRY_OFF = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "FEAST_USAGE": "False"}
"""Read by MLflow and Feast when they are imported, which happens after this module."""


def open_workspace(environment: str, project: Path | None = None) -> Workspace:
    """Read the declarations and choose the adapters of an environment; nothing is connected yet.

    Args:
        environment: a file under registry/environments/, without .yaml.
        project: the project's folder; found from the current one upwards by default.

    Raises:
        SpecError: with every finding, if a declaration is wrong.
        StoreError: if the state folder is no folder.
    """
    for name, value in _TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)
    root = (project or find_root(Path.cwd())).resolve()
    catalog = load(root / "registry")
    declared = catalog.environment(environment)
    chosen = ChosenAdapters(root, environment, declared)
    if chosen.state.exists() and not chosen.state.is_dir():
        message = (
            f"environment {environment}: {chosen.state}: not a folder, and commands keep their state there; move it"
            f" away, or declare another `state` in registry/environments/{environment}.yaml"
        )
        raise StoreError(message)
    return Workspace(root, environment, catalog, chosen.clock(), chosen)


@dataclass(frozen=True)
class ChosenAdapters:
    """The adapters of one environment; each is imported and made when it is asked for."""

    root: Path
    name: str
    declared: Environment

    @property
    def state(self) -> Path:
        """The folder that commands write into."""
        return self.root / self.declared.state

    def clock(self) -> Clock:
        """Return the system's clock, or a replay's."""
        from recsys.adapters.clocks import ReplayedClock, SystemClock

        if self.declared.clock == "system":
            return SystemClock()
        return ReplayedClock(self.state / "clock.json", self.declared.clock.replay_from)

    def prepare(self) -> None:
        """Import MLflow, Feast and what loads rankers."""
        from recsys.adapters.feast_features import prepare_feast
        from recsys.adapters.mlflow_registry import prepare_mlflow

        prepare_feast()
        prepare_mlflow()
        _loaders()

    def source(self) -> ShopSource:
        """Return where the shop's past comes from."""
        if self.declared.data.path is not None:
            from recsys.adapters.parquet_files import ParquetFiles

            where = f"registry/environments/{self.name}.yaml: data.path"
            return ParquetFiles(self.root / expanded(self.declared.data.path, where))
        from recsys.adapters.completejourney import CompleteJourney

        return CompleteJourney(self.declared.data, self.declared.limits)

    def engine(self) -> Engine:
        """Return what runs SQL and transforms."""
        from recsys.adapters.duckdb_engine import DuckDBEngine

        local = DuckDBEngine(self.declared.limits, self.state / "spill")
        if self.declared.engine == "duckdb":
            return local
        from recsys.adapters.spark_engine import SparkEngine

        return SparkEngine(local, self.declared.spark.settings)

    def cluster(self) -> Cluster | None:
        """Return Spark's workers, or None with a local engine."""
        if self.declared.engine == "duckdb":
            return None
        from recsys.adapters.spark_engine import SparkCluster

        return SparkCluster(self.declared.spark.settings)

    def features(self, namespace: Path | None) -> FeatureReader:
        """Return Feast's features, from the configured stores or a replay's own."""
        from recsys.adapters.feast_features import FeastFeatures

        spark = self.declared.spark.settings if self.declared.engine == "spark" else None
        return FeastFeatures(self.root / self.declared.feature_repo, self.declared.feature_store, namespace, spark)

    def item_models(self, namespace: Path | None) -> ItemModelStore:
        """Return the item-item models in the state folder, or in a replay's own."""
        from recsys.adapters.item_model_files import ItemModelFiles

        return ItemModelFiles((namespace or self.state) / "item_models")

    def declared_features(self) -> FeatureReader:
        """Return what the feature repository's files declare, applied or not."""
        from recsys.adapters.feast_features import DeclaredFeatures

        return DeclaredFeatures(self.root / self.declared.feature_repo, self.declared.feature_store, state=self.state)

    def feature_repository(self) -> FeatureRepository:
        """Return Feast's definitions, by the files and by its registry."""
        from recsys.adapters.feast_features import DeclaredFeatures, FeastFeatures
        from recsys.adapters.feast_repository import FeastRepository

        folder, configuration = self.root / self.declared.feature_repo, self.declared.feature_store
        return FeastRepository(
            folder,
            configuration,
            files=lambda: DeclaredFeatures(folder, configuration, state=self.state).store,
            registry=lambda: FeastFeatures(folder, configuration).store,
            state=self.state,
        )

    def transforms(self, module: Path) -> Mapping[str, str]:
        """Return the tables of a transforms.py and their normalized code."""
        from recsys.adapters.declared_logic import declared_transforms

        return declared_transforms(module)

    def feature_tables(self, module: Path) -> Mapping[str, FeatureTable]:
        """Return the tables of a transforms.py: code, keys and periods."""
        from recsys.adapters.declared_logic import declared_tables

        return declared_tables(module)

    def serving_copy(self) -> ServingCopy:
        """Return the folder with a service's local copy."""
        from recsys.adapters.serving_copy_files import ServingCopyFiles

        return ServingCopyFiles(self.state / "serving", _loaders())

    def registry(self) -> ModelRegistry:
        """Return MLflow's registry, with a loader and a flavour for each type of ranker."""
        from recsys.adapters.catboost_ranker import write_catboost_flavor
        from recsys.adapters.feature_pyfunc import write_feature_flavor
        from recsys.adapters.mlflow_registry import MlflowRegistry

        return MlflowRegistry(
            self._address("mlflow_uri"),
            self._address("artifact_root") or None,
            loaders=_loaders(),
            flavors={"catboost": write_catboost_flavor, "feature": write_feature_flavor},
        )

    def event_log(self) -> EventLog:
        """Return the log of exposures and outcomes."""
        from recsys.adapters.sql_event_log import SqlEventLog

        return SqlEventLog(self._address("event_log"))

    def event_archive(self) -> EventArchive:
        """Return the event log as a whole, in the same database."""
        from recsys.adapters.sql_event_log import SqlEventArchive

        return SqlEventArchive(self._address("event_log"))

    def ledger(self) -> Ledger:
        """Return the audit of decisions, in the event log's database."""
        from recsys.adapters.sql_event_log import SqlLedger

        return SqlLedger(self._address("event_log"))

    def checks(self) -> Sequence[Check]:
        """Return what `recsys doctor` asks, a check a store; nothing is asked, and no address read, before it runs."""
        from recsys.adapters.duckdb_engine import duckdb_findings
        from recsys.adapters.feast_features import feast_registry_findings, online_store_findings
        from recsys.adapters.mlflow_registry import artifact_findings, mlflow_findings
        from recsys.adapters.sql_event_log import event_log_findings, ledger_findings

        feast = self.root / self.declared.feature_repo, self.declared.feature_store
        return (
            Check("engine", lambda: duckdb_findings(self.declared.limits, self.state / "spill")),
            *self._spark_checks(),
            Check("shop data", lambda: self.source().findings()),
            Check("online store", lambda: online_store_findings(*feast)),
            Check("feature registry", lambda: feast_registry_findings(*feast)),
            Check("model registry", lambda: mlflow_findings(self._address("mlflow_uri"))),
            Check(
                "artefacts",
                lambda: artifact_findings(self._address("mlflow_uri"), self._address("artifact_root") or None),
            ),
            Check("event log", lambda: event_log_findings(self._address("event_log"))),
            Check("ledger", lambda: ledger_findings(self._address("event_log"))),
        )

    def _spark_checks(self) -> Sequence[Check]:
        if self.declared.engine == "duckdb":
            return ()
        from recsys.adapters.spark_engine import spark_findings

        return (Check("engine", lambda: spark_findings(self.declared.spark.settings)),)

    def _address(self, field: Literal["mlflow_uri", "artifact_root", "event_log"]) -> str:
        return self.declared.address(field, self.name, self.state)

    def search(self, database: Path) -> SettingsSearch:
        """Return what tries settings of a model, and keeps its trials in a file."""
        from recsys.adapters.optuna_search import OptunaSearch

        return OptunaSearch(database)

    def estimator(
        self, algorithm: CatBoostAlgorithm, columns: tuple[str, ...], metric: Metric | None = None
    ) -> Estimator:
        """Return what fits an algorithm; the metric is the gate's."""
        from recsys.adapters.catboost_ranker import CatBoostEstimator

        return CatBoostEstimator(algorithm, columns, self.declared.limits.threads, metric)


def _loaders() -> dict[str, Callable[[Path], Ranker]]:
    """Return what loads the files of each type of ranker."""
    from recsys.adapters.catboost_ranker import load_catboost_ranker
    from recsys.modeling.feature_ranker import load_feature_ranker

    return {"catboost": load_catboost_ranker, "feature": load_feature_ranker}
