"""Does the ASOF store give each entity row the newest feature row that was known at its time?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.adapters.asof_offline_store import AsofOfflineStore
from recsys.errors import FeatureError

START = datetime(2024, 1, 1)  # noqa: DTZ001 -- naive times are part of what is tested
TTL_HOURS = 4
ASOF = {"type": "recsys.adapters.asof_offline_store.AsofOfflineStore", "threads": 2}

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def hours(value: float | None) -> datetime | None:
    """A time in the tests' small world."""
    return None if value is None else START + timedelta(hours=value)


# -------------------------------------------------------------- repository


def view(
    name: str, entities: Sequence[Entity], folder: Path, *, ttl: float = 0, created: str = "created"
) -> FeatureView:
    source = FileSource(
        name=f"{name}_source",
        path=str(folder / "history.parquet"),
        timestamp_field="event",
        created_timestamp_column=created,
    )
    schema = [Field(name=f"{name}_value", dtype=Int64)]
    source.field_mapping = {"value": f"{name}_value"}
    return FeatureView(name=name, entities=list(entities), ttl=timedelta(hours=ttl), schema=schema, source=source)


def feature_store(folder: Path, offline: dict[str, Any], name: str) -> FeatureStore:
    config = RepoConfig(
        project="test",
        registry=str(folder / f"{name}.db"),
        provider="local",
        offline_store=offline,
        online_store={"type": "sqlite", "path": str(folder / f"{name}_online.db")},
        entity_key_serialization_version=3,
    )
    config.repo_path = folder
    return FeatureStore(config=config)


@dataclass(frozen=True)
class Repository:
    folder: Path
    asof: FeatureStore
    duckdb: FeatureStore

    def write(self, rows: pa.Table) -> None:
        pq.write_table(rows, self.folder / "history.parquet")


VIEWS = {
    # name: (keys, ttl in hours, has a created timestamp)
    "pair": (("user_id", "item_id"), 0, True),
    "pair_ttl": (("user_id", "item_id"), TTL_HOURS, True),
    "one": (("user_id",), TTL_HOURS, True),
    "simple": (("user_id",), 0, False),
}
REFERENCES = [f"{name}:{name}_value" for name in VIEWS]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("asof")
    entities = {"user_id": user, "item_id": item}
    views = [
        view(
            name,
            [entities[key] for key in keys],
            folder,
            ttl=ttl,
            created="created" if known else "",
        )
        for name, (keys, ttl, known) in VIEWS.items()
    ]
    asof = feature_store(folder, ASOF, "asof")
    duckdb = feature_store(folder, {"type": "duckdb"}, "duckdb")
    result = Repository(folder, asof, duckdb)
    result.write(history([Row("a", "x", 0, 0, 1)]))
    for store in (asof, duckdb):
        store.apply([user, item, *views])
    return result


# -------------------------------------------------------------- definition


@dataclass(frozen=True)
class Row:
    """One row of a feature's history, times in hours."""

    user_id: str | None
    item_id: str | None
    event: float | None
    created: float | None
    value: int


@dataclass(frozen=True)
class Asked:
    """One entity row."""

    user_id: str | None
    item_id: str | None
    at: float | None


def defined(asked: Asked, rows: list[Row], keys: tuple[str, ...], ttl: float, known: bool) -> Any:
    """The definition, read aloud."""
    best = None
    for row in rows:
        if any(getattr(row, k) is None or getattr(row, k) != getattr(asked, k) for k in keys):
            continue
        if asked.at is None or row.event is None or row.event > asked.at:
            continue
        if ttl and row.event < asked.at - ttl:
            continue
        if known and (row.created is None or row.created > asked.at):
            continue
        clocks = (row.event, row.created if known else 0)
        if best is None or clocks >= best[0]:
            best = (clocks, row.value)
    return best[1] if best else None


def history(rows: list[Row], zone: str | None = None) -> pa.Table:
    kind = pa.timestamp("us", tz="UTC" if zone else None)
    columns = {
        "user_id": pa.array([r.user_id for r in rows], pa.string()),
        "item_id": pa.array([r.item_id for r in rows], pa.string()),
        "event": pa.array([hours(r.event) for r in rows], pa.timestamp("us")).cast(kind),
        "created": pa.array([hours(r.created) for r in rows], pa.timestamp("us")).cast(kind),
        "value": pa.array([r.value for r in rows], pa.int64()),
    }
    table = pa.table(columns)
    if zone and zone != "UTC":
        for name in ("event", "created"):
            local = table.column(name).cast(pa.timestamp("us", tz=zone))
            table = table.set_column(table.schema.get_field_index(name), name, local)
    return table


def entity_rows(rows: list[Asked], zone: str | None = None) -> pa.Table:
    times = pa.array([hours(r.at) for r in rows], pa.timestamp("us"))
    if zone:
        times = times.cast(pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us", tz=zone))
    return pa.table(
        {
            "label": pa.array(range(len(rows)), pa.int64()),
            "user_id": pa.array([r.user_id for r in rows], pa.string()),
            "event_timestamp": times,
            "item_id": pa.array([r.item_id for r in rows], pa.string()),
        }
    )


def sized(element: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    """Lists of any length alike: rules that clash only in a crowd need long ones."""
    return st.integers(0, most).flatmap(lambda n: st.lists(element, min_size=n, max_size=n))


USER_IDS = st.sampled_from(["a", "a", "a", "b", None])
ITEM_IDS = st.sampled_from(["x", "x", "x", "y", None])
CLOCK = st.sampled_from([*map(float, range(8)), None])
HISTORIES = sized(st.tuples(USER_IDS, ITEM_IDS, CLOCK, CLOCK), 25).map(
    lambda rows: [Row(u, i, e, c, n) for n, (u, i, e, c) in enumerate(rows)]
)
ENTITIES = sized(st.builds(Asked, USER_IDS, ITEM_IDS, CLOCK), 20)
ZONES = st.sampled_from([None, "UTC", "America/New_York"])


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


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # by Feast, through ibis
@pytest.mark.parametrize("count", [200, 5_000])
def test_join_agrees_with_feast(repository: Repository, count: int) -> None:
    rng = np.random.default_rng(count)
    known = pa.table(
        {
            "user_id": rng.choice(list("abcdefgh"), 3_000),
            "item_id": rng.choice(list("stuvwxyz"), 3_000),
            "event": pa.array(START + timedelta(minutes=float(m)) for m in rng.permutation(3_000)),
            "value": np.arange(3_000),
        }
    )
    late = [
        t + timedelta(minutes=float(m))
        for t, m in zip(known.column("event").to_pylist(), rng.integers(0, 600, 3_000), strict=True)
    ]
    repository.write(known.append_column("created", pa.array(late)))
    entities = pd.DataFrame(
        {
            "user_id": rng.choice(list("abcdefghi"), count),
            "item_id": rng.choice(list("stuvwxyz"), count),
            "event_timestamp": [START + timedelta(minutes=float(m)) for m in rng.integers(0, 3_300, count)],
            "row": np.arange(count),
        }
    )
    ours = repository.asof.get_historical_features(entities, REFERENCES).to_df()
    feast = repository.duckdb.get_historical_features(entities, REFERENCES, filter_by_created_timestamp=True).to_df()
    feast = feast.sort_values("row").reset_index(drop=True)[list(ours.columns)]
    pd.testing.assert_frame_equal(ours, feast, check_dtype=False)


def test_values_known_later_count_only_when_asked_for(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 1), Row("a", "x", 2, 8, 2)]))
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
    assert values == {True: [1], False: [2]}


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


def test_times_may_be_texts_dates_or_zoned_objects(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]))
    zoned = datetime(2023, 12, 31, 21, tzinfo=ZoneInfo("America/New_York"))  # 02:00 UTC
    for times in (
        ["2024-01-01T02:00:00"],
        ["2023-12-31 21:00:00-05:00"],
        [zoned],
        [START.date() + timedelta(1)],
    ):
        frame = pd.DataFrame({"user_id": ["a"], "event_timestamp": pd.Series(times, dtype=object)})
        result = repository.asof.get_historical_features(frame, ["simple:simple_value"]).to_df()
        assert result["simple_value"].tolist() == [7]
        assert str(result["event_timestamp"].dt.tz) == "UTC"


def test_equal_clocks_fall_to_the_later_row(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, n) for n in range(50)]))
    result = repository.asof.get_historical_features(entity_rows([Asked("a", "x", 2)]), REFERENCES).to_arrow()
    assert [result.column(f"{name}_value").to_pylist() for name in VIEWS] == [[49]] * 4


# -------------------------------------------------------------- naming


@pytest.fixture(scope="module")
def travel(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Mapped fields, a partitioned folder, aliases, an entity-less and on-demand views."""
    folder = tmp_path_factory.mktemp("travel")
    for part in (1, 2):
        place = folder / "cities" / f"year={part}"
        place.mkdir(parents=True)
        columns = {
            "city": [part],
            "happened": [START],
            "known": [START],
            "temp": [10.0 * part],
            "seen": [START + timedelta(hours=part, microseconds=5)],
            "text": ["warm"],
            "country": ["jp"],
        }
        pq.write_table(pa.table(columns), place / "rows.parquet")
    city = Entity(name="city", join_keys=["city_id"], value_type=ValueType.INT64)
    source = FileSource(
        name="cities",
        path="cities",
        timestamp_field="happened_at",
        created_timestamp_column="known_at",
        field_mapping={
            "city": "city_id",
            "happened": "happened_at",
            "known": "known_at",
            "temp": "temperature",
        },
    )
    fields = [
        Field(name="city_id", dtype=Int64),
        Field(name="temperature", dtype=Float64),
        Field(name="seen", dtype=UnixTimestamp),
        Field(name="text", dtype=String),
    ]
    weather = FeatureView(name="weather", entities=[city], ttl=timedelta(days=9), schema=fields, source=source)
    land = FileSource(name="land", path="cities", timestamp_field="happened")
    world = FeatureView(
        name="world",
        entities=[],
        ttl=timedelta(0),
        schema=[Field(name="country", dtype=String)],
        source=land,
    )
    request = RequestSource(name="request", schema=[Field(name="offset", dtype=Float64)])

    @on_demand_feature_view(  # type: ignore[untyped-decorator]
        sources=[weather, request],
        schema=[Field(name="shifted", dtype=Float64), Field(name="kind", dtype=String)],
        mode="python",
    )
    def shift(inputs: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        temperature = np.asarray(inputs["temperature"], dtype=float)
        shifted = temperature + np.asarray(inputs["offset"], dtype=float)
        kind = np.where(np.isnan(temperature), "none", "some")
        if isinstance(inputs["temperature"], list):
            return {"shifted": shifted.tolist(), "kind": kind.tolist()}
        assert "world__country" not in inputs
        return {"shifted": shifted, "kind": kind}

    @on_demand_feature_view(  # type: ignore[untyped-decorator]
        sources=[weather], schema=[Field(name="doubled", dtype=Float64)], mode="pandas"
    )
    def double(inputs: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame({"doubled": inputs["temperature"] * 2})

    trip = FeatureService(
        name="trip",
        features=[
            weather[["temperature"]].with_name("origin").with_join_key_map({"city_id": "from_id"}),
            weather[["temperature"]].with_name("target").with_join_key_map({"city_id": "to_id"}),
        ],
    )
    store = feature_store(folder, ASOF, "travel")
    with pytest.warns(RuntimeWarning, match=r"experimental"):
        store.apply([city, weather, world, shift, double, trip])
    return store


def city_rows(**columns: list[Any]) -> pa.Table:
    count = len(next(iter(columns.values())))
    return pa.table({**columns, "event_timestamp": [START + timedelta(hours=1)] * count})


def test_mapped_fields_and_partitioned_folder(travel: FeatureStore) -> None:
    references = ["weather:temperature", "weather:text"]
    short_names = travel.get_historical_features(city_rows(city_id=[2, 1, 3]), references).to_arrow()
    assert short_names.column("temperature").to_pylist() == [20.0, 10.0, None]
    long_names = travel.get_historical_features(
        city_rows(city_id=[2, 1, 3]), references, full_feature_names=True
    ).to_arrow()
    assert long_names.column_names[-2:] == ["weather__temperature", "weather__text"]
    assert long_names.column("weather__text").to_pylist() == ["warm", "warm", None]


def test_aliases_join_one_view_twice(travel: FeatureStore) -> None:
    result = travel.get_historical_features(
        city_rows(from_id=[1, 2], to_id=[2, 9]),
        travel.get_feature_service("trip"),
        full_feature_names=True,
    ).to_arrow()
    assert result.column("origin__temperature").to_pylist() == [10.0, 20.0]
    assert result.column("target__temperature").to_pylist() == [20.0, None]


def test_view_without_entities_joins_by_time_alone(travel: FeatureStore) -> None:
    result = travel.get_historical_features(city_rows(city_id=[1, 2]), ["world:country"]).to_arrow()
    assert result.column("country").to_pylist() == ["jp", "jp"]


@pytest.mark.parametrize("full", [False, True])
def test_on_demand_views_follow_feast(travel: FeatureStore, full: bool) -> None:
    entities = city_rows(city_id=[1, 9], offset=[0.5, 0.5])
    references = ["weather:text", "shift:shifted", "shift:kind", "double:doubled", "world:country"]
    job = travel.get_historical_features(entities, references, full_feature_names=full)
    frame = job.to_df()
    prefix = {name: f"{name}__" if full else "" for name in ("shift", "double", "weather")}
    assert frame[f"{prefix['shift']}shifted"].tolist()[0] == 10.5
    assert job.to_arrow().column(f"{prefix['shift']}shifted").null_count == 1
    assert frame[f"{prefix['shift']}kind"].tolist() == ["some", "none"]
    assert frame[f"{prefix['double']}doubled"].tolist()[0] == 20.0
    plain = travel.get_on_demand_feature_view("shift")
    rows = travel.get_historical_features(entities, references, full_feature_names=full)
    theirs = plain.transform_arrow(rows._to_arrow_internal(), full)
    ours = job.to_arrow()
    assert ours.column(f"{prefix['shift']}kind").to_pylist() == theirs.column(f"{prefix['shift']}kind").to_pylist()


def replace_function(job: Any, function: Any) -> None:
    job.on_demand_feature_views[0].feature_transformation.udf = function


def test_python_functions_get_arrays(travel: FeatureStore) -> None:
    seen: dict[str, Any] = {}

    def spy(inputs: Any) -> dict[str, Any]:
        seen.update(inputs)
        return {"shifted": inputs["temperature"], "kind": np.array(["x", "x"])}

    job = travel.get_historical_features(city_rows(city_id=[1, 9], offset=[0, None]), ["shift:shifted", "weather:seen"])
    replace_function(job, spy)
    job.to_arrow()
    assert seen["temperature"].dtype == np.float64
    assert np.isnan(seen["offset"][1])
    assert seen["seen"].dtype == np.dtype("datetime64[us]")
    assert np.isnat(seen["seen"][1])
    assert seen["weather__seen"] is not None
    assert list(seen["city_id"]) == [1, 9]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"shifted": [1.0, 2.0]}, "'kind'"),
        ({"shifted": [1.0], "kind": ["x"]}, "1 values for 2 rows"),
    ],
)
def test_python_functions_must_keep_their_schema(travel: FeatureStore, outputs: dict[str, Any], message: str) -> None:
    job = travel.get_historical_features(city_rows(city_id=[1, 9], offset=[0.0, 0.0]), ["shift:shifted"])
    replace_function(job, lambda _: outputs)
    with pytest.raises(FeatureError, match=message):
        job.to_arrow()


def test_saved_dataset_holds_on_demand_features(travel: FeatureStore, tmp_path: Path) -> None:
    job = travel.get_historical_features(city_rows(city_id=[1], offset=[0.5]), ["shift:shifted"])
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet")))
    assert pq.read_table(tmp_path / "saved.parquet").column("shifted").to_pylist() == [10.5]
    assert job.metadata is not None
    assert job.metadata.max_event_timestamp == START.replace(hour=1, tzinfo=UTC)


# -------------------------------------------------------------- latest rows


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


# -------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ("SELECT 1", "SQL query"),
        (None, "NoneType.*pandas DataFrame or a pyarrow Table"),
        (pa.table({"event_timestamp": [START]}), "no column 'user_id'.*'simple'"),
        (pa.table({"user_id": ["a"]}), "exactly one"),
        (pa.table({"user_id": ["a"], "event_timestamp": [1]}), "'event_timestamp' is int64"),
        (pa.table({"user_id": ["a"], "event_timestamp": ["soon"]}), "'event_timestamp'.*ISO 8601"),
        (
            pa.table({"user_id": ["a"], "event_timestamp": [START], "simple_value": [1]}),
            "'simple_value'.*entity_df.*full_feature_names",
        ),
        (
            pa.table([["a"], ["b"], [START]], names=["user_id", "user_id", "event_timestamp"]),
            "more than once",
        ),
        (
            pd.DataFrame({"user_id": ["a", 1], "event_timestamp": [START, START]}),
            "one type",
        ),
    ],
)
def test_unusable_entity_rows_are_refused(repository: Repository, entities: Any, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        repository.asof.get_historical_features(entities, ["simple:simple_value"])


def test_missing_request_data_is_refused(travel: FeatureStore) -> None:
    with pytest.raises(FeatureError, match=r"'offset'.*'shift'"):
        travel.get_historical_features(city_rows(city_id=[1]), ["shift:shifted"])


def test_keys_of_another_kind_are_refused(repository: Repository) -> None:
    entities = pa.table({"user_id": [1], "event_timestamp": [START]})
    job = repository.asof.get_historical_features(entities, ["simple:simple_value"])
    with pytest.raises(FeatureError, match=r"'user_id' is BIGINT.*VARCHAR"):
        job.to_arrow()


def test_missing_column_and_file_are_named(repository: Repository) -> None:
    rows = history([Row("a", "x", 1, 1, 1)])
    job = repository.asof.get_historical_features(entity_rows([Asked("a", "x", 2)]), REFERENCES)
    repository.write(rows.drop_columns(["value"]))
    with pytest.raises(FeatureError, match=r"pair_source.*column 'value'.*item_id"):
        job.to_arrow()
    repository.write(rows.set_column(2, "event", pa.array(["soon"])))
    with pytest.raises(FeatureError, match=r"'event' has type VARCHAR"):
        job.to_arrow()
    (repository.folder / "history.parquet").write_bytes(b"not parquet")
    with pytest.raises(FeatureError, match=r"cannot be read as parquet"):
        job.to_arrow()
    (repository.folder / "history.parquet").unlink()
    with pytest.raises(FeatureError, match=r"no such file.*history.parquet.*build the feature tables"):
        job.to_arrow()
    (repository.folder / "history.parquet").mkdir()
    with pytest.raises(FeatureError, match=r"no \*.parquet"):
        job.to_arrow()
    (repository.folder / "history.parquet").rmdir()
    repository.write(rows)
    assert job.to_arrow().num_rows == 1


def test_other_formats_are_refused(repository: Repository) -> None:
    source = FileSource(name="d", path="d", timestamp_field="t", file_format=DeltaFormat())
    job = AsofOfflineStore.pull_latest_from_table_or_query(
        repository.asof.config, source, [], ["f"], "t", None, START, START
    )
    with pytest.raises(FeatureError, match=r"parquet"):
        job.to_arrow()


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
