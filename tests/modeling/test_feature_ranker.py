"""Does a ranker of one feature order by it, and survive a save?"""

import json
from pathlib import Path

import numpy as np
import pytest

from recsys.errors import ModelError
from recsys.modeling.feature_ranker import LOWEST, FeatureRanker, load_feature_ranker


def test_orders_by_its_feature() -> None:
    """The feature is the score; rows without it come last, and every score is finite."""
    values = np.array([2.0, np.nan, -3.0, np.inf, -np.inf], dtype=np.float32)
    ranker = FeatureRanker("frequency")
    scores = ranker.score({"other": np.zeros(5), "frequency": values})
    assert ranker.columns == ("frequency",)
    assert scores.tolist() == [2.0, LOWEST, -3.0, -LOWEST, LOWEST]
    assert np.argsort(-scores, kind="stable").tolist() == [3, 0, 2, 1, 4]
    assert np.isfinite(scores.astype(np.float32)).all()
    assert json.loads(json.dumps(scores.tolist())) == scores.tolist()


def test_leaves_its_input_alone() -> None:
    """The caller's column keeps its NaN."""
    values = np.array([1.0, np.nan])
    FeatureRanker("frequency").score({"frequency": values})
    assert np.isnan(values[1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
def test_takes_numbers_of_any_kind(dtype: type) -> None:
    """Scores are float64."""
    scores = FeatureRanker("frequency").score({"frequency": np.array([1, 0], dtype=dtype)})
    assert scores.dtype == np.float64
    assert scores.tolist() == [1.0, 0.0]


def test_scores_nothing() -> None:
    """No rows, no scores."""
    assert FeatureRanker("frequency").score({"frequency": np.empty(0)}).size == 0


def test_refuses_what_it_cannot_order_by() -> None:
    """A missing column and a text are named."""
    with pytest.raises(ModelError, match="frequency is missing"):
        FeatureRanker("frequency").score({})
    with pytest.raises(ModelError, match="is of object"):
        FeatureRanker("frequency").score({"frequency": np.array(["a"], dtype=object)})


def test_survives_a_save(tmp_path: Path) -> None:
    """What is loaded is the same ranker."""
    FeatureRanker("frequency").save(tmp_path / "bundle")
    assert load_feature_ranker(tmp_path / "bundle") == FeatureRanker("frequency")


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "feature"}', '{"type": "catboost", "feature": "a"}'])
def test_refuses_another_bundle(tmp_path: Path, text: str) -> None:
    """The message names the file."""
    (tmp_path / "ranker.json").write_text(text)
    with pytest.raises(ModelError, match=r"ranker\.json"):
        load_feature_ranker(tmp_path)


def test_refuses_an_empty_folder(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(ModelError, match=r"ranker\.json"):
        load_feature_ranker(tmp_path)
