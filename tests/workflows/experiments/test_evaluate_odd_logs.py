"""What does an evaluation say of a log, or a declaration, that is not as it should be? What the docs say."""

import copy
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from recsys import printing, schema
from recsys.errors import ExperimentError, SpecError
from recsys.ports import Exposure
from tests.fakes.event_log import FakeEventLog
from tests.specs.registry_files import EXPERIMENT
from tests.workflows.experiments.test_evaluate import DAY, WEEK, EvaluatedProject, exposure_of, purchase
from tests.workflows.small_project import START

END: Final = START + 4 * WEEK


@pytest.fixture
def project(tmp_path: Path) -> EvaluatedProject:
    made = EvaluatedProject(tmp_path)
    made.change(EXPERIMENT, "metrics.primary.name", "precision@3")
    made.change(EXPERIMENT, "plan.units", 40)
    made.live()
    made.come_to(END)
    return made


def figures(project: EvaluatedProject) -> dict[str, Any]:
    """Return the analysis of a look, which is never frozen, without what digests it."""
    analysis = dict(project.evaluate(until=END).document["analysis"])
    return {name: copy.deepcopy(value) for name, value in analysis.items() if name != "digest"}


def add(project: EvaluatedProject, *rows: dict[str, Any]) -> int:
    return project.log.write_outcomes(pa.Table.from_pylist(rows, schema.EVENTS))


def first_exposures(project: EvaluatedProject) -> list[Exposure]:
    """Return each unit's first list."""
    return [each for each in project.log._exposures.values() if each.event_timestamp == START]


def test_an_outcome_before_its_exposure_counts_nowhere(project: EvaluatedProject) -> None:
    """Also not in a later request: its item was in that list alone. At the moment itself is before."""
    before = figures(project)
    shown = first_exposures(project)
    for delay in (timedelta(0), DAY):
        early = (purchase(each.user_id, each.items[2].item_id, each.event_timestamp - delay) for each in shown)
        assert add(project, *(row | {"event_id": f"{row['event_id']} {delay}"} for row in early)) == len(shown)
    assert figures(project) == before
    add(project, purchase(shown[0].user_id, shown[0].items[2].item_id, START + timedelta(microseconds=1)))
    assert figures(project)["arms"] != before["arms"]


def test_what_is_sent_twice_counts_once(project: EvaluatedProject) -> None:
    """Exposures by their request id, outcomes by their event id; an item bought twice is one hit of its slot."""
    before = figures(project)
    shown = first_exposures(project)
    assert project.log.write_exposures([replace(each, arm="treatment") for each in shown]) == 0
    rows = project.log.outcomes("purchase", START, END).to_pylist()
    assert add(project, *rows) == 0
    again = [row | {"event_id": f"{row['event_id']} again"} for row in rows]
    assert add(project, *again) == len(rows)
    assert figures(project) == before


def test_an_event_of_a_clock_that_is_wrong_counts_by_its_own_time(project: EvaluatedProject) -> None:
    """Late by a minute it is after its exposure all the same; early by a minute it is before it, and counts nowhere."""
    (first, *_) = sorted(first_exposures(project), key=lambda each: each.request_id)
    free = first.items[2]
    assert f"purchase:{free.item_id}" not in project.log._outcomes

    def precision(at: datetime) -> float:
        project.log._outcomes.pop("purchase:skewed", None)
        add(project, purchase(first.user_id, free.item_id, at) | {"event_id": "purchase:skewed"})
        arms = {arm["arm"]: arm["means"]["precision@3"] for arm in figures(project)["arms"]}
        return float(arms[first.arm])

    minute = timedelta(minutes=1)
    assert precision(START + minute) > precision(START - minute)
    assert precision(START + 2 * minute) == precision(START + minute)


def test_an_exposure_of_the_future_is_not_there_yet(project: EvaluatedProject) -> None:
    """Of a worker whose clock is ahead: it counts once the environment's time has come to it."""
    project.come_to(START + WEEK + DAY)
    before = figures(project)
    ahead = [
        replace(each, request_id=f"{each.request_id} ahead", event_timestamp=START + WEEK + 2 * DAY)
        for each in first_exposures(project)
    ]
    project.log.write_exposures(ahead)
    assert figures(project)["arms"] == before["arms"]
    assert figures(project)["health"]["exposures"] == before["health"]["exposures"]


def test_outcomes_and_slots_of_unknown_requests_and_units_count_nowhere(project: EvaluatedProject) -> None:
    """An outcome names no request; a unit that was never exposed, or an item that was not shown, makes no hit."""
    before = figures(project)
    stranger, known = "nobody", first_exposures(project)[0]
    at = START + DAY
    add(project, purchase(stranger, known.items[0].item_id, at) | {"event_id": "stranger"})
    add(project, purchase(known.user_id, "never shown", at) | {"event_id": "not shown"})
    impressions = FakeEventLog.impressions

    def with_orphans(log: FakeEventLog, *window: Any) -> pa.Table:
        orphan = {"request_id": "unheard-of", "position": 1, "item_id": known.items[0].item_id, "score": 1.0}
        rows = [orphan | {"propensity": 0.5}]
        return pa.concat_tables([impressions(log, *window), pa.Table.from_pylist(rows, schema.IMPRESSIONS)])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FakeEventLog, "impressions", with_orphans)
        assert figures(project) == before


def test_an_arm_that_nobody_came_to_is_invalid_and_printed(project: EvaluatedProject) -> None:
    """Its figures are unknown, and the split says why."""
    kept = {name: each for name, each in project.log._exposures.items() if each.arm == "control"}
    project.log._exposures = kept
    done = project.evaluate()
    assert done.verdict["name"] == "INVALID"
    assert "The split is not the declared one: control" in done.verdict["reason"]
    arms = {arm["arm"]: arm for arm in done.document["analysis"]["arms"]}
    assert (arms["treatment"]["units"], arms["treatment"]["means"]["precision@3"]) == (0, None)
    assert "not defined" in printing.evaluation(done, "page")
    assert done.report.page.exists()


def test_an_arm_that_nobody_came_to_yet_waits(project: EvaluatedProject) -> None:
    """Of two units both in one arm, chance alone may be the reason."""
    control = [name for name, each in project.log._exposures.items() if each.arm == "control"]
    units = {project.log._exposures[name].user_id for name in control[:5]}
    project.log._exposures = {
        name: each for name, each in project.log._exposures.items() if each.user_id in sorted(units)[:2]
    }
    project.come_to(START + 2 * WEEK)
    done = project.evaluate()
    assert done.verdict["name"] == "WAIT"
    assert done.document["analysis"]["health"]["failures"] == []


def test_a_metric_without_data_has_no_interval_and_moves_nothing(project: EvaluatedProject) -> None:
    """Nobody ordered at all: every mean is 0, no effect is defined, and no verdict but UNDERPOWERED follows."""
    project.log._outcomes.clear()
    done = project.evaluate()
    for found in done.document["analysis"]["effects"]:
        assert found["effect"]["control"] == 0
        assert found["effect"]["absolute"]["lower"] is None
        assert found["effect"]["p_value"] is None
    assert done.verdict["name"] == "UNDERPOWERED"


@pytest.mark.parametrize(
    ("field", "words"),
    [("plan", "plan: "), ("plan.units", "plan.units: "), ("plan.start", "plan.start: "), ("metrics", "metrics: ")],
)
def test_an_experiment_without_a_plan_is_one_line(project: EvaluatedProject, field: str, words: str) -> None:
    *parents, last = field.split(".")
    declared: Any = project.files[EXPERIMENT]
    for name in parents:
        declared = declared[name]
    del declared[last]
    with pytest.raises(SpecError) as refused:
        project.evaluate()
    (problem,) = refused.value.problems
    assert "\n" not in problem
    assert f"experiments/home_ranker.yaml: {words}" in problem


@pytest.mark.parametrize("moment", [START - DAY, START])
def test_an_evaluation_before_anything_was_shown_is_one_line(project: EvaluatedProject, moment: datetime) -> None:
    project.log = FakeEventLog()
    project.come_to(moment)
    with pytest.raises(ExperimentError, match="no exposures of placement home since") as refused:
        project.evaluate()
    assert "\n" not in str(refused.value)


def test_before_the_first_window_has_closed_nothing_counts_and_all_is_told_as_open(project: EvaluatedProject) -> None:
    project.come_to(START + DAY)
    done = project.evaluate()
    analysis = done.document["analysis"]
    assert done.verdict["name"] == "WAIT"
    assert (analysis["exposed_units"], analysis["left_out_requests"]) == (60, 60)
    assert [arm["requests"] for arm in analysis["arms"]] == [0, 0]
    assert "60 requests left out, their outcome window is open" in printing.evaluation(done, "page")


def test_at_the_planned_end_requests_with_an_open_window_are_left_out_for_good(project: EvaluatedProject) -> None:
    """The decision is cut there: a later look does not wait for them."""
    late = [
        exposure_of(f"late {number}", each.user_id, each.arm, str(each.model_version), END - DAY, list(each.items))
        for number, each in enumerate(first_exposures(project))
    ]
    project.log.write_exposures(late)
    done = project.evaluate()
    assert done.document["analysis"]["left_out_requests"] == len(late)
    project.come_to(END + 9 * WEEK)
    assert project.evaluate().document == done.document
