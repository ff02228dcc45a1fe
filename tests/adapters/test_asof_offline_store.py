"""Does the ASOF store give each entity row the newest feature row that was known at its time?"""

from datetime import UTC, timedelta

import numpy as np
import pyarrow as pa
import pytest
from feast import Field
from feast.types import String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.adapters.asof_offline_store import AsofOfflineStore
from tests.adapters.asof_world import (
    ENTITIES,
    HISTORIES,
    REFERENCES,
    START,
    TTL_HOURS,
    VIEWS,
    ZONES,
    Asked,
    Repository,
    Row,
    defined,
    entity_rows,
    history,
    hours,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=HISTORIES, asked=ENTITIES, source_zone=ZONES, entity_zone=ZONES, as_pandas=st.booleans())
def test_join_is_the_definition(
    repository: Repository,
    rows: list[Row],
    asked: list[Asked],
    source_zone: str | None,
    entity_zone: str | None,
    as_pandas: bool,
) -> None:
    repository.write(history(rows, source_zone))
    entities = entity_rows(asked, entity_zone)
    given_rows = entities.to_pandas() if as_pandas and asked else entities
    result = repository.asof.get_historical_features(given_rows, REFERENCES).to_arrow()
    assert result.column("label").to_pylist() == list(range(len(asked)))
    assert result.column("event_timestamp").type.tz == "UTC"
    expected_times = [t and t.replace(tzinfo=UTC) for t in (hours(a.at) for a in asked)]
    assert result.column("event_timestamp").cast(pa.timestamp("us", "UTC")).to_pylist() == expected_times
    for name, (keys, ttl, known) in VIEWS.items():
        expected = [defined(a, rows, keys, ttl, known) for a in asked]
        assert result.column(f"{name}_value").to_pylist() == expected, name


TTLS = st.sampled_from([None, 0, 0.5, 1, 2.5, 4, 7, 24, 24 * 365 * 9000])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=HISTORIES, asked=ENTITIES, ttls=st.tuples(TTLS, TTLS), known=st.booleans())
def test_any_ttl_is_the_definition(
    repository: Repository, rows: list[Row], asked: list[Asked], ttls: tuple[float | None, float | None], known: bool
) -> None:
    repository.write(history(rows))
    views = [repository.asof.get_feature_view(name) for name in ("pair", "one")]
    for view, ttl in zip(views, ttls, strict=True):
        view.ttl = ttl if ttl is None else timedelta(hours=ttl)
    result = AsofOfflineStore.get_historical_features(
        repository.asof.config,
        views,
        ["pair:pair_value", "one:one_value"],
        entity_rows(asked),
        repository.asof.registry,
        "test",
        filter_by_created_timestamp=known,
    ).to_arrow()
    for view, ttl in zip(views, ttls, strict=True):
        keys, created_breaks_ties = VIEWS[view.name][0], not known
        expected = [defined(a, rows, keys, ttl or 0, known, created_breaks_ties) for a in asked]
        assert result.column(f"{view.name}_value").to_pylist() == expected, view.name


def test_order_is_kept_at_size(repository: Repository) -> None:
    users = [f"u{n}" for n in range(50)]
    repository.write(history([Row(u, "x", 0, 0, n) for n, u in enumerate(users)]))
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, 50, 300_000)
    minutes = rng.integers(1, 10_000, 300_000)
    for times in (minutes, np.ones_like(minutes)):  # joined row by row, and question by question
        entities = pa.table(
            {
                "user_id": np.array(users)[chosen],
                "item_id": np.full(300_000, "x"),
                "event_timestamp": np.datetime64(START, "us") + times * np.timedelta64(1, "m"),
            }
        )
        result = repository.asof.get_historical_features(entities, ["simple:simple_value"]).to_arrow()
        np.testing.assert_array_equal(result.column("simple_value").to_numpy(), chosen)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([Row("a", "x", 1, 1, 1), Row("a", "x", 2, 8, 2)], {True: [1], False: [2]}),
        ([Row("a", "x", 2, 9, 1), Row("a", "x", 2, 8, 2)], {True: [None], False: [1]}),
        ([Row("a", "x", 2, 1, 1), Row("a", "x", 2, None, 2)], {True: [1], False: [1]}),
    ],
)
def test_values_known_later_count_only_when_asked_for(
    repository: Repository, rows: list[Row], expected: dict[bool, list[int | None]]
) -> None:
    repository.write(history(rows))
    entities = entity_rows([Asked("a", "x", 3)])
    arguments = {
        "config": repository.asof.config,
        "feature_views": [repository.asof.get_feature_view("pair")],
        "feature_refs": ["pair:pair_value"],
        "entity_df": entities,
        "registry": repository.asof.registry,
        "project": "test",
    }
    values = {
        known: AsofOfflineStore.get_historical_features(**arguments, filter_by_created_timestamp=known)
        .to_arrow()
        .column("pair_value")
        .to_pylist()
        for known in (True, False)
    }
    assert values == expected


def test_ttl_is_inclusive(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]))
    edge = entity_rows([Asked("a", "x", 1), Asked("a", "x", 1 + TTL_HOURS), Asked("a", "x", 1.01 + TTL_HOURS)])
    result = repository.asof.get_historical_features(edge, ["one:one_value"]).to_arrow()
    assert result.column("one_value").to_pylist() == [7, 7, None]


def test_slates_and_duplicates_stay(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7), Row("a", "y", 1, 1, 8)]))
    slate = [Asked("a", "y", 2), Asked("a", "x", 2), Asked("a", "y", 2), Asked("a", "x", 2)] * 3
    result = repository.asof.get_historical_features(entity_rows(slate), REFERENCES).to_arrow()
    assert result.column("pair_value").to_pylist() == [8, 7, 8, 7] * 3
    assert result.column("label").to_pylist() == list(range(12))


def test_other_columns_pass_through_untouched(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]))
    extra = {
        "clicked": pa.array([None, True]),
        "shown_at": pa.array([START, None], pa.timestamp("ns")),
        "tags": pa.array([["p"], None]),
        "segment": pa.array(["s", "t"]).dictionary_encode(),
    }
    entities = entity_rows([Asked("a", "x", 2), Asked("b", "x", 2)])
    for name, column in extra.items():
        entities = entities.append_column(name, column)
    result = repository.asof.get_historical_features(entities, REFERENCES).to_arrow()
    assert result.column_names == [*entities.column_names, *(f"{n}_value" for n in VIEWS)]
    for name in ("label", "user_id", "item_id", *extra):
        assert result.column(name).equals(entities.column(name)), name


def test_equal_clocks_fall_to_the_later_row(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, n) for n in range(50)]))
    result = repository.asof.get_historical_features(entity_rows([Asked("a", "x", 2)]), REFERENCES).to_arrow()
    assert [result.column(f"{name}_value").to_pylist() for name in VIEWS] == [[49]] * 4


def test_feature_named_like_a_join_key_is_the_entity_rows_own(repository: Repository) -> None:
    pair = repository.asof.get_feature_view("pair")
    simple = repository.asof.get_feature_view("simple")
    simple.features.append(Field(name="item_id", dtype=String))
    repository.write(history([Row("a", "x", 1, 1, 7), Row("a", "y", 2, 2, 8)]))
    result = AsofOfflineStore.get_historical_features(
        repository.asof.config,
        [simple, pair],
        ["simple:item_id", "simple:simple_value", "pair:pair_value"],
        entity_rows([Asked("a", "x", 3)]),
        repository.asof.registry,
        "test",
    ).to_arrow()
    assert result.column("item_id").to_pylist() == ["x"]
    assert result.column("simple_value").to_pylist() == [8]
    assert result.column("pair_value").to_pylist() == [7]
