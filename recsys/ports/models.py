"""What does the core ask of a ranker, and of the registry that keeps them?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
"""Feature columns by name, one value a row: float64/float32, object (str) or datetime64[us]; null numbers are NaN."""


class Ranker(Protocol):
    """Scores rows of features; larger is better."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Feature columns it needs, in the order of its training."""
        ...

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Return one score a row."""
        ...

    def importance(self) -> Mapping[str, float]:
        """Return each column's share of the changes in prediction, in percent, largest first."""
        ...

    def contributions(self, columns: Columns) -> Mapping[str, NDArray[np.float64]]:
        """Return each column's part of each row's raw score; with a constant of the model they sum up to it.

        Returns:
            Column to [rows].
        """
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
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """File name to an image, kept beside the reports."""


class NamedWeights(Protocol):
    """Which weights there are, and which of them an alias names."""

    def search(self, model: str) -> Sequence[Weights]:
        """Return all weights of a registered model, oldest first; empty when the model is unknown."""
        ...

    def resolve(self, model: str, alias: str) -> Weights | None:
        """Return the weights an alias names, or None when model or alias is unknown."""
        ...


class ModelRegistry(NamedWeights, Protocol):
    """Registered models: weights, tags and aliases. `logic-<version>` and `champion` are the aliases."""

    def register(self, registration: Registration) -> Weights:
        """Store weights and their evidence as a new version of the registered model."""
        ...

    def aliases(self, model: str) -> Mapping[str, int]:
        """Return each alias of a registered model and the number of the weights it names; none of an unknown model."""
        ...

    def stamp(self) -> str | None:
        """Return a text that is another one after any change of the registry, for little.

        None where that cannot be told without asking for all of it.
        """
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

    def add_reports(self, weights: Weights, reports: Mapping[str, str]) -> None:
        """Keep further reports with weights, file name to text; one of the same name is replaced."""
        ...

    def report(self, weights: Weights, name: str) -> str:
        """Return a report that is kept with the weights.

        Raises:
            ModelError: if these weights have no report of that name.
        """
        ...
