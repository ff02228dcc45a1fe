"""Does an explained answer say what each item is, where the shop declares how items are called?"""

from recsys.printing import why
from recsys.workflows.why import Why
from tests.adapters.test_event_log_contract import exposure


def test_a_label_stands_beside_its_item_and_nothing_where_there_is_none() -> None:
    found = Why(exposure("r1"), None, None, None)
    plain = why(found)
    assert "what it is" not in plain
    said = [" ".join(line.split()) for line in why(found, {"item_2": "Coffee"}).splitlines()]
    assert "slot item value what it is" in said
    assert "2 item_2 0.5000 Coffee" in said
    assert "1 item_1 1.0000 -" in said
