"""Do our metric functions give the figures that Microsoft Recommenders' notebook prints for SAR on MovieLens-100k?

The split and SAR are those of `benchmarks/movielens.py`; `make oracles` fetches the ratings.
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

    if not movielens.FOLDER.exists():
        reason = "MovieLens-100k is not in .oracles; `make oracles` fetches it"
        if os.environ.get(REQUIRE_ORACLES) == "1":
            pytest.fail(f"{reason}, and {REQUIRE_ORACLES}=1")
        pytest.skip(reason)
    return movielens


def test_the_split_is_the_notebooks(benchmark: ModuleType) -> None:
    ratings = benchmark.read().ratings
    known, test = benchmark.parted(ratings, benchmark.SPLIT)
    assert (len(known), len(test)) == (75_066, 24_934)
    assert np.unique(known.user).tolist() == np.unique(test.user).tolist() == list(range(943))
    expected = np.round(0.75 * np.bincount(ratings.item))
    np.testing.assert_array_equal(np.bincount(known.item, minlength=len(expected)), expected)


def test_sar_has_the_printed_figures(benchmark: ModuleType) -> None:
    data = benchmark.read()
    known, test = benchmark.parted(data.ratings, benchmark.SPLIT)
    figures = benchmark.judged(benchmark.SOURCES["sar"](known, data), known, test, data)
    printed = {"map": 0.114038, "ndcg": 0.393819, "precision": 0.340615, "recall": 0.185377}
    assert {name: figures[name].mean() for name in printed} == pytest.approx(printed, abs=1e-4, rel=0)
