"""On which decisions since its training can a model be judged anew?"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from recsys.data.steps import ANCHOR
from recsys.evaluation.silence import Silence, silence
from recsys.specs.problem import Target
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Decisions:
    """The newest decision times since the last one that the weights were judged on, ascending."""

    times: tuple[datetime, ...]
    """Their labels are mature, and the events that make them are there."""
    left_out: tuple[datetime, ...]
    """Their labels should be mature, and events ended before."""
    silences: tuple[Silence, ...]
    """The events that ended; empty where nothing is left out."""


def decisions_since(
    workspace: Workspace, target: Target, last: datetime, every: timedelta, weeks: int, now: datetime
) -> Decisions:
    """Return on which decisions a model is judged anew.

    Args:
        workspace: the project; the events are its own.
        target: tells when a label is mature, and of which events it is made.
        last: the newest decision time that the weights were judged on.
        every: between two decision times.
        weeks: decision times at most.
        now: the environment's time.
    """
    wait = target.horizon + target.settle_delay
    newest = ANCHOR + (now - wait - ANCHOR) // every * every
    times = [time for back in reversed(range(weeks)) if (time := newest - every * back) > last]
    if not times:
        return Decisions((), (), ())
    found = _silences(workspace, target, times[-1] + target.horizon, now)
    covered = tuple(time for time in times if all(each.covers(time + target.horizon) for each in found))
    return Decisions(covered, tuple(times[len(covered) :]), found)


def _silences(workspace: Workspace, target: Target, until: datetime, now: datetime) -> tuple[Silence, ...]:
    """Return what ended before a moment: events of any type, else those of the target."""
    for kind in (None, target.event):
        found = silence(workspace.engine, workspace.events, now, kind)
        if found is not None and not found.covers(until):
            return (found,)
    return ()
