"""Which features are there, how old may they be, and what is computed at the moment of a request?"""

import warnings
from datetime import timedelta
from typing import Any

from entities import item, line, user
from feast import FeatureView, Field, FileSource, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, String, UnixTimestamp

# Feast warns that on-demand views are slow in offline retrieval; this repository's offline store computes them itself.
warnings.filterwarnings("ignore", "On demand feature view is an experimental feature", RuntimeWarning)

WEEKLY = timedelta(days=7)
"""Weekly windows are replaced every Monday; a row older than a week describes somebody who has stopped."""

FOREVER = timedelta(0)
"""States hold until they change: Feast reads a TTL of zero as no limit."""


def _source(name: str) -> FileSource:
    return FileSource(
        name=name,
        path=f"../.recsys/features/{name}",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


def _numbers(*names: str) -> list[Field]:
    return [Field(name=name, dtype=Float64) for name in names]


user_weekly = FeatureView(
    name="user_weekly",
    entities=[user],
    ttl=WEEKLY,
    schema=[
        *_numbers(
            "user_baskets_28d",
            "user_baskets_91d",
            "user_baskets",
            "user_lines_28d",
            "user_lines_91d",
            "user_value_91d",
        ),
        Field(name="user_first", dtype=UnixTimestamp),
        Field(name="user_last", dtype=UnixTimestamp),
    ],
    source=_source("user_weekly"),
    description="How a household shops, over 4 and 13 weeks",
)

item_weekly = FeatureView(
    name="item_weekly",
    entities=[item],
    ttl=WEEKLY,
    schema=[
        *_numbers(
            "item_baskets_7d",
            "item_baskets_28d",
            "item_baskets_91d",
            "item_buyers_91d",
            "item_returning_share_91d",
            "item_gap_days_91d",
            "item_price_91d",
        ),
        Field(name="line_id", dtype=String),
        Field(name="item_department", dtype=String),
        Field(name="item_category", dtype=String),
        Field(name="item_brand", dtype=String),
    ],
    source=_source("item_weekly"),
    description="What everybody did with a product in the last 1, 4 and 13 weeks, and what it is",
)

user_item = FeatureView(
    name="user_item",
    entities=[user, item],
    ttl=FOREVER,
    schema=[
        *_numbers("pair_baskets", "pair_weeks", "pair_quantity"),
        Field(name="pair_first", dtype=UnixTimestamp),
        Field(name="pair_last", dtype=UnixTimestamp),
        *_numbers("pair_decay_28d_at_last", "pair_decay_90d_at_last"),
    ],
    source=_source("user_item"),
    description="A household's history with one product, as of its last purchase of it",
)

user_line = FeatureView(
    name="user_line",
    entities=[user, line],
    ttl=FOREVER,
    schema=[
        *_numbers("line_baskets", "line_weeks", "line_quantity"),
        Field(name="line_first", dtype=UnixTimestamp),
        Field(name="line_last", dtype=UnixTimestamp),
        *_numbers("line_decay_28d_at_last", "line_decay_90d_at_last"),
    ],
    source=_source("user_line"),
    description="A household's history with one maker's range in one category, as of its last purchase of it",
)

request = RequestSource(name="request", schema=[Field(name="request_timestamp", dtype=UnixTimestamp)])


@on_demand_feature_view(
    sources=[user_weekly, item_weekly, user_item, user_line, request],
    schema=_numbers(
        "user_days_since",
        "user_gap_days",
        "item_trend",
        "pair_days_since",
        "pair_gap_days",
        "pair_overdue",
        "pair_overdue_for_item",
        "pair_decay_28d",
        "pair_decay_90d",
        "pair_share",
        "line_days_since",
        "line_overdue",
        "line_decay_28d",
        "line_decay_90d",
        "line_share",
    ),
    mode="python",
    description="Where in its rhythm a household stands at the moment of the request",
)
def rhythm(inputs: dict[str, Any]) -> dict[str, Any]:
    """Bring states to the request's time; unknown values are NaN.

    Feast hands over lists (and gets lists back); the training join and the resolver hand over numpy arrays (and get
    arrays back). Feast stores this function by value, so everything it needs is inside.
    """
    import numpy as np

    def number(name: str) -> Any:
        return np.asarray(inputs[name], dtype=float)

    def seconds(name: str) -> Any:
        values = np.asarray(inputs[name])
        if values.dtype.kind == "M":
            whole = values.astype("datetime64[us]")
            return np.where(np.isnat(whole), np.nan, whole.astype("int64") / 1e6)
        return np.array([v.timestamp() if hasattr(v, "timestamp") else np.nan for v in inputs[name]])

    def days_since(name: str) -> Any:
        return (now - seconds(name)) / 86_400

    def gap(prefix: str, count: str) -> Any:
        times = number(count)
        span = (seconds(f"{prefix}_last") - seconds(f"{prefix}_first")) / 86_400
        return np.where(times > 1, span / np.maximum(times - 1, 1), np.nan)

    def decayed(prefix: str, half_life: int) -> Any:
        age = days_since(f"{prefix}_last")
        return np.nan_to_num(number(f"{prefix}_decay_{half_life}d_at_last") * 0.5 ** (age / half_life))

    now = seconds("request_timestamp")
    user_baskets = np.maximum(number("user_baskets"), 1)
    pair_gap, line_gap = gap("pair", "pair_weeks"), gap("line", "line_weeks")
    pair_days, line_days = days_since("pair_last"), days_since("line_last")
    outputs = {
        "user_days_since": days_since("user_last"),
        "user_gap_days": gap("user", "user_baskets"),
        "item_trend": number("item_baskets_7d") / np.maximum(number("item_baskets_28d") / 4, 0.25),
        "pair_days_since": pair_days,
        "pair_gap_days": pair_gap,
        "pair_overdue": pair_days / np.maximum(pair_gap, 1),
        "pair_overdue_for_item": pair_days / np.maximum(number("item_gap_days_91d"), 1),
        "pair_decay_28d": decayed("pair", 28),
        "pair_decay_90d": decayed("pair", 90),
        "pair_share": np.nan_to_num(number("pair_baskets") / user_baskets),
        "line_days_since": line_days,
        "line_overdue": line_days / np.maximum(line_gap, 1),
        "line_decay_28d": decayed("line", 28),
        "line_decay_90d": decayed("line", 90),
        "line_share": np.nan_to_num(number("line_baskets") / user_baskets),
    }
    as_lists = isinstance(inputs["request_timestamp"], list)
    return {name: values.tolist() if as_lists else values for name, values in outputs.items()}
