"""Does an explained answer say how its candidates add up, and what each item is, where the shop declares it?"""

import pytest

from recsys.printing import why
from recsys.printing.requests import _steps
from recsys.serving.explaining import Explanation
from recsys.workflows.requests.why import Why
from tests.adapters.test_event_log_contract import exposure


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


def test_a_label_stands_beside_its_item_and_nothing_where_there_is_none() -> None:
    found = Why(exposure("r1"), None, None, None)
    plain = why(found)
    assert "what it is" not in plain
    said = [" ".join(line.split()) for line in why(found, {"item_2": "Coffee"}).splitlines()]
    assert "slot item value what it is" in said
    assert "2 item_2 0.5000 Coffee" in said
    assert "1 item_1 1.0000 -" in said
