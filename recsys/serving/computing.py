"""Which features come from others at the moment of a request? By the very functions that the training join uses."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from recsys.errors import FeatureError
from recsys.ports import Columns, RequestTransform


def with_computed(values: Columns, transforms: Sequence[RequestTransform]) -> Columns:
    """Return columns and those that request-time transforms make of them.

    Raises:
        FeatureError: if an input is not there.
    """
    made: dict[str, NDArray[Any]] = {}
    for transform in transforms:
        absent = [name for name in transform.inputs if name not in values]
        if absent:
            message = (
                f"request-time features {transform.name}: input {absent[0]!r} is neither a feature nor what the"
                f" request brings along; there are {', '.join(values)}"
            )
            raise FeatureError(message)
        made.update(transform.function({name: values[name] for name in transform.inputs}))
    return _Both(made, values) if made else values


class _Both(Mapping[str, NDArray[Any]]):
    """Columns that were made, and behind them those that they were made from."""

    def __init__(self, made: Columns, others: Columns) -> None:
        self._made = made
        self._others = others

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._made[name] if name in self._made else self._others[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made or name in self._others

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._made, *self._others]))

    def __len__(self) -> int:
        return sum(1 for _ in self)
