"""Is an item-item model fitted on what may be shown, and does it score the same whatever the pool and the order?"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.candidates.fitted import PoolModel, fit, model_key
from recsys.candidates.history import History
from recsys.candidates.item_models import covisitation, ease, interactions
from recsys.errors import FeatureError
from recsys.ports import ItemWeights
from recsys.specs.candidates import Covisit, Ease
from recsys.specs.placement import Pool
from tests.candidates.small_pool import NOW, pool

ITEMS = 8
RANDOM = np.random.default_rng(0)
UNITS, CODES = np.nonzero(RANDOM.random((40, ITEMS)) < 0.4)
SALES = [1.0] * 7 + [0.0]


def covisit(**changes: Any) -> Covisit:
    """Declare co-visited items."""
    declared = {"source": "covisit", "view": "pair", "limit": 5, "minimum": 3, "shrinkage": 0.0}
    return Covisit.model_validate(declared | changes)


def linear(**changes: Any) -> Ease:
    """Declare the linear model."""
    return Ease.model_validate({"source": "ease", "view": "pair", "limit": 5, "minimum": 3, "l2": 5.0} | changes)


def fitted(source: Covisit | Ease, memory: int | None = None) -> ItemWeights:
    """Fit on the rows of 40 units."""
    return fit(source, pool(SALES), UNITS, CODES, NOW, memory)


def dense(weights: Any) -> NDArray[np.float64]:
    """Return weights as a whole matrix."""
    return np.asarray(weights if isinstance(weights, np.ndarray) else weights.toarray(), dtype=np.float64)


def test_a_model_is_of_the_items_that_may_be_shown_and_enough_units_have() -> None:
    support = np.bincount(CODES, minlength=ITEMS)
    least = int(np.sort(support[:7])[2])
    model = fitted(covisit(minimum=least))
    assert model.items.tolist() == [chr(ord("a") + code) for code in range(7) if support[code] >= least]
    assert model.at == NOW
    assert dense(model.weights).shape == (len(model.items), len(model.items))


def test_the_weights_are_those_of_the_models() -> None:
    shown = CODES < 7
    matrix = interactions(UNITS[shown], CODES[shown], np.ones(int(shown.sum())), (40, 7))
    np.testing.assert_array_equal(
        dense(fitted(covisit(together=1)).weights),
        dense(covisitation(matrix, neighbours=50, minimum=1, shrinkage=0.0).weights),
    )
    np.testing.assert_array_equal(fitted(linear()).weights, ease(matrix, l2=5.0, memory_limit=None).weights)


def test_items_that_the_pool_lacks_take_no_part() -> None:
    with_others = fit(linear(), pool(SALES), np.append(UNITS, [0, 1]), np.append(CODES, [-1, -1]), NOW)
    np.testing.assert_array_equal(with_others.weights, fitted(linear()).weights)


@pytest.mark.parametrize("source", [covisit(minimum=99), linear(minimum=99)])
def test_a_model_of_nothing_gives_nothing(source: Covisit | Ease) -> None:
    built = pool(SALES)
    empty = fitted(source)
    assert not len(empty.items)
    model = PoolModel(empty, built)
    assert model.scores(History(np.array([0]), {"times": np.ones(1)}), None) is None
    nothing = np.empty(0, dtype=np.int64)
    assert not len(fit(source, pool([]), nothing, nothing, NOW).items)


def test_a_model_that_does_not_fit_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        FeatureError, match=r"candidates ease: 7 items have 3 units or more.*raise the source's minimum"
    ):
        fitted(linear(), memory=1_000)
    fitted(covisit(), memory=1_000)


@pytest.mark.parametrize("source", [covisit(), linear()])
@pytest.mark.parametrize("strength", [None, "times"])
def test_scores_are_strength_times_rows_in_whatever_order(source: Covisit | Ease, strength: str | None) -> None:
    model = fitted(source)
    codes, times = np.array([5, 0, -1, 3, 7]), np.array([2.0, 0.5, 9.0, np.nan, 9.0])
    weights = dense(model.weights)
    expected = 2.0 * weights[5] + 0.5 * weights[0] if strength else weights[5] + weights[0]
    found = PoolModel(model, pool(SALES))
    scores = found.scores(History(codes, {"times": times}), strength)
    assert scores is not None
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-7)
    again = found.scores(History(codes[::-1], {"times": times[::-1]}), strength)
    np.testing.assert_array_equal(scores, again)


def test_a_later_pool_with_other_items_changes_no_score() -> None:
    model = fitted(linear())
    before, later = PoolModel(model, pool(SALES)), PoolModel(model, pool([1.0] * 3))
    assert later.row_of_item.tolist() == [0, 1, 2, -1, -1, -1, -1]
    own = History(np.array([0, 2]), {"times": np.ones(2)})
    np.testing.assert_array_equal(before.scores(own, None), later.scores(own, None))


def test_a_strength_that_is_not_there_is_refused() -> None:
    with pytest.raises(FeatureError, match="strength 'price' is not a feature of the view: times"):
        PoolModel(fitted(linear()), pool(SALES)).scores(History(np.array([0]), {"times": np.ones(1)}), "price")


def test_models_that_are_fitted_alike_have_one_key() -> None:
    items = Pool(view="items", feature="sales")
    key = model_key(covisit(), items)
    assert key.startswith("covisit-")
    assert model_key(covisit(name="other", limit=9, strength="times", own=False), items) == key
    others = [covisit(neighbours=3), covisit(minimum=9), covisit(view="line"), covisit(shrinkage=1.0), linear()]
    keys = {
        key,
        model_key(covisit(), items.model_copy(update={"minimum": 5.0})),
        *(model_key(o, items) for o in others),
    }
    assert len(keys) == 7
