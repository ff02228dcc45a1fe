"""Does scoring many lists at once give what each list would get by itself?"""

import pickle
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.adapters.catboost_ranker import CatBoostRanker
from recsys.errors import FeatureError
from recsys.ports import RequestTransform
from recsys.serving.lists import Lists, best
from recsys.serving.scoring import SCORED, ListScorer
from tests.fakes.ranker import FakeRanker

IDS = pa.array([f"i{n}" for n in range(6)])
ITEMS = {"sold": np.array([5.0, 4.0, 4.0, 1.0, np.nan, 2.0]), "brand": np.array(list("abcabc"), dtype=object)}


def batch(candidates: list[list[int | None] | None], **columns: Any) -> pa.RecordBatch:
    """Return one row a unit: u0, u1 and so on."""
    units = pa.array([f"u{n}" for n in range(len(candidates))])
    arrays = {"user_id": units, "candidates": pa.array(candidates, pa.list_(pa.int32())), **columns}
    return pa.RecordBatch.from_pydict(arrays)


def scorer(k: int = 3, **factors: float) -> ListScorer:
    """Return a scorer by the weighted sum of columns."""
    return ListScorer(FakeRanker(tuple(factors.items()) or (("sold", 1.0),)), IDS, ITEMS, k)


def lists_of(scored: pa.RecordBatch) -> dict[str, list[str]]:
    """Return each unit's items, checked to stand in their ranks."""
    found: dict[str, list[str]] = {}
    for row in scored.to_pylist():
        found.setdefault(row["user_id"], []).append(row["item_id"])
        assert row["rank"] == len(found[row["user_id"]])
    return found


def one_list(rows: list[int], scores: list[float], k: int | None) -> list[tuple[int, float]]:
    """Return the first k of a list the slow way: an item once, at its best score; a score that is none is last."""
    best_first = sorted(
        zip(rows, scores, strict=True), key=lambda pair: (np.isnan(pair[1]), -np.nan_to_num(pair[1]), pair[0])
    )
    once: dict[int, float] = {}
    for row, score in best_first:
        once.setdefault(row, score)
    return list(once.items())[:k]


def test_ragged_empty_and_missing_lists_each_get_their_own() -> None:
    scored = scorer(k=2).score(batch([[3, 0, 1], [], None, [5], [4, 5, 0, 1, 2, 3]]))
    assert scored.schema == SCORED
    assert lists_of(scored) == {"u0": ["i0", "i1"], "u3": ["i5"], "u4": ["i0", "i1"]}


def test_a_batch_without_units_or_without_any_candidate_has_no_rows() -> None:
    assert scorer().score(batch([])).num_rows == 0
    assert scorer().score(batch([[], None])).num_rows == 0


def test_items_that_the_matrix_lacks_are_left_out_with_their_features() -> None:
    bonus = pa.array([[9.0, 1.0, 2.0, 8.0, 7.0]])
    scored = scorer(bonus=1.0).score(batch([[-1, 0, 1, None, 6]], bonus=bonus))
    assert scored.to_pydict()["item_id"] == ["i1", "i0"]
    assert scored.to_pydict()["score"] == [2.0, 1.0]


def test_an_item_that_is_named_twice_stands_once_at_its_best_score() -> None:
    bonus = pa.array([[1.0, 5.0, 3.0, 2.0]])
    scored = scorer(k=2, bonus=1.0).score(batch([[0, 0, 1, 2]], bonus=bonus))
    assert list(zip(*(scored.to_pydict()[name] for name in ("item_id", "score")), strict=True)) == [
        ("i0", 5.0),
        ("i1", 3.0),
    ]


def test_equal_scores_stand_by_item_id_whatever_the_order_of_candidates() -> None:
    assert lists_of(scorer(k=2).score(batch([[2, 1, 3], [1, 2, 3]]))) == {"u0": ["i1", "i2"], "u1": ["i1", "i2"]}


def test_items_without_a_score_stand_last() -> None:
    assert lists_of(scorer(k=9).score(batch([[4, 3, 0]]))) == {"u0": ["i0", "i3", "i4"]}


def test_a_feature_of_a_unit_counts_for_all_its_candidates_and_unknown_ones_stay_unknown() -> None:
    seen: dict[str, Any] = {}

    def noted(inputs: dict[str, Any]) -> dict[str, Any]:
        seen.update(inputs)
        return {"sum": inputs["sold"] + inputs["visits"]}

    made = RequestTransform("sum", ("sold", "visits", "age", "since", "brand"), ("sum",), noted)
    whole = ListScorer(FakeRanker((("sum", 1.0),)), IDS, ITEMS, 3, (made,))
    moment = datetime(2024, 2, 5, tzinfo=UTC)
    whole.score(
        batch(
            [[0], [1, 2]],
            visits=pa.array([1.0, None]),
            age=pa.array([None, "35-44"]),
            since=pa.array([moment, None], pa.timestamp("us", tz="UTC")),
        )
    )
    np.testing.assert_array_equal(seen["visits"], [1, np.nan, np.nan])
    assert seen["age"].tolist() == ["unknown", "35-44", "35-44"]
    assert np.isnat(seen["since"]).tolist() == [False, True, True]
    assert seen["brand"].tolist() == ["a", "b", "c"]


def test_a_column_that_is_nowhere_is_refused_by_name() -> None:
    with pytest.raises(FeatureError, match=r"column affinity is neither in the batch \(\) nor in the item matrix"):
        scorer(affinity=1.0).score(batch([[0]]))


def test_an_input_of_a_computed_feature_that_is_nowhere_is_refused_by_name() -> None:
    made = RequestTransform("share", ("sold", "visits"), ("share",), dict)
    with pytest.raises(FeatureError, match="request-time features share: input 'visits'"):
        ListScorer(FakeRanker(), IDS, ITEMS, 3, (made,)).score(batch([[0]]))


def test_features_of_another_number_than_the_candidates_are_refused_by_name() -> None:
    with pytest.raises(FeatureError, match="column bonus is of lists of other lengths"):
        scorer(bonus=1.0).score(batch([[0, 1], [2]], bonus=pa.array([[1.0], [2.0, 3.0]])))


def test_candidates_that_are_no_lists_are_refused() -> None:
    wrong = pa.RecordBatch.from_pydict({"user_id": ["u0"], "candidates": [3]})
    with pytest.raises(FeatureError, match="column candidates is of int64"):
        scorer().score(wrong)


def test_threads_give_batches_in_their_order_and_the_same_rows() -> None:
    batches = [batch([[n % 4, (n + 1) % 4]]) for n in range(20)]
    alone = list(scorer()(batches))
    assert list(scorer().score_all(batches, threads=3)) == alone


def test_batches_are_taken_only_as_they_are_scored() -> None:
    taken = []

    def some() -> Any:
        for n in range(10):
            taken.append(n)
            yield batch([[n % 5]])

    scored = scorer().score_all(some(), threads=2)
    next(scored)
    assert len(taken) == 3


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_every_list_keeps_what_it_would_keep_alone(data: st.DataObject) -> None:
    number = st.sampled_from([0.0, 1.0, 1.5, -2.0, float("nan"), float("inf"), float("-inf")])
    entry = st.tuples(st.integers(0, 12), number)
    drawn = data.draw(st.lists(st.lists(entry, max_size=40), max_size=8))
    k = data.draw(st.one_of(st.none(), st.integers(1, 12)))
    lists = Lists.of([np.array([row for row, _ in each], dtype=np.int64) for each in drawn])
    scores = np.array([score for each in drawn for _, score in each])
    found = best(lists, scores, k)
    assert len(found.bounds) == len(drawn) + 1
    for place, each in enumerate(drawn):
        kept = found.places[found.bounds[place] : found.bounds[place + 1]]
        expected = one_list([row for row, _ in each], [score for _, score in each], k)
        assert lists.rows[kept].tolist() == [row for row, _ in expected]
        np.testing.assert_array_equal(scores[kept], [score for _, score in expected])
        assert found.ranks[found.bounds[place] : found.bounds[place + 1]].tolist() == [*range(1, len(kept) + 1)]


@pytest.fixture(scope="module")
def trees() -> CatBoostRanker:
    """A fitted model of six numbers, two of them the item's."""
    import catboost

    random = np.random.default_rng(5)
    names = ["sold", "price", "visits", "age", "times", "last"]
    values = random.normal(size=(3_000, len(names))).astype(np.float32)
    label = (values[:, 0] * values[:, 2] + values[:, 4] > 0).astype(int)
    settings = {
        "loss_function": "Logloss",
        "iterations": 40,
        "depth": 5,
        "verbose": False,
        "allow_writing_files": False,
    }
    model = catboost.CatBoost(settings)
    model.fit(catboost.Pool(catboost.FeaturesData(values, num_feature_names=names), label))
    return CatBoostRanker(model)


def test_a_model_scores_a_unit_in_a_batch_to_the_last_bit_as_alone(trees: CatBoostRanker) -> None:
    random = np.random.default_rng(6)
    items = {"sold": random.normal(size=500), "price": random.normal(size=500)}
    ids = pa.array(sorted(f"item{n}" for n in range(500)))
    lengths = random.integers(0, 90, 300)
    candidates = [random.choice(500, length, replace=False).tolist() for length in lengths]
    units = {name: pa.array(random.normal(size=300)) for name in ("visits", "age")}
    pairs = {name: pa.array([random.normal(size=n).tolist() for n in lengths]) for name in ("times", "last")}
    whole = batch(candidates, **units, **pairs)
    many = pickle.loads(pickle.dumps(ListScorer(trees, ids, items, 10)))  # noqa: S301 - as Spark sends it
    together = many.score(whole)
    alone = pa.Table.from_batches([many.score(whole.slice(n, 1)) for n in range(300)])
    assert pa.Table.from_batches([together]) == alone.combine_chunks()
    assert together.num_rows == np.minimum(lengths, 10).sum()
