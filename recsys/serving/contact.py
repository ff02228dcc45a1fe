"""Whom of an audience may a campaign contact now? Not who said no or nothing, and not who is held out."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.forgotten import is_forgotten
from recsys.experiment.routing import held_out_by_any
from recsys.modeling.audience import eligible_units, units_of
from recsys.ports import FeatureReader
from recsys.specs.layer import Layer
from recsys.specs.placement import Audience


@dataclass(frozen=True)
class Contactable:
    """The units of an audience at a moment."""

    units: pa.Array
    """Ids of all who are eligible, ascending; nobody who was forgotten."""
    willing: NDArray[np.bool_]
    """[units] whom the channel may contact, by what they said."""
    held: NDArray[np.bool_]
    """[units] who is in a holdout."""

    @property
    def reachable(self) -> NDArray[np.bool_]:
        """[units] whom the campaign may contact."""
        return self.willing & ~self.held

    @property
    def opted_out(self) -> int:
        """How many the channel may not contact, by what they said or did not say."""
        return int(np.count_nonzero(~self.willing))

    @property
    def held_out(self) -> int:
        """How many of the others are in a holdout."""
        return int(np.count_nonzero(self.willing & self.held))


def contactable(
    features: FeatureReader,
    audience: Audience,
    channel: str,
    holdouts: Iterable[Layer],
    tombstones: Collection[str],
    at: datetime,
) -> Contactable:
    """Return an audience's units, and who of them may be contacted on a channel.

    Args:
        features: the online store.
        audience: who is eligible, and where it stands whom a channel may contact.
        channel: of the audience's problem.
        holdouts: the layers whose holdouts are not reached.
        tombstones: digests of those who were forgotten.
        at: the moment; rows past their TTL say nothing then.

    Raises:
        FeatureError: if a view has no such feature.
    """
    view = features.view(audience.units.view)
    units = eligible_units(features.online_all(view.name), audience.units, at, view.ttl)
    if tombstones:
        gone = np.fromiter(is_forgotten(units.to_pylist(), tombstones), dtype=bool, count=len(units))
        units = units.filter(pa.array(~gone))
    willing = _said_yes(features, audience, channel, units, at)
    return Contactable(units, willing, held_out_by_any(holdouts, units))


def _said_yes(
    features: FeatureReader, audience: Audience, channel: str, units: pa.Array, at: datetime
) -> NDArray[np.bool_]:
    asked = audience.contact.get(channel)
    if asked is None:
        return np.ones(len(units), dtype=bool)
    view = features.view(asked.view)
    willing = units_of(features.online_all(view.name), asked, at, view.ttl)
    return np.asarray(pc.is_in(units, value_set=willing).to_numpy(zero_copy_only=False), dtype=bool)
