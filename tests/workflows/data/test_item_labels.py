"""Is an item called by the declared columns of the item table, and by its id alone where they say nothing?"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.workflows.data.item_labels import item_labels
from tests.specs.registry_files import ENVIRONMENT
from tests.workflows.small_project import SmallProject

TABLE = {
    "item_id": ["a", "b", "c", "d"],
    "category": ["Coffee", None, None, "x" * 80],
    "size": [250, 500, None, None],
}


@pytest.fixture
def shop(tmp_path: Path) -> SmallProject:
    path = tmp_path / ".recsys/tables/items.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(TABLE), path)
    return SmallProject(tmp_path)


def test_a_label_joins_what_the_columns_say_in_their_order(shop: SmallProject) -> None:
    shop.change(ENVIRONMENT, "data.item_label", ["category", "size"])
    assert item_labels(shop.open(), "abc") == {"a": "Coffee, 250", "b": "500"}
    shop.change(ENVIRONMENT, "data.item_label", ["size", "category"])
    assert item_labels(shop.open(), ["a", "a", "gone"]) == {"a": "250, Coffee"}


def test_a_long_one_is_cut_and_a_column_that_is_not_there_says_nothing(shop: SmallProject) -> None:
    shop.change(ENVIRONMENT, "data.item_label", ["brand", "category", "item_id"])
    told = item_labels(shop.open(), "ad")
    assert told["a"] == "Coffee, a"
    assert len(told["d"]) == 60
    assert told["d"].endswith("…")


def test_by_default_before_the_table_and_without_items_there_are_none(shop: SmallProject, tmp_path: Path) -> None:
    assert item_labels(shop.open(), "a") == {}
    shop.change(ENVIRONMENT, "data.item_label", ["category"])
    assert item_labels(shop.open(), []) == {}
    (tmp_path / ".recsys/tables/items.parquet").unlink()
    assert item_labels(shop.open(), "a") == {}
