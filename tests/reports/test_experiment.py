"""Does the page of an experiment say what its document says, and nothing else?"""

import copy
import json
import re
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from recsys.decision.next_steps import next_steps
from recsys.decision.verdict import Verdict, VerdictName, decide
from recsys.evaluation.analysis import analyse
from recsys.evaluation.cumulative import with_cumulative
from recsys.evaluation.health import check_health
from recsys.evaluation.unit_metrics import unit_metrics
from recsys.experiment.routing import window
from recsys.reports.experiment import experiment_page
from recsys.reports.experiment_charts import experiment_charts
from tests.evaluation.test_experiment_end_to_end import EXPERIMENT, generate
from tests.fakes.engine import FakeEngine
from tests.reports.test_offline import HOSTILE, read

START, END = window(EXPERIMENT)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return evaluated()


def evaluated() -> dict[str, Any]:
    """Return the evaluation of a shop whose treatment is better by a quarter."""
    log, engine = generate(0.25, 300), FakeEngine()
    measured = unit_metrics(
        engine,
        "e",
        EXPERIMENT,
        log,
        now=END,
        horizon=timedelta(weeks=1),
        default_model="basket",
        stages=("click", "purchase"),
        by_day=True,
    )
    health = check_health(engine, "e", EXPERIMENT, log.exposures, now=END, impressions=log.impressions)
    analysis = with_cumulative(analyse("e", EXPERIMENT, measured, health), EXPERIMENT, measured)
    verdict = decide(analysis, EXPERIMENT, END)
    made = {
        "experiment": "home_rhythm",
        "about": {
            "owners": {"product": "growth", "engineering": "ml"},
            "business_issue": "Households find too few",
            "placement": "home",
            "unit": "user_id",
            "start": START.isoformat(),
            "end": END.isoformat(),
        },
        "analysis": analysis.to_dict(),
        "verdict": asdict(verdict),
        "next": list(next_steps(verdict, "home_rhythm")),
        "experiment_digest": "0123456789abcdef",
        "metrics": {},
        "frozen": END.isoformat(),
        "digest": "fedcba9876543210",
    }
    return dict(json.loads(json.dumps(made)))


def test_hypothesis_owners_and_verdict_come_first(document: dict[str, Any]) -> None:
    found = read(experiment_page(document))
    said = " ".join(" ".join(found.words).split())
    places = [
        said.index(part) for part in ("better", "product: growth, engineering: ml", document["verdict"]["reason"])
    ]
    assert places == sorted(places)
    assert found.headings == [
        "home_rhythm",
        "What was asked",
        "Effects",
        "How it settled",
        "Funnel",
        "Health",
        "What answered",
        "How to read it",
        "Made from",
    ]
    assert found.figures == ["effects", "cumulative", "daily", "funnel"]
    assert "recsys promote home_rhythm" in said


def test_the_page_has_the_documents_numbers(document: dict[str, Any]) -> None:
    said = " ".join(read(experiment_page(document)).words)
    analysis = document["analysis"]
    for found in analysis["effects"]:
        relative = found["effect"]["relative"]
        for value in (*relative.values(), found["always_relative"]["lower"]):
            assert f"{100 * value:+.2f}" in said
        assert f"{found['effect']['control']:.4f}" in said
    for arm in analysis["arms"]:
        assert f"{arm['funnel']['purchase']:,}" in said
        assert f"{arm['units']:,}" in said


def test_bars_of_the_funnel_are_labelled_in_the_unit_of_their_axis(document: dict[str, Any]) -> None:
    drawn = experiment_charts(document)["funnel"]
    for arm in document["analysis"]["arms"]:
        taken, shown = arm["funnel"]["purchase"], arm["funnel"]["impressions"]
        assert f"{100 * taken / shown:.2f} ({taken:,})" in drawn


def test_bands_and_lines_of_both_kinds_of_interval_differ_in_more_than_colour(document: dict[str, Any]) -> None:
    drawn = experiment_charts(document)["cumulative"]
    assert drawn.count("<pattern") == 1, "the band that is valid at every look is hatched"


def test_it_stands_alone_and_is_the_same_each_time(document: dict[str, Any]) -> None:
    page = experiment_page(document)
    assert page == experiment_page(copy.deepcopy(document))
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "<script" not in page
    for drawing in experiment_charts(document).values():
        ET.fromstring(drawing)  # noqa: S314 - what we drew ourselves


def test_texts_are_escaped(document: dict[str, Any]) -> None:
    hostile = copy.deepcopy(document)
    hostile["analysis"]["hypothesis"] = hostile["verdict"]["reason"] = HOSTILE
    hostile["about"]["business_issue"] = hostile["about"]["owners"]["product"] = HOSTILE
    hostile["analysis"]["health"]["failures"] = [HOSTILE]
    page = experiment_page(hostile)
    assert "<script" not in page
    assert sum(HOSTILE in word for word in read(page).words) == 5


def test_a_look_without_data_is_a_page_too(document: dict[str, Any]) -> None:
    empty = copy.deepcopy(document)
    analysis = empty["analysis"]
    for found in analysis["effects"]:
        effect = found["effect"]
        for interval in (effect["relative"], effect["absolute"], found["always_relative"]):
            interval.update(dict.fromkeys(interval))
        effect.update(control=None, treatment=None, p_value=None)
    analysis.update(daily=[], weekly=[], cumulative=[], part=[START.isoformat(), END.isoformat()])
    for arm in analysis["arms"]:
        arm.update(weights=[], funnel={"impressions": 0, "purchase": 0})
    empty.update(verdict={"name": "NONE", "reason": "a look"}, next=[], frozen=None)
    found = read(experiment_page(empty))
    assert found.figures == []
    assert "No verdict." in found.words
    assert "looked at" in found.words


def test_an_interval_without_an_upper_bound_is_shown_and_drawn_open(document: dict[str, Any]) -> None:
    unbounded = copy.deepcopy(document)
    (found,) = (each for each in unbounded["analysis"]["effects"] if each["role"] == "primary")
    found["effect"]["relative"]["upper"] = found["always_relative"]["upper"] = None
    for each in unbounded["analysis"]["cumulative"]:
        each["relative"]["upper"] = each["always_relative"]["upper"] = None
    said = " ".join(read(experiment_page(unbounded)).words)
    assert f"[{100 * found['effect']['relative']['lower']:+.2f}, ∞)" in said
    assert f"[{100 * found['always_relative']['lower']:+.2f}, ∞)" in said
    drawn, before = experiment_charts(unbounded), experiment_charts(document)
    assert drawn.keys() == before.keys()
    assert "nan" not in drawn["effects"].lower()
    # A bar from the lower bound to the end of the axis is longer than it was, and as many are drawn.
    assert drawn["effects"].count("<path") == before["effects"].count("<path")


def test_every_verdict_says_what_follows() -> None:
    for name in VerdictName:
        steps = next_steps(Verdict(name, "r", "treatment", "basket/v2"), "home")
        assert steps
        assert not any("{" in step for step in steps)
    iterate = " ".join(next_steps(Verdict(VerdictName.ITERATE, "r", "treatment", "basket/v2"), "home"))
    assert "--model-version basket/v2" in iterate
    assert all(word in iterate for word in ("Leakage", "Skew", "Position bias", "Wrong stage"))


def test_a_comparison_by_epoch_says_so(document: dict[str, Any]) -> None:
    ramped = copy.deepcopy(document)
    ramped["analysis"].update(compared_by_epoch=True, uncompared_units=1_234)
    said = read(experiment_page(ramped)).words
    assert said[said.index("compared by allocation epoch, units in none") + 1] == "1,234"
