"""What is the smallest thing that learns? A mean of the label for each value of the columns, and the mean of all."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.ports import Columns, TrainingRows


@dataclass(frozen=True)
class MeanRanker:
    """`ports.Ranker` that averages what each column's value says of the label."""

    means: dict[str, dict[str, float]]
    """By column and value, as text."""
    overall: float

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns it needs."""
        return tuple(self.means)

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Return the mean over the columns; a value it has not seen says what all rows say."""
        for name in self.means:
            if name not in columns:
                message = f"ranker: column {name} is missing; it learned from {', '.join(self.means)}"
                raise ModelError(message)
        said = [[self.means[name].get(_text(value), self.overall) for value in columns[name]] for name in self.means]
        return np.asarray(said, dtype=np.float64).mean(axis=0)

    def save(self, folder: Path) -> None:
        """Write `ranker.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {"type": "mean", "means": self.means, "overall": self.overall}
        (folder / "ranker.json").write_text(json.dumps(document), encoding="utf-8")


@dataclass(frozen=True)
class FakeEstimator:
    """`ports.Estimator` that needs one iteration a column."""

    columns: tuple[str, ...]

    def fit(
        self, train: TrainingRows, validation: TrainingRows, progress: Callable[[int, int], None] | None = None
    ) -> MeanRanker:
        """Learn the means; the validation rows stop nothing."""
        for name, rows in (("training", train), ("validation", validation)):
            if rows.label.size == 0:
                message = f"{name} rows: 0: a fit needs rows to learn from and rows to stop by; widen the window"
                raise ModelError(message)
        means: dict[str, dict[str, float]] = {}
        for done, name in enumerate(self.columns, start=1):
            texts = np.array([_text(value) for value in train.columns[name]])
            means[name] = {str(text): float(train.label[texts == text].mean()) for text in np.unique(texts)}
            if progress is not None:
                progress(done, len(self.columns))
        return MeanRanker(means, float(train.label.mean()))


def load_mean_ranker(folder: Path) -> MeanRanker:
    """Load what `MeanRanker.save` wrote."""
    document = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
    return MeanRanker(document["means"], document["overall"])


def _text(value: object) -> str:
    """Round numbers, so that near ones share a mean."""
    return f"{float(value):.1f}" if isinstance(value, float | np.number) else str(value)
