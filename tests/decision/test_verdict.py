"""Every verdict on a hand-made analysis, and the order in which they are tried."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recsys.decision.verdict import Verdict, VerdictName, decide
from recsys.errors import DecisionError
from recsys.evaluation.analysis import Analysis, ArmEffect, Role, State
from recsys.evaluation.health import Health
from recsys.specs.experiment import Experiment
from recsys.statistics.bootstrap import Interval
from recsys.statistics.effects import Effect

START = datetime(2017, 12, 4, tzinfo=UTC)
END = START + timedelta(weeks=4)
Bounds = tuple[float, float]
GOOD: Bounds = (0.05, 0.15)
FLAT: Bounds = (-0.03, 0.03)
WIDE: Bounds = (-0.03, 0.12)
BAD: Bounds = (-0.15, -0.08)


def declare(arms: tuple[str, ...] = ("control", "treatment"), **metrics: object) -> Experiment:
    """Return an experiment with a minimum effect of 8 % and a guardrail margin of 5 %."""
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": "home:",
            "arms": {
                arm: {"model_version": f"basket/v{i + 1}", "slot": [i / 4, (i + 1) / 4], "ratio": 0.25}
                for i, arm in enumerate(arms)
            },
            "metrics": {
                "primary": {"name": "precision@10", "minimum_effect": 0.08},
                "guardrails": [{"name": "mrr@10", "margin": 0.05}],
                "secondary": ["hit_rate@10"],
            }
            | metrics,
            "plan": {"units": 100, "start": "2017-12-04", "weeks": 4},
        }
    )


def arm_effect(
    role: Role, metric: str, bounds: Bounds, always: Bounds | None = None, arm: str = "treatment"
) -> ArmEffect:
    """Return an effect with these bounds, on both scales alike."""
    fixed, valid = (Interval((low + high) / 2, low, high) for low, high in (bounds, always or (-1.0, 1.0)))
    found = Effect(metric, 0.2, 0.2, fixed, fixed, 0.5, False, 50, 50, 0.01, 0.01)
    return ArmEffect(arm, role, found, valid, valid)


def analysis(
    primary: Bounds = GOOD,
    guardrail: Bounds = FLAT,
    secondary: Bounds = FLAT,
    *,
    state: State = "cut",
    failures: tuple[str, ...] = (),
    exposed: int = 120,
    always: Bounds | None = None,
    guardrail_always: Bounds | None = None,
) -> Analysis:
    """Return evidence about one treatment."""
    return Analysis(
        experiment="home_ranker",
        hypothesis="better",
        state=state,
        until=END.isoformat(),
        cut=END.isoformat(),
        horizon_seconds=604_800.0,
        planned_units=100,
        exposed_units=exposed,
        left_out_units=0,
        left_out_requests=0,
        confidence=0.95,
        arms=(),
        effects=(
            arm_effect("primary", "precision@10", primary, always),
            arm_effect("guardrail", "mrr@10", guardrail, guardrail_always),
            arm_effect("secondary", "hit_rate@10", secondary),
        ),
        daily=(),
        weekly=(),
        health=Health({}, {}, 1.0, 0, 0.0, 0, {}, {}, failures),
    )


def verdict(evidence: Analysis, experiment: Experiment | None = None, *, offline: bool | None = None) -> Verdict:
    """Decide at the planned end, or before it while the experiment runs."""
    now = START + timedelta(days=10) if evidence.state == "running" else END
    return decide(evidence, experiment or declare(), now, offline=offline)


@pytest.mark.parametrize(
    ("evidence", "options", "name", "words"),
    [
        (analysis(failures=("The split is off.",)), {}, "INVALID", "The split is off."),
        (analysis(BAD, failures=("The split is off.",)), {}, "INVALID", "The split is off."),
        (
            analysis(BAD),
            {},
            "STOP",
            "primary precision@10 of treatment is harmed: it moved by -11.50% [-15.00%, -8.00%]",
        ),
        (analysis(GOOD, BAD), {}, "STOP", "guardrail mrr@10 of treatment is harmed"),
        (
            analysis(GOOD, FLAT),
            {},
            "SHIP",
            "+10.00% [+5.00%, +15.00%], and every guardrail is within its margin: mrr@10",
        ),
        (analysis(GOOD, (-0.04, -0.01)), {}, "SHIP", "mrr@10 moved by -2.50%"),
        (
            analysis(GOOD, (-0.06, 0.02)),
            {},
            "REVIEW",
            "mrr@10 moved by -2.00% [-6.00%, +2.00%] with a margin of +5.00%",
        ),
        (analysis(GOOD, (math.nan, math.nan)), {}, "REVIEW", "mrr@10 moved by unknown"),
        (analysis(FLAT, FLAT, GOOD), {}, "ITERATE", "hit_rate@10 moved by +10.00%"),
        (analysis(FLAT), {"offline": True}, "ITERATE", "The offline metric improved, but precision@10"),
        (analysis(FLAT), {"offline": False}, "STOP", "excludes the smallest effect worth shipping, +8.00%"),
        (
            analysis(WIDE),
            {},
            "UNDERPOWERED",
            "it holds both 0 and the smallest effect worth shipping, +8.00%",
        ),
        (analysis(FLAT, exposed=60, state="ended"), {}, "UNDERPOWERED", "only 60 of 100 planned units"),
        (analysis((math.nan, math.nan)), {}, "UNDERPOWERED", "too little for an interval"),
        (analysis(FLAT), {}, "STOP", "+0.00% [-3.00%, +3.00%], which excludes"),
        (
            analysis(GOOD, state="running"),
            {},
            "WAIT",
            "120 of 100 planned units are exposed and the planned end",
        ),
        (analysis(BAD, BAD, state="running"), {}, "WAIT", "18 days away"),
        (analysis(state="running", always=BAD), {}, "STOP", "bounds valid at every look"),
        (analysis(state="running", guardrail_always=BAD), {}, "STOP", "guardrail mrr@10"),
    ],
)
def test_verdicts(evidence: Analysis, options: dict[str, Any], name: str, words: str) -> None:
    found = verdict(evidence, **options)
    assert found.name == name
    assert words in found.reason
    assert found.reason.endswith(".")
    about_arm = name not in {"INVALID", "WAIT"}
    assert found.treatment_arm == ("treatment" if about_arm else None)
    assert found.model_version == ("basket/v2" if about_arm else None)


def test_lower_is_better_turns_the_sides() -> None:
    experiment = declare(
        primary={"name": "precision@10", "minimum_effect": 0.08, "direction": "lower_is_better"},
        guardrails=[{"name": "mrr@10", "margin": 0.05, "direction": "lower_is_better"}],
    )
    assert verdict(analysis(BAD, FLAT), experiment).name == VerdictName.SHIP
    assert verdict(analysis(GOOD, FLAT), experiment).name == VerdictName.STOP
    assert verdict(analysis(BAD, (-0.02, 0.06)), experiment).name == VerdictName.REVIEW
    assert verdict(analysis((-0.12, 0.03), FLAT), experiment).name == VerdictName.UNDERPOWERED


def test_scale_chooses_the_interval() -> None:
    absolute = declare(primary={"name": "precision@10", "minimum_effect": 0.01, "scale": "absolute"}, guardrails=[])
    evidence = analysis()
    (primary, *rest) = evidence.effects
    narrow = replace(primary.effect, absolute=Interval(0.0, -0.005, 0.005))
    evidence = replace(evidence, effects=(replace(primary, effect=narrow), *rest))
    found = verdict(evidence, absolute)
    assert found.name == VerdictName.STOP
    assert "+0.0000 [-0.0050, +0.0050], which excludes the smallest effect worth shipping, +0.0100" in found.reason


def test_without_guardrails_the_primary_ships() -> None:
    found = verdict(analysis(), declare(guardrails=[]))
    assert found.name == VerdictName.SHIP
    assert "no guardrail is declared" in found.reason


def several(*primaries: Bounds, state: State = "cut", always: dict[int, Bounds] | None = None) -> Analysis:
    """Return evidence about several treatments."""
    effects: list[ArmEffect] = []
    for number, bounds in enumerate(primaries):
        valid = (always or {}).get(number)
        effects.append(arm_effect("primary", "precision@10", bounds, valid, arm=f"t{number}"))
    return replace(analysis(state=state), effects=tuple(effects))


def test_the_best_of_several_treatments_stands() -> None:
    experiment = declare(arms=("control", "t0", "t1", "t2"), guardrails=[])
    assert verdict(several(BAD, FLAT, GOOD), experiment).treatment_arm == "t2"
    assert verdict(several(GOOD, (0.06, 0.18), FLAT), experiment).treatment_arm == "t1"
    assert verdict(several(BAD, WIDE, FLAT), experiment).name == VerdictName.UNDERPOWERED
    harmed = verdict(several(GOOD, GOOD, GOOD, state="running", always={1: BAD}), experiment)
    assert (harmed.name, harmed.treatment_arm, harmed.model_version) == (VerdictName.STOP, "t1", "basket/v3")


def test_an_early_analysis_decides_nothing_later() -> None:
    with pytest.raises(DecisionError, match="evaluate it again"):
        decide(analysis(state="running"), declare(), END)


def surely_secondary(evidence: Analysis) -> Analysis:
    """Let the secondary metric have moved by the bounds that hold at every look."""
    *effects, _ = evidence.effects
    return replace(evidence, effects=(*effects, arm_effect("secondary", "hit_rate@10", GOOD, GOOD)))


@pytest.mark.parametrize(
    ("evidence", "name", "words"),
    [
        (analysis(GOOD), "UNDERPOWERED", "it ended 7 days before its plan, and only its planned end can ship"),
        (analysis(GOOD, always=GOOD), "UNDERPOWERED", "+10.00% [+5.00%, +15.00%] (bounds valid at every look)"),
        (analysis(GOOD, always=BAD), "STOP", "bounds valid at every look"),
        (analysis(BAD), "UNDERPOWERED", "it ended 7 days before its plan"),
        (analysis(GOOD, guardrail_always=BAD), "STOP", "guardrail mrr@10"),
        (surely_secondary(analysis(GOOD)), "ITERATE", "hit_rate@10 moved by +10.00%"),
        (analysis(GOOD, GOOD, GOOD), "UNDERPOWERED", "it ended 7 days before its plan"),
        (surely_secondary(analysis(GOOD, always=GOOD)), "UNDERPOWERED", "it ended 7 days before its plan"),
        (analysis(GOOD, failures=("The split is off.",)), "INVALID", "The split is off."),
    ],
)
def test_an_end_that_was_chosen_later_never_ships(evidence: Analysis, name: str, words: str) -> None:
    """A fixed interval makes no allowance for whoever looked every day and ended the experiment on a good one."""
    found = decide(evidence, declare(), END, planned_end=END + timedelta(days=7))
    assert found.name == name
    assert words in found.reason
    assert decide(evidence, declare(), END, planned_end=END) == decide(evidence, declare(), END)


def test_a_part_of_a_day_is_a_day() -> None:
    found = decide(analysis(), declare(), END, planned_end=END + timedelta(hours=1))
    assert "it ended 1 day before its plan" in found.reason


def test_a_part_decides_nothing() -> None:
    with pytest.raises(DecisionError, match="a verdict needs the whole experiment"):
        decide(analysis(state="part"), declare(), END)


def test_a_secondary_metric_has_moved_if_it_has_after_adjustment() -> None:
    def adjusted(p_value: float) -> Analysis:
        evidence = analysis(FLAT, FLAT, GOOD)
        primary, guardrail, secondary = evidence.effects
        return replace(evidence, effects=(primary, guardrail, replace(secondary, adjusted_p_value=p_value)))

    assert verdict(adjusted(0.04)).name == VerdictName.ITERATE
    assert verdict(adjusted(0.06)).name == VerdictName.STOP
