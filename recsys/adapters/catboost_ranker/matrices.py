"""How do columns by name become CatBoost's input, and its complaints a `ModelError`?

Two forms, of equal meaning. A fit takes a frame of float32 columns, which CatBoost reads where they are, and of
categories as codes, of which it hashes each distinct one once: a pool of a million rows of 20 numbers and 5 categories
takes 86 MiB beside them, of FeaturesData 230 MiB. To score a request's rows FeaturesData is made ten times as fast.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.ports import Columns

NO_CATEGORY: Final = "__null__"
"""The category of a row without one: CatBoost refuses None."""
_FEW: Final = 1_000
"""Rows up to which a dictionary encodes categories sooner than Arrow."""


def features_data(columns: Columns, numeric: Sequence[str], categorical: Sequence[str]) -> Any:  # noqa: ANN401
    """Return a `catboost.FeaturesData` of copies: CatBoost makes the arrays it is given read-only.

    Raises:
        ModelError: if a column is missing, of the wrong type or of another length.
    """
    import catboost

    _check_present(columns, (*numeric, *categorical))
    return catboost.FeaturesData(
        num_feature_data=_numeric_matrix(columns, numeric),
        cat_feature_data=_category_matrix(columns, categorical),
        num_feature_names=list(numeric) or None,
        cat_feature_names=list(categorical) or None,
    )


def training_frame(columns: Columns, numeric: Sequence[str], categorical: Sequence[str]) -> pd.DataFrame:
    """Return the columns as CatBoost reads them without a copy: numbers first, float32, then categories.

    Raises:
        ModelError: if a column is missing, of the wrong type or of another length.
    """
    _check_present(columns, (*numeric, *categorical))
    frame: dict[str, Any] = {}
    for name in numeric:
        with _infinite_beyond_float32():
            frame[name] = np.ascontiguousarray(_numbers(name, columns[name]), dtype=np.float32)
    for name in categorical:
        coded = _coded(name, columns[name])
        texts = pd.Index(coded.dictionary.to_pylist(), dtype=object)
        frame[name] = pd.Categorical.from_codes(coded.indices.to_numpy(), texts)
    return pd.DataFrame(frame, copy=False)


def _check_present(columns: Columns, names: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            message = f"catboost: column {name} is missing: the model learns from {', '.join(names)}"
            raise ModelError(message)
        if len(columns[name]) != len(columns[names[0]]):
            message = (
                f"catboost: column {name} has {len(columns[name])} rows and"
                f" {names[0]} {len(columns[names[0]])}: every column has one value a row"
            )
            raise ModelError(message)


def _numeric_matrix(columns: Columns, names: Sequence[str]) -> NDArray[np.float32] | None:
    if not names:
        return None
    # Column by column in memory: CatBoost reads this order twice as fast as rows.
    matrix = np.empty((len(columns[names[0]]), len(names)), dtype=np.float32, order="F")
    with _infinite_beyond_float32():
        for index, name in enumerate(names):
            matrix[:, index] = _numbers(name, columns[name])
    return matrix


def _numbers(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind not in "fiub":
        message = (
            f"catboost: column {name} is of {values.dtype}: a number is needed;"
            " list a text under algorithm.categorical, turn a time into an age"
        )
        raise ModelError(message)
    return values


def _infinite_beyond_float32() -> np.errstate:
    """Say nothing of numbers beyond float32: they are infinite, which CatBoost takes for the largest."""
    return np.errstate(over="ignore")


def _category_matrix(columns: Columns, names: Sequence[str]) -> NDArray[np.object_] | None:
    if not names:
        return None
    matrix = np.empty((len(columns[names[0]]), len(names)), dtype=object, order="F")
    for index, name in enumerate(names):
        matrix[:, index] = _categories(name, columns[name])
    return matrix


def _categories(name: str, values: NDArray[Any]) -> NDArray[np.object_]:
    """Return each category as bytes; each distinct text is encoded once."""
    if values.dtype.kind == "O" and len(values) <= _FEW:
        texts_of = set(values.tolist())
        if all(type(text) is str and text.isascii() for text in texts_of):
            encoded = {text: text.encode() for text in texts_of}
            return np.fromiter((encoded[text] for text in values.tolist()), dtype=object, count=len(values))
    coded = _coded(name, values)
    texts = np.array([text.encode() for text in coded.dictionary.to_pylist()], dtype=object)
    return np.asarray(texts[coded.indices.to_numpy()], dtype=object)


def _coded(name: str, values: NDArray[Any]) -> pa.DictionaryArray:
    """Return each row's category as a number and the distinct categories; none of them is null."""
    try:
        return pa.array(values, pa.string()).fill_null(NO_CATEGORY).dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        message = f"catboost: column {name} is of {values.dtype}: a category is a text or null; cast it in its view"
        raise ModelError(message) from error


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turn what CatBoost raises into `ModelError`."""
    import catboost

    try:
        yield
    except catboost.CatBoostError as error:
        reason = str(error).strip().splitlines()[0]
        message = f"catboost: cannot {what}: {reason}; check labels, groups and columns of the rows"
        raise ModelError(message) from error
