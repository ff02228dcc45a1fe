"""Does every estimator learn from rows, keep its columns in order, and give a ranker that survives a save?"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recsys.adapters.catboost_ranker import CatBoostEstimator, load_catboost_ranker
from recsys.errors import ModelError
from recsys.ports import Columns, Estimator, Ranker, TrainingRows
from recsys.specs.model import CatBoostAlgorithm
from tests.fakes.estimator import FakeEstimator, load_mean_ranker

# Numbers stand before categories in a CatBoost ranker, so here as well.
COLUMNS = ("recency", "affinity", "brand")


@dataclass(frozen=True)
class Case:
    """An estimator, and how what it made is loaded."""

    make: Callable[[], Estimator]
    load: Callable[[Path], Ranker]


def _catboost() -> Estimator:
    fields = {"type": "catboost", "loss": "Logloss", "iterations": 20, "depth": 3, "categorical": ("brand",)}
    return CatBoostEstimator(CatBoostAlgorithm.model_validate(fields), COLUMNS, threads=1)


@pytest.fixture(params=["catboost", "fake"])
def case(request: pytest.FixtureRequest) -> Case:
    """Give each estimator in turn."""
    if request.param == "catboost":
        return Case(_catboost, load_catboost_ranker)
    return Case(lambda: FakeEstimator(COLUMNS), load_mean_ranker)


def rows(requests: int, seed: int = 0) -> TrainingRows:
    """Return five items a request; what is of brand a is taken more often, and so is what is near."""
    generator = np.random.default_rng(seed)
    count = requests * 5
    brand = generator.choice(np.array(["a", "b", None], dtype=object), count)
    affinity = generator.normal(size=count)
    affinity[::10] = np.nan
    taken = (np.nan_to_num(affinity) + 2.0 * (brand == "a") + generator.normal(0, 0.3, count)) > 1
    columns: Columns = {"brand": brand, "affinity": affinity, "recency": generator.normal(size=count)}
    return TrainingRows(columns, taken.astype(np.float32), np.repeat(np.arange(requests), 5))


def test_learns_what_is_taken(case: Case) -> None:
    """On rows it has not seen, a row that was taken scores higher than one that was not, more often than not."""
    unseen = rows(40, seed=2)
    scores = case.make().fit(rows(200), rows(40, seed=1)).score(unseen.columns)
    taken, left = scores[unseen.label == 1], scores[unseen.label == 0]
    assert np.mean(taken[:, None] > left[None, :]) > 0.75


def test_its_columns_are_those_it_was_made_for_in_their_order(case: Case) -> None:
    """Scores do not depend on the order of what is handed in; others are passed over, a missing one is named."""
    ranker = case.make().fit(rows(50), rows(10, seed=1))
    assert ranker.columns == COLUMNS
    columns = dict(rows(10, seed=2).columns)
    shuffled = {"other": np.zeros(50), **dict(reversed(list(columns.items())))}
    assert np.array_equal(ranker.score(columns), ranker.score(shuffled))
    del columns["affinity"]
    with pytest.raises(ModelError, match="affinity is missing"):
        ranker.score(columns)


def test_gives_one_score_a_row(case: Case) -> None:
    """Finite, of float64; none for no rows."""
    ranker = case.make().fit(rows(50), rows(10, seed=1))
    for requests in (0, 1, 30):
        scores = ranker.score(rows(requests, seed=3).columns)
        assert (scores.shape, scores.dtype) == ((requests * 5,), np.float64)
        assert np.isfinite(scores).all()


def test_is_deterministic(case: Case) -> None:
    """The same rows give the same scores, with progress or without."""
    unseen = rows(10, seed=2).columns
    scores = [
        case.make().fit(rows(50), rows(10, seed=1), progress).score(unseen) for progress in (None, lambda *_: None)
    ]
    assert np.array_equal(*scores)


def test_tells_its_progress(case: Case) -> None:
    """One by one, of the same total."""
    told: list[tuple[int, int]] = []
    case.make().fit(rows(50), rows(10, seed=1), lambda done, total: told.append((done, total)))
    assert told
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert len({total for _, total in told}) == 1
    assert told[-1][0] <= told[-1][1]


def test_survives_a_save(case: Case, tmp_path: Path) -> None:
    """What is loaded has the same columns and gives the same scores."""
    ranker = case.make().fit(rows(50), rows(10, seed=1))
    ranker.save(tmp_path / "bundle")
    loaded, unseen = case.load(tmp_path / "bundle"), rows(20, seed=4).columns
    assert loaded.columns == ranker.columns
    assert np.array_equal(loaded.score(unseen), ranker.score(unseen))


@pytest.mark.parametrize("empty", ["training", "validation"])
def test_refuses_to_learn_from_nothing(case: Case, empty: str) -> None:
    """In one line that says which rows."""
    parts = {"training": rows(20), "validation": rows(10, seed=1)} | {empty: rows(0)}
    with pytest.raises(ModelError, match=rf"^{empty} rows: 0: .*; widen the window$"):
        case.make().fit(*parts.values())
