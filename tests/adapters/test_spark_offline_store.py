"""Does the Spark store hand back the rows of the ASOF store on DuckDB, and the definition's?

A join of a few rows takes Spark as long as one of thousands, so many small worlds stand side by side in one: the users
of each have its number before their names.
"""

from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from random import Random
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore, FeatureView, Field
from feast.types import Int64

from recsys.adapters.asof_offline_store import AsofOfflineStore
from recsys.adapters.asof_offline_store.spark_store import SparkAsofOfflineStore
from recsys.errors import FeatureError
from tests.adapters.asof_world import (
    REFERENCES,
    VIEWS,
    Asked,
    Repository,
    Row,
    defined,
    entity_rows,
    feature_store,
    history,
    hours,
    item,
    make_repository,
    user,
    view,
)

pytestmark = pytest.mark.spark

WORLDS: Final = 150
TYPE: Final = "recsys.adapters.asof_offline_store.spark_store.SparkAsofOfflineStore"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return make_repository(tmp_path_factory.mktemp("asof on spark"))


@pytest.fixture(scope="module")
def on_spark(repository: Repository, spark: Mapping[str, str]) -> FeatureStore:
    """The same views in a store on Spark."""
    store = feature_store(repository.folder, {"type": TYPE, "spark_conf": dict(spark)}, "spark")
    store.apply([user, item, *repository.asof.list_feature_views()])
    return store


def worlds(seed: int) -> tuple[list[Row], list[Asked]]:
    """Draw histories and questions that meet often: few keys, few hours, nulls, ties in both clocks."""
    random = Random(seed)  # noqa: S311 - no secret
    clocks = [*map(float, range(8)), None]
    rows, asked = [], []
    for world in range(WORLDS):
        users = [f"{world}a", f"{world}a", f"{world}a", f"{world}b", None]
        items = ["x", "x", "x", "y", None]
        for _ in range(random.randint(0, 25)):
            keys = random.choice(users), random.choice(items)
            rows.append(Row(*keys, random.choice(clocks), random.choice(clocks), len(rows)))
        asked += [
            Asked(random.choice(users), random.choice(items), random.choice(clocks))
            for _ in range(random.randint(0, 20))
        ]
    random.shuffle(asked)
    return rows, asked


def by_world(rows: list[Row]) -> dict[str | None, list[Row]]:
    found: dict[str | None, list[Row]] = {}
    for row in rows:
        found.setdefault(row.user_id, []).append(row)
    return found


@pytest.mark.parametrize(("source_zone", "entity_zone"), [(None, "America/New_York"), ("UTC", None)])
def test_a_join_is_row_for_row_the_asof_stores_and_the_definition(
    repository: Repository, on_spark: FeatureStore, source_zone: str | None, entity_zone: str | None
) -> None:
    rows, asked = worlds(seed=1 if source_zone else 2)
    repository.write(history(rows, source_zone))
    entities = entity_rows(asked, entity_zone)
    result = on_spark.get_historical_features(entities, REFERENCES).to_arrow()
    assert result.equals(repository.asof.get_historical_features(entities, REFERENCES).to_arrow())
    mine = by_world(rows)
    for name, (keys, ttl, known) in VIEWS.items():
        expected = [defined(each, mine.get(each.user_id, []), keys, ttl, known) for each in asked]
        assert result.column(f"{name}_value").to_pylist() == expected, name


def test_values_known_later_count_when_asked_for(repository: Repository, on_spark: FeatureStore) -> None:
    rows, asked = worlds(seed=3)
    repository.write(history(rows))
    results = []
    for store, kind in ((repository.asof, AsofOfflineStore), (on_spark, SparkAsofOfflineStore)):
        views = [repository.asof.get_feature_view(name) for name in ("pair", "one")]
        references = ["pair:pair_value", "one:one_value"]
        job = kind.get_historical_features(
            store.config, views, references, entity_rows(asked), store.registry, "test", False, False
        )
        results.append(job.to_arrow())
    assert results[0].equals(results[1])
    assert results[0]["pair_value"].null_count < len(asked)


@pytest.mark.parametrize("known", [True, False])
def test_the_newest_rows_are_those_of_the_asof_store(
    repository: Repository, on_spark: FeatureStore, known: bool
) -> None:
    rows, _ = worlds(seed=4)
    repository.write(history(rows, "UTC"))
    source = repository.asof.get_feature_view("pair").batch_source
    results = []
    for store, kind in ((repository.asof, AsofOfflineStore), (on_spark, SparkAsofOfflineStore)):
        job = kind.pull_latest_from_table_or_query(
            config=store.config,
            data_source=source,
            join_key_columns=["user_id", "item_id"],
            feature_name_columns=["value"],
            timestamp_field="event",
            created_timestamp_column="created" if known else "",
            start_date=hours(2).replace(tzinfo=UTC),  # type: ignore[union-attr]
            end_date=hours(6).replace(tzinfo=UTC),  # type: ignore[union-attr]
        )
        results.append(job.to_arrow().sort_by([("user_id", "ascending"), ("item_id", "ascending")]))
    assert len(results[0]) > WORLDS
    assert results[0].equals(results[1])


def folder_view(folder: Path, keyed: bool = True) -> FeatureView:
    """A view over a folder of files, `parts`."""
    made = view("parts", [user] if keyed else [], folder)
    assert made.batch_source is not None
    made.batch_source.file_options.uri = str(folder / "parts")  # type: ignore[attr-defined]
    made.entity_columns = [Field(name="user_id", dtype=Int64)] if keyed else []
    return made


@pytest.mark.parametrize("keyed", [True, False])
def test_ties_fall_to_the_later_file_and_row(repository: Repository, on_spark: FeatureStore, keyed: bool) -> None:
    """Whatever order Spark reads the files in, also where their names have to be escaped; and without any key."""
    parts = repository.folder / "parts"
    parts.mkdir(exist_ok=True)
    for number, name in enumerate(["part 3.parquet", "part-1%.parquet", "part-2.parquet", "part-2/deep.parquet"]):
        (parts / name).parent.mkdir(exist_ok=True)
        values = [Row(f"u{n % 40}", "x", 1, 1, 1000 * number + n) for n in range(10 * (5 - number))]
        pq.write_table(history(values, "UTC"), parts / name)
    entities = entity_rows([Asked(f"u{n}", "x", 2) for n in range(40)])
    results = [
        kind.get_historical_features(
            store.config,
            [folder_view(repository.folder, keyed)],
            ["parts:parts_value"],
            entities,
            store.registry,
            "test",
        ).to_arrow()
        for store, kind in ((repository.asof, AsofOfflineStore), (on_spark, SparkAsofOfflineStore))
    ]
    assert results[0]["parts_value"].null_count == 0
    assert results[1].equals(results[0])


def test_an_order_of_rows_and_no_rows_are_kept(repository: Repository, on_spark: FeatureStore) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7), Row("a", "y", 1, 1, 8)]))
    slate = [Asked("a", "y", 2), Asked("a", "x", 2), Asked("a", "y", 2), Asked("a", "x", None)]
    for asked in (slate, []):
        entities = entity_rows(asked)
        result = on_spark.get_historical_features(entities, REFERENCES).to_arrow()
        assert result.equals(repository.asof.get_historical_features(entities, REFERENCES).to_arrow())


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (history([Row("a", "x", 1, 1, 7)]).drop_columns("value"), "column 'value' is not in the files"),
        (
            history([Row("a", "x", 1, 1, 7)]).set_column(0, "user_id", pa.array([1])),
            "must be text or both numbers; cast one",
        ),
    ],
)
def test_what_cannot_be_joined_is_one_line(
    repository: Repository, on_spark: FeatureStore, table: pa.Table, said: str
) -> None:
    repository.write(table)
    with pytest.raises(FeatureError, match=said):
        on_spark.get_historical_features(entity_rows([Asked("a", "x", 2)]), REFERENCES).to_arrow()


def test_a_damaged_file_is_named(repository: Repository, on_spark: FeatureStore) -> None:
    """The footer is whole, and what it points to is not."""
    path = repository.folder / "history.parquet"
    repository.write(history([Row(f"{n}", "x", 1, 1, n) for n in range(5_000)]))
    whole = bytearray(path.read_bytes())
    whole[4:2_000] = bytes(1_996)
    path.write_bytes(whole)
    with pytest.raises(FeatureError, match=r"feature view 'pair': the query failed on Spark: \[FAILED_READ_FILE"):
        on_spark.get_historical_features(entity_rows([Asked("1", "x", 2)]), REFERENCES).to_arrow()
