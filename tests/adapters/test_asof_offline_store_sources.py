"""Which files does the ASOF store read, within what memory, and what does it say of files that it cannot?"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore, FileSource
from feast.data_format import DeltaFormat

from recsys.adapters.asof_offline_store import AsofOfflineStore
from recsys.adapters.asof_offline_store.connection import arrow
from recsys.errors import FeatureError
from tests.adapters.asof_world import (
    ASOF,
    REFERENCES,
    START,
    VIEWS,
    Asked,
    Repository,
    Row,
    entity_rows,
    feature_store,
    history,
    hours,
)


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


def asked_of(repository: Repository, *names: str) -> list[list[Any]]:
    entities = entity_rows([Asked("a", "x", 5), Asked("b", "x", 5), Asked("c", "x", 5)])
    result = repository.asof.get_historical_features(entities, [f"{name}:{name}_value" for name in names]).to_arrow()
    return [result.column(f"{name}_value").to_pylist() for name in names]


@pytest.fixture
def folder(repository: Repository) -> Iterator[Path]:
    """The place of the history, as a folder."""
    place = repository.folder / "history.parquet"
    place.unlink(missing_ok=True)
    place.mkdir()
    yield place
    shutil.rmtree(place)


def test_a_folder_is_all_its_parts_and_nothing_hidden(repository: Repository, folder: Path) -> None:
    (folder / "deeper").mkdir()
    pq.write_table(history([Row("a", "x", 1, 1, 1)]), folder / "part-0.parquet")
    pq.write_table(history([Row("b", "x", 1, 1, 2)]), folder / "deeper" / "part-1.parquet")
    wrong = history([Row(user, "x", 4, 4, 9) for user in "abc"])
    for name in (".part-0.parquet", "_part-2.parquet", "_temporary/0/part-3.parquet", ".crc/part.parquet", "part.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(wrong, folder / name)
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / ".part-0.parquet.crc").write_bytes(b"crc")
    assert asked_of(repository, *VIEWS) == [[1, 2, None]] * len(VIEWS)


def test_hive_partitions_are_columns(repository: Repository, folder: Path) -> None:
    for user, value in (("a", 1), ("b", 2)):
        (folder / f"_month=2024-01/user_id={user}").mkdir(parents=True)
        rows = history([Row(user, "x", 1, 1, value)]).drop_columns(["user_id"])
        pq.write_table(rows, folder / f"_month=2024-01/user_id={user}" / "part.parquet")
    assert asked_of(repository, *VIEWS) == [[1, 2, None]] * len(VIEWS)


def test_parts_may_differ_in_zones_units_and_order_of_columns(repository: Repository, folder: Path) -> None:
    def at(value: float, kind: pa.DataType) -> pa.Array:
        moment = pa.array([hours(value)], pa.timestamp("us"))
        return moment.cast(pa.timestamp("us", "UTC")).cast(kind) if kind.tz else moment.cast(kind)

    kinds = [
        pa.timestamp("us"),
        pa.timestamp("ms"),
        pa.timestamp("ns"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("us", "America/New_York"),
        pa.timestamp("ms", "Asia/Tokyo"),
    ]
    for n, kind in enumerate(kinds):
        rows = history([Row("a", "x", 0, 0, n)])
        for name in ("event", "created"):
            rows = rows.set_column(rows.schema.get_field_index(name), name, at(n, kind))
        if n % 2:
            rows = rows.select(sorted(rows.column_names))
        pq.write_table(rows, folder / f"part-{n}.parquet")
    asked = entity_rows([Asked("a", "x", n) for n in range(len(kinds))])
    result = repository.asof.get_historical_features(asked, REFERENCES).to_arrow()
    for name in VIEWS:
        assert result.column(f"{name}_value").to_pylist() == list(range(len(kinds)))


def test_a_path_may_hold_signs_of_globs(repository: Repository, tmp_path: Path) -> None:
    place = tmp_path / "it's [all] *"
    place.mkdir()
    pq.write_table(history([Row("a", "x", 1, 1, 7)]), place / "part 0?.parquet")
    simple = repository.asof.get_feature_view("simple")
    arguments = (repository.asof.config, [simple], ["simple:simple_value"], entity_rows([Asked("a", "x", 2)]))
    odd = place / "part 0?.parquet"
    for path in (place, tmp_path / "*" / "*.parquet", odd):
        if path == odd:  # as a pattern it would match this file too
            pq.write_table(history([Row("a", "x", 2, 2, 8)]), place / "part 01.parquet")
        simple.batch_source = FileSource(
            name="odd", path=str(path), timestamp_field="event", field_mapping={"value": "simple_value"}
        )
        job = AsofOfflineStore.get_historical_features(*arguments, repository.asof.registry, "test")
        assert job.to_arrow().column("simple_value").to_pylist() == [7]


@pytest.mark.parametrize("size", [0, 1, 4, 100, -1])
def test_a_truncated_file_is_named(repository: Repository, size: int) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]))
    file = repository.folder / "history.parquet"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(
        FeatureError, match=r"source 'one_source' .*history.parquet.* cannot be read as parquet"
    ) as error:
        asked_of(repository, "one")
    assert "\n" not in str(error.value)


def test_a_file_damaged_within_is_named(repository: Repository) -> None:
    rng = np.random.default_rng(0)
    rows = history([Row("abc"[n % 3], "x", 1, 1, int(v)) for n, v in enumerate(rng.integers(0, 2**60, 2000))])
    repository.write(rows)
    file = repository.folder / "history.parquet"
    content = bytearray(file.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    file.write_bytes(content)
    with pytest.raises(FeatureError, match=r"'one_source'.*of feature view 'one': the query failed: .* build it anew"):
        asked_of(repository, "one")


def test_files_without_rows_give_nulls(repository: Repository) -> None:
    repository.write(history([]))
    assert asked_of(repository, *VIEWS) == [[None] * 3] * len(VIEWS)


@pytest.mark.parametrize("column", ["value", "event", "created", "user_id"])
def test_each_missing_column_is_named(repository: Repository, column: str) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]).drop_columns([column]))
    with pytest.raises(
        FeatureError, match=rf"source 'one_source' .*: column '{column}' is not in the files \(they have"
    ):
        asked_of(repository, "one")


def test_a_view_without_a_timestamp_is_refused(repository: Repository) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]))
    one = repository.asof.get_feature_view("one")
    assert one.batch_source is not None
    one.batch_source.timestamp_field = ""
    job = AsofOfflineStore.get_historical_features(
        repository.asof.config,
        [one],
        ["one:one_value"],
        entity_rows([Asked("a", "x", 2)]),
        repository.asof.registry,
        "test",
    )
    with pytest.raises(FeatureError, match=r"source 'one_source' .* names no timestamp_field"):
        job.to_arrow()


@dataclass(frozen=True)
class Large:
    """A history that does not fit into the memory of its store."""

    entities: pa.Table
    expected: np.ndarray


@pytest.fixture
def large(repository: Repository) -> Large:
    users, weeks = 20_000, 20
    rng = np.random.default_rng(3)
    names = pa.array([f"user number {n:08}" for n in range(users)])
    user, week = np.divmod(rng.permutation(users * weeks), weeks)
    times = pa.array(np.datetime64(START, "us") + week * np.timedelta64(1, "D"))
    columns = {"user_id": names.take(pa.array(user)), "item_id": pa.repeat("x", users * weeks)}
    repository.write(pa.table({**columns, "event": times, "created": times, "value": user * weeks + week}))
    asked, day = rng.integers(users, size=100_000), rng.integers(weeks, size=100_000)
    at = pa.array(np.datetime64(START, "us") + day * np.timedelta64(1, "D"))
    return Large(pa.table({"user_id": names.take(pa.array(asked)), "event_timestamp": at}), asked * weeks + day)


def limited(repository: Repository, **settings: Any) -> FeatureStore:
    """The store of the repository, with these settings of the offline store."""
    return feature_store(repository.folder, {**ASOF, **settings}, "asof")


def test_what_does_not_fit_into_memory_is_spilled(
    repository: Repository, large: Large, monkeypatch: pytest.MonkeyPatch
) -> None:
    spilled: list[Path] = []

    def count(connection: Any, query: str, label: str) -> pa.Table:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(arrow, connection, query, label)
            while not running.done():
                spilled.extend(path for path in (repository.folder / "spill").rglob("*") if path.is_file())
            return running.result()

    monkeypatch.setattr("recsys.adapters.asof_offline_store.join.arrow", count)
    store = limited(repository, memory_limit="40MB", temp_directory="spill", threads=1)
    result = store.get_historical_features(large.entities, ["simple:simple_value"]).to_arrow()
    np.testing.assert_array_equal(result.column("simple_value").to_numpy(), large.expected)
    assert spilled
    assert not list((repository.folder / "spill").iterdir())


def test_too_little_memory_is_said(repository: Repository, large: Large) -> None:
    job = limited(repository, memory_limit="1MB").get_historical_features(large.entities, ["simple:simple_value"])
    with pytest.raises(FeatureError, match=r"raise memory_limit, or lower threads, in offline_store"):
        job.to_arrow()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory_limit": "lots"}, r"offline_store: memory_limit is 'lots': DuckDB says"),
        ({"threads": 0}, r"offline_store: threads is '0': DuckDB says"),
        ({"temp_directory": "history.parquet/spill"}, r"offline_store: temp_directory '.*spill' cannot be written"),
    ],
)
def test_unusable_settings_are_named(repository: Repository, settings: dict[str, Any], message: str) -> None:
    repository.write(history([Row("a", "x", 1, 1, 7)]))
    store = limited(repository, **settings)
    job = store.get_historical_features(entity_rows([Asked("a", "x", 2)]), REFERENCES)
    with pytest.raises(FeatureError, match=message):
        job.to_arrow()
