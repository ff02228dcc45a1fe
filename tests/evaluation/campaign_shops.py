"""Whom could a shop contact whose truth is known: who acts anyway, and what a contact adds?"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys import schema
from recsys.evaluation.campaign_lists import SentCampaign
from recsys.experiment.routing import held_out
from recsys.specs.layer import Layer
from recsys.statistics.bootstrap import Interval

MADE: Final = datetime(2018, 1, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
STATED: Final = Interval(0.1, 0.0, 1.0)


@dataclass(frozen=True)
class Shop:
    """Units whose probability to act without any contact is their score."""

    ids: tuple[str, ...]
    chances: NDArray[np.float64]
    """[units] to act in the window, not contacted."""

    @classmethod
    def of(cls, units: int, seed: int) -> "Shop":
        """Make a shop in which few act often."""
        generator = np.random.default_rng(seed)
        return cls(tuple(f"u{number:06d}" for number in range(units)), generator.beta(0.6, 8, units))

    def campaign(
        self, capacity: int, layers: tuple[Layer, ...], sent_from: datetime = MADE, channel: str = "sms"
    ) -> SentCampaign:
        """Choose the units with the highest chances of those not held out."""
        held = np.zeros(len(self.ids), dtype=bool)
        for layer in layers:
            held |= held_out(layer, pa.array(self.ids))
        order = np.argsort(-self.chances, kind="stable")
        chosen = order[~held[order]][:capacity]
        ranks = np.zeros(len(self.ids), dtype=np.int32)
        ranks[chosen] = np.arange(1, len(chosen) + 1)
        above = np.zeros(len(self.ids), dtype=bool)
        above[order[: int(np.flatnonzero(order == chosen[-1])[0]) + 1]] = True
        table = pa.table(
            {
                schema.USER: pa.array(self.ids),
                schema.SCORE: pa.array(self.chances),
                "willing": pa.array(np.ones(len(self.ids), dtype=bool)),
                "held_out": pa.array(held),
                "above_cut": pa.array(above),
                "rank": pa.array(ranks, mask=ranks == 0),
                "sent": pa.array(ranks > 0),
            }
        )
        return SentCampaign(
            channel=channel,
            capacity=capacity,
            made_at=sent_from,
            sent_from=sent_from,
            sent_to=sent_from,
            model_version="coupon/v1",
            holdouts=layers,
            eligible=table,
            written={"reached": len(chosen), "held_out": int(np.count_nonzero(above & held))},
            stated_precision=STATED,
            stated_recall=STATED,
        )

    def acts(
        self, generator: np.random.Generator, contacted: NDArray[np.bool_], added: float, value: float = 0.0
    ) -> tuple[NDArray[np.bool_], pa.Table]:
        """Let units act in the window after `MADE`, those contacted by so much more, and spend more where they do.

        Returns:
            [units] who acted, and redemptions and purchases as events.
        """
        acted = generator.random(len(self.ids)) < np.clip(self.chances + added * contacted, 0, 1)
        spent = generator.lognormal(3, 0.5, len(self.ids)) + value * contacted
        ids = pa.array(self.ids)
        return acted, pa.concat_tables(
            [
                events("redeemed", ids.filter(pa.array(acted)), MADE + 2 * DAY),
                events("purchase", ids, MADE + 3 * DAY, spent),
            ]
        )


def events(kind: str, users: pa.Array, at: datetime, values: NDArray[np.float64] | None = None) -> pa.Table:
    """Return one event a unit."""
    count = len(users)
    columns = {name: pa.nulls(count, schema.EVENTS.field(name).type) for name in schema.EVENTS.names}
    stamps = pa.array([at] * count, schema.TIMESTAMP)
    return pa.table(
        {
            **columns,
            schema.EVENT_ID: pa.array([f"{kind}-{at:%d}-{user}" for user in users.to_pylist()], pa.string()),
            schema.EVENT_TYPE: pa.array([kind] * count, pa.string()),
            schema.USER: users,
            schema.EVENT_TIMESTAMP: stamps,
            schema.CREATED_TIMESTAMP: stamps,
            "quantity": pa.array(np.ones(count)),
            "value": pa.array(np.zeros(count) if values is None else values),
        }
    ).cast(schema.EVENTS)
