"""Is a plan judged by the default model's past, with the figures that an analysis would take of it?"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys import printing, schema
from recsys.errors import ExperimentError
from recsys.evaluation.arrivals import Arrivals
from recsys.experiment.routing import Router
from recsys.ports import Exposure, ShownItem
from recsys.statistics.effects import moments
from recsys.statistics.power import minimum_detectable_effect, units_for_effect
from recsys.workflows.experiments.power import power
from tests.fakes.event_log import FakeEventLog
from tests.specs.registry_files import EXPERIMENT, PROBLEM
from tests.workflows.small_project import BEFORE, START, SmallProject

DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
UNITS = 120
WEEKS = 8


class LoggedProject(SmallProject):
    """A project with an event log in memory: eight Mondays before the start, some units only from their middle on."""

    log = FakeEventLog()

    def event_log(self) -> FakeEventLog:
        """Return the one log."""
        return self.log

    def live(self) -> np.ndarray:
        """Log the default model's lists; returns hits over slots, [units, weeks], NaN where a unit did not come."""
        rng = np.random.default_rng(3)
        habit = rng.beta(2, 4, UNITS)
        hits = np.full((UNITS, WEEKS), np.nan)
        for unit in range(UNITS):
            for week in range(0 if unit % 3 else 5, WEEKS):
                taken = rng.random(3) < habit[unit]
                hits[unit, week] = taken.sum() / 3
                self.show(f"unit_{unit}", START + (week - WEEKS) * WEEK, taken, experiment=None, arm=None)
        return hits

    def show(self, unit: str, at: Any, taken: np.ndarray, *, experiment: str | None, arm: str | None) -> None:
        """Log one list, and what was bought of it."""
        request = f"{unit}:{at:%m-%d}"
        items = tuple(ShownItem(f"{request}:{slot}", slot, 1.0 - slot) for slot in (1, 2, 3))
        self.log.write_exposures(
            [
                Exposure(
                    request_id=request,
                    placement="home",
                    user_id=unit,
                    session_id=None,
                    experiment=experiment,
                    arm=arm,
                    overridden=False,
                    model_version="basket/v1",
                    weights=1,
                    fallback=None,
                    event_timestamp=at,
                    feature_digest="",
                    watermarks={},
                    items=items,
                )
            ]
        )
        rows = []
        for item, bought in zip(items, taken, strict=True):
            kinds = ("click", "purchase") if bought else ("click",) if item.position == 1 else ()
            rows += [_event(kind, unit, item.item_id, at + DAY) for kind in kinds]
        self.log.write_outcomes(pa.Table.from_pylist(rows, schema.EVENTS))


def _event(kind: str, unit: str, item: str, at: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(schema.EVENTS.names)
    return row | {
        "event_id": f"{kind}:{unit}:{item}",
        "event_type": kind,
        "user_id": unit,
        "item_id": item,
        "quantity": 1.0,
        "event_timestamp": at,
        "created_timestamp": at,
    }


@pytest.fixture
def project(tmp_path: Path) -> LoggedProject:
    made = LoggedProject(tmp_path)
    made.log = FakeEventLog()
    made.change(EXPERIMENT, "metrics.primary.name", "precision@3")
    made.change(EXPERIMENT, "metrics.guardrails", [{"name": "mrr@3", "margin": 0.2}])
    made.change(EXPERIMENT, "plan.units", 100)
    return made


def test_needs_are_those_of_the_past_as_it_would_be_analysed(project: LoggedProject) -> None:
    hits = project.live()
    found = power(project.open(), "home_ranker")
    assert found.past == (BEFORE - 4 * WEEK, BEFORE)
    assert found.covariate_weeks == 4
    # Lists count whose week is over: three Mondays before the clock's Friday, and three of the pre-period.
    counted, before = hits[:, 4:7], hits[:, :3]
    came = ~np.isnan(counted)
    rows = came.any(axis=1)
    sample = moments(
        np.nansum(counted, axis=1)[rows],
        came.sum(axis=1)[rows],
        np.nansum(before, axis=1)[rows],
        (~np.isnan(before)).sum(axis=1)[rows],
    )
    primary, guardrail = found.needs
    assert (primary.metric, primary.role, primary.cuped) == ("precision@3", "primary", True)
    assert primary.mean == pytest.approx(np.nansum(counted) / came.sum())
    assert primary.units == units_for_effect(sample, 0.08)
    assert primary.detectable == pytest.approx(minimum_detectable_effect(sample, 100))
    assert (guardrail.metric, guardrail.role, guardrail.effect) == ("mrr@3", "guardrail", 0.2)
    assert (found.needed_units, found.units_for_guardrails) == (primary.units, guardrail.units)
    assert found.document()["enough"] is False
    said = printing.power(found)
    assert f"the plan has 100 units, but this needs {primary.units:,}; to prove every guardrail too takes" in said
    assert found.running is None


def test_days_are_until_the_units_came_and_their_windows_closed(project: LoggedProject) -> None:
    project.live()
    project.change(EXPERIMENT, "arms.control", {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.25})
    project.change(EXPERIMENT, "arms.treatment", {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.25})
    found = power(project.open(), "home_ranker")
    # Two of three units come on the first Monday of the past, its fourth day, all others a week later.
    assert found.coming.cumulative == (0, 0, 0, *[80] * 7, *[120] * 18)
    assert found.coming.share == 0.5
    assert [found.coming.days_for(units) for units in (1, 40, 41, 60, 61)] == [4, 4, 11, 11, None]
    assert [found.coming.after(days) for days in (0, 3, 4, 11, 28, 100)] == [0, 0, 40, 60, 60, 60]
    assert [need.days for need in found.needs] == [None, None]
    assert "never" in printing.power(found)
    project.change(EXPERIMENT, "metrics.primary.minimum_effect", 2.0)
    needed = power(project.open(), "home_ranker").needs[0]
    assert needed.units is not None
    assert needed.units <= 60
    assert needed.days in {4 + 7, 11 + 7}


def test_beyond_the_past_units_come_at_its_last_weeks_rate() -> None:
    coming = Arrivals(tuple(range(10, 150, 10)), 0.5)
    assert coming.days_for(70) == 14
    assert coming.days_for(100) == 20
    assert (coming.after(14), coming.after(20)) == (70, 100)


def test_a_short_past_is_halved(project: LoggedProject) -> None:
    project.live()
    project.come_to(START - 5 * WEEK)
    found = power(project.open(), "home_ranker")
    assert (found.past, found.covariate_weeks) == ((START - 6 * WEEK, START - 5 * WEEK), 2)
    project.change(EXPERIMENT, "metrics.covariate_weeks", 0)
    found = power(project.open(), "home_ranker")
    assert (found.past, found.covariate_weeks) == ((START - 8 * WEEK, START - 5 * WEEK), 0)
    assert not found.needs[0].cuped


@pytest.mark.parametrize("moment", [START - 9 * WEEK, START - 8 * WEEK + DAY])
def test_without_a_past_it_says_so(project: LoggedProject, moment: datetime) -> None:
    project.live()
    project.come_to(moment)
    with pytest.raises(ExperimentError, match=r"home by its default model basket is logged whose outcomes are known"):
        power(project.open(), "home_ranker")


def test_each_stage_of_the_funnel_needs_its_own_units(project: LoggedProject) -> None:
    project.live()
    project.change(PROBLEM, "funnel", {"stages": ["click", "cart", "purchase"]})
    found = power(project.open(), "home_ranker")
    stages = {need.metric: need for need in found.needs if need.role == "stage"}
    assert list(stages) == ["click rate", "cart rate", "purchase rate"]
    click, cart, purchase = stages.values()
    assert (cart.mean, cart.units, cart.detectable) == (0.0, None, None)  # nobody sends it yet
    assert click.units is None  # every list is clicked: there is nothing that could differ
    assert purchase.units is not None
    assert purchase.effect == 0.08
    assert found.needed_units == found.needs[0].units
    assert "unknown" in printing.power(found)


def test_a_running_experiment_sees_what_its_units_show(project: LoggedProject) -> None:
    project.live()
    router = Router("home_ranker", project.open().catalog.experiment("home_ranker"))
    taken = {}
    for unit in range(UNITS):
        found = router.route(f"unit_{unit}")
        assert found is not None
        taken[unit] = np.array([unit % 2, unit % 3 == 0, 0], dtype=bool)
        project.show(f"unit_{unit}", START, taken[unit], experiment="home_ranker", arm=found.arm)
    project.come_to(START + WEEK)
    found_now = power(project.open(), "home_ranker")
    assert found_now.past == (START - 4 * WEEK, START)
    assert found_now.exposed_units == UNITS
    assert found_now.running is not None
    effect = found_now.running["precision@3"]
    assert effect is not None
    assert 0.1 < effect < 1.0
    assert f"now: {UNITS} units are exposed, and show effects from: precision@3 {effect:.1%}" in printing.power(
        found_now
    )
    document = found_now.document()
    assert document["running"] == {"units": UNITS, "detectable_effects": found_now.running}
    assert json.loads(json.dumps(document)) == document
    project.come_to(START + DAY)
    early = power(project.open(), "home_ranker")
    assert early.running == {"precision@3": None, "mrr@3": None}


def test_several_arms_share_the_error_and_the_units(project: LoggedProject) -> None:
    project.live()
    two = power(project.open(), "home_ranker").needs[0].units
    project.change(EXPERIMENT, "arms.control", {"model_version": "basket/v1", "slot": [0.0, 0.3], "ratio": 0.3})
    project.change(EXPERIMENT, "arms.treatment", {"model_version": "basket/v2", "slot": [0.3, 0.6], "ratio": 0.3})
    project.change(EXPERIMENT, "arms.other", {"model_version": "basket/v2", "slot": [0.6, 0.9], "ratio": 0.3})
    three = power(project.open(), "home_ranker").needs[0].units
    assert two is not None
    assert three is not None
    assert three > 1.5 * two
