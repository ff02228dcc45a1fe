"""Does a CatBoost ranker learn, keep its columns apart, and survive a save?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.adapters.catboost_ranker import (
    NO_CATEGORY,
    CatBoostEstimator,
    CatBoostRanker,
    load_catboost_ranker,
)
from recsys.errors import ModelError
from recsys.ports import Columns, TrainingRows
from recsys.specs.model import CatBoostAlgorithm

COLUMNS = ("affinity", "brand", "noise", "recency")
LOSSES = ("Logloss", "CrossEntropy", "QueryRMSE", "QuerySoftMax", "YetiRank", "PairLogit", "RMSE")


def algorithm(loss: str = "Logloss", **changes: Any) -> CatBoostAlgorithm:
    """Return a small algorithm with one category."""
    fields = {
        "type": "catboost",
        "loss": loss,
        "iterations": 30,
        "depth": 4,
        "categorical": ("brand",),
        **changes,
    }
    return CatBoostAlgorithm.model_validate(fields)


def rows(requests: int, seed: int = 0) -> TrainingRows:
    """Return ten items a request; what is taken follows affinity and brand."""
    generator = np.random.default_rng(seed)
    count = requests * 10
    affinity = generator.normal(size=count)
    affinity[::50] = np.nan
    brand = generator.choice(np.array(["a", "b", "c", None], dtype=object), count)
    label = (np.nan_to_num(affinity) + 1.5 * (brand == "a") + generator.normal(0, 0.3, count)) > 1
    columns: Columns = {
        "affinity": affinity,
        "brand": brand,
        "noise": generator.normal(size=count).astype(np.float32),
        "recency": generator.integers(0, 90, count),
    }
    return TrainingRows(columns, label.astype(np.float32), np.repeat(np.arange(requests), 10))


@pytest.fixture(scope="module")
def ranker() -> CatBoostRanker:
    """Give a fitted ranker."""
    return CatBoostEstimator(algorithm("QueryRMSE"), COLUMNS, threads=2).fit(rows(200), rows(50, seed=1))


@pytest.mark.parametrize("loss", LOSSES)
def test_learns_with_every_loss(loss: str) -> None:
    """Taken items score higher than others on rows it has not seen."""
    fitted = CatBoostEstimator(algorithm(loss), COLUMNS, threads=2).fit(rows(200), rows(50, seed=1))
    unseen = rows(50, seed=2)
    scores = fitted.score(unseen.columns)
    assert scores.dtype == np.float64
    taken, left = scores[unseen.label == 1], scores[unseen.label == 0]
    assert np.mean(taken[:, None] > left[None, :]) > 0.85


def test_does_not_depend_on_the_order_of_columns(ranker: CatBoostRanker) -> None:
    """Columns are taken by name, and others are passed over."""
    columns = rows(20, seed=3).columns
    shuffled = {"other": np.zeros(200), **dict(reversed(list(columns.items())))}
    assert ranker.columns == ("affinity", "noise", "recency", "brand")
    assert ranker.categorical == ("brand",)
    assert np.array_equal(ranker.score(shuffled), ranker.score(columns))


def test_leaves_its_input_alone(ranker: CatBoostRanker) -> None:
    """The caller may go on writing to its columns."""
    columns = rows(2).columns
    before = {name: values.copy() for name, values in columns.items()}
    ranker.score(columns)
    for name, values in columns.items():
        assert values.flags.writeable
        assert np.array_equal(values, before[name], equal_nan=values.dtype.kind == "f")


def test_takes_categories_it_has_not_seen(ranker: CatBoostRanker) -> None:
    """An unknown brand, a missing one and its own name for a missing one."""
    brand = np.array(["unheard of", None, NO_CATEGORY], dtype=object)
    columns = {"affinity": np.zeros(3), "noise": np.zeros(3), "recency": np.zeros(3), "brand": brand}
    scores = ranker.score(columns)
    assert np.isfinite(scores).all()
    assert scores[1] == scores[2]


def test_scores_the_same_by_one_thread_and_many(ranker: CatBoostRanker) -> None:
    """A large batch is the small ones put together."""
    columns = rows(2_500).columns
    parts = [
        ranker.score({name: values[start : start + 5_000] for name, values in columns.items()})
        for start in range(0, 25_000, 5_000)
    ]
    assert np.array_equal(ranker.score(columns), np.concatenate(parts))


def test_scores_nothing(ranker: CatBoostRanker) -> None:
    """No rows, no scores."""
    assert ranker.score({name: values[:0] for name, values in rows(1).columns.items()}).size == 0


def test_survives_a_save(ranker: CatBoostRanker, tmp_path: Path) -> None:
    """What is loaded gives the same scores."""
    columns = rows(20, seed=4).columns
    ranker.save(tmp_path / "bundle")
    loaded = load_catboost_ranker(tmp_path / "bundle", threads=2)
    assert loaded.columns == ranker.columns
    assert np.array_equal(loaded.score(columns), ranker.score(columns))


def test_refuses_a_bundle_whose_columns_were_changed(ranker: CatBoostRanker, tmp_path: Path) -> None:
    """The model itself says what it learned from."""
    ranker.save(tmp_path)
    document = json.loads((tmp_path / "ranker.json").read_text())
    document["columns"][:2] = reversed(document["columns"][:2])
    (tmp_path / "ranker.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="have to be the same"):
        load_catboost_ranker(tmp_path)


def test_refuses_a_damaged_bundle(ranker: CatBoostRanker, tmp_path: Path) -> None:
    """Half a model, no model, no description."""
    ranker.save(tmp_path)
    model = tmp_path / "model.cbm"
    model.write_bytes(model.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"model\.cbm"):
        load_catboost_ranker(tmp_path)
    model.unlink()
    with pytest.raises(ModelError, match=r"model\.cbm"):
        load_catboost_ranker(tmp_path)
    (tmp_path / "ranker.json").unlink()
    with pytest.raises(ModelError, match=r"ranker\.json"):
        load_catboost_ranker(tmp_path)


def test_refuses_columns_of_another_kind(ranker: CatBoostRanker) -> None:
    """Missing, a text for a number, a number for a category, columns of different lengths."""
    columns = dict(rows(1).columns)
    with pytest.raises(ModelError, match="affinity is missing"):
        ranker.score({name: values for name, values in columns.items() if name != "affinity"})
    with pytest.raises(ModelError, match=r"affinity is of object.*categorical"):
        ranker.score(columns | {"affinity": columns["brand"]})
    with pytest.raises(ModelError, match=r"affinity is of datetime64"):
        ranker.score(columns | {"affinity": np.zeros(10, dtype="datetime64[us]")})
    with pytest.raises(ModelError, match=r"brand is of float64"):
        ranker.score(columns | {"brand": columns["affinity"]})
    with pytest.raises(ModelError, match=r"noise has 3 rows"):
        ranker.score(columns | {"noise": np.zeros(3)})


def test_the_same_seed_gives_the_same_model() -> None:
    """Training is deterministic, and another seed is another model."""
    data, stop, unseen = rows(100), rows(20, seed=1), rows(20, seed=2).columns

    def scores(seed: int) -> Any:
        return CatBoostEstimator(algorithm(seed=seed), COLUMNS, threads=2).fit(data, stop).score(unseen)

    assert np.array_equal(scores(1), scores(1))
    assert not np.array_equal(scores(1), scores(2))


def test_stops_early_and_keeps_the_best_iteration() -> None:
    """Labels without any pattern leave few trees, and progress counts up."""
    data = rows(50)
    label = np.random.default_rng(9).integers(0, 2, 500).astype(np.float32)
    noise = TrainingRows(data.columns, label, data.request)
    seen: list[tuple[int, int]] = []
    estimator = CatBoostEstimator(algorithm(iterations=500, early_stopping_rounds=5), COLUMNS, threads=2)
    fitted = estimator.fit(noise, rows(20, seed=1), progress=lambda done, total: seen.append((done, total)))
    assert fitted.trees < 100
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {500}
    assert len(seen) < 500


def test_says_why_it_cannot_learn() -> None:
    """No rows, one label only, a category that is no column."""
    good = rows(20)
    with pytest.raises(ModelError, match="validation rows: 0"):
        CatBoostEstimator(algorithm(), COLUMNS, threads=1).fit(good, rows(0))
    constant = TrainingRows(good.columns, np.zeros(200, dtype=np.float32), good.request)
    for loss in ("Logloss", "QueryRMSE", "PairLogit"):
        with pytest.raises(ModelError, match=f"cannot fit with loss {loss}"):
            CatBoostEstimator(algorithm(loss), COLUMNS, threads=1).fit(constant, good)
    with pytest.raises(ModelError, match="categorical shop"):
        CatBoostEstimator(algorithm(categorical=("shop",)), COLUMNS, threads=1)


def test_learns_without_categories_and_without_numbers() -> None:
    """Either kind of column may be missing."""
    for columns, categorical in ((("affinity", "noise"), ()), (("brand",), ("brand",))):
        estimator = CatBoostEstimator(algorithm(categorical=categorical, iterations=5), columns, threads=1)
        fitted = estimator.fit(rows(50), rows(20, seed=1))
        assert fitted.columns == columns
        assert np.isfinite(fitted.score(rows(5).columns)).all()


def test_importance_names_what_matters(ranker: CatBoostRanker) -> None:
    """Shares of all columns, largest first."""
    importance = ranker.importance()
    assert list(importance)[:2] in (["affinity", "brand"], ["brand", "affinity"])
    assert sum(importance.values()) == pytest.approx(100)
