"""Are declarations found by their paths, and is everything that is wrong with them said at once?"""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from pydantic import ValidationError

from recsys.errors import SpecError
from recsys.specs.catalog import load
from recsys.specs.monitor import Monitor
from tests.specs.registry_files import (
    ENVIRONMENT,
    EXPERIMENT,
    MODEL,
    PLACEMENT,
    PROBLEM,
    SECOND_MODEL,
    catalog,
    change,
    files,
    findings,
    remove,
    with_other_problem,
    write,
)

# ---------------------------------------------------------------- names


def test_a_name_is_the_path_of_its_file(tmp_path: Path) -> None:
    loaded = catalog(tmp_path, files())
    assert list(loaded.problems) == ["weekly_basket"]
    assert list(loaded.placements) == ["home"]
    assert list(loaded.models) == ["basket/v1", "basket/v2"]
    assert list(loaded.experiments) == ["home_ranker"]
    assert list(loaded.environments) == ["local"]


def test_folders_below_a_kind_belong_to_the_name(tmp_path: Path) -> None:
    declared = files()
    declared["environments/team/laptop.yaml"] = declared[ENVIRONMENT]
    assert list(catalog(tmp_path, declared).environments) == ["local", "team/laptop"]


def test_what_is_declared_is_got_by_name(tmp_path: Path) -> None:
    loaded = catalog(tmp_path, files())
    assert loaded.problem("weekly_basket").target.event == "purchase"
    assert loaded.model("basket/v2").feature_service == "basket_full"
    assert loaded.placement("home").k == 10
    assert loaded.experiment("home_ranker").control == "control"
    assert loaded.environment("local").data.source == "completejourney"


@pytest.mark.parametrize("kind", ["problem", "model", "placement", "experiment", "environment"])
def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path, kind: str) -> None:
    loaded = catalog(tmp_path, files())
    with pytest.raises(SpecError, match=r"'nobody' is not declared under registry/\w+/; declared: \w+"):
        getattr(loaded, kind)("nobody")


def test_an_empty_registry_is_an_empty_catalog(tmp_path: Path) -> None:
    loaded = load(tmp_path / "registry")
    assert not loaded.problems
    with pytest.raises(SpecError, match="declared: none"):
        loaded.problem("weekly_basket")


def test_declarations_are_frozen(tmp_path: Path) -> None:
    loaded = catalog(tmp_path, files())
    with pytest.raises(ValidationError, match="frozen"):
        loaded.placements["home"].k = 20  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        loaded.problems = {}  # type: ignore[misc]


# ---------------------------------------------------------------- one fault, one finding

OVERLAP = "[0.4, 1.0]: overlaps control's [0.0, 0.5] in [0.4, 0.5]; slots are disjoint"

FAULTS: Sequence[tuple[str, str, object, str, str]] = [
    # path, field that is set, its value, field that is shown, part of the rule
    (PROBLEM, "colour", "red", "colour", "not a field here; fields: business_issue, owners"),
    (MODEL, "gate.colour", "red", "gate.colour", "not a field here; fields: metric, against"),
    (PLACEMENT, "candidates.1.colour", "red", "candidates.1.popular.colour", ", order_by"),
    (PLACEMENT, "k", "ten", "k", "valid integer"),
    (PLACEMENT, "k", 0, "k", "greater than or equal to 1"),
    (PLACEMENT, "candidates", [], "candidates", "at least 1 item"),
    (
        PLACEMENT,
        "candidates.0.source",
        "magic",
        "candidates.0.source",
        "no such; there are: personal, popular, covisit, ease",
    ),
    (PLACEMENT, "candidates.1.order_by", ["a"], "candidates.1.popular.order_by", "valid string"),
    (PROBLEM, "owners", "growth", "owners", "valid dictionary"),
    (PROBLEM, "formulation", "guessing", "formulation", "'ranking', 'classification' or 'regression'"),
    (PROBLEM, "target.horizon", "a week", "target.horizon", "a duration is a whole number and a unit"),
    (PROBLEM, "target.horizon", 7, "target.horizon", "a duration is a whole number and a unit"),
    (PROBLEM, "channels", {"feed": {"k": 10, "capacity": 10}}, "channels.feed", "either k"),
    (PROBLEM, "channels", {"feed": {}}, "channels.feed", "either k"),
    (PROBLEM, "channels", {}, "channels", "at least 1 item"),
    (PROBLEM, "channels.sms", {"capacity": 100}, "(whole file)", "channel sms has a capacity"),
    (PROBLEM, "funnel", {"stages": ["click"]}, "funnel.stages", "at least 2 items"),
    (MODEL, "algorithm.type", "magic", "algorithm.type", "no such; there are: catboost, feature"),
    (SECOND_MODEL, "algorithm.depth", 13, "algorithm.catboost.depth", "less than or equal to 12"),
    (MODEL, "algorithm.depth", 6, "algorithm.feature.depth", "not a field here; fields: type, feature"),
    (SECOND_MODEL, "algorithm.learning_rate", float("nan"), "algorithm.catboost.learning_rate", "finite number"),
    (MODEL, "placement", "nowhere", "placement", "not declared under registry/placements/; declared: home"),
    (MODEL, "gate.against", "luck", "gate.against", "not one of this version's baselines; they are: popularity"),
    (PLACEMENT, "model", "nobody", "model", "no version of it under registry/models/nobody/"),
    (EXPERIMENT, "placement", "nowhere", "placement", "not declared under registry/placements/; declared: home"),
    (
        EXPERIMENT,
        "arms.treatment.model_version",
        "basket/v9",
        "arms.treatment.model_version",
        "not declared under registry/models/; declared: basket/v1, basket/v2",
    ),
    (EXPERIMENT, "arms.treatment.slot", [0.4, 1.0], "arms.treatment.slot", OVERLAP),
    (EXPERIMENT, "arms.treatment.slot", [0.5, 0.5], "arms.treatment.slot", "a slot is [from, to)"),
    (EXPERIMENT, "arms.treatment.slot", [0.5, 1.1], "arms.treatment.slot", "a slot is [from, to)"),
    (EXPERIMENT, "arms.treatment.slot", [0.50001, 1], "arms.treatment.slot", "0.50001 is finer than 1/10,000"),
    (EXPERIMENT, "arms.treatment.ratio", 0.12345, "arms.treatment", "0.12345 is finer than 1/10,000"),
    (EXPERIMENT, "arms.treatment.ratio", 0.6, "arms.treatment", "ratio 0.6 is larger than its slot, which is 0.5"),
    (EXPERIMENT, "arms.treatment.ratio", 0, "arms.treatment.ratio", "greater than 0"),
    (EXPERIMENT, "control", "nobody", "control", "'nobody': not an arm; the arms are control, treatment"),
    (EXPERIMENT, "overrides.household_1", "nobody", "overrides.household_1", "'nobody': not an arm"),
    (EXPERIMENT, "seed", "home_ranker", "seed", "has to end in a colon"),
    (EXPERIMENT, "plan.start", "some day", "plan.start", "a moment is a date"),
    (EXPERIMENT, "plan.alpha", 0.5, "plan.alpha", "less than 0.5"),
    (EXPERIMENT, "metrics.primary.minimum_effect", 0, "metrics.primary.minimum_effect", "greater than 0"),
    (ENVIRONMENT, "clock", {"replay_from": True}, "clock.ReplayClock.replay_from", "a moment is a date"),
]


@pytest.mark.parametrize(("path", "field", "value", "shown", "rule"), FAULTS)
def test_a_fault_is_told_with_its_path_field_and_rule(
    tmp_path: Path, path: str, field: str, value: object, shown: str, rule: str
) -> None:
    found = findings(tmp_path, change(files(), path, field, value))
    told = [finding for finding in found if finding.startswith(f"registry/{path}: {shown}:")]
    assert len(told) == 1, found
    assert rule in told[0]
    assert len(found) == 1 or "clock" in shown  # a union tells what each of its members would take


@pytest.mark.parametrize(
    ("path", "field"),
    [(PROBLEM, "target"), (MODEL, "gate"), (PLACEMENT, "pool"), (EXPERIMENT, "plan"), (ENVIRONMENT, "data")],
)
def test_a_missing_field_is_told(tmp_path: Path, path: str, field: str) -> None:
    assert findings(tmp_path, remove(files(), path, field)) == (f"registry/{path}: {field}: required, and not given",)


def test_a_misspelt_field_is_one_finding_that_says_what_was_meant(tmp_path: Path) -> None:
    declared = change(remove(files(), EXPERIMENT, "placement"), EXPERIMENT, "placment", "home")
    (told,) = findings(tmp_path, declared)
    assert told.startswith(
        f"registry/{EXPERIMENT}: placment: not a field here: did you mean placement?; fields: hypothesis, owners,"
    )


def test_a_misspelt_field_of_an_arm_and_of_an_algorithm_is_known_too(tmp_path: Path) -> None:
    declared = change(files(), EXPERIMENT, "arms.treatment.slots", [0.5, 1.0])
    declared = change(declared, SECOND_MODEL, "algorithm.dept", 6)
    del declared[EXPERIMENT]["arms"]["treatment"]["slot"]
    assert [told.partition("; fields")[0] for told in findings(tmp_path, declared)] == [
        f"registry/{SECOND_MODEL}: algorithm.catboost.dept: not a field here: did you mean depth?",
        f"registry/{EXPERIMENT}: arms.treatment.slots: not a field here: did you mean slot?",
    ]


def test_an_unknown_kind_says_what_was_meant(tmp_path: Path) -> None:
    (told,) = findings(tmp_path, change(files(), SECOND_MODEL, "algorithm.type", "catbost"))
    assert told == (
        f"registry/{SECOND_MODEL}: algorithm.type: 'catbost': there is no such: did you mean catboost?;"
        " there are: catboost, feature"
    )
    (told,) = findings(tmp_path, change(files(), SECOND_MODEL, "algorithm", {"iterations": 5}))
    assert told == f"registry/{SECOND_MODEL}: algorithm.type: required, and not given: it says which kind it is"


@pytest.mark.parametrize("path", [PLACEMENT, MODEL])
def test_a_problem_that_is_not_there_is_told_by_who_names_it_alone(tmp_path: Path, path: str) -> None:
    (told,) = findings(tmp_path, change(files(), path, "problem", "weekly_baskt"))
    assert told.startswith(f"registry/{path}: problem: weekly_baskt: not declared under registry/problems/")


def test_a_rule_of_a_whole_file_does_not_quote_it(tmp_path: Path) -> None:
    (told,) = findings(tmp_path, change(files(), PROBLEM, "channels.sms", {"capacity": 100}))
    assert told.startswith(f"registry/{PROBLEM}: (whole file): channel sms has a capacity")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("k: [1\nproblem: x", " line 2 not YAML"),
        ("k: 1\n\tproblem: x", " line 2 not YAML"),
        ("", " an empty file: a declaration is a mapping"),
        ("# nothing yet\n", " an empty file: a declaration is a mapping"),
        ("- k\n- problem\n", " a list: a declaration is a mapping"),
        ("home", " a str: a declaration is a mapping"),
        (b"k: \xff\xfe", " not YAML"),
    ],
)
def test_a_file_that_declares_nothing_is_told_once(tmp_path: Path, content: str | bytes, rule: str) -> None:
    (told,) = findings(tmp_path, files() | {PLACEMENT: content})
    assert told.startswith(f"registry/{PLACEMENT}:{rule}")


def test_a_date_that_does_not_exist_is_a_finding(tmp_path: Path) -> None:
    declared = files() | {ENVIRONMENT: "data: {source: completejourney}\nclock: {replay_from: 2017-13-45}\n"}
    (told,) = findings(tmp_path, declared)
    assert told.startswith(f"registry/{ENVIRONMENT}:")
    assert "month" in told


# ---------------------------------------------------------------- references between problems


def test_an_arm_answers_the_placements_problem(tmp_path: Path) -> None:
    declared = with_other_problem()
    declared["placements/side.yaml"] = {**declared[PLACEMENT], "problem": "other", "model": "other"}
    declared["models/other/v1.yaml"]["placement"] = "side"
    catalog(tmp_path / "fits", declared)
    (told,) = findings(tmp_path, change(declared, EXPERIMENT, "arms.treatment.model_version", "other/v1"))
    assert told == (
        f"registry/{EXPERIMENT}: arms.treatment.model_version: answers problem other, but placement home serves"
        " weekly_basket: both must name one problem"
    )


def test_a_model_answers_its_placements_problem(tmp_path: Path) -> None:
    (told,) = findings(tmp_path, with_other_problem())
    assert told.startswith("registry/models/other/v1.yaml: placement: answers problem other")


def test_a_dangling_problem_is_told_where_it_stands(tmp_path: Path) -> None:
    (told,) = findings(tmp_path, change(files(), MODEL, "problem", "nobody"))
    rule = "not declared under registry/problems/; declared: weekly_basket"
    assert told == f"registry/{MODEL}: problem: nobody: {rule}"


def test_a_broken_file_is_told_once_and_not_by_those_that_name_it(tmp_path: Path) -> None:
    (told,) = findings(tmp_path, change(files(), PROBLEM, "colour", "red"))
    assert told.startswith(f"registry/{PROBLEM}: colour: not a field here")


# ---------------------------------------------------------------- files in the wrong place


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "home.yaml",
            (
                "folder: declarations live in problems, models, placements, audiences, metrics, layers, experiments,"
                " monitors, environments"
            ),
        ),
        ("placement/home.yaml", "folder: declarations live in"),
        ("placements/side.yml", "suffix: .yml is not read; name it .yaml"),
        ("models/v1.yaml", "folder: a model version is models/<model>/<version>.yaml"),
        ("models/basket/old/v1.yaml", "folder: a model version is models/<model>/<version>.yaml"),
    ],
)
def test_a_misplaced_file_is_told(tmp_path: Path, path: str, told: str) -> None:
    declared = files()
    declared[path] = declared[MODEL if path.startswith("models/") else PLACEMENT]
    found = findings(tmp_path, declared)
    assert [finding for finding in found if finding.startswith(f"registry/{path}: {told}")] == list(found)


def test_files_of_other_kinds_are_left_alone(tmp_path: Path) -> None:
    registry = write(tmp_path, files())
    (registry / "README.md").write_text("what is declared here")
    (registry / "models" / ".gitkeep").write_text("")
    assert load(registry).placements


# ---------------------------------------------------------------- all at once


def test_every_fault_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    declared = files() | {"problems/draft.yaml": "", "placements/old.yml": "k: 1"}
    change(declared, PROBLEM, "colour", "red")
    change(declared, PROBLEM, "target.horizon", "soon")
    change(declared, MODEL, "placement", "nowhere")
    change(declared, MODEL, "gate.against", "luck")
    change(declared, PLACEMENT, "model", "nobody")
    change(declared, EXPERIMENT, "arms.control.model_version", "basket/v7")
    change(declared, EXPERIMENT, "placement", "nowhere")
    change(declared, ENVIRONMENT, "limits", {"threads": 0})
    found = findings(tmp_path, declared)
    heads = sorted(":".join(finding.split(":")[:2]) for finding in found)
    assert heads == [
        f"registry/{ENVIRONMENT}: limits.threads",
        f"registry/{EXPERIMENT}: arms.control.model_version",
        f"registry/{EXPERIMENT}: placement",
        f"registry/{MODEL}: gate.against",
        f"registry/{MODEL}: placement",
        f"registry/{PLACEMENT}: model",
        "registry/placements/old.yml: suffix",
        "registry/problems/draft.yaml: an empty file",
        f"registry/{PROBLEM}: colour",
        f"registry/{PROBLEM}: target.horizon",
    ]


def test_the_message_is_a_line_a_finding(tmp_path: Path) -> None:
    declared = change(change(files(), PROBLEM, "colour", "red"), PLACEMENT, "k", 0)
    with pytest.raises(SpecError) as caught:
        load(write(tmp_path, declared))
    assert str(caught.value).splitlines() == list(caught.value.problems)
    assert len(caught.value.problems) == 2


def test_a_long_value_is_shown_short(tmp_path: Path) -> None:
    (told,) = findings(tmp_path, change(files(), PLACEMENT, "k", "x" * 500))
    assert "'xxx" in told
    assert len(told) < 200


def test_the_shipped_registry_holds_together() -> None:
    shipped = load(Path(__file__).parents[2] / "registry")
    assert {"basket/v1", "basket/v2"} <= set(shipped.models)


def test_a_monitor_is_of_a_model(tmp_path: Path) -> None:
    declared = files()
    declared["monitors/basket.yaml"] = {"weeks": 2, "drift": {"maximum_psi": 0.1}}
    catalog = load(write(tmp_path, declared))
    assert catalog.monitor("basket").weeks == 2
    assert catalog.monitor("other") == Monitor()
    declared["monitors/baskets.yaml"] = {}
    (finding,) = findings(tmp_path, declared)
    assert finding == "registry/monitors/baskets.yaml: name: a monitor has its model's name; models: basket"
