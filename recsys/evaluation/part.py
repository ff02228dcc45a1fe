"""Which part of an experiment is looked at, where it is not the whole?"""

from dataclasses import dataclass
from datetime import datetime

from recsys.errors import ExperimentError
from recsys.experiment.routing import window
from recsys.specs.experiment import Experiment


@dataclass(frozen=True)
class Part:
    """Requests with start <= time < end; their outcomes count as always, up to the experiment's end or now."""

    start: datetime
    end: datetime


def part_of(name: str, experiment: Experiment, start: datetime | None, end: datetime | None) -> Part | None:
    """Return the part between two moments, or None where neither is given.

    Args:
        name: the experiment's.
        experiment: its declaration.
        start: the first moment; the experiment's start by default.
        end: the first moment after it; the experiment's end by default.

    Raises:
        ExperimentError: if nothing of the experiment lies between them.
    """
    if start is None and end is None:
        return None
    first, last = window(experiment)
    part = Part(max(start or first, first), min(end or last, last))
    if part.start >= part.end:
        message = (
            f"experiment {name}: nothing of it lies from {(start or first).isoformat()} to {(end or last).isoformat()}:"
            f" it runs from {first.isoformat()} to {last.isoformat()}"
        )
        raise ExperimentError(message)
    return part
