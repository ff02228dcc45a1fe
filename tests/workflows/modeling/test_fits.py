"""Are rows scored a piece at a time as they would be all at once?"""

import numpy as np
import pyarrow as pa
import pytest

from recsys.modeling.feature_ranker import FeatureRanker
from recsys.workflows.modeling import fits


@pytest.mark.parametrize("piece", [1, 7, 100, 1_000])
def test_pieces_make_the_whole(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "_ROWS_AT_ONCE", piece)
    random = np.random.default_rng(0)
    rows = pa.table({"other": pa.nulls(100), "taste": pa.array(random.normal(size=100), mask=random.random(100) < 0.2)})
    ranker = FeatureRanker("taste")
    for mine in (np.ones(100, dtype=bool), np.zeros(100, dtype=bool), random.random(100) < 0.1):
        expected = ranker.score({"taste": rows["taste"].to_numpy()[mine]})
        assert np.array_equal(fits.scored(ranker, rows, mine), expected)


def test_no_rows_have_no_scores() -> None:
    nothing = pa.table({"taste": pa.array([], pa.float64())})
    assert len(fits.scored(FeatureRanker("taste"), nothing, np.zeros(0, dtype=bool))) == 0
