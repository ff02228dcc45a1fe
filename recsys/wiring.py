"""Which adapter serves which port in an environment? The composition root: the only file that chooses."""

import os
from collections.abc import Mapping
from pathlib import Path

from recsys.ports import Clock, Engine, Estimator, EventLog, FeatureReader, Ledger, ModelRegistry, ShopSource
from recsys.specs.catalog import load
from recsys.specs.environment import Environment
from recsys.specs.model import CatBoostAlgorithm
from recsys.workflows.workspace import Adapters, Workspace, find_root

_TELEMETRY_OFF = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "FEAST_USAGE": "False"}
"""Read by MLflow and Feast when they are imported, which happens after this module."""


def open_workspace(environment: str, project: Path | None = None) -> Workspace:
    """Read the declarations and choose the adapters of an environment; nothing is connected yet.

    Args:
        environment: a file under registry/environments/, without .yaml.
        project: the project's folder; found from the current one upwards by default.

    Raises:
        SpecError: with every finding, if a declaration is wrong.
    """
    for name, value in _TELEMETRY_OFF.items():
        os.environ.setdefault(name, value)
    root = (project or find_root(Path.cwd())).resolve()
    catalog = load(root / "registry")
    declared = catalog.environment(environment)
    state = root / declared.state

    def source() -> ShopSource:
        from recsys.adapters.completejourney import CompleteJourney

        return CompleteJourney(declared.data, declared.limits)

    def engine() -> Engine:
        from recsys.adapters.duckdb_engine import DuckDBEngine

        return DuckDBEngine(declared.limits, state / "spill")

    def features(namespace: Path | None) -> FeatureReader:
        from recsys.adapters.feast_features import FeastFeatures

        return FeastFeatures(root / declared.feature_repo, declared.feature_store, namespace)

    def declared_features() -> FeatureReader:
        from recsys.adapters.feast_features import DeclaredFeatures

        return DeclaredFeatures(root / declared.feature_repo, declared.feature_store)

    def registry() -> ModelRegistry:
        from recsys.adapters.catboost_ranker import load_catboost_ranker, write_catboost_flavor
        from recsys.adapters.feature_pyfunc import write_feature_flavor
        from recsys.adapters.mlflow_registry import MlflowRegistry
        from recsys.modeling.feature_ranker import load_feature_ranker

        return MlflowRegistry(
            declared.mlflow_uri.format(state=state),
            artifact_root=state / "mlartifacts",
            loaders={"catboost": load_catboost_ranker, "feature": load_feature_ranker},
            flavors={"catboost": write_catboost_flavor, "feature": write_feature_flavor},
        )

    def event_log() -> EventLog:
        from recsys.adapters.sql_event_log import SqlEventLog

        return SqlEventLog(declared.event_log.format(state=state))

    def ledger() -> Ledger:
        from recsys.adapters.sql_event_log import SqlLedger

        return SqlLedger(declared.event_log.format(state=state))

    def transforms(module: Path) -> Mapping[str, str]:
        from recsys.adapters.declared_logic import declared_transforms

        return declared_transforms(module)

    def estimator(algorithm: CatBoostAlgorithm, columns: tuple[str, ...]) -> Estimator:
        from recsys.adapters.catboost_ranker import CatBoostEstimator

        return CatBoostEstimator(algorithm, columns, declared.limits.threads)

    return Workspace(
        root=root,
        environment_name=environment,
        catalog=catalog,
        clock=_clock(declared, state),
        adapters=Adapters(source, engine, features, declared_features, registry, event_log, ledger, transforms, estimator),
    )


def _clock(environment: Environment, state: Path) -> Clock:
    from recsys.adapters.clocks import ReplayedClock, SystemClock

    if environment.clock == "system":
        return SystemClock()
    return ReplayedClock(state / "clock.json", environment.clock.replay_from)
