"""What does the core need from the outside world?

Each Protocol has one real implementation per technology under adapters/ and one in-memory fake under tests/fakes;
both pass the same contract tests. The small frozen types beside them are what travels through.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.errors import FeatureError

Columns = Mapping[str, NDArray[Any]]
"""Feature columns by name, one value a row: float64/float32, object (str) or datetime64[us]; null numbers are NaN."""


class Clock(Protocol):
    """What time is it here? Every TTL, maturity, declaration and ledger check asks this."""

    def now(self) -> datetime:
        """Return the environment's time, in UTC."""
        ...


# ---------------------------------------------------------------- the shop's data


@dataclass(frozen=True)
class SourceCount:
    """One kind of source rows: how many were read, how many dropped, and why."""

    rows: str
    read: int
    dropped: int
    why: str


class ShopSource(Protocol):
    """Brings a shop's past in."""

    def ingest(self, tables: Path) -> Sequence[SourceCount]:
        """Write events.parquet, items.parquet and users.parquet (see `schema`) into a folder, each by rename."""
        ...


# ---------------------------------------------------------------- features


@dataclass(frozen=True)
class ViewInfo:
    """What the core has to know of one feature view."""

    name: str
    join_keys: tuple[str, ...]
    """Join keys in the order of the view's entities; a second key means rows are kept under the first."""
    features: tuple[str, ...]
    kinds: Mapping[str, str]
    """Feature to what its values are: number, text or time."""
    ttl: timedelta | None


@dataclass(frozen=True)
class RequestTransform:
    """A feature computed at request time, by the same function online and offline."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class FeatureSet:
    """What a feature service (or a list of references) asks for, resolved."""

    name: str
    columns: tuple[str, ...]
    """Names of the columns it gives, in order."""
    references: tuple[str, ...]
    """`view:feature` of each, in the same order."""
    views: tuple[ViewInfo, ...]
    """Every stored view that has to be read, including those that only request-time transforms read."""
    transforms: tuple[RequestTransform, ...] = ()
    digest: str = ""
    """Changes whenever a definition or a transform behind it does."""

    def __post_init__(self) -> None:
        """Refuse two features of one name: a row has one column of it.

        Raises:
            FeatureError: naming the feature and both views.
        """
        owner: dict[str, str] = {}
        parts = [(view.name, view.features) for view in self.views]
        parts += [(transform.name, transform.outputs) for transform in self.transforms]
        for name, features in parts:
            for feature in features:
                if feature in owner:
                    message = (
                        f"features {self.name}: views {owner[feature]} and {name} both have a feature {feature!r};"
                        " names are unique among the views that are read together: rename one"
                    )
                    raise FeatureError(message)
                owner[feature] = name


class FeatureReader(Protocol):
    """Features as known at a moment in the past (offline) and now (online)."""

    def feature_set(self, name: str | Sequence[str]) -> FeatureSet:
        """Resolve a feature service by name, or a list of `view:feature` references.

        Raises:
            FeatureError: if it is not declared.
        """
        ...

    def view(self, name: str) -> ViewInfo:
        """Describe one stored feature view.

        Raises:
            FeatureError: if it is not declared.
        """
        ...

    def historical(self, entities: pa.Table, features: FeatureSet) -> pa.Table:
        """Join features to entity rows as known at each row's `event_timestamp`.

        Args:
            entities: join keys, `event_timestamp` and any further columns, which pass through.
            features: what to join.

        Returns:
            Every entity row once, in its order, with the columns of `features`.
        """
        ...

    def snapshot(self, view: str, as_of: datetime, features: Sequence[str] | None = None) -> pa.Table:
        """Return the newest live row of every entity of a view, as known at a moment.

        That is what a materialize at that moment would put online.

        Args:
            view: its name.
            as_of: the moment.
            features: of the view; all by default.

        Returns:
            Join keys, features and `event_timestamp`; rows past the view's TTL are left out.
        """
        ...

    def online_group(self, view: str, key: str) -> pa.Table | None:
        """Return all rows a unit has in a view online, or None; the TTL is the caller's to enforce."""
        ...

    def online_all(self, view: str) -> pa.Table:
        """Return every row of a view online; the TTL is the caller's to enforce."""
        ...

    def materialize(self, until: datetime, since: datetime | None = None) -> None:
        """Bring the online store up to a moment, for all views.

        Args:
            until: nothing that happened or became known later is written.
            since: only what happened or became known since then; everything by default.
        """
        ...

    def watermark(self, view: str) -> datetime | None:
        """Return the newest event time of a view online, or None when nothing was materialized."""
        ...

    def generation(self, view: str) -> int:
        """Return a number that changes whenever the view's rows online do; 0 before the first write."""
        ...


Definitions = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Kind (feature_views, request_transforms, feature_services) to name to what is defined, as JSON values.

A feature view has join_keys and features, a request transform has reads (views) and code, a feature service has
references (`view:feature`); all may have more."""


class FeatureRepository(Protocol):
    """The definitions of features: as the files say, and as the feature store was told."""

    def declared(self) -> Definitions:
        """Return what the files define, applied or not.

        Raises:
            FeatureError: if a file cannot be read.
        """
        ...

    def registered(self) -> Definitions:
        """Return what the feature store knows; empty before its first apply."""
        ...

    def apply(self) -> None:
        """Tell the feature store what the files define, and forget what they no longer do.

        Raises:
            FeatureError: if the store refuses.
        """
        ...


# ---------------------------------------------------------------- rankers and their registry


class Ranker(Protocol):
    """Scores rows of features; larger is better."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Feature columns it needs, in the order of its training."""
        ...

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Return one score a row."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything that loading needs into an empty folder."""
        ...


@dataclass(frozen=True)
class TrainingRows:
    """Rows to learn from, contiguous by request."""

    columns: Columns
    label: NDArray[np.float32]
    request: NDArray[np.int64]
    """A number a request; equal numbers are neighbours."""


class Estimator(Protocol):
    """Fits and loads rankers of one algorithm."""

    def fit(
        self, train: TrainingRows, validation: TrainingRows, progress: Callable[[int, int], None] | None = None
    ) -> Ranker:
        """Learn from `train`, stop early on `validation`; `progress` is called with (done, total) iterations."""
        ...


@dataclass(frozen=True)
class Weights:
    """One trained set of weights: an MLflow version of a registered model."""

    model: str
    """Name of the registered model, such as basket."""
    number: int
    """The registry's own version number."""
    version: str
    """The logic they belong to, such as v2."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def model_version(self) -> str:
        """Return the logic's name, such as basket/v2."""
        return f"{self.model}/{self.version}"


@dataclass(frozen=True)
class Registration:
    """What is registered after a training."""

    model_version: str
    """The logic, such as basket/v2."""
    ranker: Ranker
    tags: Mapping[str, str]
    """Such as recsys.logic_digest, recsys.data_digest, recsys.gate, feast.feature_service."""
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    reports: Mapping[str, str]
    """File name to text, kept with the weights: report.json and the like."""
    sample: pa.Table
    """Some rows of features with their `score`: what a load of these weights must reproduce."""


class ModelRegistry(Protocol):
    """Registered models: weights, tags and aliases. `logic-<version>` and `champion` are the aliases."""

    def register(self, registration: Registration) -> Weights:
        """Store weights and their evidence as a new version of the registered model."""
        ...

    def search(self, model: str) -> Sequence[Weights]:
        """Return all weights of a registered model, oldest first; empty when the model is unknown."""
        ...

    def resolve(self, model: str, alias: str) -> Weights | None:
        """Return the weights an alias names, or None when model or alias is unknown."""
        ...

    def set_alias(self, weights: Weights, alias: str) -> None:
        """Let an alias name these weights."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias if it is there."""
        ...

    def load(self, weights: Weights) -> Ranker:
        """Load a ranker from the registry's artefacts."""
        ...

    def report(self, weights: Weights, name: str) -> str:
        """Return a report that was registered with the weights.

        Raises:
            ModelError: if these weights have no report of that name.
        """
        ...


# ---------------------------------------------------------------- event log and ledger


@dataclass(frozen=True)
class ShownItem:
    """One slot of an answered list."""

    item_id: str
    position: int
    """From 1."""
    score: float
    propensity: float = 1.0
    """Probability with which the policy put this item into this slot."""


@dataclass(frozen=True)
class Exposure:
    """One answered request."""

    request_id: str
    placement: str
    user_id: str
    session_id: str | None
    experiment: str | None
    arm: str | None
    overridden: bool
    """True where a tester's override chose the arm: served, not analysed."""
    model_version: str | None
    """The logic that answered, or None when no model did."""
    weights: int | None
    """The registry's number of its weights."""
    fallback: str | None
    """Which step of the fallback ladder answered; None when nothing had to be given up."""
    event_timestamp: datetime
    """By the environment's clock."""
    feature_digest: str
    watermarks: Mapping[str, str]
    """Newest event time of each view online that the answer read, ISO times."""
    items: Sequence[ShownItem]


@dataclass(frozen=True)
class LedgerEntry:
    """One appended fact about a decision."""

    sequence: int
    """Grows with every entry."""
    transaction: str
    """Joins an intent to its done or reverted."""
    state: str
    """intent, done or reverted."""
    action: str
    """Such as promote, refresh, rollback, start, freeze."""
    subject: str
    """What it is about: a registered model or an experiment."""
    payload: Mapping[str, Any]
    author: str
    event_timestamp: datetime
    """By the environment's clock."""


class EventLog(Protocol):
    """Exposures and outcomes, written once by id, and read back as Arrow."""

    def write_exposures(self, exposures: Iterable[Exposure]) -> int:
        """Append exposures; those whose request id is there already are left alone.

        Returns how many were new.
        """
        ...

    def write_outcomes(self, outcomes: pa.Table) -> int:
        """Append rows of `schema.EVENTS`; those whose event id is there already are left alone.

        Returns how many were new.
        """
        ...

    def exposures(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the exposures of a placement with start <= event_timestamp < end, ordered by time and request id.

        Columns: request_id, user_id, session_id, experiment, arm, overridden (bool), model_version, weights (int64),
        fallback, event_timestamp (timestamp[us, UTC]).
        """
        ...

    def impressions(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the slots of those exposures: request_id, position (int64), item_id, score, propensity (float64)."""
        ...

    def outcomes(self, event_type: str, start: datetime, end: datetime) -> pa.Table:
        """Return outcomes of a type with start <= event_timestamp < end, as `schema.EVENTS`."""
        ...

    def request(self, request_id: str) -> Exposure | None:
        """Return one exposure with its slots, or None."""
        ...

    def ping(self) -> None:
        """Check that the log can be reached.

        Raises:
            StoreError: naming the log and what to do.
        """
        ...


class Ledger(Protocol):
    """An append-only audit of decisions; lives in the event log's database."""

    def append(
        self,
        *,
        transaction: str,
        state: str,
        action: str,
        subject: str,
        payload: Mapping[str, Any],
        author: str,
        at: datetime,
    ) -> LedgerEntry:
        """Append one entry and return it with its sequence number."""
        ...

    def entries(self, subject: str | None = None) -> Sequence[LedgerEntry]:
        """Return entries in order, of one subject or of all."""
        ...


class Engine(Protocol):
    """Runs SQL over Arrow tables and parquet files, with bounded memory."""

    def query(self, sql: str, tables: Mapping[str, pa.Table | Path] | None = None) -> pa.Table:
        """Run DuckDB's SQL.

        Each name in `tables` can be selected from; a Path is a parquet file or a folder of them.
        """
        ...

    def transform(self, module: Path, table: str, sources: Mapping[str, Path], output: Path) -> int:
        """Run one declared feature transform over parquet sources and write its table by rename.

        Returns its number of rows.
        """
        ...
