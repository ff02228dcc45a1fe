"""Does the page of a funnel say its bounds and evidence, and still show one that was kept without?"""

from typing import Any

from recsys.reports.funnel import funnel_page
from tests.reports.test_offline import read
from tests.web.console_site import funnel_document

WHOLE = {"business_issue": "b", "owners": {"product": "p"}}


def said(document: dict[str, Any]) -> str:
    return " ".join(" ".join(read(funnel_page(document | WHOLE)).words).split())


def before_bounds() -> dict[str, Any]:
    """Return what the command kept when it had neither bounds nor evidence."""
    document = funnel_document()
    del document["confidence"]
    for stage in [*document["funnel"]["stages"], *(each for of in document["segments"] for each in of["stages"])]:
        stage["need"] = {name: value for name, value in stage["need"].items() if not name.endswith("_bounds")}
    document["channels"] = [{k: v for k, v in each.items() if k != "days_bounds"} for each in document["channels"]]
    document["weak"] = [{k: v for k, v in each.items() if k != "evidence"} for each in document["weak"]]
    return document


def test_units_and_days_stand_with_their_bounds_and_weak_stages_with_their_evidence() -> None:
    page = said(funnel_document())
    assert "1,200 [1,000, 1,500] 6 [5, never]" in page
    assert "by the log: 52% of the events order came without click" in page


def test_a_document_from_before_there_were_bounds_is_still_shown() -> None:
    page = said(before_bounds())
    assert "1,200 6" in page
    assert "[" not in page.partition("How to read it")[0]


def test_evidence_is_text() -> None:
    document = funnel_document("<script>alert(1)</script>")
    assert "<script" not in funnel_page(document | WHOLE)
