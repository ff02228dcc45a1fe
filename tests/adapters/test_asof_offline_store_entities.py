"""In which forms does the ASOF store take entity rows, and which does it refuse?"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.errors import FeatureError
from tests.adapters.asof_world import REFERENCES, START, Asked, Repository, Row, entity_rows, history


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


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_arrow_texts_may_mix_offsets_too(repository: Repository, kind: pa.DataType) -> None:
    repository.write(history([Row("a", "x", 2, 2, 7), Row("a", "x", 2.01, 2.01, 8)]))
    texts = ["2024-01-01 02:00", "2024-01-01T03:00:00+01:00", "2024-01-01T02:00:00", None, "2024-01-01T02:00:00Z"]
    entities = pa.table({"user_id": ["a"] * 5, "event_timestamp": pa.array(texts, kind)})
    result = repository.asof.get_historical_features(entities, ["simple:simple_value"]).to_arrow()
    assert result.column("simple_value").to_pylist() == [7, 7, 7, None, 7]


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ({"user_id": ["a"]}, r"entity_df is dict: .* pandas DataFrame, a pyarrow Table"),
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


def test_keys_of_another_kind_are_refused(repository: Repository) -> None:
    entities = pa.table({"user_id": [1], "event_timestamp": [START]})
    job = repository.asof.get_historical_features(entities, ["simple:simple_value"])
    with pytest.raises(FeatureError, match=r"'user_id' is BIGINT.*VARCHAR"):
        job.to_arrow()


MIXED = [
    datetime(2023, 12, 31, 21, tzinfo=ZoneInfo("America/New_York")),
    datetime(2024, 1, 1, 2),  # noqa: DTZ001 -- naive times are UTC
    datetime(2024, 1, 1, 11, tzinfo=ZoneInfo("Asia/Tokyo")),
    None,
    "2024-01-01T03:00:00+01:00",
    "2024-01-01 02:00",
]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [1, 0, 2, 3], [3, 1, 2, 0], [0, 1, 2, 3, 4, 5]])
def test_one_column_may_mix_zones_and_naive_times(repository: Repository, order: list[int]) -> None:
    repository.write(history([Row("a", "x", 2, 2, 7), Row("a", "x", 2.01, 2.01, 8)]))
    times = pd.Series([MIXED[n] for n in order], dtype=object)
    frame = pd.DataFrame({"user_id": "a", "event_timestamp": times})
    result = repository.asof.get_historical_features(frame, ["simple:simple_value"]).to_arrow()
    assert result.column("simple_value").to_pylist() == [None if n == 3 else 7 for n in order]
    assert {t and t.isoformat() for t in result.column("event_timestamp").to_pylist()} <= {
        None,
        "2024-01-01T02:00:00+00:00",
    }


@pytest.fixture
def asked(repository: Repository) -> pa.Table:
    repository.write(history([Row("a", "x", 1, 1, 7), Row("b", "x", 2, 2, 8)]))
    return entity_rows([Asked("b", "x", 3), Asked("a", "x", 3), Asked("b", "x", 3), Asked(None, "x", 3)], "UTC")


def joined(repository: Repository, entities: Any) -> Any:
    job = repository.asof.get_historical_features(entities, REFERENCES)
    assert job.metadata is not None
    return job.to_arrow()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_gives_the_same_as_its_rows(
    repository: Repository, asked: pa.Table, tmp_path: Path, kind: type[str] | type[Path]
) -> None:
    expected = joined(repository, asked)
    file, folder = tmp_path / "select [rows].parquet", tmp_path / "with parts"
    folder.mkdir()
    pq.write_table(asked, file)
    for part in range(2):
        pq.write_table(asked.slice(part * 2, 2), folder / f"part-{part}.parquet")
    (folder / "_SUCCESS").write_bytes(b"")
    pq.write_table(asked, folder / ".part-9.parquet")
    for place in (file, folder):
        assert joined(repository, kind(place)).equals(expected)


def test_sql_gives_the_same_as_its_rows(repository: Repository, asked: pa.Table, tmp_path: Path) -> None:
    expected = joined(repository, asked)
    pq.write_table(asked, tmp_path / "rows.parquet")
    source = f"read_parquet('{tmp_path / 'rows.parquet'}')"
    for query in (
        f"SELECT * FROM {source}",
        f"  -- the rows\n/* all */ with rows as (from {source}) select * from rows;",
        f"FROM {source}",
        f"(SELECT * FROM {source})",
    ):
        assert joined(repository, query).equals(expected), query
    later = joined(repository, f"SELECT * REPLACE (event_timestamp + INTERVAL 1 HOUR AS event_timestamp) FROM {source}")
    assert later.column("one_value").to_pylist() == expected.column("one_value").to_pylist()
    one = joined(
        repository, "SELECT 'a' AS user_id, 'x' AS item_id, TIMESTAMP '2024-01-01 03:00:00' AS event_timestamp"
    )
    assert one.column("pair_value").to_pylist() == [7]


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ("no/such.parquet", r"entity_df 'no/such.parquet': no such file or folder at no/such.parquet: give"),
        ("SELECT user_id FROM nowhere", r"entity_df: the query failed: .*nowhere.*read_parquet"),
        ("SELECT 1 AS user_id", r"timestamp columns \[\]: the join needs exactly one"),
        ("SELECT now() AS event_timestamp", r"no column 'user_id'.*'simple'"),
        ("SELECT FROM WHERE", r"no SQL that DuckDB reads"),
        ("SELECT 1 AS a; SELECT 2 AS b", r"statements SELECT, SELECT: it must be one SELECT"),
        ("WITH a AS (SELECT 1) DELETE FROM a", r"statements DELETE: it must be one SELECT"),
    ],
)
def test_unusable_paths_and_queries_are_refused(repository: Repository, entities: str, message: str) -> None:
    with pytest.raises(FeatureError, match=message) as refused:
        repository.asof.get_historical_features(entities, ["simple:simple_value"])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_damaged_file_of_entity_rows_is_named(repository: Repository, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(FeatureError, match=r"entity_df .*rows.parquet' cannot be read as parquet"):
        repository.asof.get_historical_features(tmp_path / "rows.parquet", ["simple:simple_value"])
