"""Does a ranker give the scores it gave at its training?"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys import schema
from recsys.errors import ModelError
from recsys.ports import Columns, Ranker

_SAME: Final = 1e-6
"""Largest difference, absolute or relative, of a score that counts as the same."""


def check_sample(name: str, ranker: Ranker, sample: pa.Table) -> None:
    """Score the sample's rows and compare with its `score`.

    Args:
        name: of the weights, for the message.
        ranker: what is checked.
        sample: its feature columns, and `score`.

    Raises:
        ModelError: if a column is missing or a score differs.
    """
    missing = [column for column in (*ranker.columns, schema.SCORE) if column not in sample.column_names]
    if missing:
        message = f"sample of {name}: column {missing[0]} is missing: it holds the ranker's columns and score"
        raise ModelError(message)
    expected = sample[schema.SCORE].to_numpy()
    given = ranker.score(_columns(sample, ranker.columns))
    same = np.isclose(given, expected, rtol=_SAME, atol=_SAME, equal_nan=True)
    if not same.all():
        row = int(np.flatnonzero(~same)[0])
        message = (
            f"weights of {name}: row {row} of their sample scores {given[row]:.9g} and scored"
            f" {expected[row]:.9g} at training: they have to agree; train and register them again"
        )
        raise ModelError(message)


def _columns(table: pa.Table, names: tuple[str, ...]) -> Columns:
    return {name: _values(table[name]) for name in names}


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.cast(kind.value_type))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        # Through float64, so that a null number is NaN.
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy())
