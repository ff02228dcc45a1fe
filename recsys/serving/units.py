"""Whom should a campaign reach now? The units' features at the moment, and the best of ONE list.

Features come from the online store by whole views, for every unit is scored; the values are those that a training row
of the same unit and moment would have. Units are scored a chunk at a time and only the best so far are kept: what grows
with their number are the ids and the columns of views that the model reads, as Arrow has them, a row number a view, and
a score.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.candidates.pool import instant, to_numpy
from recsys.modeling.audience import check_units_alone
from recsys.ports import FeatureReader, FeatureSet, OnlineFeatures, Ranker, ViewInfo
from recsys.schema import EVENT_TIMESTAMP, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.serving.computing import with_computed
from recsys.serving.contact import Contactable
from recsys.serving.ranking import plain_features, row_digests
from recsys.statistics.chances import Chances

CHUNK_UNITS: Final = 50_000
"""Units that are scored at once: enough for all of CatBoost's threads."""


class AudienceRows:
    """The columns of a feature set for many units, from the online store, a part of the units at a time."""

    def __init__(self, features: OnlineFeatures, wanted: FeatureSet, units: pa.Array, at: datetime) -> None:
        """Read every view once, and of it what the columns are made from.

        Args:
            features: the online store.
            wanted: the columns, and what has to be read for them.
            units: ids.
            at: the moment; rows past their TTL are unknown then, and request-time features are of it.

        Raises:
            FeatureError: if a view is keyed by more than the unit.
        """
        check_units_alone(wanted)
        self._wanted, self._at = wanted, at
        needed = {*wanted.columns, *(name for each in wanted.transforms for name in each.inputs)}
        self._read: list[tuple[pa.Table, pa.Array]] = []
        for view in wanted.views:
            rows = _live(features.online_all(view.name), view, at)
            place = pc.index_in(units, value_set=rows[USER].cast(pa.string()).combine_chunks())
            self._read.append((rows.select([name for name in view.features if name in needed]), place))

    def columns(self, places: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the columns of some units.

        Args:
            places: [rows] of the units that were given.

        Returns:
            Column to [rows] values, in the order of the feature set; unknown numbers are NaN, texts `unknown`.
        """
        chosen = pa.array(places)
        values: dict[str, NDArray[Any]] = {REQUEST_TIMESTAMP: np.full(len(places), instant(self._at))}
        for rows, place in self._read:
            part = rows.take(place.take(chosen))
            values |= {name: to_numpy(part[name]) for name in part.column_names}
        whole = with_computed(values, self._wanted.transforms)
        return {name: whole[name] for name in self._wanted.columns}


@dataclass(frozen=True)
class Selection:
    """The units that a campaign reaches, best first."""

    units: pa.Array
    """Their ids."""
    scores: NDArray[np.float64]
    """One a unit, not rising; those without a number last."""
    digests: pa.Array
    """Of each unit's feature values, as the event log has it."""
    everybody: Chances
    """Of all eligible units; of use where scores are probabilities."""
    all_scores: NDArray[np.float64]
    """[eligible units] in the order of their ids, those among them who may not be reached."""
    above_cut: NDArray[np.bool_]
    """[eligible units] who stands before the last one reached, or is that one: who would be on the list, were nobody
    held out and had nobody said no. Everybody, where the channel could reach more than may be reached."""
    rows: AudienceRows
    """The feature values of all eligible units."""
    places: NDArray[np.int64]
    """Of each unit among them."""

    def features(self, chosen: Sequence[int]) -> Mapping[str, Sequence[Any]]:
        """Return the plain feature values of some units, by column.

        Args:
            chosen: their places in the selection.
        """
        places = self.places[np.asarray(chosen, dtype=np.int64)]
        return plain_features(self.rows.columns(places), np.arange(len(places)))


def select_units(
    features: FeatureReader,
    found: Contactable,
    wanted: FeatureSet,
    ranker: Ranker,
    capacity: int,
    at: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> Selection:
    """Return the units with the highest scores that may be reached; of equal ones those with the smaller id.

    Args:
        features: the online store.
        found: the units; those that may not be reached are scored too, for what a campaign should have reached.
        wanted: the ranker's columns.
        ranker: scores that compare across units.
        capacity: so many units at most.
        at: the moment; rows past their TTL are unknown then.
        progress: told how many of how many units are scored.

    Raises:
        FeatureError: if a view is not one of units.
    """
    rows = AudienceRows(features, wanted, found.units, at)
    best, everybody, count = _Best(capacity), Chances(), len(found.units)
    all_scores, reachable = np.empty(count), found.reachable
    for first in range(0, count, CHUNK_UNITS):
        places = np.arange(first, min(first + CHUNK_UNITS, count))
        scores = ranker.score(rows.columns(places))
        everybody += Chances.of(scores)
        all_scores[places] = scores
        may_be = reachable[places]
        best.add(places[may_be], scores[may_be])
        if progress is not None:
            progress(int(places[-1]) + 1, count)
    places, scores = best.ordered()
    return Selection(
        units=found.units.take(pa.array(places)),
        scores=scores,
        digests=pa.array(_digests(rows, places), pa.string()),
        everybody=everybody,
        all_scores=all_scores,
        above_cut=_above(all_scores, places[-1] if len(places) == capacity else None),
        rows=rows,
        places=places,
    )


def _above(scores: NDArray[np.float64], last: np.int64 | None) -> NDArray[np.bool_]:
    """Tell who stands before the place that was the last to be reached, by the order in which units are chosen."""
    if last is None:
        return np.ones(len(scores), dtype=np.bool_)
    worth = _worth(scores)
    above: NDArray[np.bool_] = (worth > worth[last]) | ((worth == worth[last]) & (np.arange(len(scores)) <= last))
    return above


def _digests(rows: AudienceRows, places: NDArray[np.int64]) -> Iterator[str]:
    for first in range(0, len(places), CHUNK_UNITS):
        part = places[first : first + CHUNK_UNITS]
        yield from row_digests(rows.columns(part))


class _Best:
    """The best of all places that came by, in order of the places."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._places = np.empty(0, dtype=np.int64)
        self._scores = np.empty(0)

    def add(self, places: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Look at places that come after all before; of equal scores the earlier place stays."""
        self._places = np.concatenate([self._places, places])
        self._scores = np.concatenate([self._scores, scores])
        spare = len(self._places) - self._capacity
        if spare <= 0:
            return
        worth = _worth(self._scores)
        least = np.partition(worth, spare)[spare]
        kept = worth > least
        kept[np.flatnonzero(worth == least)[: self._capacity - np.count_nonzero(kept)]] = True
        self._places, self._scores = self._places[kept], self._scores[kept]

    def ordered(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return places and scores, best first."""
        # Places ascend, so a stable order gives equal scores to the smaller one.
        order = np.argsort(-_worth(self._scores), kind="stable")
        return self._places[order], self._scores[order]


def _worth(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)


def _live(rows: pa.Table, view: ViewInfo, at: datetime) -> pa.Table:
    stamps = rows[EVENT_TIMESTAMP].cast(TIMESTAMP)
    live = pc.less_equal(stamps, pa.scalar(at, TIMESTAMP))
    if view.ttl:
        live = pc.and_(live, pc.greater_equal(stamps, pa.scalar(at - view.ttl, TIMESTAMP)))
    return rows.filter(live)
