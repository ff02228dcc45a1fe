"""Which features say the same, and which of them move with the label?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.ports import Columns

ROWS: Final = 10_000
"""Are looked at; a rank correlation of more says no more."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlations on a sample of rows."""

    rows: int
    """Of the sample."""
    label: Mapping[str, float]
    """Feature to its correlation with the label; NaN where one of them is constant."""
    pairs: tuple[tuple[str, str, float], ...]
    """Pairs of features whose correlation is above the threshold in either direction, strongest first."""
    threshold: float


def drawn_rows(size: int, rows: int = ROWS, seed: int = 0) -> NDArray[np.int64]:
    """Return which rows of `size` are looked at, ascending: a caller need not make the others' columns."""
    if size <= rows:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, rows, replace=False))


def feature_correlation(
    columns: Columns, label: NDArray[Any], *, rows: int = ROWS, threshold: float = 0.8, seed: int = 0
) -> Correlation:
    """Correlate numeric features with each other and with the label, by ranks.

    Args:
        columns: feature to [rows]; texts and times are left out, a row where a value is NaN is left out of its pairs.
        label: [rows].
        rows: at most so many are looked at, drawn by the seed.
        threshold: of the pairs that are told.
        seed: equal seeds draw equal rows.
    """
    import pandas as pd

    numeric = {name: values for name, values in columns.items() if values.dtype.kind in "fiub"}
    drawn = drawn_rows(len(label), rows, seed)
    names = list(numeric)
    table = np.column_stack([*(numeric[name][drawn].astype(np.float64) for name in names), np.asarray(label)[drawn]])
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = pd.DataFrame(table).corr(method="spearman").to_numpy()
    first, second = np.triu_indices(len(names), k=1)
    values = matrix[first, second]
    strong = np.flatnonzero(np.abs(values) > threshold)
    strong = strong[np.argsort(-np.abs(values[strong]), kind="stable")]
    return Correlation(
        rows=len(drawn),
        label={name: float(matrix[place, -1]) for place, name in enumerate(names)},
        pairs=tuple((names[first[pair]], names[second[pair]], float(values[pair])) for pair in strong),
        threshold=threshold,
    )
