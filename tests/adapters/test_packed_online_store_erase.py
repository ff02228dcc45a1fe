"""Do all rows under some keys leave a packed store, and nothing else?"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from feast import FeatureView

from tests.adapters.packed_stores import KINDS, PAIRS, USERS, Opened, packed_stores, rows


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    yield from packed_stores(request.param, tmp_path)


@pytest.mark.parametrize("view", [USERS, PAIRS], ids=["users", "pairs"])
def test_rows_under_keys_leave_and_others_stay(opened: Opened, view: FeatureView) -> None:
    store, config = opened.store, opened.config
    store.write_arrow(config, view, rows(("a", 1, 1, 1, 1), ("a", 2, 1, 1, 2), ("b", 1, 2, 2, 3), ("c", 1, 3, 3, 4)))
    others = store.read_groups(config, view, ["b"])
    watermark, generation = store.watermark(config, view), store.generation(config, view)
    mine = 1 if view is USERS else 2
    assert store.erase_groups(config, view, ["a", "c", "nobody"]) == mine + 1
    assert store.read_group(config, view, "a") is None
    assert store.read_all(config, view).equals(others)
    assert store.generation(config, view) != generation
    assert store.watermark(config, view) == watermark, "what was read up to then stays"
    generation = store.generation(config, view)
    assert store.erase_groups(config, view, ["a", "c"]) == 0
    assert store.generation(config, view) == generation
    store.write_arrow(config, view, rows(("a", 1, 1, 1, 9)))
    assert opened.group(view, "a").column("value").to_pylist() == [9]


def test_a_view_that_was_never_written_has_nothing_to_erase(opened: Opened) -> None:
    assert opened.store.erase_groups(opened.config, USERS, ["a"]) == 0


def test_what_was_erased_is_not_left_in_the_file(tmp_path: Path) -> None:
    """Neither in free pages nor in the write-ahead log."""
    name = "a-user-with-a-name-of-its-own"
    (opened,) = packed_stores("sqlite", tmp_path)
    written = [(name if n % 3 == 0 else f"u{n}", n, 1, 1, n) for n in range(3_000)]
    opened.store.write_arrow(opened.config, PAIRS, rows(*written))
    folder = tmp_path / "data"
    assert any(name.encode() in path.read_bytes() for path in folder.iterdir())
    assert opened.store.erase_groups(opened.config, PAIRS, [name]) == 1_000
    assert not [path.name for path in folder.iterdir() if name.encode() in path.read_bytes()]
    assert opened.store.read_all(opened.config, PAIRS).num_rows == 2_000
