"""How good is one feature alone: a ranker that can be evaluated, registered and served like any model?"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.ports import Columns

LOWEST: Final = float(np.finfo(np.float32).min)
"""The score of a row without the feature: below all others, finite, the same in float32, JSON and parquet."""

_FILE: Final = "ranker.json"


@dataclass(frozen=True)
class FeatureRanker:
    """`ports.Ranker` that orders by one feature, largest first; rows without it sink to the bottom."""

    feature: str
    """The feature column to order by."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the one column it needs."""
        return (self.feature,)

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Return the feature itself; NaN and -inf become `LOWEST`, +inf its opposite.

        Raises:
            ModelError: if the column is missing or not of numbers.
        """
        if self.feature not in columns:
            message = f"feature ranker: column {self.feature} is missing: it orders by it; read it with the others"
            raise ModelError(message)
        values = columns[self.feature]
        if values.dtype.kind not in "fiub":
            message = f"feature ranker: column {self.feature} is of {values.dtype}: name a feature of numbers"
            raise ModelError(message)
        scores = values.astype(np.float64)
        return np.nan_to_num(scores, copy=False, nan=LOWEST, posinf=-LOWEST, neginf=LOWEST)

    def importance(self) -> dict[str, float]:
        """Return all of it for the one feature, in percent."""
        return {self.feature: 100.0}

    def contributions(self, columns: Columns) -> dict[str, NDArray[np.float64]]:
        """Return the score, all of which is the one feature's."""
        return {self.feature: self.score(columns)}

    def save(self, folder: Path) -> None:
        """Write `ranker.json` into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {"type": "feature", "columns": list(self.columns), "feature": self.feature}
        (folder / _FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load_feature_ranker(folder: Path) -> FeatureRanker:
    """Load what `FeatureRanker.save` wrote.

    Raises:
        ModelError: if the folder does not hold a feature ranker.
    """
    path = folder / _FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["type"] == "feature":
            return FeatureRanker(str(document["feature"]))
        reason = f"type {document['type']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        message = f"feature ranker {path}: {reason}: a saved ranker has type and feature; save it again"
        raise ModelError(message) from error
    message = f"feature ranker {path}: {reason}: it has to be feature; load it with the loader of its type"
    raise ModelError(message)
