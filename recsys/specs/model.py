"""How is one version of a model made: features, algorithm, training window, baselines and gate?"""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from recsys.specs.base import Duration, Spec


class CatBoostAlgorithm(Spec):
    """A CatBoost ensemble over the feature service's columns."""

    type: Literal["catboost"]
    """Chooses CatBoost."""
    loss: Literal["Logloss", "CrossEntropy", "QueryRMSE", "QuerySoftMax", "YetiRank", "PairLogit", "RMSE"]
    """CatBoost's loss; the Query, Yeti and Pair losses compare items within one request."""
    iterations: int = Field(default=300, ge=1, le=10_000)
    """Trees at most."""
    depth: int = Field(default=6, ge=1, le=12)
    """Depth of each tree."""
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    """How much of each tree is added."""
    l2_leaf_reg: float = Field(default=3.0, ge=0)
    """Shrinkage of leaf values."""
    early_stopping_rounds: int = Field(default=30, ge=1)
    """Rounds without progress on the validation requests before the fit stops; the best iteration is kept."""
    categorical: tuple[str, ...] = ()
    """Feature columns that are categories; they stay categories."""
    seed: int = 0
    """Of CatBoost's random choices."""


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
    """How many decision times; training ends a horizon before the first of them."""
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


class ModelVersion(Spec):
    """registry/models/<model>/<version>.yaml: the logic of one version; once trained it may not change."""

    problem: str
    """The problem it answers, a file under registry/problems/."""
    placement: str
    """The placement whose candidates it learns to rank, a file under registry/placements/."""
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
    """Name to `feature_view:feature`: rankers of one feature, evaluated beside the model."""
    gate: Gate
    """What it must prove before it is served."""
