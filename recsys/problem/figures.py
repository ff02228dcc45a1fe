"""How wide is each stage, what is it worth, how sparse is it, and what would a test of it need?

Importance: the share of the final stage's value that came after the stage, and the correlation with the final stage
over units. Sparsity: events a unit and a day.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.problem.counts import Counted, UnitTable
from recsys.problem.need import StageNeed, stage_need
from recsys.problem.redrawn import DRAWS, Pasts
from recsys.problem.rows import Span, Stages
from recsys.specs.funnel import Planning


@dataclass(frozen=True)
class StageFigures:
    """One stage of a funnel. A share is None where nothing came before."""

    stage: str
    users: int
    visits: int | None
    """Sessions that reached it; None where sessions do not count."""
    events: int
    from_before: float | None
    """Share of the visits (the users, where sessions do not count) of the stage before that reached it."""
    from_top: float | None
    """Share of those of the first stage that reached it."""
    value_share: float | None
    """Share of the final stage's value that came after it."""
    correlation: float | None
    """With the final stage: of the units' counts."""
    correlation_per_visit: float | None
    """The same of what their visits do not explain: how often a unit comes plays no part."""
    events_per_user: float | None
    """Of users that entered."""
    events_per_day: float
    bypass: float | None
    """Share of its events in the span that came without the stage before; None of the first stage."""
    late: float | None
    """Of these, the share before which it came, but too long ago."""
    need: StageNeed | None
    """What a test of it needs; None of the first stage, by which the others are measured."""


@dataclass(frozen=True)
class Reading:
    """A funnel, or a segment's part of it."""

    segment: str | None
    users: int
    """That entered."""
    small: bool
    """Whether they are too few to conclude anything."""
    stages: tuple[StageFigures, ...]
    valued: bool
    """Whether the final stage's events have values; otherwise each counts as 1."""


def reading(counted: Counted, stages: Stages, span: Span, planning: Planning, *, segment: str | None = None) -> Reading:
    """Turn counts into figures.

    Args:
        counted: of one segment.
        stages: of the funnel.
        span: which part of the log they are of.
        planning: the experiment, and from how many units on a segment is not small.
        segment: its name; None for all.
    """
    units = counted.units
    entered = len(units.entry_day)
    reached = counted.visits or _users(counted, stages)
    users = _users(counted, stages)
    window_days = math.ceil(stages.window.total_seconds() / 86_400) if stages.window else 0
    valued = counted.totals[-1].value > 0
    small = entered < planning.small_segment
    pasts = Pasts(units, 0 if small and segment is not None else DRAWS)
    found = []
    for number, name in enumerate(stages.names):
        total = counted.totals[number]
        found.append(
            StageFigures(
                stage=name,
                users=users[number],
                visits=None if counted.visits is None else counted.visits[number],
                events=total.events,
                from_before=_ratio(reached[number], reached[number - 1]) if number else None,
                from_top=_ratio(reached[number], reached[0]) if number else None,
                value_share=_passed(counted, number, valued=valued),
                correlation=_correlation(units, number, per_visit=False),
                correlation_per_visit=_correlation(units, number, per_visit=True),
                events_per_user=_ratio(total.events, entered),
                events_per_day=total.events / span.days,
                bypass=_ratio(total.loose, total.all_events) if number else None,
                late=_ratio(total.late, total.loose) if number else None,
                need=stage_need(units, number, planning, window_days, pasts) if number else None,
            )
        )
    return Reading(segment, entered, small, tuple(found), valued)


def _users(counted: Counted, stages: Stages) -> tuple[int, ...]:
    """Return the users of each stage; of any event those, too, that were there before."""
    return (len(counted.units.entry_day), *counted.users[1:]) if stages.any_event else counted.users


def _passed(counted: Counted, number: int, *, valued: bool) -> float | None:
    final = counted.totals[-1]
    if number == len(counted.totals) - 1:
        return 1.0 if final.all_events else None
    events, value = final.passed[number]
    return _ratio(value, final.value) if valued else _ratio(events, final.all_events)


def _correlation(units: UnitTable, number: int, *, per_visit: bool) -> float | None:
    """Return Pearson's correlation of a stage with the last one, over units; None where one of them never differs."""
    if number == len(units.counts) - 1:
        return 1.0
    stage, final = (units.counts[each, -1] for each in (number, -1))
    if per_visit:
        stage, final = (_beyond_visits(each, units.visits[-1]) for each in (stage, final))
    if len(stage) < 2 or not (_differs(stage) and _differs(final)):  # noqa: PLR2004 - two units, or nothing correlates
        return None
    return float(np.corrcoef(stage, final)[0, 1])


def _beyond_visits(counts: NDArray[np.float64], visits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each unit did more or less than its visits let expect: the delta method's residual of a ratio."""
    total = visits.sum()
    return counts - (counts.sum() / total if total else 0.0) * visits


def _differs(values: NDArray[np.float64]) -> bool:
    return bool(values.std() > 1e-12 * max(1.0, float(np.abs(values).max(initial=0.0))))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
