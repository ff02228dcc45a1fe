"""Which items go with which, by co-visitation and by EASE^R, and how do both score a unit?"""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from recsys.candidates import item_models
from recsys.candidates.item_models import ItemModel, covisitation, ease, ease_memory, interactions
from recsys.errors import FeatureError

EXAMPLES = settings(deadline=None, derandomize=True)

HAND = [[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1]]
"""Four units and four items; a has 3 units, b 3, c 2, d 1; a-b 2 in common, a-c 2, b-c 1, b-d 1."""


def canonical(rows: Any) -> Any:
    """Make a matrix of interactions from dense rows."""
    dense = np.asarray(rows, dtype=np.float64)
    units, items = np.nonzero(dense)
    return interactions(units, items, dense[units, items], dense.shape)


def dense(model: ItemModel) -> NDArray[np.float32]:
    """Return a model's weights as a dense matrix."""
    weights = model.weights
    return np.asarray(weights.toarray() if sparse.issparse(weights) else weights)


@st.composite
def histories(draw: st.DrawFn, largest: int = 3) -> NDArray[np.float64]:
    """Draw small dense matrices of units × items with empty rows and columns among them."""
    units, items = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    cells = draw(st.lists(st.integers(0, largest), min_size=units * items, max_size=units * items))
    return np.array(cells, dtype=np.float64).reshape(units, items)


def test_events_of_one_pair_are_added_up_and_sums_of_nothing_left_out() -> None:
    matrix = interactions(
        np.array([1, 0, 1, 0, 0]), np.array([2, 0, 2, 1, 1]), np.array([1.5, 1, 2, 3, -3]), shape=(3, 4)
    )
    assert matrix.toarray().tolist() == [[1, 0, 0, 0], [0, 0, 3.5, 0], [0, 0, 0, 0]]
    assert matrix.dtype == np.float32
    assert matrix.nnz == 2
    assert matrix.has_canonical_format


def test_no_events_are_an_empty_matrix() -> None:
    nothing = np.empty(0, dtype=np.int64)
    assert interactions(nothing, nothing, np.empty(0), (2, 3)).toarray().tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("units", "items", "weights", "complaint"),
    [
        ([0, 3], [0, 0], [1.0, 1.0], "unit codes run from 0 to 3: they must be from 0 to 2"),
        ([0, 0], [-1, 0], [1.0, 1.0], "item codes run from -1 to 0: they must be from 0 to 3"),
        ([0], [0, 1], [1.0, 1.0], "1 units, 2 items, 2 weights"),
        ([0], [0], [np.nan], "a weight is not finite"),
    ],
)
def test_events_that_make_no_matrix_are_refused(
    units: list[int], items: list[int], weights: list[float], complaint: str
) -> None:
    with pytest.raises(FeatureError, match=complaint):
        interactions(np.array(units), np.array(items), np.array(weights), (3, 4))


def test_covisitation_by_hand() -> None:
    model = covisitation(canonical(HAND), neighbours=3, minimum=1, shrinkage=1.0)
    ab, ac, bc, bd = 2 / (3 + 1), 2 / (6**0.5 + 1), 1 / (6**0.5 + 1), 1 / (3**0.5 + 1)
    expected = [[0, ab, ac, 0], [ab, 0, bc, bd], [ac, bc, 0, 0], [0, bd, 0, 0]]
    np.testing.assert_allclose(dense(model), expected, rtol=1e-6)
    assert model.weights.dtype == np.float32
    assert model.weights.has_sorted_indices


def test_a_pair_needs_a_minimum_of_common_units_however_heavy() -> None:
    rows = np.array(HAND, dtype=float)
    rows[3] = [0, 9, 0, 9]
    model = covisitation(canonical(rows), neighbours=3, minimum=2, shrinkage=0.0)
    assert np.argwhere(dense(model)).tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]
    np.testing.assert_allclose(dense(model)[0, 1], 2 / (3 * 83) ** 0.5, rtol=1e-6)


def test_equal_neighbours_fall_to_the_smaller_code() -> None:
    model = covisitation(canonical([[1, 1, 1, 1]] * 3), neighbours=2, shrinkage=0.0)
    assert dense(model).tolist() == [[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


@EXAMPLES
@given(
    histories(), st.integers(1, 4), st.integers(1, 3), st.sampled_from([0.0, 0.5, 10.0]), st.sampled_from([1, 9, 10**6])
)
def test_covisitation_is_the_brute_force_in_chunks_of_any_size(
    rows: NDArray[np.float64], neighbours: int, minimum: int, shrinkage: float, entries: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{item_models.__name__}.cooccurrence._ENTRIES_AT_ONCE", entries)
        model = covisitation(canonical(rows), neighbours=neighbours, minimum=minimum, shrinkage=shrinkage)
    np.testing.assert_allclose(dense(model), brute_force(rows, neighbours, minimum, shrinkage), rtol=1e-6)


def brute_force(rows: NDArray[np.float64], neighbours: int, minimum: int, shrinkage: float) -> NDArray[np.float64]:
    """Compute the similarity of every pair by its definition, and keep the first of a sorted list."""
    items = rows.shape[1]
    result = np.zeros((items, items))
    for i in range(items):
        found = []
        for j in range(items):
            if i != j and ((rows[:, i] > 0) & (rows[:, j] > 0)).sum() >= minimum:
                norms = np.sqrt((rows[:, i] ** 2).sum() * (rows[:, j] ** 2).sum())
                found.append((-np.float32((rows[:, i] @ rows[:, j]) / (norms + shrinkage)), j))
        for similarity, j in sorted(found)[:neighbours]:
            result[i, j] = -similarity
    return result


@pytest.mark.parametrize(
    "parameters", [{"neighbours": 0}, {"minimum": 0}, {"shrinkage": -1.0}, {"shrinkage": np.nan}, {"shrinkage": np.inf}]
)
def test_covisitation_refuses_parameters_out_of_range(parameters: dict[str, Any]) -> None:
    with pytest.raises(FeatureError, match=r"at least 1, at least 1, and finite, not below 0"):
        covisitation(canonical(HAND), **{"neighbours": 2, **parameters})


def test_covisitation_refuses_weights_not_above_0() -> None:
    with pytest.raises(FeatureError, match=r"a weight is -1.0: each must be above 0"):
        covisitation(canonical([[1, -1]]), neighbours=1)


def test_covisitation_is_made_in_bounded_memory() -> None:
    generator = np.random.default_rng(0)
    items, units, events, entries = 3_000, 100, 60_000, 100_000
    matrix = interactions(
        generator.integers(0, units, events), generator.integers(0, items, events), np.full(events, 2.0), (units, items)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{item_models.__name__}.cooccurrence._ENTRIES_AT_ONCE", entries)
        peak, model = peak_of(lambda: covisitation(matrix, neighbours=20, minimum=1))
    bound = 80 * entries + 60 * matrix.nnz + 40 * model.weights.nnz
    assert bound / 2 < peak < bound
    assert bound < 8 * (matrix.T @ matrix).nnz


def test_ease_by_hand() -> None:
    # X'X + I = [[3, 1], [1, 2]], its inverse [[2, -1], [-1, 3]] / 5, so B_01 = 1 / 3 and B_10 = 1 / 2.
    model = ease(canonical([[1, 1], [1, 0]]), l2=1.0, memory_limit=None)
    np.testing.assert_allclose(dense(model), [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)
    assert model.weights.dtype == np.float32


@EXAMPLES
@given(histories(), st.sampled_from([0.5, 3.0, 500.0]), st.sampled_from([1, 4]))
def test_ease_is_the_direct_inverse_in_chunks_of_any_size(rows: NDArray[np.float64], l2: float, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{item_models.__name__}.linear._ENTRIES_AT_ONCE", chunk)
        patch.setattr(f"{item_models.__name__}.linear._MIRRORED_AT_ONCE", chunk)
        weights = dense(ease(canonical(rows), l2=l2, memory_limit=None))
    inverse = np.linalg.inv(rows.T @ rows + l2 * np.eye(rows.shape[1]))
    np.testing.assert_allclose(weights, np.eye(rows.shape[1]) - inverse / np.diag(inverse), atol=1e-5)


@EXAMPLES
@given(histories(), st.sampled_from([0.5, 3.0, 500.0]))
def test_ease_is_the_constrained_least_squares_optimum(rows: NDArray[np.float64], l2: float) -> None:
    weights = dense(ease(canonical(rows), l2=l2, memory_limit=None)).astype(np.float64)
    assert (np.diag(weights) == 0).all()
    gradient = rows.T @ (rows @ weights - rows) + l2 * weights
    free = ~np.eye(len(weights), dtype=bool)
    assert np.abs(gradient[free]).max(initial=0) < 1e-5 * (l2 + np.abs(rows.T @ rows).sum())


def test_ease_in_float32_is_that_in_float64_to_what_a_ranking_sees() -> None:
    generator = np.random.default_rng(1)
    units, items, events = 5_000, 400, 100_000
    popularity = 1 / (np.arange(items) + 10.0)
    matrix = interactions(
        generator.integers(0, units, events),
        generator.choice(items, events, p=popularity / popularity.sum()),
        np.ones(events),
        (units, items),
    )
    weights = dense(ease(matrix, l2=20.0, memory_limit=None))
    exact = np.linalg.inv((matrix.T @ matrix).toarray().astype(np.float64) + 20.0 * np.eye(items))
    exact = -exact / np.diag(exact)
    np.fill_diagonal(exact, 0)
    assert np.sqrt(((weights - exact) ** 2).mean() / (exact**2).mean()) < 2e-5


def test_ease_memory_is_stated_and_kept() -> None:
    items = 1_000
    matrix = interactions(np.arange(items), np.arange(items), np.ones(items), (items, items))
    peak, model = peak_of(lambda: ease(matrix, l2=1.0, memory_limit=ease_memory(items)))
    assert model.weights.shape == (items, items)
    assert 4 * items * items < peak < ease_memory(items)
    assert ease_memory(20_000) < 1.01 * 4 * 20_000**2


def test_ease_beyond_its_memory_is_refused_before_anything_is_made() -> None:
    matrix = sparse.csr_array((1, 100_000), dtype=np.float32)
    complaint = f"100000 items need {ease_memory(100_000)} bytes, the limit is 2000000000: raise the source's minimum"
    peak, _ = peak_of(lambda: refused(matrix, complaint))
    assert peak < 1_000_000


def refused(matrix: Any, complaint: str) -> None:
    """Expect a refusal by a limit of 2 GB."""
    with pytest.raises(FeatureError, match=complaint):
        ease(matrix, l2=1.0, memory_limit=2_000_000_000)


@pytest.mark.parametrize("l2", [0.0, -1.0, np.nan, np.inf])
def test_ease_without_regularisation_is_refused(l2: float) -> None:
    with pytest.raises(FeatureError, match="it must be finite and above 0"):
        ease(canonical(HAND), l2=l2, memory_limit=None)


def test_ease_says_where_float32_does_not_suffice() -> None:
    with pytest.raises(FeatureError, match=r"cannot be factorised in float32: raise l2"):
        ease(canonical(np.full((1, 50), 1e6)), l2=1e-9, memory_limit=None)


def peak_of(call: Any) -> tuple[int, Any]:
    """Return the most bytes a call had at a time, and its result."""
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


MODELS = {
    "covisitation": lambda matrix: covisitation(matrix, neighbours=100, minimum=1),
    "ease": lambda matrix: ease(matrix, l2=2.0, memory_limit=None),
}


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_the_weighted_rows_of_the_history(name: str) -> None:
    model = MODELS[name](canonical(HAND))
    scores = model.scores(np.array([2, 0]), np.array([0.5, 2.0]))
    np.testing.assert_allclose(scores, 0.5 * dense(model)[2] + 2 * dense(model)[0], rtol=1e-6)
    assert scores.dtype == np.float32
    twice = model.scores(np.array([1, 1]), np.array([1.0, 0.5]))
    np.testing.assert_allclose(twice, 1.5 * dense(model)[1], rtol=1e-6)
    assert model.scores(np.empty(0, dtype=np.int64), np.empty(0)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", MODELS)
@EXAMPLES
@given(histories(), st.randoms(use_true_random=False))
def test_one_unit_scores_as_it_does_among_many(name: str, rows: NDArray[np.float64], chance: Any) -> None:
    model = MODELS[name](canonical(rows))
    many = model.scores_many(canonical(rows))
    assert many.shape == rows.shape
    assert many.dtype == np.float32
    for row, scores in zip(rows, many, strict=True):
        items = np.flatnonzero(row)
        chance.shuffle(items)
        assert model.scores(items, row[items]).tolist() == scores.tolist()


@pytest.mark.parametrize("name", MODELS)
@EXAMPLES
@given(histories(largest=1), st.randoms(use_true_random=False))
def test_other_numbers_for_the_same_items_change_nothing(name: str, rows: NDArray[np.float64], chance: Any) -> None:
    order = list(range(rows.shape[1]))
    chance.shuffle(order)
    renumbered = dense(MODELS[name](canonical(rows[:, order])))
    np.testing.assert_allclose(renumbered, dense(MODELS[name](canonical(rows)))[np.ix_(order, order)], atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(0, 3), (2, 3), (2, 0)])
def test_units_and_items_without_events_are_no_trouble(name: str, shape: tuple[int, int]) -> None:
    empty = np.zeros(shape)
    model = MODELS[name](canonical(empty))
    assert model.items == shape[1]
    assert dense(model).shape == (shape[1], shape[1])
    assert not dense(model).any()
    assert model.scores_many(canonical(empty)).tolist() == empty.tolist()


@pytest.mark.parametrize("name", MODELS)
def test_histories_of_other_items_are_refused(name: str) -> None:
    model = MODELS[name](canonical(HAND))
    for items in ([-1], [4]):
        with pytest.raises(FeatureError, match=r"history: item codes run from .* they must be from 0 to 3"):
            model.scores(np.array(items), np.ones(1))
    with pytest.raises(FeatureError, match="history: 2 items and 1 strengths"):
        model.scores(np.array([0, 1]), np.ones(1))
    with pytest.raises(FeatureError, match="histories of 3 items, a model of 4"):
        model.scores_many(canonical([[1, 1, 1]]))
