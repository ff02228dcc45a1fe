"""Shops made in memory, and how their rows are read."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from recsys import schema
from recsys.simulation.rows import EXPOSURES, IMPRESSIONS
from recsys.simulation.shop import Shop
from recsys.simulation.truth import Truth
from recsys.specs.simulation import Simulation


@dataclass(frozen=True)
class Made:
    """Everything about a shop."""

    simulation: Simulation
    events: pa.Table
    exposures: pa.Table
    impressions: pa.Table
    users: pa.Table
    items: pa.Table
    truth: dict[str, Any]


def make(simulation: Simulation) -> Made:
    shop, truth = Shop(simulation), Truth(simulation)
    blocks = [(block, shop.users(block)) for block in range(shop.blocks)]
    rows = [part for block, users in blocks for part in shop.rows(users, block, truth)]
    return Made(
        simulation,
        pa.concat_tables([schema.EVENTS.empty_table(), *(part.events for part in rows)]),
        pa.concat_tables([EXPOSURES.empty_table(), *(part.exposures for part in rows)]),
        pa.concat_tables([IMPRESSIONS.empty_table(), *(part.impressions for part in rows)]),
        pa.concat_tables([users.table for _, users in blocks]),
        shop.catalogue.table,
        truth.document(),
    )


def newest(events: pa.Table) -> pd.DataFrame:
    """Return the events in their newest version."""
    frame = events.to_pandas()
    return frame.sort_values("created_timestamp", kind="stable").drop_duplicates("event_id", keep="last")
