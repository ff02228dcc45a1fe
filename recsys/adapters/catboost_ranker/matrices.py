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

    Each column is asked for once, and let go before the next one: it may be made as it is asked for.

    Raises:
        ModelError: if a column is missing, of the wrong type or of another length.
    """
    import catboost

    numbers: NDArray[np.float32] | None = None
    texts: NDArray[np.object_] | None = None
    with _infinite_beyond_float32():
        for place, (name, values) in enumerate(_each(columns, (*numeric, *categorical))):
            if place == 0 and numeric:
                # Column by column in memory: CatBoost reads this order twice as fast as rows.
                numbers = np.empty((len(values), len(numeric)), dtype=np.float32, order="F")
            if place == 0 and categorical:
                texts = np.empty((len(values), len(categorical)), dtype=object, order="F")
            if numbers is not None and place < len(numeric):
                numbers[:, place] = _numbers(name, values)
            elif texts is not None:
                texts[:, place - len(numeric)] = _categories(name, values)
    return catboost.FeaturesData(
        num_feature_data=numbers,
        cat_feature_data=texts,
        num_feature_names=list(numeric) or None,
        cat_feature_names=list(categorical) or None,
    )


def training_frame(columns: Columns, numeric: Sequence[str], categorical: Sequence[str]) -> pd.DataFrame:
    """Return the columns as CatBoost reads them without a copy: numbers first, float32, then categories.

    Raises:
        ModelError: if a column is missing, of the wrong type or of another length.
    """
    frame: dict[str, Any] = {}
    for place, (name, values) in enumerate(_each(columns, (*numeric, *categorical))):
        if place < len(numeric):
            with _infinite_beyond_float32():
                frame[name] = np.ascontiguousarray(_numbers(name, values), dtype=np.float32)
        else:
            coded = _coded(name, values)
            texts = pd.Index(coded.dictionary.to_pylist(), dtype=object)
            frame[name] = pd.Categorical.from_codes(coded.indices.to_numpy(), texts)
    return pd.DataFrame(frame, copy=False)


def _each(columns: Columns, names: Sequence[str]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield columns by name, all of them of the first one's length."""
    rows = None
    for name in names:
        if name not in columns:
            message = f"catboost: column {name} is missing: the model learns from {', '.join(names)}"
            raise ModelError(message)
        values = columns[name]
        rows = len(values) if rows is None else rows
        if len(values) != rows:
            message = (
                f"catboost: column {name} has {len(values)} rows and {names[0]} {rows}:"
                " every column has one value a row"
            )
            raise ModelError(message)
        yield name, values


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
