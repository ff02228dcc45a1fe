"""Does a saved dataset keep its label, all its rows and their order?"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FileSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

from recsys.adapters.asof_offline_store import AsofOfflineStore
from recsys.errors import FeatureError
from tests.adapters.asof_world import (
    REFERENCES,
    START,
    Asked,
    Repository,
    Row,
    entity_rows,
    history,
    hours,
)

ASKED = [Asked("b", "y", 3), Asked("a", "x", 3), Asked(None, "x", 2), Asked("a", "x", None), Asked("a", "x", 2)]


@pytest.fixture(autouse=True)
def _experimental() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(Saving|Retrieving) dataset", RuntimeWarning)
        yield


@pytest.fixture
def entities(repository: Repository) -> pa.Table:
    repository.write(history([Row("a", "x", 1, 1, 7), Row("b", "y", 2, 2, 8)]))
    return entity_rows(ASKED).append_column("weight", pa.array([0.5, None, 1.0, 2.0, 3.0]))


def saved(repository: Repository, job: Any, place: str, **options: Any) -> Any:
    return repository.asof.create_saved_dataset(job, "training", SavedDatasetFileStorage(path=place), **options)


@pytest.mark.parametrize("name", ["training.parquet", "training"])
@pytest.mark.parametrize("full", [False, True])
def test_label_rows_and_order_are_kept(
    repository: Repository, entities: pa.Table, tmp_path: Path, name: str, full: bool
) -> None:
    job = repository.asof.get_historical_features(entities, REFERENCES, full_feature_names=full)
    saved(repository, job, str(tmp_path / name))
    frame = repository.asof.get_saved_dataset("training").to_df()
    pd.testing.assert_frame_equal(frame, job.to_df())
    assert frame["label"].tolist() == [0, 1, 2, 3, 4]
    assert pq.read_table(tmp_path / name).column_names == list(frame.columns)


def test_a_relative_place_is_relative_to_the_repository(repository: Repository, entities: pa.Table) -> None:
    job = repository.asof.get_historical_features(entities, REFERENCES)
    saved(repository, job, "training.parquet")
    assert pq.read_table(repository.folder / "training.parquet").num_rows == len(ASKED)
    assert len(repository.asof.get_saved_dataset("training").to_df()) == len(ASKED)


def test_a_time_column_of_another_name_is_read_back(repository: Repository, entities: pa.Table, tmp_path: Path) -> None:
    renamed = entities.rename_columns(["when" if n == "event_timestamp" else n for n in entities.column_names])
    job = repository.asof.get_historical_features(renamed, REFERENCES)
    saved(repository, job, str(tmp_path / "training.parquet"))
    assert "when" in repository.asof.get_saved_dataset("training").to_df()


def test_no_rows_are_a_dataset_too(repository: Repository, entities: pa.Table, tmp_path: Path) -> None:
    job = repository.asof.get_historical_features(entities.slice(0, 0), REFERENCES)
    saved(repository, job, str(tmp_path / "training.parquet"))
    frame = repository.asof.get_saved_dataset("training").to_df()
    assert frame.empty
    assert "label" in frame


@pytest.mark.parametrize("name", ["training.parquet", "training"])
def test_what_is_there_is_replaced_as_a_whole_or_not_at_all(
    repository: Repository, entities: pa.Table, tmp_path: Path, name: str
) -> None:
    saved(repository, repository.asof.get_historical_features(entities, REFERENCES), str(tmp_path / name))
    fewer = repository.asof.get_historical_features(entities.slice(0, 2), REFERENCES)
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        saved(repository, fewer, str(tmp_path / name))
    assert pq.read_table(tmp_path / name).num_rows == len(ASKED)
    saved(repository, fewer, str(tmp_path / name), allow_overwrite=True)
    assert repository.asof.get_saved_dataset("training").to_df()["label"].tolist() == [0, 1]
    (repository.folder / "history.parquet").unlink()
    with pytest.raises(FeatureError, match="no such file"):
        saved(repository, fewer, str(tmp_path / name), allow_overwrite=True)
    assert pq.read_table(tmp_path / name).num_rows == 2
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_place_that_cannot_be_written_is_named(repository: Repository, entities: pa.Table, tmp_path: Path) -> None:
    job = repository.asof.get_historical_features(entities, REFERENCES)
    saved(repository, job, str(tmp_path / "new" / "training.parquet"))
    (tmp_path / "file").write_bytes(b"")
    place = tmp_path / "file" / "training.parquet"
    with pytest.raises(FeatureError, match=r"saved dataset at .*file/training.parquet cannot be written: "):
        saved(repository, job, str(place))


def test_a_file_of_others_is_read_by_its_declared_columns(
    repository: Repository, entities: pa.Table, tmp_path: Path
) -> None:
    job = repository.asof.get_historical_features(entities, ["pair:pair_value"])
    saved(repository, job, str(tmp_path / "training.parquet"))
    pq.write_table(job.to_arrow().replace_schema_metadata(None), tmp_path / "training.parquet")
    frame = repository.asof.get_saved_dataset("training").to_df()
    assert sorted(frame.columns) == ["event_timestamp", "item_id", "pair_value", "user_id"]
    assert frame["event_timestamp"].dt.tz_convert(None).min() >= START


def test_as_the_source_of_a_view_a_dataset_is_no_more_than_asked(
    repository: Repository, entities: pa.Table, tmp_path: Path
) -> None:
    job = repository.asof.get_historical_features(entities, ["pair:pair_value"])
    saved(repository, job, str(tmp_path / "training.parquet"))
    source = FileSource(name="s", path=str(tmp_path / "training.parquet"), timestamp_field="event_timestamp")
    pulled = AsofOfflineStore.pull_all_from_table_or_query(
        repository.asof.config, source, ["user_id"], ["pair_value"], "event_timestamp", None, hours(3)
    ).to_arrow()
    assert pulled.column_names == ["user_id", "pair_value", "event_timestamp"]
    assert pulled.column("user_id").to_pylist() == ["b", "a"]
