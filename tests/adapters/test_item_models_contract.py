"""Does every store of item-item models keep what it was given, whole, and let go of what nobody needs?"""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from recsys.adapters.item_model_files import ItemModelFiles
from recsys.candidates.item_models import ItemModel
from recsys.errors import StoreError
from recsys.ports import ItemModelStore, ItemWeights
from tests.fakes.item_models import FakeItemModels

AT = datetime(2024, 1, 8, tzinfo=UTC)
IDS = np.array(["a", "Łódź", "with space", "z"], dtype=object)
RANDOM = np.random.default_rng(0)

Make = Callable[[], ItemModelStore]


@pytest.fixture(params=["files", "fake"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Open each store in turn, as often as asked: another worker."""
    fake = FakeItemModels()
    return (lambda: ItemModelFiles(tmp_path / "models")) if request.param == "files" else (lambda: fake)


def dense(factor: float = 1.0, at: datetime = AT) -> ItemWeights:
    """Make a whole matrix."""
    return ItemWeights(IDS, (RANDOM.random((4, 4)) * factor).astype(np.float32), at)


def neighbours(at: datetime = AT) -> ItemWeights:
    """Make rows of neighbours; one row is empty."""
    weights = sparse.csr_array(np.array([[0, 2, 0, 1], [0, 0, 0, 0], [1, 0, 0, 3], [0, 0, 5, 0]], dtype=np.float32))
    return ItemWeights(IDS, weights, at)


def matrix(weights: Any) -> NDArray[np.float32]:
    """Return weights as a whole matrix."""
    return np.asarray(weights.toarray() if sparse.issparse(weights) else weights)


@pytest.mark.parametrize("model", [dense(), neighbours(), ItemWeights(IDS[:0], np.zeros((0, 0), np.float32), AT)])
def test_what_was_written_is_read_by_every_worker(make: Make, model: ItemWeights) -> None:
    make().write("ease-1", model)
    found = make().read("ease-1")
    assert found is not None
    assert found.items.tolist() == model.items.tolist()
    assert found.at == AT
    assert sparse.issparse(found.weights) == sparse.issparse(model.weights)
    np.testing.assert_array_equal(matrix(found.weights), matrix(model.weights))
    assert matrix(found.weights).dtype == np.float32
    assert found.nbytes == model.nbytes


@pytest.mark.parametrize("model", [dense(), neighbours()])
def test_a_read_model_scores_like_the_one_that_was_written(make: Make, model: ItemWeights) -> None:
    make().write("ease-1", model)
    found = make().read("ease-1")
    assert found is not None
    asked = np.array([3, 0]), np.array([0.5, 2.0])
    np.testing.assert_array_equal(ItemModel(found.weights).scores(*asked), ItemModel(model.weights).scores(*asked))


def test_a_key_that_was_never_written_has_nothing(make: Make) -> None:
    assert make().read("ease-1") is None
    assert make().generation("ease-1") is None


def test_a_generation_changes_with_every_write_and_only_then(make: Make) -> None:
    store = make()
    store.write("ease-1", dense())
    first = make().generation("ease-1")
    assert first is not None
    assert store.generation("ease-1") == first
    store.write("covisit-1", neighbours())
    assert store.generation("ease-1") == first
    store.write("ease-1", dense())
    assert make().generation("ease-1") not in (None, first)


def test_what_was_read_stays_whatever_comes_after(make: Make) -> None:
    store, model = make(), dense()
    store.write("ease-1", model)
    kept = store.read("ease-1")
    assert kept is not None
    store.write("ease-1", dense(9.0, AT + timedelta(days=7)))
    store.keep(frozenset())
    assert store.read("ease-1") is None
    assert store.generation("ease-1") is None
    np.testing.assert_array_equal(matrix(kept.weights), matrix(model.weights))


def test_only_the_keys_that_are_kept_stay(make: Make) -> None:
    store = make()
    for key in ("ease-1", "covisit-1", "covisit-2"):
        store.write(key, neighbours())
    store.keep(frozenset({"covisit-1", "never-written"}))
    assert store.read("covisit-1") is not None
    assert store.read("covisit-2") is None
    assert store.read("ease-1") is None


def test_readers_find_a_whole_model_while_another_is_written(make: Make) -> None:
    """A model's numbers are all of one value, so that a mixed one would show."""
    store, reader, mixed = make(), make(), []
    models = [ItemWeights(IDS, np.full((4, 4), value, np.float32), AT + timedelta(days=value)) for value in range(30)]
    store.write("ease-1", models[0])

    def read() -> None:
        for _ in range(200):
            found = reader.read("ease-1")
            if found is None or set(np.unique(found.weights)) != {(found.at - AT).days}:
                mixed.append(found)

    thread = threading.Thread(target=read)
    thread.start()
    for model in models:
        store.write("ease-1", model)
    thread.join()
    assert not mixed


# ---------------------------------------------------------------- files


def test_one_copy_is_shared_in_memory_and_the_one_before_is_removed(tmp_path: Path) -> None:
    store = ItemModelFiles(tmp_path)
    store.write("ease-1", dense())
    store.write("ease-1", dense())
    found = store.read("ease-1")
    assert found is not None
    assert isinstance(found.weights, np.memmap)
    assert not found.weights.flags.writeable
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ease-1", "ease-1.json"]
    assert [path.name for path in (tmp_path / "ease-1").iterdir()] == [store.generation("ease-1")]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    store = ItemModelFiles(tmp_path)
    store.write("ease-1", dense())
    (tmp_path / "ease-1" / ".20240108-x.1.partial").mkdir()
    (tmp_path / ".ease-1.1.partial").write_text("{")
    (tmp_path / "covisit-9").mkdir()
    store.keep(frozenset({"ease-1"}))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == sorted(
        ["ease-1", str(store.generation("ease-1"))]
    )
    assert store.read("ease-1") is not None


@pytest.mark.parametrize("damage", ["cut", "gone", "pointer", "other shape", "text"])
def test_a_damaged_model_is_none(tmp_path: Path, damage: str) -> None:
    store = ItemModelFiles(tmp_path)
    store.write("ease-1", dense())
    file = tmp_path / "ease-1" / str(store.generation("ease-1")) / "weights.npy"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "gone":
        file.unlink()
    elif damage == "pointer":
        (tmp_path / "ease-1.json").write_text(json.dumps(["?"]))
    elif damage == "other shape":
        np.save(file, np.zeros((3, 3), np.float32))
    else:
        file.with_name("items.arrow").write_text("nothing of the kind")
    assert ItemModelFiles(tmp_path).read("ease-1") is None


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file in the way")
    with pytest.raises(StoreError, match="item-item model ease-1: cannot be written into models/"):
        ItemModelFiles(tmp_path / "models").write("ease-1", dense())
