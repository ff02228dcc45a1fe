"""How do a shop's events become feature tables? One Ibis expression a table, the same on DuckDB and on Spark.

Weeks end on Mondays at 00:00 UTC. A row describes what happened before its `event_timestamp`, a week's end. Two
kinds of tables:

- states (`user_item`, `user_line`, `user_category`): a row only where something changed that week, cumulative since the
  first event;
  ages, decays and calendars are brought to the request's time by `rhythm` and `cadence` in request_time.py;
- windows (`user_weekly`, `item_weekly`): a row every week for whoever was active in the last 13 weeks.

`user_campaign` is both: a row every week for 13 weeks, and one more, whose windows are empty and whose sums hold.
`user_profile` has one row a household, from its first week on; what a household says of itself has no history.

A transform gets the events as they were known at the end of a week, `until`, and makes rows up to it. When a row became
known (`created_timestamp`) is not its business: `recsys features build` runs it week by week, appends what is new, and
appends another version of a row where a late or cancelled order changed one. A cancelled purchase keeps its event with
quantity 0, so that a week without a purchase left still has its row, which says so.

`session_item` and `session_category` are streams: they say what a set of a session's events means, with the newest of
their times. `recsys features build` runs them on every set that was known in turn, `recsys serve` on the set that is
known once an event has come in; counts and maxima of a set do not depend on the order in which its events came.

A decayed count is the sum of 0.5^(age / half-life) over past weeks of purchase, as of `*_last`, the last purchase.
A calendar is the weeks of purchase of half a year as the bits of one number: bit 25 - n is the n-th week before that of
`*_last`.
Money is summed in whole cents, times in whole seconds, decayed weeks in whole parts of 2^40: sums of integers are the
same in every order, so a table that is made anew is the same to the last bit.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime

import ibis
import ibis.expr.types as ir
from ibis import _

PERIOD_DAYS = 7
"""Tables grow by so many days at a time, counted from Monday 1970-01-05."""

WEEK_S = 7 * 86_400
MONDAY_S = 4 * 86_400  # 1970-01-05 was a Monday
HALF_LIVES = {"decay_28d": 28.0, "decay_90d": 90.0}
WEIGHT = 2**40  # a decayed week is counted in parts of this
CALENDAR_WEEKS = 26
WINDOW_WEEKS = 13
RECENT_WEEKS = 4
VIEWS = ("pageview", "click")


def _week_end(timestamp: ir.TimestampValue) -> ir.TimestampValue:
    """Return the Monday 00:00 at or after which all of the timestamp's week is past."""
    seconds = timestamp.epoch_seconds()
    index = ((seconds - MONDAY_S) / WEEK_S).floor().cast("int64")
    return _moment((index + 1) * WEEK_S + MONDAY_S)


def _moment(seconds: ir.IntegerValue) -> ir.TimestampValue:
    return seconds.as_timestamp("s").cast("timestamp('UTC')")


def _purchases(events: ir.Table, items: ir.Table) -> ir.Table:
    bought = events.filter(_.event_type == "purchase")
    attributes = items.select("item_id", "line_id", "category")
    return bought.left_join(attributes, "item_id").select(
        "user_id",
        "item_id",
        "session_id",
        "quantity",
        "event_timestamp",
        cents=(_.value * 100).round().cast("int64"),
        live=_.quantity > 0,
        line_id=_.line_id.fill_null("unknown"),
        item_category=_.category.fill_null("unknown"),
        week_end=_week_end(_.event_timestamp),
    )


def _weekly(purchases: ir.Table, key: str) -> ir.Table:
    """Aggregate purchases to a row per user, key and week; `first` and `last` are null where all were cancelled."""
    return purchases.group_by(["user_id", key, "week_end"]).aggregate(
        baskets=_.session_id.nunique(where=_.live),
        quantity=_.quantity.sum(),
        cents=_.cents.sum(),
        first=_.event_timestamp.min(where=_.live),
        last=_.event_timestamp.max(where=_.live),
    )


def _state(purchases: ir.Table, key: str, prefix: str) -> ir.Table:
    """Accumulate a user's weeks with one item, line or category; one row per week in which something changed.

    All features are null where every purchase so far was cancelled: there is no history then.
    """
    weekly = _weekly(purchases, key)
    so_far = ibis.window(group_by=["user_id", key], order_by="week_end", preceding=None, following=0)
    weekly = weekly.select(
        "user_id",
        key,
        "week_end",
        "last",
        baskets=_.baskets.sum().over(so_far).nullif(0).cast("float64"),
        weeks=_["last"].count().over(so_far).nullif(0).cast("float64"),
        quantity=_.quantity.sum().over(so_far).nullif(0),
        first=_["last"].min().over(so_far),
        newest=_["last"].max().over(so_far),
    )
    past = _past_weeks(weekly, key)
    joined = weekly.left_join(past, ["user_id", key, "week_end"])
    return joined.select(
        "user_id",
        key,
        event_timestamp=_.week_end,
        **{f"{prefix}_{name}": joined[name] for name in ("baskets", "weeks", "quantity", "first")},
        **{f"{prefix}_last": _.newest},
        **{f"{prefix}_{name}_at_last": joined[name] for name in HALF_LIVES},
        **{f"{prefix}_calendar": _.calendar},
    )


def _past_weeks(weekly: ir.Table, key: str) -> ir.Table:
    """Sum 0.5^(age / half-life), and bits, over the weeks of purchase up to each week, as of its newest purchase."""
    past = weekly.filter(_["last"].notnull()).select("user_id", key, past_end="week_end", past="last")
    pairs = weekly.join(past, ["user_id", key, weekly.week_end >= past.past_end])
    age_days = (pairs.newest.epoch_seconds() - pairs.past.epoch_seconds()) / 86_400.0
    weights = {
        name: ((age_days * (-math.log(2.0) / days)).exp() * WEIGHT).round().cast("int64")
        for name, days in HALF_LIVES.items()
    }
    bits = _bits(pairs.newest, pairs.past_end)
    summed = (
        pairs.mutate(**weights, bits=bits)
        .group_by(["user_id", key, "week_end"])
        .aggregate(**{name: _[name].sum() for name in weights}, calendar=_.bits.sum().cast("float64"))
    )
    return summed.mutate(**{name: summed[name].cast("float64") / float(WEIGHT) for name in weights})


def _bits(newest: ir.TimestampValue, past_end: ir.TimestampValue) -> ir.IntegerValue:
    """Return the bit of a week in a calendar whose first week is that of `newest`; 0 for a week before it all."""
    age = ((_week_end(newest).epoch_seconds() - past_end.epoch_seconds()) / WEEK_S).cast("int64")
    bit = (ibis.literal(2.0) ** (CALENDAR_WEEKS - 1 - age)).cast("int64")
    return ibis.ifelse(age < CALENDAR_WEEKS, bit, 0)


def _up_to(rows: ir.Table, until: datetime) -> ir.Table:
    """Keep the rows of weeks that are over."""
    return rows.filter(rows.event_timestamp.epoch_seconds() <= int(until.timestamp()))


def user_item(events: ir.Table, items: ir.Table, until: datetime) -> ir.Table:
    """A household's history with one product."""
    return _up_to(_state(_purchases(events, items), "item_id", "pair"), until)


def user_line(events: ir.Table, items: ir.Table, until: datetime) -> ir.Table:
    """A household's history with one maker's range in one category."""
    return _up_to(_state(_purchases(events, items), "line_id", "line"), until)


def user_category(events: ir.Table, items: ir.Table, until: datetime) -> ir.Table:
    """A household's history with one category."""
    return _up_to(_state(_purchases(events, items), "item_category", "category"), until)


def _returns(purchases: ir.Table) -> ir.Table:
    """Aggregate purchases to one row per user, item and week, with the seconds since the last one; null for a first."""
    before = ibis.window(group_by=["user_id", "item_id"], order_by="week_end", preceding=(None, 1))
    pairs = _weekly(purchases, "item_id").mutate(previous=_["last"].max().over(before))
    return pairs.mutate(gap_s=_["last"].epoch_seconds() - _.previous.epoch_seconds())


def _windows(weekly: ir.Table, until: datetime, weeks: int = WINDOW_WEEKS) -> ir.Table:
    """Repeat each week at its own end and the following ones, with its `age` in weeks; nothing past `until`."""
    ages = ibis.memtable({"age": list(range(weeks))})
    spread = weekly.cross_join(ages).mutate(event_timestamp=_moment(_.week_end.epoch_seconds() + _.age * WEEK_S))
    return _up_to(spread, until)


def item_weekly(events: ir.Table, items: ir.Table, until: datetime) -> ir.Table:
    """What everybody did with a product in the last 1, 4 and 13 weeks; a row is there while it sold in the last 13."""
    so_far = ibis.window(group_by="item_id", order_by="week_end", preceding=None, following=0)
    weekly = (
        _returns(_purchases(events, items))
        .group_by(["item_id", "week_end"])
        .aggregate(
            baskets=_.baskets.sum(),
            users=_["last"].count(),
            returning=_.gap_s.count(),
            gap_s=_.gap_s.sum().fill_null(0),
            quantity=_.quantity.sum(),
            cents=_.cents.sum(),
            first=_["first"].min(),
        )
        .mutate(
            first_ever=_["first"].min().over(so_far),
            buyers_so_far=(_.users - _.returning).sum().over(so_far),
        )
    )
    stats = (
        _windows(weekly, until)
        .group_by(["item_id", "event_timestamp"])
        .aggregate(
            item_baskets_7d=_.baskets.sum(where=_.age < 1).fill_null(0).cast("float64"),
            item_baskets_28d=_.baskets.sum(where=_.age < RECENT_WEEKS).fill_null(0).cast("float64"),
            item_baskets_91d=_.baskets.sum().cast("float64"),
            item_buyers_91d=_.users.sum().cast("float64"),
            item_returning_share_91d=_.returning.sum() / _.users.sum().nullif(0),
            item_gap_days_91d=_.gap_s.sum() / _.returning.sum().nullif(0) / 86_400.0,
            item_price_91d=_.cents.sum() / 100.0 / _.quantity.sum().nullif(0),
            item_buyers=_.buyers_so_far.max().cast("float64"),
            item_returning_7d=_.returning.sum(where=_.age < 1).fill_null(0).cast("float64"),
            item_price_7d=_.cents.sum(where=_.age < 1) / 100.0 / _.quantity.sum(where=_.age < 1).nullif(0),
            item_first=_.first_ever.min(),
        )
    )
    catalogue = items.select(
        "item_id",
        "line_id",
        item_department=_.department,
        item_category=_.category,
        item_brand=_.brand,
    )
    joined = stats.left_join(catalogue, "item_id")
    text = {
        name: joined[name].fill_null("unknown")
        for name in ("line_id", "item_department", "item_category", "item_brand")
    }
    return joined.mutate(**text).drop("item_id_right")


def user_weekly(events: ir.Table, items: ir.Table, until: datetime) -> ir.Table:
    """How a household shops: sums over 4 and 13 weeks and since its first basket."""
    so_far = ibis.window(group_by="user_id", order_by="week_end", preceding=None, following=0)
    purchases = _purchases(events, items)
    returns = (
        _returns(purchases)
        .group_by(["user_id", "week_end"])
        .aggregate(items=_["last"].count(), returning=_.gap_s.count())
    )
    weekly = (
        purchases.group_by(["user_id", "week_end"])
        .aggregate(
            baskets=_.session_id.nunique(where=_.live),
            lines=_.live.sum(),
            cents=_.cents.sum(),
            first=_.event_timestamp.min(where=_.live),
            last=_.event_timestamp.max(where=_.live),
        )
        .mutate(
            baskets_so_far=_.baskets.sum().over(so_far),
            first_ever=_["first"].min().over(so_far),
            newest=_["last"].max().over(so_far),
        )
    )
    weekly = weekly.left_join(returns, ["user_id", "week_end"]).drop("user_id_right", "week_end_right")
    recent = _.age < RECENT_WEEKS
    return (
        _windows(weekly, until)
        .group_by(["user_id", "event_timestamp"])
        .aggregate(
            user_baskets_28d=_.baskets.sum(where=recent).fill_null(0).cast("float64"),
            user_baskets_91d=_.baskets.sum().cast("float64"),
            user_baskets=_.baskets_so_far.max().cast("float64"),
            user_lines_28d=_.lines.sum(where=recent).fill_null(0).cast("float64"),
            user_lines_91d=_.lines.sum().cast("float64"),
            user_value_91d=_.cents.sum() / 100.0,
            user_lines_7d=_.lines.sum(where=_.age < 1).fill_null(0).cast("float64"),
            user_weeks_28d=_["last"].count(where=recent).cast("float64"),
            user_weeks_56d=_["last"].count(where=_.age < 2 * RECENT_WEEKS).cast("float64"),
            user_weeks_91d=_["last"].count().cast("float64"),
            user_returning_share_91d=_.returning.sum() / _["items"].sum().nullif(0),
            user_first=_.first_ever.min(),
            user_last=_.newest.max(),
        )
    )


def user_campaign(events: ir.Table, until: datetime) -> ir.Table:
    """What a household was mailed and what it redeemed: over 13 weeks, and since its first campaign.

    A campaign is an event's `session_id`. One that was called off, or a coupon that was taken back, does not count.
    """
    seen = events.filter(_.event_type.isin(["mailed", "redeemed"])).select(
        "user_id",
        "event_timestamp",
        campaign=_.session_id,
        week_end=_week_end(_.event_timestamp),
        mailed=(_.event_type == "mailed") & (_.quantity > 0),
        redeemed=(_.event_type == "redeemed") & (_.quantity > 0),
    )
    in_campaign = ibis.window(group_by=["user_id", "campaign"])
    seen = seen.mutate(first_redeemed=_.event_timestamp.min(where=_.redeemed).over(in_campaign))
    answered = _.redeemed & (_week_end(_.first_redeemed) == _.week_end)
    so_far = ibis.window(group_by="user_id", order_by="week_end", preceding=None, following=0)
    weekly = (
        seen.group_by(["user_id", "week_end"])
        .aggregate(
            mailed=_.mailed.sum().fill_null(0),
            redeemed=_.redeemed.sum().fill_null(0),
            answered=_.campaign.nunique(where=answered),
            last_mailed=_.event_timestamp.max(where=_.mailed),
            last_redeemed=_.event_timestamp.max(where=_.redeemed),
        )
        .mutate(
            mailed_so_far=_.mailed.sum().over(so_far),
            redeemed_so_far=_.redeemed.sum().over(so_far),
            answered_so_far=_.answered.sum().over(so_far),
            mailed_newest=_.last_mailed.max().over(so_far),
            redeemed_newest=_.last_redeemed.max().over(so_far),
        )
    )
    within = _.age < WINDOW_WEEKS
    return (
        _windows(weekly, until, WINDOW_WEEKS + 1)
        .group_by(["user_id", "event_timestamp"])
        .aggregate(
            campaign_mailed=_.mailed_so_far.max().cast("float64"),
            campaign_mailed_91d=_.mailed.sum(where=within).fill_null(0).cast("float64"),
            campaign_coupons=_.redeemed_so_far.max().cast("float64"),
            campaign_coupons_91d=_.redeemed.sum(where=within).fill_null(0).cast("float64"),
            campaign_redeemed=_.answered_so_far.max().cast("float64"),
            campaign_last_mailed=_.mailed_newest.max(),
            campaign_last_redeemed=_.redeemed_newest.max(),
        )
    )


PROFILE = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_composition",
    "kids_count",
)


def user_profile(events: ir.Table, users: ir.Table, until: datetime) -> ir.Table:
    """What a household says of itself, from the week of its first event on."""
    first = events.group_by("user_id").aggregate(first=_.event_timestamp.min())
    joined = first.left_join(users.select("user_id", *PROFILE), "user_id")
    rows = joined.select(
        "user_id",
        event_timestamp=_week_end(joined["first"]),
        **{f"profile_{name}": joined[name].fill_null("unknown") for name in PROFILE},
    )
    return _up_to(rows, until)


def _acts(events: ir.Table, keys: tuple[str, ...], prefix: str) -> ir.Table:
    """Count what a session looked at and put into its cart."""
    return events.group_by(keys).aggregate(
        event_timestamp=_.event_timestamp.max(),
        created_timestamp=_.created_timestamp.max(),
        **{f"{prefix}_views": _.event_type.isin(VIEWS).sum().cast("float64")},
        **{f"{prefix}_carts": (_.event_type == "transfer").sum().cast("float64")},
        **{f"{prefix}_last": _.event_timestamp.max()},
    )


def session_item(events: ir.Table) -> ir.Table:
    """What a session did with one product: a `transfer` puts it into the cart."""
    return _acts(events.filter(_.item_id.notnull()), ("session_id", "item_id"), "session_item")


def session_category(events: ir.Table, items: ir.Table) -> ir.Table:
    """What a session did with one category."""
    of_item = events.inner_join(items.select("item_id", item_category=_.category.fill_null("unknown")), "item_id")
    return _acts(of_item, ("session_id", "item_category"), "session_category")


TABLES: Mapping[str, Callable[..., ir.Table]] = {
    "user_weekly": user_weekly,
    "item_weekly": item_weekly,
    "user_item": user_item,
    "user_line": user_line,
    "user_category": user_category,
    "user_campaign": user_campaign,
    "user_profile": user_profile,
    "session_item": session_item,
    "session_category": session_category,
}
"""Every feature table and the expression that makes it, from the tables that its parameters name: `events`, `items`
and `users`."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "user_weekly": ("user_id",),
    "item_weekly": ("item_id",),
    "user_item": ("user_id", "item_id"),
    "user_line": ("user_id", "line_id"),
    "user_category": ("user_id", "item_category"),
    "user_campaign": ("user_id",),
    "user_profile": ("user_id",),
    "session_item": ("session_id", "item_id"),
    "session_category": ("session_id", "item_category"),
}
"""The columns that, with `event_timestamp`, name a row. The first is a column of the events too: a row depends only on
the events of its own value of it, so that a build reads the history of those alone for whom something is new."""

ACTIVE_PERIODS: Mapping[str, int] = {
    "user_weekly": 13,
    "item_weekly": 13,
    "user_item": 1,
    "user_line": 1,
    "user_category": 1,
    "user_campaign": 14,
    "user_profile": 1,
}
"""For how many periods after an event the rows of its first key go on changing."""

STREAMS: Mapping[str, tuple[str, ...]] = {
    "session_item": ("pageview", "click", "transfer"),
    "session_category": ("pageview", "click", "transfer"),
}
"""The tables whose rows stand at events, not at weeks' ends, and the types of events that they are made of."""
