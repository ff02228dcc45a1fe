"""Whom should a campaign reach now? Eligible units, their features at the moment, and the best of ONE list.

Features come from the online store by whole views, for every unit is scored; the values are those that a training row
of the same unit and moment would have.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.candidates.pool import instant, to_numpy
from recsys.modeling.audience import check_units_alone, eligible_units
from recsys.ports import FeatureReader, FeatureSet, Ranker, ViewInfo
from recsys.schema import EVENT_TIMESTAMP, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.specs.placement import Audience


@dataclass(frozen=True)
class Selection:
    """The units that a campaign reaches, best first."""

    units: pa.Array
    """Their ids."""
    scores: NDArray[np.float64]
    """One a unit, not rising."""
    eligible: int
    """How many units could have been reached."""


def select_units(
    features: FeatureReader, audience: Audience, wanted: FeatureSet, ranker: Ranker, capacity: int, at: datetime
) -> Selection:
    """Return the units with the highest scores; of equal ones those with the smaller id.

    Args:
        features: the online store.
        audience: who is eligible.
        wanted: the ranker's columns.
        ranker: scores that compare across units.
        capacity: so many units at most.
        at: the moment; rows past their TTL are unknown then.

    Raises:
        FeatureError: if a view is not one of units.
    """
    view = features.view(audience.units.view)
    units = eligible_units(features.online_all(view.name), audience.units, at, view.ttl)
    scores = ranker.score(unit_columns(features, wanted, units, at))
    # Units ascend by id, so a stable order gives equal scores to the smaller one.
    best = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:capacity]
    return Selection(units.take(pa.array(best)), scores[best], len(units))


def unit_columns(features: FeatureReader, wanted: FeatureSet, units: pa.Array, at: datetime) -> dict[str, NDArray[Any]]:
    """Return the columns of a feature set for many units, from the online store.

    Args:
        features: the online store.
        wanted: the columns, and what has to be read for them.
        units: ids.
        at: the moment; rows past their TTL are unknown then, and request-time features are of it.

    Returns:
        Column to [units] values, in the order of `wanted.columns`; unknown numbers are NaN, texts `unknown`.

    Raises:
        FeatureError: if a view is keyed by more than the unit.
    """
    check_units_alone(wanted)
    values: dict[str, NDArray[Any]] = {REQUEST_TIMESTAMP: np.full(len(units), instant(at))}
    for view in wanted.views:
        rows = _live(features.online_all(view.name), view, at)
        place = pc.index_in(units, value_set=rows[USER].cast(pa.string()).combine_chunks())
        values |= {name: to_numpy(rows[name].combine_chunks().take(place)) for name in view.features}
    for transform in wanted.transforms:
        values |= transform.function({name: values[name] for name in transform.inputs})
    return {name: values[name] for name in wanted.columns}


def _live(rows: pa.Table, view: ViewInfo, at: datetime) -> pa.Table:
    stamps = rows[EVENT_TIMESTAMP].cast(TIMESTAMP)
    live = pc.less_equal(stamps, pa.scalar(at, TIMESTAMP))
    if view.ttl:
        live = pc.and_(live, pc.greater_equal(stamps, pa.scalar(at - view.ttl, TIMESTAMP)))
    return rows.filter(live)
