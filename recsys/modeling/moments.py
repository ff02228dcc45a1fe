"""What would have stood online at a past moment: which items, and which rows of each unit?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import ItemPool, build_pool, to_numpy
from recsys.candidates.sources import History
from recsys.ports import FeatureReader
from recsys.schema import ITEM, USER
from recsys.specs.placement import Personal, Placement


@dataclass(frozen=True)
class Moment:
    """Pool and histories as a materialize at that moment would have put them online."""

    pool: ItemPool
    histories: Mapping[str, Mapping[str, History]]
    """View to unit to its rows, with the features that candidates are ordered by."""


class Moments:
    """Past moments of one set of feature tables, each read once: several versions learn from the same ones."""

    def __init__(self, features: FeatureReader) -> None:
        """Read nothing yet."""
        self._features = features
        self._known: dict[tuple[str, datetime], Moment] = {}

    def at(self, placement: Placement, moment: datetime) -> Moment:
        """Return what a placement's candidates would have been drawn from."""
        key = (placement.model_dump_json(include={"pool", "candidates"}), moment)
        if key not in self._known:
            self._known[key] = self._read(placement, moment)
        return self._known[key]

    def _read(self, placement: Placement, moment: datetime) -> Moment:
        view = self._features.view(placement.pool.view)
        pool = build_pool(self._features.snapshot(view.name, moment), placement.pool, moment, view.ttl)
        ordered: dict[str, set[str]] = {}
        for source in placement.candidates:
            if isinstance(source, Personal):
                ordered.setdefault(source.view, set()).update(source.order_by)
        histories = {}
        for name, features in ordered.items():
            kept = sorted(features & set(self._features.view(name).features))
            rows = self._features.snapshot(name, moment, kept)
            histories[name] = group_histories(rows, pool, ITEM, kept)
        return Moment(pool, histories)


def group_histories(rows: pa.Table, pool: ItemPool, key: str, features: Sequence[str]) -> dict[str, History]:
    """Split the rows of a unit × something view by unit.

    Args:
        rows: user_id, the second join key and features.
        pool: numbers the second key.
        key: the second join key.
        features: the columns to keep.
    """
    code_of, _ = pool.codes(key)
    seconds = rows[key].combine_chunks().dictionary_encode()
    code_of_second = np.array([code_of.get(value, -1) for value in seconds.dictionary.to_pylist()], dtype=np.int64)
    codes = code_of_second[seconds.indices.to_numpy()]
    columns = {name: to_numpy(rows[name]) for name in features}
    return {
        user: History(codes[mine], {column: values[mine] for column, values in columns.items()})
        for user, mine in rows_by_unit(rows[USER]).items()
    }


def rows_by_unit(units: pa.ChunkedArray) -> dict[str, NDArray[np.int64]]:
    """Return each unit's row numbers, units ascending."""
    encoded = units.combine_chunks().dictionary_encode()
    numbers = encoded.indices.to_numpy()
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(len(encoded.dictionary) + 1))
    names = encoded.dictionary.to_pylist()
    return {names[code]: order[bounds[code] : bounds[code + 1]] for code in np.argsort(np.array(names, dtype=object))}
