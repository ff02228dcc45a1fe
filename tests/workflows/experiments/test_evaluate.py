"""Does an evaluation read what its metrics count, and is its evidence that of the metrics as they are declared?"""

import copy
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys import printing, schema
from recsys.errors import DecisionError, ExperimentError, StoreError
from recsys.experiment.routing import Router
from recsys.ports import Exposure, RoutedCount, ShownItem
from recsys.workflows.decision.promote import promote_experiment
from recsys.workflows.experiments.evaluate import Evaluated, evaluate
from tests.fakes.event_log import FakeEventLog
from tests.specs.registry_files import EXPERIMENT, PROBLEM
from tests.workflows.small_project import START, SmallProject

DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
CTR: dict[str, Any] = {
    "description": "Share of the items shown that were clicked",
    "numerator": {"event": "click", "count": "items"},
    "denominator": "impressions",
}


class EvaluatedProject(SmallProject):
    """A project with an event log in memory: four Mondays of some units, whose treatment takes more of three slots."""

    log = FakeEventLog()

    def event_log(self) -> FakeEventLog:
        """Return the one log."""
        return self.log

    def live(self, units: int = 60, share: float | None = None) -> None:
        """Log what every unit was shown, and what it did; a share of the lists draws one of four into its last slot."""
        self.log = FakeEventLog()
        router = Router("home_ranker", self.open().catalog.experiment("home_ranker"))
        rows = []
        for number in range(units):
            unit = f"unit_{number}"
            found = router.route(unit)
            assert found is not None
            for week in range(4):
                at, request = START + week * WEEK, f"{unit}:{week}"
                items = [ShownItem(f"{request}:{slot}", slot, 1.0 - slot) for slot in (1, 2, 3)]
                if share is not None:
                    chance = share / 4 if (number + week) % 10 < 10 * share else 1 - share
                    items[-1] = replace(items[-1], propensity=chance)
                self.log.write_exposures([exposure_of(request, unit, found.arm, found.model_version, at, items)])
                taken = (number + week) % 2 + (2 if found.arm == "treatment" else 1)
                rows += [_event("purchase", unit, item.item_id, at + DAY) for item in items[:taken]]
                rows += [_event("click", unit, item.item_id, at + DAY / 2) for item in items[: (number + week) % 3]]
        self.log.write_outcomes(pa.Table.from_pylist(rows, schema.EVENTS))

    def evaluate(self, **options: Any) -> Evaluated:
        """Evaluate by the files as they are now."""
        return evaluate(self.open(), "home_ranker", **options)


@pytest.fixture
def project(tmp_path: Path) -> EvaluatedProject:
    made = EvaluatedProject(tmp_path)
    made.files["metrics/ctr.yaml"] = copy.deepcopy(CTR)
    made.change(EXPERIMENT, "metrics.secondary", ["ctr"])
    made.change(EXPERIMENT, "metrics.primary.name", "precision@3")
    made.change(EXPERIMENT, "plan.units", 40)
    made.live()
    made.come_to(START + 4 * WEEK)
    return made


def test_clicks_and_purchases_stand_side_by_side(project: EvaluatedProject) -> None:
    done = project.evaluate()
    effects = {found["effect"]["metric"]: found["role"] for found in done.document["analysis"]["effects"]}
    assert effects == {"precision@3": "primary", "ctr": "secondary", "order_rate": "check"}
    means = {arm["arm"]: arm["means"] for arm in done.document["analysis"]["arms"]}
    assert means["control"]["ctr"] == pytest.approx(1 / 3, abs=0.02)
    assert {point["means"]["order_rate"] for point in done.document["analysis"]["daily"]} == {1.0}
    assert done.document["metrics"]["ctr"]["numerator"]["event"] == "click"


def test_a_frozen_report_is_of_its_metrics(project: EvaluatedProject) -> None:
    first = project.evaluate()
    assert first.document["frozen"]
    project.change("metrics/ctr.yaml", "description", "in other words")
    assert project.evaluate().reused
    project.change("metrics/ctr.yaml", "slots", 1)
    with pytest.raises(ExperimentError, match="or that of one of its metrics, changed"):
        project.evaluate()


def test_an_event_type_that_nobody_sends_is_told_with_those_that_are(project: EvaluatedProject) -> None:
    project.change("metrics/ctr.yaml", "numerator.event", "klick")
    with pytest.raises(
        ExperimentError, match=r"metric ctr counts klick, .*; logged: click, purchase; of the problem: "
    ):
        project.evaluate()
    project.change(PROBLEM, "funnel", {"stages": ["klick", "purchase"]})
    analysis = project.evaluate().document["analysis"]
    (found,) = (each for each in analysis["effects"] if each["role"] == "secondary")
    assert (found["effect"]["control"], found["effect"]["absolute"]["lower"]) == (0.0, None)


def test_a_metric_under_a_running_experiment_does_not_change(project: EvaluatedProject) -> None:
    project.come_to(START - DAY)
    project.apply()
    project.come_to(START + DAY)
    project.change("metrics/ctr.yaml", "slots", 1)
    (refused,) = project.plan().refused
    assert refused.startswith("metrics/ctr: slots: changed: experiment home_ranker stands on it")
    project.change("metrics/ctr.yaml", "slots", None)
    project.change("metrics/ctr.yaml", "description", "in other words")
    assert not project.plan().refused


def test_a_look_at_a_part_describes_it_and_promotes_nothing(project: EvaluatedProject) -> None:
    looked = project.evaluate(since=START + WEEK, until=START + 2 * WEEK)
    analysis = looked.document["analysis"]
    assert (analysis["state"], analysis["cut"], looked.document["frozen"]) == ("part", None, None)
    assert sum(arm["requests"] for arm in analysis["arms"]) == 60
    assert [point["start"][:10] for point in analysis["weekly"]] == ["2017-12-11"] * 2
    assert looked.verdict["name"] == "NONE"
    assert "judges the whole" in looked.verdict["reason"]
    assert sum(analysis["health"]["exposures"].values()) == 60
    with pytest.raises(DecisionError, match="no frozen report yet"):
        promote_experiment(project.open(), "home_ranker")

    whole = project.evaluate()
    again = project.evaluate(since=START + WEEK, until=START + 2 * WEEK)
    assert again.document == looked.document
    assert project.evaluate().document == whole.document
    assert "part from 2017-12-11" in printing.evaluation(looked, "page")


def test_a_part_outside_of_the_experiment_is_refused(project: EvaluatedProject) -> None:
    with pytest.raises(ExperimentError, match="it runs from 2017-12-04"):
        project.evaluate(since=START + 4 * WEEK)
    with pytest.raises(ExperimentError, match="nothing of it lies"):
        project.evaluate(since=START + WEEK, until=START + WEEK)
    assert project.evaluate(until=START + 9 * WEEK).document["analysis"]["part"][1] == (START + 4 * WEEK).isoformat()


def test_secondary_metrics_are_adjusted_and_no_others(project: EvaluatedProject) -> None:
    project.change(EXPERIMENT, "metrics.secondary", ["ctr", "mrr@3", "recall@3"])
    done = project.evaluate()
    found = done.document["analysis"]["effects"]
    adjusted = [each["adjusted_p_value"] is not None for each in found]
    assert adjusted == [each["role"] == "secondary" and each["effect"]["p_value"] is not None for each in found]
    assert "adjusted p" in printing.evaluation(done, "page")


def test_the_report_is_a_page_and_json_and_stands_beside_the_weights(project: EvaluatedProject, tmp_path: Path) -> None:
    judged = project.train("basket/v1")
    project.train("basket/v2")
    looked = project.evaluate(until=START + WEEK, folder=tmp_path / "looks")
    assert looked.report.page == tmp_path / "looks" / "home_ranker-part.html"
    assert looked.report.beside == ()
    done = project.evaluate()
    kept = done.report
    assert kept.page == tmp_path / ".recsys/reports/experiments/home_ranker.html"
    assert json.loads(kept.page.with_suffix(".json").read_text(encoding="utf-8")) == done.document
    assert kept.beside == ("basket/v1 (weights 1)",)  # the log knows of no weights 2
    page = project.registry_kept.report(judged, "experiment_home_ranker.html")
    assert page == kept.page.read_text(encoding="utf-8")
    assert "product: growth, engineering: ml" in page
    assert f"kept in the registry with {kept.beside[0]}" in printing.evaluation(done, "page")


def test_lists_without_exploration_are_valued_where_chances_are_logged(project: EvaluatedProject) -> None:
    project.live(share=0.4)
    done = project.evaluate()
    (control, treatment) = done.document["analysis"]["off_policy"]
    # Weights are 0 or 1 / 0.6: of 240 requests of both arms, 144 show their own item.
    assert control["value"]["rounds"] + treatment["value"]["rounds"] == 240
    assert control["value"]["mean_weight"]["estimate"] == pytest.approx(1, abs=0.1)
    assert control["value"]["largest_weight"] == pytest.approx(1 / 0.6)
    said = printing.evaluation(done, "page")
    assert "off-policy: control without exploration (slot 3): precision@3 a request" in said
    assert f"effective sample {control['value']['effective_sample_size']:,.0f} of" in said
    page = done.report.page.read_text(encoding="utf-8")
    assert "Lists without exploration" in page
    assert f"{control['value']['snips']['estimate']:.4f}" in page


def test_lists_without_exploration_are_refused_in_one_line_where_none_was_shown(project: EvaluatedProject) -> None:
    project.live(share=1.0)
    done = project.evaluate()
    said = [line for line in printing.evaluation(done, "page").splitlines() if "off-policy" in line]
    assert len(said) == 2
    assert said[0].startswith("  off-policy: refused: control: the target policy shows what the logging policy never")
    assert "list&#x27;s own item in slot 3" in done.report.page.read_text(encoding="utf-8")
    project.live()
    assert project.evaluate().reused, "a frozen report is not made anew"


def test_exposures_that_a_service_lost_make_a_verdict_invalid(project: EvaluatedProject) -> None:
    shown = project.log.exposures("home", START, START + 4 * WEEK).to_pylist()
    project.come_to(START + 4 * WEEK - DAY / 2)  # a look before the end is not frozen
    for extra, verdict in ((0, "WAIT"), (10, "INVALID")):
        decided: dict[tuple[str, datetime], int] = {}
        for row in shown:
            key = row["arm"], row["event_timestamp"]
            decided[key] = decided.get(key, 0) + 1
        decided["treatment", START] += extra
        counts = [RoutedCount("w", "home_ranker", arm, hour, count) for (arm, hour), count in decided.items()]
        project.log.write_group([], pa.Table.from_pylist([], schema.EVENTS), counts)
        done = project.evaluate()
        assert done.verdict["name"] == verdict
        receipts = done.document["analysis"]["health"]["receipts"]
        assert receipts["lost"] == {"control": 0, "treatment": extra}
        assert receipts["hours"] == 4
        said = printing.evaluation(done, "page")
        assert f"lost {extra}, never decided 0, twice 0" in said
        assert "decisions of the router and exposures received, over 4 hours" in done.report.page.read_text("utf-8")


def test_owners_of_an_experiment_go_before_those_of_its_problem(project: EvaluatedProject) -> None:
    project.change(EXPERIMENT, "owners", {"product": "home", "engineering": "search"})
    done = project.evaluate()
    assert done.document["about"]["owners"] == {"product": "home", "engineering": "search"}
    project.change(EXPERIMENT, "owners", {"product": "growth", "engineering": "search"})
    assert project.evaluate().reused


def test_a_registry_that_is_away_keeps_nobody_from_a_report(
    project: EvaluatedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        message = "registry: does not answer"
        raise StoreError(message)

    monkeypatch.setattr(project.registry_kept, "search", away)
    done = project.evaluate()
    assert done.report.failure == "registry: does not answer"
    assert done.document["frozen"] is None, "promote asks what the registry said when the report was frozen"
    said = "not frozen, which the next evaluation does: registry: does not answer"
    assert said in printing.evaluation(done, "page")
    monkeypatch.undo()
    project.train("basket/v1")
    again = project.evaluate()
    assert again.document["frozen"]
    assert again.report.beside == ("basket/v1 (weights 1)",)


def test_a_report_that_was_not_kept_beside_its_weights_is_so_next_time(
    project: EvaluatedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        message = "registry: does not answer"
        raise StoreError(message)

    project.train("basket/v1")
    monkeypatch.setattr(project.registry_kept, "add_reports", away)
    done = project.evaluate()
    assert done.document["frozen"]
    assert (done.report.beside, done.report.failure) == ((), "registry: does not answer")
    monkeypatch.undo()
    assert project.evaluate().report.beside == ("basket/v1 (weights 1)",)


def test_an_end_that_was_moved_forward_does_not_ship(project: EvaluatedProject) -> None:
    project.come_to(START - DAY)
    project.apply()
    project.come_to(START + DAY)
    project.change(EXPERIMENT, "plan.end", "2017-12-25")
    project.apply()
    project.come_to(START + 3 * WEEK)
    done = project.evaluate()
    assert done.document["frozen"]
    assert done.verdict["name"] == "UNDERPOWERED"
    assert "it ended 7 days before its plan" in done.verdict["reason"]
    with pytest.raises(DecisionError, match="only SHIP promotes") as refusal:
        promote_experiment(project.open(), "home_ranker")
    assert "it ended 7 days before its plan" in str(refusal.value).splitlines()[-1]


def test_a_shipped_report_promotes_the_weights_that_it_froze(project: EvaluatedProject) -> None:
    """From the log to the champion, with nothing planted: exposures name weights 1 of both logics."""
    project.come_to(START - DAY)
    project.apply()
    weights = project.train("basket/v2", gate="passed")
    project.registry_kept.set_alias(weights, "logic-v2")
    project.come_to(START + 4 * WEEK)
    done = project.evaluate()
    assert done.verdict["name"] == "SHIP", done.verdict
    logic = weights.tags["recsys.logic_digest"]
    missing = {"model_version": "basket/v1", "weights": 1, "logic_digest": None, "data_digest": None}
    frozen = {"model_version": "basket/v2", "weights": 1, "logic_digest": logic, "data_digest": None}
    assert done.document["registered"] == [missing, frozen]
    assert promote_experiment(project.open(), "home_ranker").changed
    assert not promote_experiment(project.open(), "home_ranker").changed


def test_the_page_says_which_arm_is_champion_by_an_override(project: EvaluatedProject) -> None:
    """The plan was never applied, so that nothing but an override promotes."""
    weights = project.train("basket/v2", gate="passed")
    project.registry_kept.set_alias(weights, "logic-v2")
    assert "Override" not in project.evaluate().report.page.read_text(encoding="utf-8")
    promote_experiment(project.open(), "home_ranker", "a law <changes> on Monday")
    again = project.evaluate()
    page = again.report.page.read_text(encoding="utf-8")
    assert "Override: basket/v2 is champion." in page
    assert "a law &lt;changes&gt; on Monday" in page
    assert "was refused: experiment home_ranker: " in page
    assert again.reused


def _event(kind: str, unit: str, item: str, at: Any) -> dict[str, Any]:
    return {
        "event_id": f"{kind}:{item}",
        "event_type": kind,
        "user_id": unit,
        "item_id": item,
        "quantity": 1.0,
        "value": 1.0,
        "event_timestamp": at,
        "created_timestamp": at,
    }


def purchase(unit: str, item: str, at: datetime) -> dict[str, Any]:
    """Return a row of `schema.EVENTS`."""
    return _event("purchase", unit, item, at)


def exposure_of(
    request: str, unit: str, arm: str | None, version: str, at: datetime, items: list[ShownItem]
) -> Exposure:
    """Return an answered request of the experiment, or of default traffic."""
    return Exposure(
        request_id=request,
        placement="home",
        user_id=unit,
        session_id=None,
        experiment="home_ranker" if arm else None,
        arm=arm,
        overridden=False,
        model_version=version,
        weights=1,
        fallback=None,
        event_timestamp=at,
        feature_digest="d",
        watermarks={},
        items=items,
    )
