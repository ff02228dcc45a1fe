"""Are ranking metrics what the books and another implementation say?"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.modeling.metrics import TopK, list_metrics, reached, top_k
from recsys.specs.metric import LIST_METRICS

EXAMPLES = settings(deadline=None, derandomize=True)

GOLDEN = Path(__file__).parents[1] / "golden" / "ranking_metrics.json"


def ranked(requests: Sequence[tuple[Sequence[float], Sequence[int]]], k: int) -> TopK:
    """Rank requests of (scores, labels), whose candidates stand in the order of their ids."""
    counts = [len(scores) for scores, _ in requests]
    return top_k(
        np.array([score for scores, _ in requests for score in scores], dtype=np.float64),
        np.array([label for _, labels in requests for label in labels], dtype=np.float32),
        np.repeat(np.arange(len(requests)), counts),
        np.concatenate([np.arange(count) for count in counts]).astype(np.int64),
        len(requests),
        k,
    )


def metrics(hits: Sequence[int], relevant: int) -> dict[str, float]:
    """Return the metrics of one list of slots."""
    found = list_metrics(np.array([hits], dtype=bool), np.array([relevant]))
    return {name: float(values[0]) for name, values in found.items()}


# ---------------------------------------------------------------- by hand


def test_the_first_k_by_score() -> None:
    top = ranked([([0.1, 0.9, 0.5], [1, 0, 1]), ([2.0], [1])], k=2)
    assert top.rows.tolist() == [[1, 2], [3, -1]]
    assert top.hits.tolist() == [[False, True], [True, False]]


def test_ties_fall_to_the_smaller_id() -> None:
    top = top_k(
        np.zeros(4), np.array([1, 0, 0, 1], dtype=np.float32), np.zeros(4, dtype=np.int64), np.array([7, 3, 5, 1]), 1, 3
    )
    assert top.rows.tolist() == [[3, 1, 2]]
    assert top.hits.tolist() == [[True, False, False]]


def test_unknown_scores_sink_to_the_bottom() -> None:
    top = ranked([([np.nan, -np.inf, -1e300, np.inf], [0, 0, 0, 0])], k=4)
    assert top.rows.tolist() == [[3, 2, 1, 0]]


def test_a_request_without_candidates_is_an_empty_list() -> None:
    top = ranked([([], []), ([1.0], [1]), ([], [])], k=2)
    assert top.rows.tolist() == [[-1, -1], [0, -1], [-1, -1]]
    assert top.hits.any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("hits", "relevant", "expected"),
    [
        ([1, 0, 0], 1, {"ndcg": 1.0, "precision": 1 / 3, "recall": 1.0, "mrr": 1.0, "map": 1.0}),
        ([0, 1, 0], 1, {"ndcg": 1 / np.log2(3), "precision": 1 / 3, "recall": 1.0, "mrr": 0.5, "map": 0.5}),
        ([0, 0, 0], 2, {"ndcg": 0.0, "precision": 0.0, "recall": 0.0, "mrr": 0.0, "map": 0.0}),
        ([1, 1, 1], 3, {"ndcg": 1.0, "precision": 1.0, "recall": 1.0, "mrr": 1.0, "map": 1.0}),
        ([1, 1, 1], 6, {"ndcg": 1.0, "precision": 1.0, "recall": 0.5, "mrr": 1.0, "map": 0.5}),
        (
            [1, 0, 1],
            2,
            {"ndcg": 1.5 / (1 + 1 / np.log2(3)), "precision": 2 / 3, "recall": 1.0, "mrr": 1.0, "map": 5 / 6},
        ),
    ],
)
def test_lists_by_hand(hits: list[int], relevant: int, expected: dict[str, float]) -> None:
    assert metrics(hits, relevant) == pytest.approx(expected)


def test_average_precision_divides_by_all_relevant() -> None:
    assert metrics([1, 0], 5)["map"] == pytest.approx(1 / 5)  # not by the 2 that fit


def test_requests_of_many_sizes_are_ranked_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 40, 60)
    scores = [rng.integers(0, 5, count).astype(float).tolist() for count in counts]
    requests = [(mine, [1] * len(mine)) for mine in scores]
    whole = ranked(requests, k=7)
    monkeypatch.setattr("recsys.modeling.metrics._CELLS_AT_ONCE", 50)
    assert np.array_equal(ranked(requests, k=7).rows, whole.rows)


# ---------------------------------------------------------------- one list of units

UNITS = np.array([[1.0, 10.0], [0.0, 20.0], [1.0, 40.0], [1.0, 80.0]])


def test_a_list_is_cut_at_each_capacity() -> None:
    found = reached(np.ones((1, 4)), UNITS, (1, 3, 9))
    assert found.tolist() == [[[1, 10], [2, 70], [3, 150]]]


def test_a_unit_that_counts_more_takes_more_places() -> None:
    weights = np.array([[3.0, 0.0, 2.0, 1.0], [0.0, 1.0, 1.0, 5.0]])
    found = reached(weights, UNITS, (2, 4))
    assert found[0].tolist() == [[2, 20], [4, 70]]  # the first unit twice; then thrice, and once the third
    assert found[1].tolist() == [[1, 60], [3, 220]]  # none, one, one, and two of five


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=9), st.integers(1, 12))
def test_a_weighted_cut_is_that_of_the_units_written_out(units: list[tuple[int, bool]], capacity: int) -> None:
    written_out = [hit for weight, hit in units for _ in range(weight)][:capacity]
    weights = np.array([[float(weight) for weight, _ in units]])
    found = reached(weights, np.array([[float(hit), 1.0] for _, hit in units]), (capacity,))
    assert found[0, 0].tolist() == [sum(written_out), len(written_out)]


# ---------------------------------------------------------------- by another implementation


def cases() -> list[Mapping[str, Any]]:
    """Read the golden requests."""
    read: list[Mapping[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("metric", LIST_METRICS)
def test_metrics_agree_with_ir_measures(metric: str) -> None:
    golden = cases()
    top = ranked([(case["scores"], case["labels"]) for case in golden], k=10)
    relevant = np.array([sum(case["labels"]) + case["outside"] for case in golden])
    expected = [case["expected"][metric] for case in golden]
    np.testing.assert_allclose(list_metrics(top.hits, relevant)[metric], expected, rtol=0, atol=1e-12)


def test_the_golden_requests_hold_the_hard_cases() -> None:
    golden = cases()
    assert any(not case["items"] for case in golden)
    assert any(len(set(case["scores"])) < len(case["scores"]) for case in golden)
    assert any(0 < len(case["items"]) < 10 for case in golden)
    assert any(sum(case["labels"]) > 10 for case in golden)


# ---------------------------------------------------------------- by property

REQUEST = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=8)


@EXAMPLES
@given(st.lists(REQUEST, min_size=1, max_size=5), st.integers(1, 6))
def test_every_list_is_the_top_of_its_own_request(requests: list[list[tuple[int, int]]], k: int) -> None:
    top = ranked([([float(score) for score, _ in rows], [label for _, label in rows]) for rows in requests], k)
    start = 0
    for rows, shown in zip(requests, top.rows, strict=True):
        order = sorted(range(len(rows)), key=lambda row: (-rows[row][0], row))[:k]
        assert [row for row in shown.tolist() if row >= 0] == [start + row for row in order]
        start += len(rows)


@EXAMPLES
@given(st.lists(st.integers(0, 1), min_size=1, max_size=12), st.integers(0, 5))
def test_metrics_lie_between_none_and_all(hits: list[int], beyond: int) -> None:
    found = metrics(hits, max(sum(hits) + beyond, 1))
    assert all(0 <= value <= 1 + 1e-12 for value in found.values())
    assert (found["mrr"] > 0) == (found["precision"] > 0) == any(hits)


@EXAMPLES
@given(st.lists(st.integers(0, 1), min_size=2, max_size=10), st.data())
def test_a_hit_that_moves_up_never_costs(hits: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(hits) - 1))
    better = list(hits)
    better[place - 1], better[place] = max(hits[place - 1 : place + 1]), min(hits[place - 1 : place + 1])
    relevant = max(sum(hits), 1)
    before, after = metrics(hits, relevant), metrics(better, relevant)
    assert all(after[name] >= before[name] - 1e-12 for name in before)
