"""How do a shop's events become feature tables? One Ibis expression a table, the same on DuckDB and on Spark.

Weeks end on Mondays at 00:00 UTC. A row describes what happened before its `event_timestamp` (a week's end) and says in
`created_timestamp` when the shop knew all of it. Two kinds of tables:

- states (`user_item`, `user_line`): a row only where something changed that week, cumulative since the first event;
  ages and decays are brought to the request's time by `rhythm` in views.py;
- windows (`user_weekly`, `item_weekly`): a row every week for whoever was active in the last 13 weeks.

A decayed count is the sum of 0.5^(age / half-life) over past weeks of purchase, as of `*_last`, the last purchase.
"""

from collections.abc import Callable, Mapping

import ibis
import ibis.expr.types as ir
from ibis import _

WEEK_S = 7 * 86_400
MONDAY_S = 4 * 86_400  # 1970-01-05 was a Monday
DECAY_ORIGIN_S = 1_420_070_400  # 2015-01-01: any fixed time; keeps the powers below within a double's range for decades
WINDOW_WEEKS = 13
RECENT_WEEKS = 4


def _week_end(timestamp: ir.TimestampValue) -> ir.TimestampValue:
    """Return the Monday 00:00 at or after which all of the timestamp's week is past."""
    seconds = timestamp.epoch_seconds()
    index = ((seconds - MONDAY_S) / WEEK_S).floor().cast("int64")
    return _moment((index + 1) * WEEK_S + MONDAY_S)


def _moment(seconds: ir.IntegerValue) -> ir.TimestampValue:
    return seconds.as_timestamp("s").cast("timestamp('UTC')")


def _purchases(events: ir.Table, items: ir.Table) -> ir.Table:
    bought = events.filter((_.event_type == "purchase") & (_.quantity > 0))
    return bought.left_join(items.select("item_id", "line_id"), "item_id").select(
        "user_id",
        "item_id",
        "session_id",
        "quantity",
        "value",
        "event_timestamp",
        "created_timestamp",
        line_id=_.line_id.fill_null("unknown"),
        week_end=_week_end(_.event_timestamp),
    )


def _weekly(purchases: ir.Table, key: str) -> ir.Table:
    """Aggregate purchases to one row per user, key and week."""
    return purchases.group_by(["user_id", key, "week_end"]).aggregate(
        baskets=_.session_id.nunique(),
        quantity=_.quantity.sum(),
        value=_.value.sum(),
        last=_.event_timestamp.max(),
        created=_.created_timestamp.max(),
    )


def _state(purchases: ir.Table, key: str, prefix: str) -> ir.Table:
    """Accumulate a user's weeks with one item or line; one row per week in which something changed."""
    weekly = _weekly(purchases, key).cross_join(_last_week(purchases)).filter(_.week_end <= _.last_week)
    so_far = ibis.window(group_by=["user_id", key], order_by="week_end", preceding=None, following=0)
    seconds = weekly["last"].epoch_seconds()

    def decayed(half_life_days: int) -> ir.FloatingValue:
        exponent = (seconds - DECAY_ORIGIN_S) / (half_life_days * 86_400.0)
        power = (exponent * ibis.literal(2.0).ln()).exp()
        return power.sum().over(so_far) / power

    return weekly.select(
        "user_id",
        key,
        event_timestamp=_.week_end,
        created_timestamp=ibis.greatest(_.week_end, _.created.max().over(so_far)),
        **{
            f"{prefix}_baskets": _.baskets.sum().over(so_far).cast("float64"),
            f"{prefix}_weeks": _.count().over(so_far).cast("float64"),
            f"{prefix}_quantity": _.quantity.sum().over(so_far),
            f"{prefix}_first": _["last"].min().over(so_far),
            f"{prefix}_last": _["last"],
            f"{prefix}_decay_28d_at_last": decayed(28),
            f"{prefix}_decay_90d_at_last": decayed(90),
        },
    )


def user_item(events: ir.Table, items: ir.Table) -> ir.Table:
    """A household's history with one product."""
    return _state(_purchases(events, items), "item_id", "pair")


def user_line(events: ir.Table, items: ir.Table) -> ir.Table:
    """A household's history with one maker's range in one category."""
    return _state(_purchases(events, items), "line_id", "line")


def _windows(weekly: ir.Table, last_week: ir.Table) -> ir.Table:
    """Repeat each week at its own end and the following ones, with its `age` in weeks; nothing past the last week."""
    ages = ibis.memtable({"age": list(range(WINDOW_WEEKS))})
    return (
        weekly.cross_join(ages)
        .mutate(at=_moment(_.week_end.epoch_seconds() + _.age * WEEK_S))
        .cross_join(last_week)
        .filter(_["at"] <= _.last_week)
    )


def _last_week(purchases: ir.Table) -> ir.Table:
    """Return the end of the last week that is over: the newest event's week may still be running."""
    return purchases.aggregate(last_week=_moment(_.week_end.max().epoch_seconds() - WEEK_S))


def item_weekly(events: ir.Table, items: ir.Table) -> ir.Table:
    """What everybody did with a product in the last 1, 4 and 13 weeks; a row is there while it sold in the last 13."""
    purchases = _purchases(events, items)
    pairs = _weekly(purchases, "item_id")
    before = ibis.window(group_by=["user_id", "item_id"], order_by="week_end")
    pairs = pairs.mutate(previous=_["last"].lag().over(before))
    gap = (pairs["last"].epoch_seconds() - pairs.previous.epoch_seconds()) / 86_400.0
    weekly = (
        pairs.mutate(gap=gap)
        .group_by(["item_id", "week_end"])
        .aggregate(
            baskets=_.baskets.sum(),
            users=_.count(),
            returning=_.previous.count(),
            gap_days=_.gap.sum().fill_null(0.0),
            quantity=_.quantity.sum(),
            value=_.value.sum(),
            created=_.created.max(),
        )
    )
    spread = _windows(weekly, _last_week(purchases))
    stats = spread.group_by(["item_id", "at"]).aggregate(
        created=_.created.max(),
        item_baskets_7d=_.baskets.sum(where=_.age < 1).fill_null(0).cast("float64"),
        item_baskets_28d=_.baskets.sum(where=_.age < RECENT_WEEKS).fill_null(0).cast("float64"),
        item_baskets_91d=_.baskets.sum().cast("float64"),
        item_buyers_91d=_.users.sum().cast("float64"),
        item_returning_share_91d=_.returning.sum() / _.users.sum(),
        item_gap_days_91d=_.gap_days.sum() / _.returning.sum().nullif(0),
        item_price_91d=_.value.sum() / _.quantity.sum(),
    )
    catalogue = items.select(
        "item_id",
        "line_id",
        item_department=_.department.fill_null("unknown"),
        item_category=_.category.fill_null("unknown"),
        item_brand=_.brand.fill_null("unknown"),
    )
    joined = stats.left_join(catalogue, "item_id")
    text = {
        name: joined[name].fill_null("unknown")
        for name in ("line_id", "item_department", "item_category", "item_brand")
    }
    known = ibis.greatest(joined["at"], joined.created)
    return joined.mutate(created_timestamp=known, **text).rename(event_timestamp="at").drop("item_id_right", "created")


def user_weekly(events: ir.Table, items: ir.Table) -> ir.Table:
    """How a household shops: sums over 4 and 13 weeks and since its first basket."""
    purchases = _purchases(events, items)
    so_far = ibis.window(group_by="user_id", order_by="week_end", preceding=None, following=0)
    weekly = (
        purchases.group_by(["user_id", "week_end"])
        .aggregate(
            baskets=_.session_id.nunique(),
            lines=_.count(),
            value=_.value.sum(),
            first=_.event_timestamp.min(),
            last=_.event_timestamp.max(),
            created=_.created_timestamp.max(),
        )
        .mutate(baskets_so_far=_.baskets.sum().over(so_far), first_ever=_["first"].min().over(so_far))
    )
    recent = _.age < RECENT_WEEKS
    return (
        _windows(weekly, _last_week(purchases))
        .group_by(["user_id", "at"])
        .aggregate(
            created=_.created.max(),
            user_baskets_28d=_.baskets.sum(where=recent).fill_null(0).cast("float64"),
            user_baskets_91d=_.baskets.sum().cast("float64"),
            user_baskets=_.baskets_so_far.max().cast("float64"),
            user_lines_28d=_.lines.sum(where=recent).fill_null(0).cast("float64"),
            user_lines_91d=_.lines.sum().cast("float64"),
            user_value_91d=_.value.sum(),
            user_first=_.first_ever.min(),
            user_last=_["last"].max(),
        )
        .mutate(created_timestamp=ibis.greatest(_["at"], _.created))
        .rename(event_timestamp="at")
        .drop("created")
    )


TABLES: Mapping[str, Callable[[ir.Table, ir.Table], ir.Table]] = {
    "user_weekly": user_weekly,
    "item_weekly": item_weekly,
    "user_item": user_item,
    "user_line": user_line,
}
"""Every feature table and the expression that makes it from events and catalogue."""
