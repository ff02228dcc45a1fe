"""Does an explanation say how its candidates add up?"""

import pytest

from recsys.printing.requests import _steps
from recsys.serving.explaining import Explanation


@pytest.mark.parametrize(
    ("candidates", "sources", "said"),
    [
        (233, {"personal": 150, "popular": 100}, "candidates: 233 (personal 150, popular 100; 17 from both)"),
        (250, {"personal": 150, "popular": 100}, "candidates: 250 (personal 150, popular 100)"),
        (5, {"a": 3, "b": 3, "c": 2}, "candidates: 5 (a 3, b 3, c 2; 3 from another too)"),
    ],
)
def test_candidates_of_several_sources_add_up(candidates: int, sources: dict[str, int], said: str) -> None:
    made = Explanation((), "digest", candidates=candidates, sources=sources, filtered={}, stages=())
    assert [line.strip() for line in _steps(made)] == [said]
