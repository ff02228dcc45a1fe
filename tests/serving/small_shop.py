"""What is the smallest shop in which every kind of feature view, TTL and late row occurs?"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.ports import RequestTransform, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, LINE, REQUEST_TIMESTAMP, SESSION, TIMESTAMP, USER
from recsys.specs.placement import Placement
from tests.fakes.features import FakeFeatures

NOW: Final = datetime(2024, 2, 5, tzinfo=UTC)
DAY: Final = timedelta(days=1)
TICK: Final = timedelta(microseconds=1)

ITEM_WEEK: Final = ViewInfo(
    "item_week",
    (ITEM,),
    ("sold", LINE, "brand"),
    {"sold": "number", LINE: "text", "brand": "text"},
    7 * DAY,
)
ITEM_STOCK: Final = ViewInfo("item_stock", (ITEM,), ("stock",), {"stock": "number"}, 3 * DAY)
USER_WEEK: Final = ViewInfo("user_week", (USER,), ("visits", "seen"), {"visits": "number", "seen": "time"}, 7 * DAY)
PAIR: Final = ViewInfo("pair", (USER, ITEM), ("times", "last"), {"times": "number", "last": "time"}, 28 * DAY)
USER_LINE: Final = ViewInfo("user_line", (USER, LINE), ("line_times",), {"line_times": "number"}, None)
VISIT: Final = ViewInfo(
    "visit", (SESSION, ITEM), ("looked", "looked_last"), {"looked": "number", "looked_last": "time"}, DAY
)
VISIT_TOTAL: Final = ViewInfo("visit_total", (SESSION,), ("pages",), {"pages": "number"}, DAY)
VIEWS: Final = (ITEM_WEEK, ITEM_STOCK, USER_WEEK, PAIR, USER_LINE, VISIT, VISIT_TOTAL)

TYPES: Final[Mapping[str, pa.DataType]] = {
    USER: pa.string(),
    SESSION: pa.string(),
    ITEM: pa.string(),
    LINE: pa.string(),
    "brand": pa.string(),
    "seen": TIMESTAMP,
    "last": TIMESTAMP,
    "looked_last": TIMESTAMP,
    EVENT_TIMESTAMP: TIMESTAMP,
    CREATED_TIMESTAMP: TIMESTAMP,
}
"""Columns that are no numbers."""

SERVICES: Final = {
    "visit": ("visit:looked", "visit:looked_last", "visit_total:pages", "item_week:sold"),
    "frequency": ("pair:times",),
    "sales": ("item_week:sold",),
    "moment": ("item_week:sold", "moment:fits", "moment:device_now", "moment:hours_since"),
    "full": (
        "user_week:visits",
        "item_week:sold",
        "item_week:brand",
        "item_stock:stock",
        "pair:times",
        "user_line:line_times",
        "rhythm:days_since",
        "rhythm:share",
    ),
}


def rhythm(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Bring two states to the time of the request."""
    return {
        "days_since": (inputs[REQUEST_TIMESTAMP] - inputs["last"]) / np.timedelta64(86_400_000_000, "us"),
        "share": inputs["times"] / np.maximum(inputs["visits"], 1),
    }


RHYTHM: Final = RequestTransform(
    "rhythm", ("last", "times", "visits", REQUEST_TIMESTAMP), ("days_since", "share"), rhythm
)


def moment(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Compare items with what the request says of its moment."""
    return {
        "fits": -np.abs(inputs["sold"] - inputs["basket_value"]),
        "device_now": inputs["device"],
        "hours_since": (inputs[REQUEST_TIMESTAMP] - inputs["since"]) / np.timedelta64(3_600_000_000, "us"),
    }


CONTEXT: Final = {"device": "text", "basket_value": "number", "since": "time"}
"""What placements that use `moment` declare."""
MOMENT: Final = RequestTransform(
    "moment",
    ("sold", "device", "basket_value", "since", REQUEST_TIMESTAMP),
    ("fits", "device_now", "hours_since"),
    moment,
    {**CONTEXT, REQUEST_TIMESTAMP: "time"},
)


def row(at: datetime, known: datetime | None = None, **values: Any) -> dict[str, Any]:
    """Return a feature row of a moment, known at once unless said otherwise."""
    return {**values, EVENT_TIMESTAMP: at, CREATED_TIMESTAMP: known or at}


def sold(item: str, sales: float, at: datetime = NOW, line: str = "x") -> dict[str, Any]:
    """Return a row of item_week."""
    return row(at, item_id=item, sold=sales, line_id=line, brand=f"brand of {item}")


def pair(user: str, item: str, times: float, at: datetime = NOW) -> dict[str, Any]:
    """Return a row of pair."""
    return row(at, user_id=user, item_id=item, times=times, last=at)


def looked(session: str, item: str, times: float, at: datetime = NOW, known: datetime | None = None) -> dict[str, Any]:
    """Return a row of visit."""
    return row(at, known, session_id=session, item_id=item, looked=times, looked_last=at)


def pushed(features: FakeFeatures, view: str, *rows: dict[str, Any]) -> None:
    """Push rows of a view."""
    fields = [(name, TYPES.get(name, pa.float64())) for name in rows[0]]
    features.push(view, pa.Table.from_pylist(list(rows), schema=pa.schema(fields)))


def shop(**rows: list[dict[str, Any]]) -> FakeFeatures:
    """Make a shop of some views' rows; the others are empty."""
    tables = {}
    for view in VIEWS:
        names = (*view.join_keys, *view.features, EVENT_TIMESTAMP, CREATED_TIMESTAMP)
        schema = pa.schema([(name, TYPES.get(name, pa.float64())) for name in names])
        tables[view.name] = pa.Table.from_pylist(rows.get(view.name, []), schema=schema)
    return FakeFeatures(VIEWS, tables, SERVICES, [RHYTHM, MOMENT])


def history(seed: int, users: int = 6, items: int = 9, changes: int = 12) -> FakeFeatures:
    """Make a shop whose entities change at random moments of 60 days, some of them known late."""
    random = np.random.default_rng(seed)
    rows: dict[str, list[dict[str, Any]]] = {view.name: [] for view in VIEWS}

    def moments() -> list[tuple[datetime, datetime]]:
        count = int(random.integers(0, changes))
        drawn = [NOW - float(days) * DAY for days in random.integers(0, 60, count)]
        return [(at, at + float(random.choice([0, 0, 0, 2, 30])) * DAY) for at in drawn]

    def number() -> float | None:
        return None if random.random() < 0.1 else float(random.integers(0, 9))

    user_ids, item_ids = [f"u{n}" for n in range(users)], [f"i{n}" for n in range(items)]
    for place, item in enumerate(item_ids):
        line, brand = f"line{place % 3}", None if place == 1 else f"brand{place % 2}"
        rows["item_week"] += [
            row(*m, item_id=item, sold=number(), line_id=line, brand=brand) for m in [*moments(), (NOW - DAY, NOW)]
        ]
        rows["item_stock"] += [row(*m, item_id=item, stock=number()) for m in moments()]
    for user in user_ids:
        rows["user_week"] += [row(*m, user_id=user, visits=number(), seen=m[0]) for m in moments()]
        for item in item_ids:
            for m in moments():
                times = number()  # where nothing is left of a pair, all its features are unknown
                last = None if times is None else m[0]
                rows["pair"].append(row(*m, user_id=user, item_id=item, times=times, last=last))
        for line in ("line0", "line2", "gone"):
            rows["user_line"] += [row(*m, user_id=user, line_id=line, line_times=number()) for m in moments()]
    return shop(**rows)


def placement(**changes: Any) -> Placement:
    """Declare a placement of the shop."""
    return Placement.model_validate(
        {
            "problem": "weekly_basket",
            "model": "basket",
            "k": 3,
            "pool": {"view": "item_week", "feature": "sold"},
            "candidates": [
                {"source": "personal", "view": "pair", "order_by": ["times"], "limit": 4},
                {"source": "popular", "order_by": "sold", "limit": 4},
            ],
        }
        | changes
    )
