"""What is a pool of items a, b, c, … with every kind of feature, and a unit with a history?"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.candidates.history import Histories, History
from recsys.candidates.pool import ItemPool, build_pool
from recsys.schema import EVENT_TIMESTAMP, ITEM, TIMESTAMP
from recsys.specs.placement import Placement, Pool

NOW: Final = datetime(2024, 1, 8, tzinfo=UTC)
DAY: Final = timedelta(days=1)


def pool(sales: Sequence[float | None], **columns: Sequence[Any]) -> ItemPool:
    """Make a pool; an item that sold less than once is not eligible."""
    table = pa.table(
        {
            ITEM: [chr(ord("a") + number) for number in range(len(sales))],
            "sales": pa.array(sales, pa.float64()),
            EVENT_TIMESTAMP: pa.array([NOW] * len(sales), TIMESTAMP),
            **{name: pa.array(values) for name, values in columns.items()},
        }
    )
    return build_pool(table, Pool(view="items", feature="sales"), NOW, None)


def history(codes: Sequence[int], **columns: Sequence[Any]) -> Histories:
    """Give one unit rows in the view `pair` and in no other."""
    kept = {name: np.array(values) for name, values in columns.items()} or {"times": np.ones(len(codes))}
    rows = History(np.array(codes, dtype=np.int64), kept)
    return lambda view: rows if view == "pair" else None


def nobody(_: str) -> None:
    """Give a unit without any row."""


def placement(*candidates: Mapping[str, Any], **changes: Any) -> Placement:
    """Declare a placement of these sources."""
    declared = {
        "problem": "p",
        "model": "m",
        "k": 3,
        "pool": {"view": "items", "feature": "sales"},
        "candidates": candidates,
    }
    return Placement.model_validate(declared | changes)
