"""How is one version of a model made: features, algorithm, training window, baselines and gate?"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from recsys.specs.base import Duration, Spec
from recsys.specs.metric import parse_metric


def _ascending(value: tuple[Any, Any]) -> tuple[Any, Any]:
    if value[0] > value[1]:
        message = "the first value is the smaller one"
        raise ValueError(message)
    return value


Loss = Literal[
    "Logloss",
    "CrossEntropy",
    "QueryRMSE",
    "QuerySoftMax",
    "YetiRank",
    "PairLogit",
    "RMSE",
    "MAE",
    "Poisson",
]

LOSSES: Final[Mapping[str, frozenset[str]]] = {
    "ranking": frozenset({"Logloss", "CrossEntropy", "QueryRMSE", "QuerySoftMax", "YetiRank", "PairLogit", "RMSE"}),
    "classification": frozenset({"Logloss", "CrossEntropy"}),
    "regression": frozenset({"RMSE", "MAE", "Poisson"}),
}
"""Formulation to the losses that answer it."""

GROUPED: Final = frozenset({"QueryRMSE", "QuerySoftMax", "YetiRank", "PairLogit"})
"""Losses that compare the rows of one request."""


class CatBoostAlgorithm(Spec):
    """A CatBoost ensemble over the feature service's columns."""

    type: Literal["catboost"]
    """Chooses CatBoost."""
    loss: Loss
    """CatBoost's loss. QueryRMSE, QuerySoftMax, YetiRank and PairLogit compare items within one request and give no
    scores that compare across requests; Logloss and CrossEntropy fit events, RMSE, MAE and Poisson counts and amounts
    (Poisson: none below 0)."""
    iterations: int = Field(default=300, ge=1, le=10_000)
    """Trees at most."""
    depth: int = Field(default=6, ge=1, le=12)
    """Depth of each tree."""
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    """How much of each tree is added."""
    l2_leaf_reg: float = Field(default=3.0, ge=0)
    """Shrinkage of leaf values."""
    random_strength: float = Field(default=1.0, ge=0)
    """How much chance enters the choice of splits."""
    min_data_in_leaf: int = Field(default=1, ge=1)
    """Rows a leaf needs to be split further. Above 1 trees grow leaf by leaf (CatBoost's Depthwise), for its symmetric
    ones know no such limit; they take several times as long to predict."""
    max_ctr_complexity: int = Field(default=1, ge=1, le=8)
    """How many categories may be combined, with one another and with numbers that a tree has split. CatBoost's own
    default, 4, takes twice the memory to fit and some 4 times as long to predict."""
    early_stopping_rounds: int = Field(default=30, ge=1)
    """Rounds without progress on the validation requests before the fit stops; the best iteration is kept."""
    stop_by: Literal["loss", "metric"] = "loss"
    """What the validation requests are watched by: the loss itself, which is smooth, or the gate's metric, which is
    what counts and jumps where lists are few."""
    calibration: Literal["sigmoid", "isotonic"] | None = None
    """How scores become probabilities, fitted on the validation requests: sigmoid, two numbers (Platt 1999), or
    isotonic, a monotone step function (Zadrozny and Elkan 2002). Null leaves raw scores; order does not change."""
    categorical: tuple[str, ...] = ()
    """Feature columns that are categories; they stay categories."""
    seed: int = 0
    """Of CatBoost's random choices."""


WholeSpan = Annotated[tuple[int, int], AfterValidator(_ascending)]
Span = Annotated[tuple[float, float], AfterValidator(_ascending)]


class Search(Spec):
    """What `recsys tune` tries of the algorithm: each setting from the first to the second value, both included."""

    depth: WholeSpan = (4, 8)
    """Depth of each tree."""
    learning_rate: Span = (0.03, 0.3)
    """How much of each tree is added; on a logarithmic scale, as are the two below."""
    l2_leaf_reg: Span = (1.0, 100.0)
    """Shrinkage of leaf values."""
    min_data_in_leaf: WholeSpan = (1, 200)
    """Rows a leaf has at least."""
    random_strength: Span = (0.0, 4.0)
    """How much chance enters the choice of splits."""

    @field_validator("*")
    @classmethod
    def _possible(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        """Refuse what the algorithm itself would refuse, before a search comes across it."""
        for end in value:
            try:
                CatBoostAlgorithm.model_validate({"type": "catboost", "loss": "RMSE", info.field_name: end})
            except ValidationError as error:
                message = f"{end:g} is no {info.field_name}: {error.errors()[0]['msg']}"
                raise ValueError(message) from error
        if info.field_name == "l2_leaf_reg" and value[0] <= 0:
            message = "on a logarithmic scale the first value lies above 0"
            raise ValueError(message)
        return value


class FeatureAlgorithm(Spec):
    """A ranker that orders by one feature: a baseline that can be served like any model."""

    type: Literal["feature"]
    """Chooses ordering by one feature."""
    feature: str
    """The feature column to order by, largest first."""


Algorithm = Annotated[CatBoostAlgorithm | FeatureAlgorithm, Field(discriminator="type")]


class Training(Spec):
    """Which decision times the model learns from, counted back from the test weeks."""

    every: Duration = timedelta(days=7)
    """Distance of two decision times; they fall on multiples of it since Monday 1970-01-05."""
    decision_times: int = Field(default=6, ge=2)
    """How many decision times are learned from; the newest one stops the fit early."""


class Testing(Spec):
    """Which decision times the model is judged on: the newest whose labels are mature."""

    decision_times: int = Field(default=3, ge=1)
    """How many decision times a split has; training ends a horizon before the first of them."""
    splits: int = Field(default=1, ge=1, le=12)
    """How many times the model is fitted and judged, each split's test weeks before the next one's (rolling origin:
    Tashman 2000). The newest fit is the one that is registered; figures are of all test weeks together and by split."""
    ablation: bool = False
    """Whether the newest fit is repeated without each block of features: what a block is worth beside the others."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples of units behind every interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Two-sided confidence of the intervals."""


class Negatives(Spec):
    """What a positive is learned against."""

    source: Literal["candidates", "shown"] = "candidates"
    """candidates: the placement's own candidates at each decision time, sampled; shown: the lists that were really
    answered (logged exposures), each taken event credited to the last one that showed its item. Test requests are
    always the placement's own candidates, all of them."""
    per_request: int = Field(default=40, ge=1)
    """For candidates: so many a request are sampled."""
    seed: int = 0
    """Of the sample."""


class Gate(Spec):
    """What a trained version must prove on the test weeks before it may be served."""

    metric: str
    """Such as ndcg@10/user."""
    against: str
    """The baseline it is paired with, by its name in `baselines`."""
    minimum_ratio: float = Field(default=1.0, gt=0)
    """The paired ratio's lower bound must lie above this."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Two-sided confidence of that bound."""

    @field_validator("metric")
    @classmethod
    def _written(cls, value: str) -> str:
        return str(parse_metric(value))


class ModelVersion(Spec):
    """registry/models/<model>/<version>.yaml: the logic of one version; once trained it may not change."""

    problem: str
    """The problem it answers, a file under registry/problems/."""
    placement: str
    """The placement whose candidates it learns to rank, a file under registry/placements/; where units are selected,
    the audience, a file under registry/audiences/."""
    feature_service: str
    """The Feast feature service that names its columns."""
    algorithm: Algorithm
    """What is fitted, or what to order by."""
    training: Training = Training()
    """Which past decisions it learns from."""
    testing: Testing = Testing()
    """Which past decisions it is judged on, and how sure the figures are."""
    negatives: Negatives = Negatives()
    """Which candidates that were not taken it learns from."""
    baselines: dict[str, str] = Field(default_factory=dict)
    """Name to `feature_view:feature`: rankers of one feature, evaluated beside the model. Beside them stands
    `champion`, the weights that serve by default, where the model has one."""
    search: Search = Search()
    """What `recsys tune` tries; no part of the logic."""
    blocks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Name to feature columns that an ablation leaves out together; by default each feature view is a block."""
    gate: Gate
    """What it must prove before it is served."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        for taken in ("model", "champion"):
            if taken in self.baselines:
                message = f"baselines.{taken}: the name is taken by the {taken} itself; call the baseline otherwise"
                raise ValueError(message)
        return self
