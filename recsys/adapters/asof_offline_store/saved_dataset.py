"""How does a saved dataset keep its label? The file is marked on writing and read back whole.

Feast asks the offline store for a saved dataset by the names of its join keys and features only, so a label, request
data and all other columns of the entity rows would be left out, and rows without a time too. The seam: Feast asks by a
source without a timestamp field, which no feature view has; where that source's file carries our mark, all of it is the
answer, in its order.
"""

import shutil
import uuid
from pathlib import Path
from typing import Final

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.duckdb import _write_data_source
from feast.infra.offline_stores.file_source import FileSource
from feast.saved_dataset import SavedDatasetStorage

from recsys.adapters.asof_offline_store.parquet_source import is_parquet
from recsys.errors import FeatureError

MARK: Final = b"recsys.saved_dataset"
"""Key of the parquet files' own metadata."""


def write(table: pa.Table, storage: SavedDatasetStorage, repo_path: str, *, allow_overwrite: bool) -> None:
    """Write a dataset: to a local parquet file or folder by rename, so that it is whole or not there.

    Storage of other kinds is left to Feast's writer.

    Raises:
        SavedDatasetLocationAlreadyExists: something is there and may not be overwritten.
        FeatureError: the place cannot be written.
    """
    source = storage.to_data_source()
    place = _local(source, repo_path)
    if place is None:
        _write_data_source(ibis.memtable(table), source, repo_path, "overwrite", allow_overwrite)
        return
    if place.exists() and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=str(place))
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), MARK: b"1"})
    unfinished = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.suffix == ".parquet":
            pq.write_table(marked, unfinished)
        else:
            unfinished.mkdir()
            pq.write_table(marked, unfinished / "part-0.parquet")
        _replace(unfinished, place)
    except OSError as error:
        message = f"saved dataset at {place} cannot be written: {error.strerror or error}: name another place"
        raise FeatureError(message) from error
    finally:
        _remove(unfinished)


def read_whole(source: DataSource, repo_path: str) -> pa.Table | None:
    """All of a saved dataset that `write` wrote; None if the source is anything else."""
    place = _local(source, repo_path)
    if place is None or source.timestamp_field or not place.exists():
        return None
    file = place / "part-0.parquet" if place.is_dir() else place
    try:
        if MARK not in (pq.read_metadata(file).metadata or {}):
            return None
        return pq.read_table(file, partitioning=None)
    except (OSError, pa.ArrowException):
        return None  # not one of ours; the ordinary way of reading says what is wrong with it


def _local(source: DataSource, repo_path: str) -> Path | None:
    if not isinstance(source, FileSource) or not is_parquet(source) or "://" in source.path:
        return None
    return Path(FileSource.get_uri_for_file_path(repo_path, source.path))


def _replace(unfinished: Path, place: Path) -> None:
    if place.is_dir() or (place.exists() and unfinished.is_dir()):  # only a file can be replaced in one step
        old = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        place.rename(old)
        try:
            unfinished.rename(place)
        except OSError:
            old.rename(place)
            raise
        _remove(old)
    else:
        unfinished.replace(place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
