"""Does an evaluation read what its metrics count, and is its evidence that of the metrics as they are declared?"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys import schema
from recsys.errors import ExperimentError
from recsys.experiment.routing import Router
from recsys.ports import Exposure, ShownItem
from recsys.workflows.evaluate import Evaluated, evaluate
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

    def live(self, units: int = 60) -> None:
        """Log what every unit was shown, and what it did."""
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
                self.log.write_exposures([_exposure(request, unit, found.arm, found.model_version, at, items)])
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
    made.files["metrics/ctr.yaml"] = dict(CTR)
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


def _exposure(request: str, unit: str, arm: str, version: str, at: Any, items: list[ShownItem]) -> Exposure:
    return Exposure(
        request_id=request,
        placement="home",
        user_id=unit,
        session_id=None,
        experiment="home_ranker",
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
