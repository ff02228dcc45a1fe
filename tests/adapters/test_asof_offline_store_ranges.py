"""Which rows does the ASOF store give for a range of time without entity rows?"""

from datetime import UTC, timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.errors import FeatureError
from tests.adapters.asof_world import (
    HISTORIES,
    START,
    VIEWS,
    Asked,
    Repository,
    Row,
    defined,
    history,
    hours,
)


def moments(rows: list[Row], view: str, start: float, end: float) -> set[tuple[str | None, str | None, float]]:
    """Each key of a view and time in the range at which a row began to count."""
    keys, _, known = VIEWS[view]
    found = set()
    for row in rows:
        clock = row.event if not known or row.event is None or row.created is None else max(row.event, row.created)
        complete = clock is not None and (row.created is not None or not known)
        if complete and start <= clock <= end and all(getattr(row, key) is not None for key in keys):
            found.add((row.user_id, row.item_id if "item_id" in keys else None, clock))
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=HISTORIES,
    start=st.integers(0, 5),
    length=st.integers(0, 6),
    views=st.sets(st.sampled_from(list(VIEWS)), min_size=1),
)
def test_a_row_for_each_moment_something_became_known(
    repository: Repository, rows: list[Row], start: int, length: int, views: set[str]
) -> None:
    repository.write(history(rows))
    first, last = hours(start), hours(start + length)
    job = repository.asof.get_historical_features(
        features=[f"{name}:{name}_value" for name in sorted(views)], start_date=first, end_date=last
    )
    result = job.to_arrow()
    expected = set().union(*(moments(rows, view, start, start + length) for view in views))
    times = result.column("event_timestamp").to_pylist()
    assert times == sorted(times)
    users = result.column("user_id").to_pylist()
    has_items = "item_id" in result.column_names
    items = result.column("item_id").to_pylist() if has_items else [None] * len(users)
    clocks = [(time - START.replace(tzinfo=UTC)) / timedelta(hours=1) for time in times]
    assert sorted(zip(users, items, clocks, strict=True), key=str) == sorted(expected, key=str)
    for name in views:
        keys, ttl, known = VIEWS[name]
        asked = [Asked(user, item, clock) for user, item, clock in zip(users, items, clocks, strict=True)]
        assert result.column(f"{name}_value").to_pylist() == [defined(a, rows, keys, ttl, known) for a in asked], name


def test_feast_records_the_range(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 2, 7), Row("a", "x", 5, 5, 8)]))
    job = repository.asof.get_historical_features(features=["pair:pair_value"], start_date=hours(2), end_date=hours(5))
    assert job.to_df()["pair_value"].tolist() == [7, 8]
    assert job.metadata is not None
    assert sorted(job.metadata.keys) == ["item_id", "user_id"]


def test_without_a_start_the_longest_ttl_counts(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7), Row("a", "x", 3, 3, 8)]))
    result = repository.asof.get_historical_features(features=["one:one_value"], end_date=hours(6)).to_arrow()
    assert result.column("one_value").to_pylist() == [8]


def test_zones_of_the_range_are_heeded(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]))
    zoned = (START + timedelta(hours=1)).replace(tzinfo=UTC)
    for start in (zoned, zoned.astimezone(None)):
        result = repository.asof.get_historical_features(
            features=["one:one_value"], start_date=start, end_date=zoned
        ).to_arrow()
        assert result.column("event_timestamp").to_pylist() == [zoned]


def test_a_range_is_refused_backwards_and_beside_entity_rows(repository: Repository) -> None:
    with pytest.raises(FeatureError, match=r"start_date 2024-01-01 05.*is after end_date 2024-01-01 02"):
        repository.asof.get_historical_features(features=["one:one_value"], start_date=hours(5), end_date=hours(2))
    store = repository.asof
    with pytest.raises(FeatureError, match=r"entity_df is given, and start_date"):
        store._get_provider().offline_store.get_historical_features(
            store.config,
            [store.get_feature_view("one")],
            ["one:one_value"],
            pa.table({"user_id": ["a"], "event_timestamp": [START]}),
            store.registry,
            "test",
            start_date=START,
        )
