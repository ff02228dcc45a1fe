"""What is computed at the moment of a request, by the same function in training and online?

Feast stores each function by value, so all that it needs is inside it, and what several need stands in each.
"""

import warnings
from typing import Any

from feast import Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import UnixTimestamp
from views import (
    item_weekly,
    number_fields,
    session_category,
    session_item,
    user_campaign,
    user_category,
    user_item,
    user_line,
    user_weekly,
)

# Feast warns that on-demand views are slow in offline retrieval; this repository's offline store computes them itself.
warnings.filterwarnings("ignore", "On demand feature view is an experimental feature", RuntimeWarning)

request = RequestSource(name="request", schema=[Field(name="request_timestamp", dtype=UnixTimestamp)])


@on_demand_feature_view(
    sources=[user_weekly, item_weekly, user_item, user_line, request],
    schema=number_fields(
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
    from functools import cache

    import numpy as np

    def number(name: str) -> Any:
        return np.asarray(inputs[name], dtype=float)

    @cache
    def seconds(name: str) -> Any:
        values = np.asarray(inputs[name])
        if values.dtype.kind == "M":
            whole = values.astype("datetime64[us]")
            return np.where(np.isnat(whole), np.nan, whole.astype("int64") / 1e6)
        return np.array([v.timestamp() if hasattr(v, "timestamp") else np.nan for v in inputs[name]])

    @cache
    def days_since(name: str) -> Any:
        return (now - seconds(name)) / 86_400

    def gap(prefix: str, count: str) -> Any:
        times = number(count)
        span = (seconds(f"{prefix}_last") - seconds(f"{prefix}_first")) / 86_400
        return np.where(times > 1, span / np.maximum(times - 1, 1), np.nan)

    def decayed(prefix: str, half_life: int) -> Any:
        age = days_since(f"{prefix}_last")
        return known(number(f"{prefix}_decay_{half_life}d_at_last") * 0.5 ** (age / half_life))

    def known(values: Any) -> Any:
        return np.where(np.isnan(values), 0.0, values)

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
        "pair_share": known(number("pair_baskets") / user_baskets),
        "line_days_since": line_days,
        "line_overdue": line_days / np.maximum(line_gap, 1),
        "line_decay_28d": decayed("line", 28),
        "line_decay_90d": decayed("line", 90),
        "line_share": known(number("line_baskets") / user_baskets),
    }
    as_lists = isinstance(inputs["request_timestamp"], list)
    return {name: values.tolist() if as_lists else values for name, values in outputs.items()}


@on_demand_feature_view(
    sources=[user_weekly, user_item, user_line, user_category, request],
    schema=number_fields(
        *(
            f"{prefix}_{name}"
            for prefix in ("pair", "line", "category")
            for name in (
                "weeks_28d",
                "weeks_56d",
                "weeks_91d",
                "weeks_182d",
                "week_share_56d",
                "week_share_91d",
                "last_gap_days",
                "overdue_by_last",
            )
        ),
        "pair_shortest_gap_days",
    ),
    mode="python",
    description="In which weeks a household bought a product, its line and its category, by their calendars",
)
def cadence(inputs: dict[str, Any]) -> dict[str, Any]:
    """Read calendars at the request's time; unknown values are NaN. Lists and arrays come and go as in `rhythm`."""
    import numpy as np

    weeks, week_s, monday_s = 26, 7 * 86_400, 4 * 86_400

    def number(name: str) -> Any:
        return np.asarray(inputs[name], dtype=float)

    def seconds(name: str) -> Any:
        values = np.asarray(inputs[name])
        if values.dtype.kind == "M":
            whole = values.astype("datetime64[us]")
            return np.where(np.isnat(whole), np.nan, whole.astype("int64") / 1e6)
        return np.array([v.timestamp() if hasattr(v, "timestamp") else np.nan for v in inputs[name]])

    def share(part: Any, whole: Any) -> Any:
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)

    now = seconds("request_timestamp")
    outputs: dict[str, Any] = {}
    for prefix in ("pair", "line", "category"):
        last = seconds(f"{prefix}_last")
        calendar = np.nan_to_num(number(f"{prefix}_calendar")).astype("int64")
        # Shifted by the whole weeks without a purchase since the last one, bit 25 is the week before the request's.
        without = np.floor((now - monday_s) / week_s) - np.floor((last - monday_s) / week_s) - 1
        shifted = calendar >> np.nan_to_num(np.clip(without, 0, weeks)).astype("int64")
        for count in (4, 8, 13, 26):
            outputs[f"{prefix}_weeks_{7 * count}d"] = np.bitwise_count(shifted >> (weeks - count)).astype(float)
        for days in (56, 91):
            shopped = number(f"user_weeks_{days}d")
            outputs[f"{prefix}_week_share_{days}d"] = share(outputs[f"{prefix}_weeks_{days}d"], shopped)
        # Bit 25 of the calendar itself is the week of the last purchase, the highest bit below it the one before.
        earlier = (calendar & ~(1 << (weeks - 1))).astype(float)
        gap = np.where(earlier > 0, weeks - 1 - np.floor(np.log2(np.maximum(earlier, 1))), np.nan)
        outputs[f"{prefix}_last_gap_days"] = 7 * gap
        outputs[f"{prefix}_overdue_by_last"] = (now - last) / week_s / gap
    calendar = np.nan_to_num(number("pair_calendar")).astype("int64")
    shortest = np.full(len(calendar), np.nan)
    for apart in reversed(range(1, weeks)):
        shortest[(calendar & (calendar >> apart)) > 0] = 7 * apart
    outputs["pair_shortest_gap_days"] = shortest
    as_lists = isinstance(inputs["request_timestamp"], list)
    return {name: values.tolist() if as_lists else values for name, values in outputs.items()}


@on_demand_feature_view(
    sources=[user_weekly, item_weekly, user_item, user_line, user_category, request],
    schema=number_fields(
        "category_days_since",
        "category_gap_days",
        "category_overdue",
        "category_decay_28d",
        "category_decay_90d",
        "category_share",
        *(f"{prefix}_{name}" for prefix in ("pair", "line", "category") for name in ("age_days", "rate")),
        *(f"{prefix}_since_pair_days" for prefix in ("line", "category")),
        *(f"pair_of_{prefix}_{name}" for prefix in ("line", "category") for name in ("weeks", "28d", "90d")),
        "item_trend_91d",
        "item_price_change",
        "item_returning_now",
        "user_overdue",
    ),
    mode="python",
    description="How a household stands to a product's category, and what of its line and category the product is",
)
def affinity(inputs: dict[str, Any]) -> dict[str, Any]:
    """Compare histories at the request's time; unknown values are NaN. Lists and arrays come and go as in `rhythm`."""
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

    def ratio(part: Any, whole: Any) -> Any:
        return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)

    now = seconds("request_timestamp")
    user_gap = np.maximum(gap("user", "user_baskets"), 1)
    category_days, category_gap = days_since("category_last"), gap("category", "category_weeks")
    outputs = {
        "category_days_since": category_days,
        "category_gap_days": category_gap,
        "category_overdue": category_days / np.maximum(category_gap, 1),
        "category_decay_28d": decayed("category", 28),
        "category_decay_90d": decayed("category", 90),
        "category_share": np.nan_to_num(number("category_baskets") / np.maximum(number("user_baskets"), 1)),
        "item_trend_91d": ratio(number("item_baskets_28d") / 4, number("item_baskets_91d") / 13),
        "item_price_change": ratio(number("item_price_7d"), number("item_price_91d")),
        "item_returning_now": ratio(number("item_returning_7d"), number("item_buyers_91d")),
        "user_overdue": days_since("user_last") / user_gap,
    }
    for prefix in ("pair", "line", "category"):
        age = days_since(f"{prefix}_first")
        outputs[f"{prefix}_age_days"] = age
        outputs[f"{prefix}_rate"] = number(f"{prefix}_baskets") / np.maximum(age, 7) * user_gap
    for prefix in ("line", "category"):
        outputs[f"{prefix}_since_pair_days"] = days_since("pair_last") - days_since(f"{prefix}_last")
        outputs[f"pair_of_{prefix}_weeks"] = ratio(np.nan_to_num(number("pair_weeks")), number(f"{prefix}_weeks"))
        outputs[f"pair_of_{prefix}_28d"] = ratio(decayed("pair", 28), decayed(prefix, 28))
        outputs[f"pair_of_{prefix}_90d"] = ratio(decayed("pair", 90), decayed(prefix, 90))
    as_lists = isinstance(inputs["request_timestamp"], list)
    return {name: values.tolist() if as_lists else values for name, values in outputs.items()}


@on_demand_feature_view(
    sources=[user_weekly, user_campaign, request],
    schema=number_fields(
        "days_since_basket",
        "days_since_mailed",
        "days_since_redeemed",
        "redemption_rate",
        "basket_trend",
        "basket_value",
    ),
    mode="python",
    description="Where a household stands between its campaigns and its baskets at the moment of the decision",
)
def response(inputs: dict[str, Any]) -> dict[str, Any]:
    """Bring a household's campaigns and baskets to the decision's time; unknown values are NaN.

    Lists and arrays as in `rhythm`; Feast stores this function by value, so everything it needs is inside.
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

    now = seconds("request_timestamp")
    baskets = number("user_baskets_91d")
    outputs = {
        "days_since_basket": (now - seconds("user_last")) / 86_400,
        "days_since_mailed": (now - seconds("campaign_last_mailed")) / 86_400,
        "days_since_redeemed": (now - seconds("campaign_last_redeemed")) / 86_400,
        "redemption_rate": number("campaign_redeemed") / np.maximum(number("campaign_mailed"), 1),
        "basket_trend": number("user_baskets_28d") / np.maximum(baskets * 28 / 91, 0.25),
        "basket_value": number("user_value_91d") / np.maximum(baskets, 1),
    }
    as_lists = isinstance(inputs["request_timestamp"], list)
    return {name: values.tolist() if as_lists else values for name, values in outputs.items()}


@on_demand_feature_view(
    sources=[session_item, session_category, request],
    schema=number_fields(
        "session_item_seconds_since",
        "session_category_seconds_since",
        "session_item_share",
    ),
    mode="python",
    description="How fresh in a visit a product and its category are at the moment of the request",
)
def attention(inputs: dict[str, Any]) -> dict[str, Any]:
    """Bring a visit's events to the request's time; unknown values are NaN. Lists and arrays as in `rhythm`."""
    import numpy as np

    def number(name: str) -> Any:
        return np.asarray(inputs[name], dtype=float)

    def seconds(name: str) -> Any:
        values = np.asarray(inputs[name])
        if values.dtype.kind == "M":
            whole = values.astype("datetime64[us]")
            return np.where(np.isnat(whole), np.nan, whole.astype("int64") / 1e6)
        return np.array([v.timestamp() if hasattr(v, "timestamp") else np.nan for v in inputs[name]])

    now = seconds("request_timestamp")
    of_category = number("session_category_views")
    outputs = {
        "session_item_seconds_since": now - seconds("session_item_last"),
        "session_category_seconds_since": now - seconds("session_category_last"),
        "session_item_share": np.nan_to_num(number("session_item_views")) / np.maximum(of_category, 1),
    }
    as_lists = isinstance(inputs["request_timestamp"], list)
    return {name: values.tolist() if as_lists else values for name, values in outputs.items()}


covisit_scores = RequestSource(name="covisit_scores", schema=number_fields("covisit_score"))
ease_scores = RequestSource(name="ease_scores", schema=number_fields("ease_score"))


@on_demand_feature_view(
    sources=[covisit_scores],
    schema=number_fields("covisit_strength"),
    mode="python",
    description="How strongly what a household buys goes with a product; for placements with a source named covisit",
)
def retrieval_covisit(inputs: dict[str, Any]) -> dict[str, Any]:
    """Bring a source's score, a sum over the household's history, to a scale that long histories do not blow up."""
    import numpy as np

    strength = np.log1p(np.maximum(np.asarray(inputs["covisit_score"], dtype=float), 0))
    return {"covisit_strength": strength.tolist() if isinstance(inputs["covisit_score"], list) else strength}


@on_demand_feature_view(
    sources=[ease_scores],
    schema=number_fields("ease_strength"),
    mode="python",
    description="What the linear model of all products expects of one; for placements with a source named ease",
)
def retrieval_ease(inputs: dict[str, Any]) -> dict[str, Any]:
    """Hand on a source's score, which stands for a probability."""
    import numpy as np

    strength = np.asarray(inputs["ease_score"], dtype=float)
    return {"ease_strength": strength.tolist() if isinstance(inputs["ease_score"], list) else strength}
