"""Does a plan hold a layer still under running experiments, and does the ledger tell stages and epochs?"""

from datetime import timedelta
from pathlib import Path

import pytest

from recsys.adapters.sql_event_log import SqlLedger
from recsys.errors import SpecError
from recsys.experiment.bucketing import bucket
from recsys.experiment.epochs import Epoch
from recsys.planning.lifecycle import Stage, applied_experiments, epochs_of, history, planned_end, stage
from tests.specs.registry_files import EXPERIMENT
from tests.workflows.small_project import BEFORE, HOUSEHOLDS, START, SmallProject

LAYER = "layers/page.yaml"
ALL = [f"h{number}" for number in range(HOUSEHOLDS)]
END = START + timedelta(weeks=4)


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    """A project whose experiment has a part of a layer, and small arms."""
    project = SmallProject(tmp_path)
    project.shop()
    project.files[LAYER] = {"seed": "page:", "holdout": [0.0, 0.2]}
    project.change(EXPERIMENT, "layer", {"name": "page", "range": [0.2, 0.8]})
    for arm in ("control", "treatment"):
        project.change(EXPERIMENT, f"arms.{arm}.ratio", 0.25)
    return project


def notes(project: SmallProject) -> tuple[str, ...]:
    return next(one.notes for one in project.plan().steps if one.subject == "experiments/home_ranker")


def refused(project: SmallProject) -> str:
    """Return the one finding that refuses an apply."""
    with pytest.raises(SpecError) as caught:
        project.apply()
    (finding,) = caught.value.problems
    assert project.plan().refused == (finding,)
    return finding


def arm(unit: str, first: int = 2_000, last: int = 8_000, seed: str = "page:") -> str | None:
    """Return a unit's arm, by the scalar hash."""
    if not first <= bucket(seed, unit) < last:
        return None
    at = bucket("home_ranker:", unit)
    return "control" if at < 2_500 else "treatment" if 5_000 <= at < 7_500 else None


def test_before_the_start_a_plan_counts_arms_and_the_holdout(project: SmallProject) -> None:
    arms = [arm(unit) for unit in ALL]
    held = sum(bucket("page:", unit) < 2_000 for unit in ALL)
    assert notes(project) == (
        (
            f"of {HOUSEHOLDS} known units: {arms.count('control')} control, {arms.count('treatment')} treatment,"
            f" {arms.count(None)} the default model, {held} of them in the layer's holdout"
        ),
        "draft: from 2017-12-04 00:00 to 2018-01-01 00:00",
    )


@pytest.mark.parametrize(
    ("field", "value"), [("seed", "other:"), ("holdout", [0.0, 0.1]), ("holdout", None), ("holdout", [0.8, 1.0])]
)
def test_a_layer_does_not_change_under_a_running_experiment(project: SmallProject, field: str, value: object) -> None:
    project.apply()
    project.come_to(START)
    project.change(LAYER, field, value)
    finding = refused(project)
    assert finding.startswith(f"layers/page: {field}")
    assert "experiment home_ranker stands on it and runs until 2018-01-01 00:00" in finding
    seed = "other:" if field == "seed" else "page:"
    low, high = (0, 2_000) if field == "seed" else tuple(round(10_000 * end) for end in value or (0, 0))  # type: ignore[attr-defined]
    was_held = {unit for unit in ALL if bucket("page:", unit) < 2_000}
    is_held = {unit for unit in ALL if low <= bucket(seed, unit) < high}
    lost = {unit for unit in ALL if arm(unit) is not None and arm(unit, seed=seed) != arm(unit)}
    assert finding.endswith(f"(the edit would move {len(lost | (was_held ^ is_held))} of {HOUSEHOLDS} known units)")


def test_a_layer_may_change_before_and_after(project: SmallProject) -> None:
    project.apply()
    project.change(LAYER, "holdout", [0.0, 0.1])
    assert project.apply().transaction
    project.come_to(END)
    project.change(LAYER, "seed", "next:")
    assert project.apply().transaction


@pytest.mark.parametrize(
    ("value", "low", "high"), [({"name": "page", "range": [0.2, 0.9]}, 2_000, 9_000), (None, 0, 10_000)]
)
def test_another_part_of_a_layer_is_refused(project: SmallProject, value: object, low: int, high: int) -> None:
    project.apply()
    project.come_to(START)
    project.change(EXPERIMENT, "layer", value)
    finding = refused(project)
    assert "layer: [0.2, 0.8) of page -> " in finding
    assert "another part of a layer is other units" in finding
    lost = sum(arm(unit) is not None and arm(unit, low, high) != arm(unit) for unit in ALL)
    assert finding.endswith(f"(the edit would move {lost} of {HOUSEHOLDS} known units)")


def test_the_removal_of_a_running_experiment_counts_those_who_would_lose_their_arm(project: SmallProject) -> None:
    project.apply()
    project.come_to(START)
    del project.files[EXPERIMENT]
    finding = refused(project)
    assert "on 30 % of the traffic" in finding
    in_arms = sum(arm(unit) is not None for unit in ALL)
    assert finding.endswith(f"(the edit would move {in_arms} of {HOUSEHOLDS} known units)")


def test_another_experiment_takes_the_rest_of_a_layer_while_one_runs(project: SmallProject) -> None:
    project.apply()
    project.come_to(START + timedelta(days=1))
    second = project.files[EXPERIMENT] | {"seed": "second:", "layer": {"name": "page", "range": [0.8, 1.0]}}
    project.files["experiments/second.yaml"] = second | {"plan": {**second["plan"], "start": "2017-12-11"}}
    assert project.apply().transaction


def test_a_ramp_says_which_epoch_it_opens(project: SmallProject) -> None:
    project.apply()
    project.come_to(START + timedelta(days=1))
    project.change(EXPERIMENT, "arms.treatment.ratio", 0.3)
    assert notes(project)[-1] == "opens allocation epoch 2: treatment 25 -> 30 %"
    project.apply()
    project.change(EXPERIMENT, "overrides", {"h1": "control"})
    assert not any("epoch" in note for note in notes(project))


def test_an_earlier_end_is_still_to_come(project: SmallProject) -> None:
    project.apply()
    project.come_to(START + timedelta(days=9))
    project.change(EXPERIMENT, "plan.weeks", 1)
    finding = refused(project)
    assert "plan: 2018-01-01T00:00:00+00:00 -> 2017-12-11T00:00:00+00:00" in finding
    assert "an earlier end is still to come" in finding
    project.change(EXPERIMENT, "plan.weeks", 4)
    project.change(EXPERIMENT, "plan.end", "2017-12-13T12:00:00Z")
    assert project.apply().transaction
    project.change(EXPERIMENT, "plan.end", "2017-12-14")
    assert "may end earlier, not later" in refused(project)


def test_the_ledger_keeps_epochs_and_who_changed_what(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_AUTHOR", "ada")
    ramp, stop = START + timedelta(days=2), START + timedelta(days=5)
    project.change(EXPERIMENT, "plan.weeks", 9)
    project.apply()
    project.change(EXPERIMENT, "plan.weeks", 4)
    project.apply()
    project.come_to(ramp)
    project.change(EXPERIMENT, "arms.control.ratio", 0.5)
    project.apply()
    project.come_to(START + timedelta(days=4))
    project.change(EXPERIMENT, "plan.end", stop.isoformat())
    project.apply()
    entries = project.ledger_kept.entries()
    first, second = {"control": 2_500, "treatment": 2_500}, {"control": 5_000, "treatment": 2_500}
    assert epochs_of(entries, "home_ranker") == (Epoch(START, ramp, first), Epoch(ramp, stop, second))
    found = history(entries, "home_ranker")
    assert [(event.at, event.what, event.fields) for event in found] == [
        (BEFORE, "added", ()),
        (BEFORE, "changed", ("plan.weeks",)),
        (ramp, "changed", ("arms.control.ratio",)),
        (START + timedelta(days=4), "changed", ("plan.end",)),
    ]
    assert {(event.author, event.git_commit) for event in found} == {("ada", "unknown")}
    assert [at for at, _ in applied_experiments(entries, "home_ranker")] == [event.at for event in found]

    assert planned_end(entries, "home_ranker") == END
    kept = SqlLedger(f"sqlite:///{project.root}/ledger.db")
    for entry in entries:
        values = {**vars(entry), "at": entry.event_timestamp}
        kept.append(**{key: value for key, value in values.items() if key not in {"sequence", "event_timestamp"}})
    assert epochs_of(kept.entries(), "home_ranker") == epochs_of(entries, "home_ranker")
    assert history(kept.entries(), "home_ranker") == found
    kept.close()
    assert planned_end((), "home_ranker") is None

    project.come_to(END)
    del project.files[EXPERIMENT]
    project.apply()
    assert epochs_of(project.ledger_kept.entries(), "home_ranker") == epochs_of(entries, "home_ranker")


def test_what_was_removed_before_its_start_begins_anew(project: SmallProject) -> None:
    project.apply()
    kept = project.files.pop(EXPERIMENT)
    project.apply()
    project.files[EXPERIMENT] = kept | {"seed": "again:"}
    project.apply()
    ((_, experiment),) = applied_experiments(project.ledger_kept.entries(), "home_ranker")
    assert experiment.seed == "again:"


def test_an_experiment_that_was_never_applied_has_the_epoch_of_its_window(project: SmallProject) -> None:
    experiment = project.open().catalog.experiment("home_ranker")
    ratios = {"control": 2_500, "treatment": 2_500}
    assert epochs_of((), "home_ranker", experiment) == (Epoch(START, END, ratios),)
    assert epochs_of((), "home_ranker") == ()


def test_a_stage_follows_the_clock_and_the_report(project: SmallProject) -> None:
    experiment = project.open().catalog.experiment("home_ranker")
    tick = timedelta(microseconds=1)
    moments = (START - tick, START, END - tick, END)
    assert [stage(experiment, at) for at in moments] == [Stage.DRAFT, Stage.RUNNING, Stage.RUNNING, Stage.STOPPED]
    assert stage(experiment, END, decided=True) is Stage.DECIDED
