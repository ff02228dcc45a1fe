"""Do the ASOF store's joins follow Feast's names: mapped fields, aliases, on-demand views, views without entities?"""

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.adapters.asof_offline_store.arrow_transformation import ArrayColumns
from recsys.adapters.packed_online_store.packing import Codec
from recsys.errors import FeatureError
from tests.adapters.asof_world import ASOF, START, feature_store


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


def test_missing_request_data_is_refused(travel: FeatureStore) -> None:
    with pytest.raises(FeatureError, match=r"'offset'.*'shift'"):
        travel.get_historical_features(city_rows(city_id=[1]), ["shift:shifted"])


def test_saved_dataset_holds_on_demand_features(travel: FeatureStore, tmp_path: Path) -> None:
    job = travel.get_historical_features(city_rows(city_id=[1], offset=[0.5]), ["shift:shifted"])
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet")))
    assert pq.read_table(tmp_path / "saved.parquet").column("shifted").to_pylist() == [10.5]
    assert job.metadata is not None
    assert job.metadata.max_event_timestamp == START.replace(hour=1, tzinfo=UTC)


def test_a_range_of_time_follows_aliases_and_on_demand_views(travel: FeatureStore) -> None:
    range_ = {"start_date": START, "end_date": START + timedelta(days=1)}
    trips = travel.get_historical_features(
        features=travel.get_feature_service("trip"), full_feature_names=True, **range_
    )
    found = trips.to_arrow().select(["from_id", "to_id", "origin__temperature", "target__temperature"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        (1, None, 10.0, None),
        (2, None, 20.0, None),
        (None, 1, None, 10.0),
        (None, 2, None, 20.0),
    ]
    doubled = travel.get_historical_features(features=["double:doubled", "world:country"], **range_).to_arrow()
    assert set(zip(doubled.column("city_id").to_pylist(), doubled.column("doubled").to_pylist(), strict=True)) == {
        (1, 20.0),
        (2, 40.0),
        (None, None),
    }
    assert doubled.column("country").to_pylist() == ["jp"] * 3
    with pytest.raises(FeatureError, match=r"'offset'.*'shift'.*from the request"):
        travel.get_historical_features(features=["shift:shifted"], **range_)


def test_the_words_of_an_alias_may_come_from_sql(travel: FeatureStore) -> None:
    query = "SELECT 2 AS from_id, 1 AS to_id, TIMESTAMPTZ '2024-01-01 10:00:00+09' AS event_timestamp"
    result = travel.get_historical_features(query, travel.get_feature_service("trip"), full_feature_names=True)
    assert result.to_df()[["origin__temperature", "target__temperature"]].to_numpy().tolist() == [[20.0, 10.0]]


KINDS = (pa.string(), pa.bool_(), pa.int64(), pa.int32(), pa.float64(), pa.timestamp("us", tz="UTC"))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_an_on_demand_function_reads_a_column_as_it_does_online(data: st.DataObject) -> None:
    """Of whatever kind, nulls among its values or not."""
    values = {
        pa.string(): st.text(max_size=3).filter(lambda text: "\x00" not in text),
        pa.bool_(): st.booleans(),
        pa.int64(): st.integers(-(2**50), 2**50),
        pa.int32(): st.integers(-(2**31), 2**31 - 1),
        pa.float64(): st.floats(allow_nan=False),
        pa.timestamp("us", tz="UTC"): st.datetimes(timezones=st.just(UTC)),
    }
    count = data.draw(st.integers(1, 5))
    table = pa.table(
        {
            f"c{place}": pa.array(data.draw(st.lists(st.none() | values[kind], min_size=count, max_size=count)), kind)
            for place, kind in enumerate(KINDS)
        }
    )
    codec = Codec(table.schema)
    online = codec.columns(codec.encode(table, [0, count])[0])
    offline = ArrayColumns(table, set(table.column_names))
    for name in table.column_names:
        assert offline[name].dtype == online[name].dtype, name
        np.testing.assert_array_equal(offline[name], online[name])
