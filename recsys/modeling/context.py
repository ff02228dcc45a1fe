"""What did the caller say of the moment of a request, and what is it where nobody said anything?

A placement declares names and kinds, a request gives values, and on-demand views read them beside features. A value
that was not given is unknown, as a feature is: NaN, `unknown` or NaT.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import UNKNOWN, instant, unknown
from recsys.errors import ContextError, ModelError
from recsys.ports import FeatureSet
from recsys.schema import TIMESTAMP
from recsys.specs.model import FeatureAlgorithm, ModelVersion

Kinds = Mapping[str, str]
"""Name to number, text or time."""
Said = dict[str, float | str | datetime]
"""Name to what a request said; times are UTC."""

LONGEST_TEXT: Final = 256
"""Characters of a text, as of an id."""
LARGEST_NUMBER: Final = 1e15
"""Rankers read numbers as float32."""
NO_CONTEXT: Final[Mapping[str, Any]] = {}

_TEXT: Final = re.compile(rf"[^\x00\ud800-\udfff]{{1,{LONGEST_TEXT}}}")
_TYPES: Final = {"number": pa.float64(), "text": pa.string(), "time": TIMESTAMP}
_UNKNOWN: Final = {"number": float("nan"), "text": UNKNOWN, "time": None}


def checked(declared: Kinds, said: Mapping[str, object]) -> Said:
    """Return what a request said, each value as its kind has it.

    Args:
        declared: of the placement.
        said: numbers, texts, and times as aware datetimes or ISO texts with their offset.

    Raises:
        ContextError: if a name is not declared, or a value is not of its kind; the value is not told.
    """
    read: Said = {}
    for name, value in said.items():
        if name not in declared:
            rule = f"not declared in the placement's context; declared: {', '.join(declared) or 'nothing'}"
            raise ContextError(name, rule)
        found = _READERS[declared[name]](value)
        if found is None:
            raise ContextError(name, _RULES[declared[name]])
        read[name] = found
    return read


def remembered(declared: Kinds, logged: Mapping[str, object]) -> Said:
    """Return of a logged request what is still declared, of the kind that it is declared as now."""
    read: Said = {}
    for name, value in logged.items():
        with suppress(ContextError):
            read |= checked(declared, {name: value})
    return read


def plain(said: Said) -> dict[str, float | str]:
    """Return what a request said as JSON values; times are ISO texts."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in said.items()}


def stated(declared: Kinds, said: Said) -> dict[str, Any]:
    """Return a scalar of every declared name, as the columns of features have it: unknown where nothing was said."""
    values: dict[str, Any] = {}
    for name, kind in declared.items():
        value = said.get(name)
        if value is None:
            values[name] = unknown(kind, 1)[0]
        else:
            values[name] = instant(value) if isinstance(value, datetime) else value
    return values


def broadcast(values: Mapping[str, Any], count: int) -> dict[str, NDArray[Any]]:
    """Return columns of [count] equal values: every candidate of a request has what the request said."""
    return {
        name: np.full(count, value, dtype=object if isinstance(value, str) else None) for name, value in values.items()
    }


def unknown_columns(kinds: Kinds, count: int) -> dict[str, NDArray[Any]]:
    """Return columns of [count] unknown values."""
    return {name: unknown(kind, count) for name, kind in kinds.items()}


def read_of(declared: Kinds, *features: FeatureSet) -> dict[str, str]:
    """Return the part of a declared context that request-time features read."""
    read = {name for each in features for transform in each.transforms for name in transform.inputs}
    return {name: kind for name, kind in declared.items() if name in read}


def said_column(kind: str, values: Sequence[Any]) -> pa.Array:
    """Return what several requests said of one name, as a training join takes it; None is unknown."""
    return pa.array([_UNKNOWN[kind] if value is None else value for value in values], _TYPES[kind])


def with_unknown(rows: pa.Table, kinds: Kinds) -> pa.Table:
    """Return rows that no request made, with unknown values of the names that they lack."""
    for name, kind in kinds.items():
        if name not in rows.column_names:
            nothing = pa.repeat(pa.scalar(_UNKNOWN[kind], _TYPES[kind]), len(rows))
            rows = rows.append_column(name, nothing)
    return rows


def unlearned(spec: ModelVersion, read: Kinds) -> str | None:
    """Say why a version cannot learn what a context tells, or return None.

    Args:
        spec: the version.
        read: what its features read of its placement's context.
    """
    if not read or isinstance(spec.algorithm, FeatureAlgorithm) or spec.negatives.source == "shown":
        return None
    return (
        f"negatives.source: {spec.negatives.source}: {spec.feature_service} reads {', '.join(read)} of the context, and"
        " this version learns from no request, so its context would always be unknown: learn from lists that were shown"
        " (negatives: {source: shown}), or leave those features out"
    )


def learned_from(name: str, spec: ModelVersion, declared: Kinds, features: FeatureSet, judged: FeatureSet) -> Kinds:
    """Return what the columns of a training set read of its placement's context.

    Args:
        name: the version, such as basket/v2.
        spec: its declaration.
        declared: the context of its placement.
        features: what it learns from.
        judged: what it is judged on, baselines too.

    Raises:
        ModelError: if it reads a context and learns from no request.
    """
    refused = unlearned(spec, read_of(declared, features))
    if refused is not None:
        message = f"model version {name}: {refused}"
        raise ModelError(message)
    return read_of(declared, features, judged)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        return None
    return float(value) + 0.0  # a negative zero is zero, as not every log keeps its sign


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and _TEXT.fullmatch(value) else None


def _time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            return None
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_READERS: Final[Mapping[str, Callable[[object], float | str | datetime | None]]] = {
    "number": _number,
    "text": _text,
    "time": _time,
}
_RULES: Final = {
    "number": f"a number from -{LARGEST_NUMBER:g} to {LARGEST_NUMBER:g}",
    "text": f"a text of 1 to {LONGEST_TEXT} characters without the character 0",
    "time": "an ISO time with its offset, such as 2017-12-04T10:00:00Z",
}
