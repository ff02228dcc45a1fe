"""How does a funnel read, and what follows from it?"""

import math
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from recsys.printing.width import table
from recsys.problem.bounds import CONFIDENCE
from recsys.problem.rows import in_words

if TYPE_CHECKING:
    from recsys.problem.channels import ChannelAdvice
    from recsys.problem.figures import Reading, StageFigures
    from recsys.problem.need import StageNeed
    from recsys.workflows.problem.funnel import PlannedFunnel

_WIDTH: Final = 20
_SHOWN: Final = 20
"""Segments on a terminal; the JSON document has all."""
_NOTHING: Final = "-"
_MEANS: Final = {
    "product": "what is offered, at which price, and what its page promises",
    "coupon": "a reason to act now, for those whom it moves",
    "user experience": "the way from wanting it to having it",
    "ranking": "which items are shown, and in which order",
}


def funnel(found: "PlannedFunnel", page: str) -> str:
    """Show the funnel, its stages' worth and needs, the segments, and the advice."""
    parts = [_asked(found), _stages(found), _worth(found), _need(found)]
    if found.by is not None:
        parts.append(_segments(found))
    parts += [_model(found), _channels(found), _weak(found), _told(found)]
    return "\n\n".join([*(part for part in parts if part), f"  page: {page}"])


def _asked(found: "PlannedFunnel") -> str:
    span, window = found.span, found.stages.window
    follows = "in the same session" if window is None else f"within {in_words(window)}"
    days = f"{span.start:%Y-%m-%d} to {span.end:%Y-%m-%d}"
    lines = [
        f"  {found.problem.business_issue}",
        f"  {days}; a stage follows {follows}; {found.known_units:,} units are known",
    ]
    if span.until < span.end:
        lines.append(f"  who entered from {span.until:%Y-%m-%d} on is left out: what follows may still come")
    return "\n".join(lines)


def _stages(found: "PlannedFunnel") -> str:
    visits = found.stages.window is None
    rows = []
    for stage in found.whole.stages:
        share = 1.0 if stage.from_top is None else stage.from_top
        reached = [f"{stage.visits:,}"] if visits else []
        rows.append(
            [
                stage.stage,
                f"{stage.users:,}",
                *reached,
                f"{stage.events:,}",
                _percent(stage.from_before),
                _percent(stage.from_top),
                "#" * max(round(_WIDTH * min(share, 1.0)), 1 if share > 0 else 0),
            ]
        )
    header = ["stage", "users", *(["visits"] if visits else []), "events", "of stage before", "of top", ""]
    return table(header, rows, right=range(1, len(header) - 1))


def _worth(found: "PlannedFunnel") -> str:
    visits = found.stages.window is None
    worth = "value" if found.whole.valued else "events"
    rows = [
        [
            stage.stage,
            _percent(stage.value_share),
            _number(stage.correlation),
            *([_number(stage.correlation_per_visit)] if visits else []),
            "-" if stage.events_per_user is None else f"{stage.events_per_user:,.2f}",
            f"{stage.events_per_day:,.1f}",
        ]
        for stage in found.whole.stages
    ]
    header = [
        "stage",
        f"{worth} after it",
        "correlation",
        *(["per visit"] if visits else []),
        "per user",
        "per day",
    ]
    told = (
        f"  importance for {found.whole.stages[-1].stage}; per user: all events of a user who entered, and per day of"
        f" all users, in the {found.span.days:,} days in which they enter"
    )
    return f"{table(header, rows, right=range(1, len(header)))}\n{told}"


def _need(found: "PlannedFunnel") -> str:
    planning = found.problem.planning
    rows = []
    for stage in found.whole.stages[1:]:
        need = stage.need
        detects = _NOTHING if need is None or need.detectable is None else f"{need.detectable:.1%}"
        rows.append([stage.stage, _mean(need), *_bounded(need), detects])
    header = ["stage", "a visit" if found.stages.window is None else "mean", "units", "", "days", "", "detects"]
    told = [
        (
            f"  what a test at {planning.minimum_effect:.0%} needs (alpha {planning.alpha:g}, power {planning.power:g},"
            f" {planning.traffic:.0%} of the traffic), and between which bounds, as the past is a sample"
            f" ({CONFIDENCE:.0%})"
        ),
        f"  detects: the effect that it sees in {planning.maximum_days} days",
        *_entering(found),
    ]
    return "\n".join([table(header, rows, right=range(1, len(header))), *told])


def _entering(found: "PlannedFunnel") -> list[str]:
    """Say what days are made of where units come first and are waited for then."""
    window, most = found.stages.window, found.problem.planning.maximum_days
    if window is None:
        return []
    waited = math.ceil(window / timedelta(days=1))
    lines = [f"  days: until so many units came as they did in the past, and {waited} more for the last one's window"]
    units = max((stage.need.detectable_units or 0 for stage in found.whole.stages[1:] if stage.need), default=0)
    if units and most > waited:
        lines.append(
            f"  so {most} days have {most - waited} in which units come: {units:,} by the past. Where they come in"
            " bursts, a few days more see a much smaller effect"
        )
    return lines


def _bounded(need: "StageNeed | None") -> list[str]:
    """Return units and days, each with its bounds."""
    units, days = (None, None) if need is None else (need.units_bounds, need.days_bounds)
    return [_units(need), "" if units is None else str(units), _days(need), "" if days is None else str(days)]


def _segments(found: "PlannedFunnel") -> str:
    names = [each.stage for each in found.segments[0].stages] if found.segments else []
    rows = [_segment(each) for each in found.segments[:_SHOWN]]
    header = [
        str(found.by),
        "users",
        *(f"{name} of {before}" for before, name in pairwise(names)),
        *(f"days to test {name}" for name in names[1:]),
        "",
    ]
    lines = [table(header, rows, right=range(1, len(header) - 1))]
    if len(found.segments) > _SHOWN:
        lines.append(f"  and {len(found.segments) - _SHOWN} smaller ones, in the document of --json")
    if found.first_by != found.stages.names[0]:
        lines.append(f"  from {found.first_by} on: events before it have no item")
    return "\n".join(lines)


def _segment(of: "Reading") -> list[str]:
    later = of.stages[1:]
    days = [_NOTHING if of.small else " ".join(filter(None, _bounded(each.need)[2:])) for each in later]
    return [
        str(of.segment),
        f"{of.users:,}",
        *(_percent(each.from_before) for each in later),
        *days,
        "small" if of.small else "",
    ]


def _model(found: "PlannedFunnel") -> str:
    choice = found.advice.choice
    if choice.stage is None:
        return "\n".join(["  not a problem for a model:", *(f"    {reason}" for reason in choice.reasons)])
    return "\n".join([f"  model {choice.stage}:", *(f"    {reason}" for reason in choice.reasons)])


def _channels(found: "PlannedFunnel") -> str:
    rows = [
        [
            each.channel,
            each.metric or "none",
            _channel_days(found, each),
            each.reason,
        ]
        for each in found.advice.channels
    ]
    lines = [table(["channel", "metric", "days to test", "because"], rows, right=(2,))]
    if any(each.days is not None for each in found.advice.channels):
        horizon = in_words(found.problem.target.horizon)
        lines.append(
            f"  days to test by places: rounds of {horizon}, each of other units, until as many were reached as a test"
            " needs; the days above are those in which units come by themselves"
        )
    return "\n".join(lines)


def _channel_days(found: "PlannedFunnel", each: "ChannelAdvice") -> str:
    """Return the days of a test by a channel: of lists, which leave nobody out, those in which units come."""
    if each.days is not None:
        return " ".join(map(str, filter(None, (f"{each.days:,}", each.days_bounds))))
    (need,) = [of.need for of in found.whole.stages if of.stage == found.advice.choice.stage] or [None]
    if found.problem.channels[each.channel].k is None or need is None:
        return _NOTHING
    return " ".join(filter(None, _bounded(need)[2:]))


def _weak(found: "PlannedFunnel") -> str:
    lines = []
    for each in found.advice.weak:
        below = ", weak" if each.share < found.problem.planning.weak_below else ""
        least = ", the least of all" if each.lost_most else ""
        reach = f"{_percent(each.share)} of those before reach it{least}{below}"
        lines.append(f"  {each.stage}: {reach}: {each.lever} ({_MEANS[each.lever]})")
        lines += [f"    {told}" for told in each.evidence]
    return "\n".join(lines)


def _told(found: "PlannedFunnel") -> str:
    lines = [f"  ! {finding}" for finding in found.advice.findings]
    lines += [f"  {each.stage}: {each.rows:,} of {each.read:,} rows: {each.why}" for each in found.dropped]
    for stage in found.whole.stages[1:]:
        lines += _loose(stage)
    return "\n".join([*lines, *(f"  at ingest: {text}" for text in found.refused)])


def _loose(stage: "StageFigures") -> list[str]:
    if not stage.bypass:
        return []
    late = f", of which {_percent(stage.late)} too late" if stage.late else ""
    share = _percent(stage.bypass)
    return [f"  {stage.stage}: {share} of its events came without the stage before{late}: not in the funnel"]


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2f}"


def _mean(need: "StageNeed | None") -> str:
    return _NOTHING if need is None or need.mean is None else f"{need.mean:.3g}"


def _units(need: "StageNeed | None") -> str:
    if need is None:
        return _NOTHING
    return "unknown" if need.units is None else f"{need.units:,}"


def _days(need: "StageNeed | None") -> str:
    if need is None:
        return _NOTHING
    if need.units is None:
        return "unknown"
    return "never" if need.days is None else f"{need.days:,}"
