"""Which stage is weak, and what can a shop change about it?"""

from dataclasses import dataclass, replace

from recsys.problem.evidence import ItemLoss, of_items
from recsys.problem.figures import Reading
from recsys.problem.rows import SEEN
from recsys.specs.funnel import Lever
from recsys.specs.problem import Problem


@dataclass(frozen=True)
class Weakness:
    """A stage that few reach."""

    stage: str
    share: float
    """Of the stage before, or of the known units for the first stage."""
    lever: Lever
    lost_most: bool
    """Whether no other stage loses a larger share of the one before."""
    evidence: tuple[str, ...] = ()
    """What the past says of where it loses, with the figures."""


def weaknesses(problem: Problem, reading: Reading, known_units: int | None) -> tuple[Weakness, ...]:
    """Return the stages below the problem's thresholds, and the one that loses most in any case, in their order.

    Args:
        problem: with its thresholds and levers.
        reading: its funnel.
        known_units: units that the shop knows; None where that does not matter.
    """
    first, *later = reading.stages
    planning = problem.planning
    losing = [each for each in later if each.from_before is not None]
    most = None if first.stage == SEEN else min(losing, key=lambda each: each.from_before or 0.0, default=None)
    found = []
    if known_units and first.stage != SEEN and first.users / known_units < planning.minimum_entry:
        found.append(Weakness(first.stage, first.users / known_units, lever_of(problem, reading, 0), lost_most=False))
    for number, stage in enumerate(reading.stages):
        if stage.from_before is not None and (stage is most or stage.from_before < planning.weak_below):
            lever = lever_of(problem, reading, number)
            found.append(Weakness(stage.stage, stage.from_before, lever, lost_most=stage is most))
    return tuple(found)


def with_evidence(
    problem: Problem, found: Weakness, items: ItemLoss | None, log: str | None, segments: str | None
) -> Weakness:
    """Return a weak stage with what the past says of it.

    Where it is weak by a few items only, it points to the product, whatever its place; not where a lever is declared.

    Args:
        problem: with its thresholds and levers.
        found: the weak stage.
        items: how its loss spreads over items; None where that is not known.
        log: of `evidence.of_log`.
        segments: of `evidence.of_segments`.
    """
    told, few = (None, False) if items is None else of_items(problem, items, found.stage)
    lever: Lever = "product" if few and found.stage not in problem.planning.levers else found.lever
    return replace(found, lever=lever, evidence=tuple(each for each in (log, told, segments) if each is not None))


def lever_of(problem: Problem, reading: Reading, number: int) -> Lever:
    """Return what a stage points to: as declared, or by its place.

    Nobody in the first stage: what the shop offers. Where units are selected, a coupon is what moves them on. Of lists,
    the second stage is whether what was shown appealed; the last whether who wanted it got through; between them the
    item itself has to hold what its picture promised.
    """
    declared = problem.planning.levers.get(reading.stages[number].stage)
    if declared is not None:
        return declared
    if number == 0:
        return "product"
    if not problem.lists:
        return "coupon"
    if number == 1:
        return "ranking"
    return "user experience" if number == len(reading.stages) - 1 else "product"
