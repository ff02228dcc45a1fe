"""Which stage should be modelled, or is this no problem for a model?

The rules, in their order:

1. Nobody reaches the last stage, hardly anybody enters, or every channel reaches half of the units: no model.
2. A stage is learnable with `minimum_events`; testable within `maximum_days`; it stands for the last stage if
   `minimum_share` of the value comes after it and it correlates by `minimum_correlation`.
3. The last stage that is all of that is modelled. Where none is, no model.

Days are judged as they are predicted. Where their bounds hold `maximum_days`, it is said that another past of the same
shop might have decided otherwise.

Every threshold is declared in the problem's `planning`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recsys.problem.bounds import Bounds
from recsys.problem.channels import ChannelAdvice, days_to_reach, selects
from recsys.problem.figures import Reading, StageFigures
from recsys.problem.levers import Weakness
from recsys.problem.rows import SEEN
from recsys.specs.problem import Problem


@dataclass(frozen=True)
class Choice:
    """The stage to model, or None."""

    stage: str | None
    reasons: tuple[str, ...]
    """One sentence each, with the figures that it rests on."""


@dataclass(frozen=True)
class Advice:
    """What follows from a funnel."""

    choice: Choice
    channels: tuple[ChannelAdvice, ...]
    weak: tuple[Weakness, ...]
    findings: tuple[str, ...]
    """What should be mended before the figures are relied on."""


def choose(problem: Problem, reading: Reading, known_units: int) -> Choice:
    """Choose the stage to model.

    Args:
        problem: with its channels and thresholds.
        reading: its whole funnel.
        known_units: units that the shop knows.
    """
    hopeless = tuple(_hopeless(problem, reading, known_units))
    if hopeless:
        return Choice(None, hopeless)
    final, *others = reversed(reading.stages[1:])
    unfit: list[str] = []
    for number, stage in enumerate((final, *others)):
        why = _unfit(problem, stage, known_units) or (_stranger(problem, stage, final) if number else None)
        if why is None:
            reason = "; ".join([*unfit, _chosen(problem, stage, final, known_units)])
            return Choice(stage.stage, (reason, *_doubts(problem, (final, *others)[: number + 1], known_units)))
        unfit.append(why)
    seen = (_seen(problem, stage, known_units) for stage in (final, *others))
    told = tuple(f"{why}{detects}" for why, detects in zip(unfit, seen, strict=True))
    return Choice(None, (*told, *_doubts(problem, (final, *others), known_units)))


def findings(problem: Problem, reading: Reading, choice: Choice) -> Iterator[str]:
    """Yield what should be mended before the figures are relied on."""
    names = [each.stage for each in reading.stages]
    for before, stage in zip(names, reading.stages[1:], strict=False):
        if stage.bypass is not None and stage.bypass > problem.planning.maximum_bypass:
            late = f", {stage.late:.0%} of them too late" if stage.late else ""
            yield (
                f"not nested: {stage.bypass:.0%} of the events {stage.stage} came without {before}{late}: name the"
                f" stages in the order in which they happen, a longer `funnel.within`, or leave {before} out"
            )
    if choice.stage is not None and choice.stage != problem.target.event:
        yield f"the problem's target is {problem.target.event}: to model {choice.stage}, declare target.event so"
    for stage in reading.stages:
        if stage.need is not None and stage.need.beyond and stage.need.days is not None:
            yield f"the {stage.need.days:,} days of {stage.stage} end beyond the past: they go on as it went"


def _hopeless(problem: Problem, reading: Reading, known_units: int) -> Iterator[str]:
    first, final = reading.stages[0], reading.stages[-1]
    if not final.events:
        yield f"no {final.stage} follows in the span: there is nothing to learn from"
        return
    entered = first.users / known_units if known_units else 1.0
    if first.stage != SEEN and entered < problem.planning.minimum_entry:
        yield (
            f"{entered:.1%} of {known_units:,} known units reach {first.stage}, {problem.planning.minimum_entry:.0%}"
            " are asked for: nearly all are lost before anything is shown to them"
        )
    if not any(selects(channel, known_units) for channel in problem.channels.values()):
        yield f"every channel reaches half of the {known_units:,} known units or more: nothing is selected"


def _unfit(problem: Problem, stage: StageFigures, known_units: int) -> str | None:
    """Return why a stage can be neither learned nor tested, or None where it can."""
    planning, need = problem.planning, stage.need
    if stage.events < planning.minimum_events:
        return f"{stage.stage} is too sparse: {stage.events:,} events, {planning.minimum_events:,} are asked for"
    if need is None or need.units is None:
        return f"{stage.stage} says nothing about a test: its units do not differ"
    if _too_long(problem, stage, known_units):
        return f"{_needs(problem, stage, known_units)} ({planning.maximum_days:,} are allowed)"
    return None


def _stranger(problem: Problem, stage: StageFigures, final: StageFigures) -> str | None:
    """Return why a stage does not stand for the last one, or None where it does."""
    planning, share = problem.planning, stage.value_share or 0.0
    if share < planning.minimum_share:
        return (
            f"only {share:.0%} of {final.stage} comes after {stage.stage} ({planning.minimum_share:.0%} are asked for)"
        )
    correlation = stage.correlation_per_visit
    if correlation is None or correlation < planning.minimum_correlation:
        found = "does not differ between units" if correlation is None else f"correlates {correlation:.2f}"
        return f"{stage.stage} {found} with {final.stage} ({planning.minimum_correlation:.2f} is asked for)"
    return None


def _chosen(problem: Problem, stage: StageFigures, final: StageFigures, known_units: int) -> str:
    needs = _needs(problem, stage, known_units)
    if stage is final:
        return f"{needs}, and is what is wanted in the end"
    return f"{needs} and correlates {stage.correlation_per_visit:.2f} with {final.stage}"


def _doubts(problem: Problem, stages: Sequence[StageFigures], known_units: int) -> Iterator[str]:
    """Yield the stages, the last one first, of which the past does not say whether a test of them is short enough."""
    most = problem.planning.maximum_days
    for number, stage in enumerate(stages):
        _, bounds, _ = _soonest(problem, stage, known_units)
        if bounds is None or bounds.lower is None or stage.events < problem.planning.minimum_events:
            continue
        if number and _stranger(problem, stage, stages[0]) is not None:
            continue
        if bounds.lower <= most and (bounds.upper is None or bounds.upper > most):
            more = f"{bounds.lower:,} or more are needed, and perhaps no number is enough"
            needed = more if bounds.upper is None else f"{bounds.lower:,} to {bounds.upper:,} are needed"
            yield (
                f"not sure whether {stage.stage} can be tested: {most:,} days are allowed, and by a past of this size"
                f" {needed}"
            )


def _too_long(problem: Problem, stage: StageFigures, known_units: int) -> bool:
    days, _, _ = _soonest(problem, stage, known_units)
    return days is None or days > problem.planning.maximum_days


def _soonest(problem: Problem, stage: StageFigures, known_units: int) -> tuple[int | None, Bounds | None, str]:
    """Return the days of a test and how: as units came so far, or as a channel that selects reaches them."""
    need = stage.need
    if need is None:
        return None, None, ""
    ways = [(need.days, need.days_bounds, "")]
    for name, channel in problem.channels.items():
        ways.append((*days_to_reach(problem, channel, need, known_units), f" by {name}"))
    return min(ways, key=lambda way: math.inf if way[0] is None else way[0])


def _needs(problem: Problem, stage: StageFigures, known_units: int) -> str:
    days, bounds, how = _soonest(problem, stage, known_units)
    at = f"at {problem.planning.minimum_effect:.0%}"
    if days is None:
        return f"{stage.stage} never has the units that it needs {at}"
    between = "" if bounds is None else f" {bounds}"
    return f"{stage.stage} needs {days:,} {'day' if days == 1 else 'days'}{between} {at}{how}"


def _seen(problem: Problem, stage: StageFigures, known_units: int) -> str:
    """Return from which effect on a test would see one, where one of the declared size takes too long."""
    need = stage.need
    if need is None or need.detectable is None or not _too_long(problem, stage, known_units):
        return ""
    return f"; effects from {need.detectable:.0%} are seen in {problem.planning.maximum_days:,}"
