"""Which entity rows are meant where none are given? Each moment of a time range at which something became known.

As Feast's PostgreSQL store has it, a row for each key and time of the views' own rows, of all views asked for. A row of
a source stands at the time from which it counts: its event, or when it became known if that was later.
"""

from datetime import datetime

import pyarrow as pa
from feast.feature_view import FeatureView
from feast.repo_config import RepoConfig
from feast.utils import compute_non_entity_date_range

from recsys.adapters.asof_offline_store import sql
from recsys.adapters.asof_offline_store.connection import arrow, connected
from recsys.adapters.asof_offline_store.entity_forms import EVENT_TIMESTAMP
from recsys.adapters.asof_offline_store.parquet_source import parquet, quoted
from recsys.adapters.asof_offline_store.view_plan import ViewPlan
from recsys.errors import FeatureError


def observed(
    config: RepoConfig,
    views: list[FeatureView],
    plans: list[ViewPlan],
    start_date: datetime | None = None,
    end_date: datetime | None = None,
) -> pa.Table:
    """Entity rows of the views' own keys and times within [start_date, end_date].

    Args:
        config: the feature store's configuration.
        views: the views, by whose TTLs a missing start is found.
        plans: the same views, planned.
        start_date: first time; without it the longest TTL before the end, or 30 days.
        end_date: last time; now if not given. Naive times are UTC.

    Returns:
        A column a key, null where a view does not have it, and `event_timestamp`: timestamp[us, tz=UTC]; in the order
        of time, then keys.

    Raises:
        FeatureError: the start is after the end, or a source cannot be read.
    """
    start, end = compute_non_entity_date_range(views, start_date=start_date, end_date=end_date)
    if start > end:
        message = f"start_date {start} is after end_date {end}: nothing lies between them; exchange them"
        raise FeatureError(message)
    window = sql.Window(sql.microseconds(start), sql.microseconds(end))
    keys = list(dict.fromkeys(name for plan in plans for _, name in plan.pull.keys))
    with connected(config) as connection:
        selects = [
            sql.moments(parquet(connection, plan.source, str(config.repo_path)), plan.pull, window) for plan in plans
        ]
        columns = ", ".join(quoted(name) for name in keys)
        order = ", ".join([EVENT_TIMESTAMP, *(quoted(name) for name in keys)])
        query = (
            f"SELECT {columns}{', ' if keys else ''}make_timestamptz({EVENT_TIMESTAMP}) AS {EVENT_TIMESTAMP} "
            f"FROM ({' UNION BY NAME '.join(selects)}) ORDER BY {order}"
        )
        return arrow(connection, query, f"the times of {', '.join(plan.name for plan in plans)}")
