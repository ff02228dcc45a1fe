"""What is the smallest ranker that can be saved, loaded and told apart from another?"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.ports import Columns


@dataclass(frozen=True)
class FakeRanker:
    """`ports.Ranker` that scores by the weighted sum of its columns."""

    factors: tuple[tuple[str, float], ...] = (("affinity", 1.0),)
    """Column and factor."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns it needs."""
        return tuple(name for name, _ in self.factors)

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Return the weighted sum of each row."""
        terms = [np.asarray(columns[name], dtype=np.float64) * factor for name, factor in self.factors]
        return np.asarray(np.sum(terms, axis=0), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write `ranker.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "type": "fake",
            "columns": list(self.columns),
            "factors": [list(pair) for pair in self.factors],
        }
        (folder / "ranker.json").write_text(json.dumps(document), encoding="utf-8")


def load_fake_ranker(folder: Path) -> FakeRanker:
    """Load what `FakeRanker.save` wrote."""
    document = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
    return FakeRanker(tuple((name, float(factor)) for name, factor in document["factors"]))
