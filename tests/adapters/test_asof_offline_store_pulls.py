"""Which rows does the ASOF store hand to a materialization, and to whoever pulls all?"""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.adapters.asof_offline_store import AsofOfflineStore
from recsys.errors import FeatureError
from tests.adapters.asof_world import (
    ASOF,
    HISTORIES,
    START,
    ZONES,
    Asked,
    Repository,
    Row,
    defined,
    feature_store,
    history,
    hours,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=HISTORIES, known=st.booleans(), start=st.integers(0, 5), length=st.integers(0, 6))
def test_latest_rows_are_those_known_at_the_end(
    repository: Repository, rows: list[Row], known: bool, start: int, length: int
) -> None:
    repository.write(history(rows))
    end = start + length
    source = repository.asof.get_feature_view("pair").batch_source
    assert source is not None
    first, last = hours(start), hours(end)
    assert first
    assert last
    result = AsofOfflineStore.pull_latest_from_table_or_query(
        config=repository.asof.config,
        data_source=source,
        join_key_columns=["user_id", "item_id"],
        feature_name_columns=["value"],
        timestamp_field="event",
        created_timestamp_column="created" if known else "",
        start_date=first.replace(tzinfo=UTC),
        end_date=last.replace(tzinfo=UTC),
    ).to_arrow()
    names = ["user_id", "item_id", "value", "event", *(["created"] if known else [])]
    assert result.column_names == names
    expected = set()
    for pair in {(r.user_id, r.item_id) for r in rows}:
        value = defined(Asked(*pair, end), rows, ("user_id", "item_id"), 0, known)
        if value is not None:
            row = rows[value]
            clock = max(row.event or 0, row.created or 0) if known else row.event
            if clock is not None and clock >= start:
                expected.add((*pair, value))
    assert set(zip(*(c.to_pylist() for c in result.columns[:3]), strict=True)) == expected


def pull_all(repository: Repository, start: datetime | None, end: datetime | None, created: str | None) -> pa.Table:
    source = repository.asof.get_feature_view("pair").batch_source
    assert source is not None
    return AsofOfflineStore.pull_all_from_table_or_query(
        repository.asof.config, source, ["user_id"], ["value"], "event", created, start, end
    ).to_arrow()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=HISTORIES, bounds=st.tuples(*[st.none() | st.integers(0, 8)] * 2), zone=ZONES, created=st.booleans())
def test_all_rows_are_those_whose_event_lies_between(
    repository: Repository,
    rows: list[Row],
    bounds: tuple[int | None, int | None],
    zone: str | None,
    created: bool,
) -> None:
    table = history(rows, zone)
    repository.write(table)
    start, end = (hours(bound) for bound in bounds)
    result = pull_all(repository, start, end and end.replace(tzinfo=UTC), "created" if created else None)
    low, high = (-1 if bounds[0] is None else bounds[0]), (99 if bounds[1] is None else bounds[1])
    kept = [row.event is not None and low <= row.event <= high for row in rows]
    assert result.column_names == ["user_id", "value", "event", *(["created"] if created else [])]
    expected = table.filter(pa.array(kept, pa.bool_())).select(result.column_names)
    for name in result.column_names:
        column = expected.column(name)
        if zone and name in ("event", "created"):
            column = column.cast(pa.timestamp("us", "UTC"))
        assert result.column(name).to_pylist() == column.to_pylist(), name


def test_pulling_all_names_what_is_missing(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]).drop_columns(["value"]))
    with pytest.raises(FeatureError, match=r"source 'pair_source' .*: column 'value' is not in the files"):
        pull_all(repository, None, None, None)
    (repository.folder / "history.parquet").unlink()
    with pytest.raises(FeatureError, match=r"source 'pair_source' .*: no such file or folder"):
        pull_all(repository, None, None, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Feast's own engine
@pytest.mark.parametrize("latest", [False, True])
def test_feasts_own_engine_materializes_from_either_pull(repository: Repository, latest: bool) -> None:
    repository.write(history([Row("a", "x", 3, 3, 9), Row("a", "x", 1, 1, 7), Row("b", "y", 2, 2, 8)]))
    store = feature_store(repository.folder, ASOF, "asof")
    store.config.materialization_config.pull_latest_features = latest
    store.materialize(START, START + timedelta(hours=4), ["pair"])
    keys = [{"user_id": "a", "item_id": "x"}, {"user_id": "b", "item_id": "y"}, {"user_id": "b", "item_id": "x"}]
    online = store.get_online_features(["pair:pair_value"], keys).to_dict()
    assert online["pair_value"] == [9, 8, None]
