"""What is read of a training set to learn from, and what is left when writing one fails?"""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys.candidates.pool import to_numpy
from recsys.modeling.decision_times import TRAIN, VALIDATION, Split
from recsys.modeling.training_set import (
    LEARN,
    TABLES,
    TrainingSet,
    learning_rows,
    replaced,
    tables_digest,
    write_table,
)
from recsys.schema import EVENT_TIMESTAMP, LABEL, TIMESTAMP

TIMES = tuple(datetime(2024, 3, day, tzinfo=UTC) for day in (4, 11, 18))
SPLIT = Split(TIMES[:1], TIMES[1:2], TIMES[2:], timedelta(days=7))
COLUMNS = ("number", "count", "flag", "when", "text", "other", "nothing")


def learn_table(rows: int = 1_000) -> pa.Table:
    """Return rows of the train, the validation and a time of no part, with nulls in every kind of column."""
    random = np.random.default_rng(0)
    gone = random.random(rows) < 0.1
    texts = np.array(["a", "b", "unknown", "ü"], dtype=object)
    return pa.table(
        {
            "request": pa.array(np.arange(rows) // 5),
            EVENT_TIMESTAMP: pa.array([TIMES[at] for at in random.integers(3, size=rows)], TIMESTAMP),
            LABEL: pa.array(random.integers(2, size=rows), pa.float32()),
            "number": pa.array(random.normal(size=rows) * 1e30, mask=gone),
            "count": pa.array(random.integers(2**40, size=rows), mask=gone),
            "flag": pa.array(gone),
            "when": pa.array(random.integers(2**50, size=rows), pa.timestamp("us", "UTC")),
            "text": pa.array(random.choice(texts, rows), pa.string(), mask=gone),
            "other": pa.array(random.choice(texts, rows), pa.string()),
            "nothing": pa.nulls(rows, pa.string()),
        }
    )


@pytest.mark.parametrize("row_group", [1_000, 64])
def test_learning_rows_are_those_of_the_table(tmp_path: Path, row_group: int) -> None:
    """Value by value as `to_numpy` gives them, numbers rounded to float32; the parts are those of the split."""
    table = learn_table()
    pq.write_table(table, tmp_path / "learn.parquet", row_group_size=row_group)
    parts = dict(zip((TRAIN, VALIDATION), learning_rows(tmp_path / "learn.parquet", COLUMNS, SPLIT), strict=True))
    for part, rows in parts.items():
        expected = table.filter(pa.array(SPLIT.holds(part, to_numpy(table[EVENT_TIMESTAMP]))))
        assert 0 < len(expected) < len(table)
        assert list(rows.columns) == list(COLUMNS)
        assert np.array_equal(rows.label, expected[LABEL].to_numpy())
        assert np.array_equal(rows.request, expected["request"].to_numpy())
        for name in COLUMNS:
            values = to_numpy(expected[name])
            if values.dtype.kind == "f":
                assert rows.columns[name].dtype == np.float32
                assert np.array_equal(rows.columns[name], values.astype(np.float32), equal_nan=True)
            else:
                assert rows.columns[name].dtype == values.dtype
                assert np.array_equal(rows.columns[name], values)


def test_equal_texts_are_one_object(tmp_path: Path) -> None:
    """A million rows of thirty departments are thirty texts."""
    write_table(tmp_path, LEARN, learn_table())
    train, _ = TrainingSet(tmp_path, {}).learning(["text"], SPLIT)
    assert len({id(text) for text in train.columns["text"]}) <= 5


def test_some_columns_of_a_table(tmp_path: Path) -> None:
    write_table(tmp_path, LEARN, learn_table())
    dataset = TrainingSet(tmp_path, {})
    assert dataset.rows(LEARN).equals(learn_table())
    assert dataset.rows(LEARN, ["text", LABEL]).equals(learn_table().select(["text", LABEL]))


def test_the_digest_is_that_of_the_bytes_in_order(tmp_path: Path) -> None:
    for number, name in enumerate(TABLES):
        write_table(tmp_path, name, learn_table(10 + number))
    joined = b"".join((tmp_path / f"{name}.parquet").read_bytes() for name in TABLES)
    assert tables_digest(tmp_path) == hashlib.sha256(joined).hexdigest()[:16]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "sets" / "one"
    with replaced(folder) as partial:
        (partial / "first").touch()
        assert not folder.exists()
    assert [path.name for path in folder.iterdir()] == ["first"]

    def fails() -> None:
        with replaced(folder) as partial:
            (partial / "second").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert [path.name for path in folder.iterdir()] == ["first"]
    with replaced(folder) as partial:
        (partial / "third").touch()
    assert [path.name for path in folder.iterdir()] == ["third"]
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_parts_do_not_overlap(tmp_path: Path) -> None:
    """What is of no part is in neither."""
    table = learn_table()
    write_table(tmp_path, LEARN, table)
    train, validation = TrainingSet(tmp_path, {}).learning(["number"], SPLIT)
    later = pc.sum(pc.equal(table[EVENT_TIMESTAMP], pa.scalar(TIMES[2], TIMESTAMP))).as_py()
    assert len(train.label) + len(validation.label) + later == len(table)
