"""Do our metrics and item-item models give the figures known for MovieLens-100k, and does the second stage learn there?

Split, SAR and ranker are those of `benchmarks/movielens.py`; `make oracles` fetches the ratings. The benchmark itself
takes minutes and has the bars; what is here takes seconds.
"""

import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
REQUIRE_ORACLES = "RECSYS_REQUIRE_ORACLES"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the benchmark; skip where its data is not here."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import movielens
    import movielens_data

    if not movielens_data.FOLDER.exists():
        reason = "MovieLens-100k is not in .oracles; `make oracles` fetches it"
        if os.environ.get(REQUIRE_ORACLES) == "1":
            pytest.fail(f"{reason}, and {REQUIRE_ORACLES}=1")
        pytest.skip(reason)
    return movielens


def test_the_split_is_the_notebooks(benchmark: ModuleType) -> None:
    ratings, _ = benchmark.read()
    known, test = benchmark.parted(ratings, benchmark.SPLIT)
    assert (len(known), len(test)) == (75_066, 24_934)
    assert np.unique(known.user).tolist() == np.unique(test.user).tolist() == list(range(943))
    expected = np.round(0.75 * np.bincount(ratings.item))
    np.testing.assert_array_equal(np.bincount(known.item, minlength=len(expected)), expected)


def test_sar_has_the_printed_figures(benchmark: ModuleType) -> None:
    ratings, data = benchmark.read()
    known, test = benchmark.parted(ratings, benchmark.SPLIT)
    figures = benchmark.judged(benchmark.SOURCES["sar"](known, data), known, test, data)
    printed = {"map": 0.114038, "ndcg": 0.393819, "precision": 0.340615, "recall": 0.185377}
    assert {name: figures[name].mean() for name in printed} == pytest.approx(printed, abs=1e-4, rel=0)


def test_ease_has_the_figure_of_its_closed_form(benchmark: ModuleType) -> None:
    ratings, data = benchmark.read()
    known, test = benchmark.parted(ratings, benchmark.SPLIT)
    seen = np.zeros(data.shape)
    seen[known.user, known.item] = 1
    inverse = np.linalg.inv(seen.T @ seen + 500 * np.eye(data.shape[1]))
    weights = np.eye(data.shape[1]) - inverse / np.diag(inverse)
    by_hand = benchmark.ndcg(seen @ weights, known, test, data)
    assert benchmark.ndcg(benchmark.SOURCES["ease"](known, data), known, test, data) == pytest.approx(by_hand, abs=1e-4)
    assert by_hand == pytest.approx(0.483, abs=5e-4)


def test_the_second_stage_learns_from_what_no_source_has_seen(benchmark: ModuleType) -> None:
    """On an inner split, with few sources and trees: what EASE^R finds is ordered better than EASE^R orders it."""
    ratings, data = benchmark.read()
    known, asked = benchmark.parted(benchmark.parted(ratings, benchmark.SPLIT)[0], benchmark.INNER_SPLITS[0])
    sources = {name: benchmark.SOURCES[name] for name in ("popularity", "adjacent", "ease", "ease_users", "als_24")}
    scored = {name: source(known, data) for name, source in sources.items()}
    prepared = benchmark.prepare(known, data, 0, sources, scored)
    for requests in prepared.folds:
        assert 0 < requests.label.sum() <= len(known) / 4 + 1
        assert set(np.unique(requests.label)) == {0, 1}
    algorithm = benchmark.SMALL_STEPS.model_copy(update={"iterations": 60, "learning_rate": 0.1})
    scores = benchmark.two_stage(prepared, data, algorithm, 0, 1)
    assert np.isfinite(scores).sum(axis=1).tolist() == [100] * 943
    assert np.isneginf(scores[known.user, known.item]).all()
    assert benchmark.ndcg(scores, known, asked, data) > benchmark.ndcg(scored["ease"], known, asked, data)
