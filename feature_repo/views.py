"""Which features are kept in tables, and how old may they be? What is computed from them is in request_time.py."""

import os
from datetime import timedelta

from entities import category, item, line, session, user
from feast import FeatureView, Field, FileSource, PushSource
from feast.types import Float64, String, UnixTimestamp

STATE = os.environ.get("RECSYS_STATE", "../.recsys")
"""The environment's state folder, relative to this one; recsys says which, and whoever runs `feast apply` for another
environment than the embedded one."""

WEEKLY = timedelta(days=7)
"""Weekly windows are replaced every Monday; a row older than a week describes somebody who has stopped."""

VISIT = timedelta(days=1)
"""What was looked at longer ago says nothing of what is wanted now, even if the visit goes on."""

FOREVER = timedelta(0)
"""States hold until they change: Feast reads a TTL of zero as no limit."""


def _source(name: str) -> FileSource:
    return FileSource(
        name=name,
        path=f"{STATE}/features/{name}",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )


def number_fields(*names: str) -> list[Field]:
    """Declare features that are numbers."""
    return [Field(name=name, dtype=Float64) for name in names]


user_weekly = FeatureView(
    name="user_weekly",
    entities=[user],
    ttl=WEEKLY,
    schema=[
        *number_fields(
            "user_baskets_28d",
            "user_baskets_91d",
            "user_baskets",
            "user_lines_28d",
            "user_lines_91d",
            "user_value_91d",
            "user_lines_7d",
            "user_weeks_28d",
            "user_weeks_56d",
            "user_weeks_91d",
            "user_returning_share_91d",
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
        *number_fields(
            "item_baskets_7d",
            "item_baskets_28d",
            "item_baskets_91d",
            "item_buyers_91d",
            "item_returning_share_91d",
            "item_gap_days_91d",
            "item_price_91d",
            "item_buyers",
            "item_returning_7d",
            "item_price_7d",
        ),
        Field(name="item_first", dtype=UnixTimestamp),
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
        *number_fields("pair_baskets", "pair_weeks", "pair_quantity"),
        Field(name="pair_first", dtype=UnixTimestamp),
        Field(name="pair_last", dtype=UnixTimestamp),
        *number_fields("pair_decay_28d_at_last", "pair_decay_90d_at_last", "pair_calendar"),
    ],
    source=_source("user_item"),
    description="A household's history with one product, as of its last purchase of it",
)

user_line = FeatureView(
    name="user_line",
    entities=[user, line],
    ttl=FOREVER,
    schema=[
        *number_fields("line_baskets", "line_weeks", "line_quantity"),
        Field(name="line_first", dtype=UnixTimestamp),
        Field(name="line_last", dtype=UnixTimestamp),
        *number_fields("line_decay_28d_at_last", "line_decay_90d_at_last", "line_calendar"),
    ],
    source=_source("user_line"),
    description="A household's history with one maker's range in one category, as of its last purchase of it",
)

user_category = FeatureView(
    name="user_category",
    entities=[user, category],
    ttl=FOREVER,
    schema=[
        *number_fields("category_baskets", "category_weeks", "category_quantity"),
        Field(name="category_first", dtype=UnixTimestamp),
        Field(name="category_last", dtype=UnixTimestamp),
        *number_fields("category_decay_28d_at_last", "category_decay_90d_at_last", "category_calendar"),
    ],
    source=_source("user_category"),
    description="A household's history with one category, as of its last purchase of it",
)

user_campaign = FeatureView(
    name="user_campaign",
    entities=[user],
    ttl=FOREVER,
    schema=[
        *number_fields(
            "campaign_mailed",
            "campaign_mailed_91d",
            "campaign_coupons",
            "campaign_coupons_91d",
            "campaign_redeemed",
        ),
        Field(name="campaign_last_mailed", dtype=UnixTimestamp),
        Field(name="campaign_last_redeemed", dtype=UnixTimestamp),
    ],
    source=_source("user_campaign"),
    description="What a household was mailed and what it redeemed, over 13 weeks and since its first campaign",
)

user_profile = FeatureView(
    name="user_profile",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(name=f"profile_{name}", dtype=String)
        for name in (
            "age",
            "income",
            "home_ownership",
            "marital_status",
            "household_size",
            "household_composition",
            "kids_count",
        )
    ],
    source=_source("user_profile"),
    description="What a household says of itself",
)

session_item = FeatureView(
    name="session_item",
    entities=[session, item],
    ttl=VISIT,
    schema=[
        *number_fields("session_item_views", "session_item_carts"),
        Field(name="session_item_last", dtype=UnixTimestamp),
    ],
    source=PushSource(name="session_item_events", batch_source=_source("session_item")),
    description="What a visit did with one product; rows are pushed with every event",
)

session_category = FeatureView(
    name="session_category",
    entities=[session, category],
    ttl=VISIT,
    schema=[
        *number_fields("session_category_views", "session_category_carts"),
        Field(name="session_category_last", dtype=UnixTimestamp),
    ],
    source=PushSource(name="session_category_events", batch_source=_source("session_category")),
    description="What a visit did with one category; rows are pushed with every event",
)
