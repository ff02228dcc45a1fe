"""What would have stood online at a past moment: which items, which rows of each unit, and which item-item models?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.fitted import PoolModel, fit, model_key
from recsys.candidates.history import Histories, History, known_rows
from recsys.candidates.pool import ItemPool, build_pool, instant, to_numpy
from recsys.candidates.retrieval import Retrieval
from recsys.ports import FeatureReader, ItemWeights
from recsys.schema import ITEM, USER
from recsys.specs.candidates import Covisit, Ease, Personal, Seen, label
from recsys.specs.placement import Placement

KEPT_BYTES: Final = 1_000_000_000
"""Of item-item models in memory; where moments have more, the oldest ones read are forgotten and read anew if asked
for again."""


@dataclass(frozen=True)
class Moment:
    """Pool, histories and models as a materialize at that moment would have put them online."""

    at: datetime
    pool: ItemPool
    histories: Mapping[str, Mapping[str, History]]
    """View to unit to its rows, with the features that candidates are ordered, weighed and filtered by."""
    retrieval: Retrieval
    """The placement's sources and filters over the pool."""

    @property
    def instant(self) -> np.datetime64:
        """Return the moment as numpy has it, in UTC."""
        return instant(self.at)

    def histories_of(self, unit: str) -> Histories:
        """Return one unit's rows by view."""
        return lambda view: self.histories[view].get(unit)


class Moments:
    """Past moments of one set of feature tables, each read once: several versions learn from the same ones."""

    def __init__(self, features: FeatureReader, memory: int | None = None) -> None:
        """Read nothing yet.

        Args:
            features: the past.
            memory: bytes that a dense item-item model may take while it is fitted; None for no limit.
        """
        self._features = features
        self._memory = memory
        self._known: dict[tuple[str, datetime], Moment] = {}

    def at(self, placement: Placement, moment: datetime) -> Moment:
        """Return what a placement's candidates would have been drawn from.

        Raises:
            FeatureError: if a view or feature is not there, or a model does not fit into memory.
        """
        key = (placement.model_dump_json(include={"pool", "candidates", "new_units", "filters"}), moment)
        if key not in self._known:
            self._known[key] = self._read(placement, moment)
            self._forget()
        return self._known[key]

    def _forget(self) -> None:
        def held() -> int:
            return sum(model.nbytes for known in self._known.values() for model in known.retrieval.models.values())

        while len(self._known) > 1 and held() > KEPT_BYTES:
            self._known.pop(next(iter(self._known)))

    def _read(self, placement: Placement, moment: datetime) -> Moment:
        pool = read_pool(self._features, placement, moment)
        views = {
            view: read_pairs(
                self._features, view, moment, pool, None if _whole(placement, view) else _kept(placement, view)
            )
            for view in placement.history_views
        }
        fitted = _fitted(placement, pool, views, moment, self._memory)
        models = {name: PoolModel(weights, pool) for name, (_, weights) in fitted.items()}
        # Nobody browses at a past moment: of sessions, models are fitted, and no request has one.
        of_users = {view for view in views if self._features.view(view).join_keys[0] == USER}
        histories = {
            view: pairs.by_unit(_kept(placement, view)) if view in of_users else {} for view, pairs in views.items()
        }
        return Moment(moment, pool, histories, Retrieval(placement, pool, models))


def fitted_models(
    features: FeatureReader, placement: Placement, moment: datetime, memory: int | None = None
) -> dict[str, tuple[str, ItemWeights]]:
    """Fit the item-item models of a placement's sources on what was known at a moment, exactly as for training.

    Args:
        features: the past.
        placement: pool and sources.
        moment: nothing that happened or became known later is used.
        memory: bytes that a dense model may take while it is fitted; None for no limit.

    Returns:
        Source name to the model's key and the model.

    Raises:
        FeatureError: if a view or feature is not there, or a model does not fit into memory.
    """
    pool = read_pool(features, placement, moment)
    views = {source.view: read_pairs(features, source.view, moment, pool) for source in placement.fitted}
    return _fitted(placement, pool, views, moment, memory)


def _fitted(
    placement: Placement, pool: ItemPool, views: "Mapping[str, Pairs]", moment: datetime, memory: int | None
) -> dict[str, tuple[str, ItemWeights]]:
    of_key: dict[str, ItemWeights] = {}
    found = {}
    for source in placement.fitted:
        key, pairs = model_key(source, placement.pool), views[source.view]
        if key not in of_key:
            of_key[key] = fit(source, pool, pairs.units, pairs.codes, moment, memory)
        found[label(source)] = key, of_key[key]
    return found


def read_pool(features: FeatureReader, placement: Placement, moment: datetime) -> ItemPool:
    """Return the items of a placement as a materialize at a moment would have put them online."""
    view = features.view(placement.pool.view)
    return build_pool(features.snapshot(view.name, moment), placement.pool, moment, view.ttl)


@dataclass(frozen=True)
class Pairs:
    """The rows of a unit × item or session × item view at a moment."""

    names: NDArray[np.object_]
    """Of units, or of sessions."""
    units: NDArray[np.int64]
    """[rows] the unit's place among the names."""
    codes: NDArray[np.int64]
    """[rows] the item's row in the pool, -1 where it lacks it."""
    columns: Mapping[str, NDArray[Any]]
    """Features, one value a row."""

    def by_unit(self, features: Sequence[str]) -> dict[str, History]:
        """Return each unit's rows with some of the features, units ascending."""
        kept = {name: self.columns[name] for name in features if name in self.columns}
        return {
            name: History(self.codes[mine], {column: values[mine] for column, values in kept.items()}, whole=False)
            for name, mine in _grouped(self.names, self.units)
        }


def read_pairs(
    features: FeatureReader, view: str, moment: datetime, pool: ItemPool, wanted: Sequence[str] | None = None
) -> Pairs:
    """Return the rows of a unit × item or session × item view as a materialize at a moment would have put them online.

    Args:
        features: the past.
        view: its name.
        moment: nothing that happened or became known later is read.
        pool: numbers the items.
        wanted: features, where rows that say nothing need not be left out; all by default.
    """
    declared = features.view(view)
    names = [name for name in declared.features if wanted is None or name in wanted]
    rows = features.snapshot(view, moment, names)
    columns = {name: to_numpy(rows[name]) for name in names}
    known = np.arange(len(rows)) if wanted is not None else np.flatnonzero(known_rows(columns, len(rows)))
    users, items = (rows[key].combine_chunks().dictionary_encode() for key in (declared.join_keys[0], ITEM))
    row_of_item = pool.locate(items.dictionary)
    return Pairs(
        names=np.array(users.dictionary.to_pylist(), dtype=object),
        units=users.indices.to_numpy()[known].astype(np.int64),
        codes=row_of_item[items.indices.to_numpy()[known]],
        columns={name: values[known] for name, values in columns.items()},
    )


def _whole(placement: Placement, view: str) -> bool:
    """Return whether it matters which rows of a view say nothing; a personal source sees to that itself."""
    others = (*placement.fitted, *(each for each in placement.filters if isinstance(each, Seen)))
    return bool(placement.new_units) or any(each.view == view for each in others)


def _kept(placement: Placement, view: str) -> list[str]:
    """Return the features of a view that candidates are ordered, weighed or filtered by."""
    names: set[str] = set()
    for each in (*placement.candidates, *placement.filters):
        if isinstance(each, Personal) and each.view == view:
            names.update(each.order_by)
        elif isinstance(each, Covisit | Ease) and each.view == view and each.strength is not None:
            names.add(each.strength)
        elif isinstance(each, Seen) and each.view == view and each.by is not None:
            names.add(each.by)
    return sorted(names)


def rows_by_unit(units: pa.ChunkedArray) -> dict[str, NDArray[np.int64]]:
    """Return each unit's row numbers, units ascending."""
    encoded = units.combine_chunks().dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), dtype=object)
    return dict(_grouped(names, encoded.indices.to_numpy()))


def _grouped(names: NDArray[np.object_], numbers: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(len(names) + 1))
    for code in np.argsort(names):
        yield names[code], order[bounds[code] : bounds[code + 1]]
