"""What follows from a funnel that was read, and what do the events say of its weak stages?"""

from collections.abc import Sequence

from recsys.problem.channels import advise
from recsys.problem.demand import demand
from recsys.problem.evidence import item_loss, of_log, of_segments
from recsys.problem.figures import Reading
from recsys.problem.levers import Weakness, weaknesses, with_evidence
from recsys.problem.planner import Advice, choose, findings
from recsys.problem.rows import Span, Stages
from recsys.specs.problem import Problem
from recsys.workflows.workspace import Workspace


def advice(
    workspace: Workspace, problem: Problem, span: Span, whole: Reading, weak: tuple[Weakness, ...], known_units: int
) -> Advice:
    """Choose the stage to model and the metric of each channel.

    Args:
        workspace: with the event table.
        problem: with its channels and thresholds.
        span: which part of the log was read.
        whole: the funnel.
        weak: its weak stages.
        known_units: units that the shop knows.
    """
    choice = choose(problem, whole, known_units)
    stage = choice.stage or problem.target.event
    wanted = demand(workspace.engine, workspace.events, stage, span, problem.target.horizon)
    need = next((each.need for each in whole.stages if each.stage == stage), None)
    return Advice(
        choice=choice,
        channels=advise(problem, stage, wanted, need, known_units),
        weak=weak,
        findings=tuple(findings(problem, whole, choice)),
    )


def weak_stages(
    workspace: Workspace,
    problem: Problem,
    stages: Stages,
    span: Span,
    whole: Reading,
    parts: Sequence[Reading],
    by: str | None,
    known_units: int,
) -> tuple[Weakness, ...]:
    """Return the weak stages; those below the threshold with what the events say of where they lose.

    Args:
        workspace: with the event table.
        problem: with its thresholds and levers.
        stages: of the funnel.
        span: which part of the log was read.
        whole: the funnel.
        parts: the same by segment, if it was told apart.
        by: the column of the segments.
        known_units: units that the shop knows.
    """
    found = []
    for each in weaknesses(problem, whole, known_units):
        number = stages.names.index(each.stage)
        if number == 0 or each.share >= problem.planning.weak_below:
            found.append(each)
            continue
        items = item_loss(workspace.engine, workspace.events, stages, number, span) if problem.lists else None
        segments = None if by is None else of_segments(problem, parts, by, each.stage)
        found.append(with_evidence(problem, each, items, of_log(problem, whole, number), segments))
    return tuple(found)
