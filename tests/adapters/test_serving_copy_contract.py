"""Does a local copy give back what was kept, as a whole and as it was, and nothing else?"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from recsys.adapters.serving_copy_files import ServingCopyFiles
from recsys.errors import StoreError
from recsys.ports import ServingCopy
from tests.fakes.ranker import FakeRanker, load_fake_ranker
from tests.fakes.serving_copy import FakeServingCopy

TABLE = pa.table({"item_id": ["a", "b"], "sold": [1.0, None]})
RANKER = FakeRanker((("sold", 2.0),))

Make = Callable[[], ServingCopy]


def files(folder: Path) -> ServingCopyFiles:
    return ServingCopyFiles(folder, {"fake": load_fake_ranker})


@pytest.fixture(params=["fake", "files"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Give what opens the same copy again, as another process would."""
    fake = FakeServingCopy()
    return (lambda: fake) if request.param == "fake" else (lambda: files(tmp_path / "serving"))


def test_pieces_come_back_as_they_were(opened: Make) -> None:
    table, ranker = opened().keep_table("view@7", TABLE), opened().keep_ranker("basket@1", RANKER)
    assert opened().table("view@7", table).equals(TABLE)
    assert opened().ranker("basket@1", ranker) == RANKER
    assert opened().digest("view@7") == table
    assert opened().digest("view@8") is None


def test_what_is_kept_under_a_name_stays(opened: Make) -> None:
    first = opened().keep_table("view@7", TABLE)
    assert opened().keep_table("view@7", TABLE.slice(1)) == first
    assert opened().table("view@7", first).equals(TABLE)


def test_what_is_not_there_or_not_as_it_was_kept_is_not_given(opened: Make) -> None:
    opened().keep_table("view@7", TABLE)
    for name, digest in (("view@7", "another"), ("view@8", "any")):
        with pytest.raises(StoreError, match=f"local copy: piece {name}"):
            opened().table(name, digest)


def test_documents_are_replaced_and_forgotten(opened: Make) -> None:
    assert opened().read("home") is None
    opened().keep_table("view@7", TABLE)
    opened().write("home", {"at": 1}, ["view@7"])
    opened().write("shop/cart", {"at": 2}, [])
    opened().write("home", {"at": 3}, ["view@7"])
    assert opened().read("home") == {"at": 3}
    assert sorted(opened().placements()) == ["home", "shop/cart"]
    opened().forget("home")
    opened().forget("home")
    assert list(opened().placements()) == ["shop/cart"]


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "more"])
def test_a_damaged_piece_is_not_given(tmp_path: Path, damage: str) -> None:
    digest = files(tmp_path).keep_ranker("basket@1", RANKER)
    (path,) = tmp_path.rglob("ranker.json")
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        path.write_bytes(content.replace(b"2.0", b"3.0"))
    elif damage == "gone":
        path.unlink()
    else:
        path.with_name("other.json").write_text("{}")
    with pytest.raises(StoreError, match="it is not used"):
        files(tmp_path).ranker("basket@1", digest)


def test_a_document_that_is_cut_is_none(tmp_path: Path) -> None:
    files(tmp_path).write("home", {"at": 1}, [])
    (path,) = tmp_path.rglob("home.json")
    path.write_text(path.read_text()[:9])
    assert files(tmp_path).read("home") is None


def test_pieces_that_no_document_names_are_removed_once_they_are_old(tmp_path: Path) -> None:
    made = files(tmp_path)
    for number in (1, 2, 3):
        made.keep_table(f"view@{number}", TABLE)
    (tmp_path / "pieces" / ".view@9.partial").mkdir()
    old = time.time() - 7200
    for name in ("view@1", "view@2", ".view@9.partial"):
        os.utime(tmp_path / "pieces" / name, (old, old))
    made.write("home", {}, ["view@2"])
    assert sorted(path.name for path in (tmp_path / "pieces").iterdir()) == ["view@2", "view@3"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "serving").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot be written into serving/"):
        files(tmp_path / "serving").keep_table("view@1", TABLE)
    with pytest.raises(StoreError, match=r"home\.json cannot be written"):
        files(tmp_path / "serving").write("home", {}, [])
