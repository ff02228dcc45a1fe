"""Which figures of an experiment exist, and how is another one declared: one count over its requests, by another?"""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from recsys.specs.base import Duration, Spec, format_duration
from recsys.specs.experiment import Experiment

ORDER_RATE: Final = "order_rate"
"""Share of requests followed by any purchase at all: in a replay of real purchases, where no list was really
shown, it cannot differ between arms but by chance, and so checks the machinery."""
LIST_KINDS: Final = ("precision", "recall", "hit_rate", "mrr")
"""Built-in figures of each request's list at k slots, over the problem's target event."""
BUILT_IN: Final = f"{', '.join(f'{kind}@k' for kind in LIST_KINDS)}, {ORDER_RATE}, with k from 1 to 9999"

_NAME: Final = re.compile(r"^([a-z_]+)@([1-9]\d{0,3})$")


def built_in(name: str) -> tuple[str, int | None] | None:
    """Return kind and k of a built-in metric such as precision@10 or order_rate, or None if it is none."""
    if name == ORDER_RATE:
        return name, None
    match = _NAME.match(name)
    return (match[1], int(match[2])) if match is not None and match[1] in LIST_KINDS else None


class EventCount(Spec):
    """Outcomes that follow a request of their unit: after its time, and not later than `within`."""

    event: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    """Their type, such as click or purchase; an outcome of quantity 0 is a cancelled one and counts nowhere."""
    of: Literal["shown", "any"] = "shown"
    """shown: the item stood in the request's list; any: whatever it is about."""
    count: Literal["events", "items", "requests", "moments", "quantity", "value"] = "events"
    """events: each; items: each item once a request; requests: 1 if there is any; moments: each time once a request
    (the lines of an order share theirs); quantity, value: their sum, to 1e-6."""
    within: Duration | None = None
    """How long after the request; the horizon of the placement's problem by default."""

    @model_validator(mode="after")
    def _is_a_time(self) -> Self:
        if self.within is not None and not timedelta(0) < self.within <= timedelta(days=366):
            message = f"within is {format_duration(self.within)}; it is longer than 0 and at most 366d"
            raise ValueError(message)
        return self


Plain = Literal["requests", "impressions", "units"]


class OnlineMetric(Spec):
    """registry/metrics/<metric>.yaml: a figure of experiments, a sum over requests by another one."""

    description: str
    """What it says, in one sentence."""
    numerator: EventCount | Plain
    """What is summed: outcomes, requests (1 each) or impressions (the slots of each list)."""
    denominator: EventCount | Plain = "requests"
    """By what the sum is divided; units counts each unit with a request once, which makes a mean over units."""
    slots: int | None = Field(default=None, ge=1, le=9999)
    """First slots of each list that count, of impressions and of what was shown; all by default."""
    attribution: Literal["every", "last"] = "every"
    """every: an outcome counts in each request of its unit whose window holds it; last: in the latest of these alone
    (of those that showed the item, where `of` is shown), so that none counts twice."""
    winsorise: float | None = Field(default=None, gt=0.5, lt=1)
    """Lowers each unit's numerator to this quantile of all units of all arms, such as 0.999; not by default."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.numerator == "units":
            message = "numerator units is 1 for every unit: units are what is divided by"
            raise ValueError(message)
        shows = any(
            part == "impressions" or (isinstance(part, EventCount) and part.of == "shown")
            for part in (self.numerator, self.denominator)
        )
        if self.slots is not None and not shows:
            message = f"slots {self.slots} cut nothing: they are of impressions and of what was shown"
            raise ValueError(message)
        return self

    @property
    def events(self) -> tuple[EventCount, ...]:
        """Its counts of outcomes."""
        return tuple(part for part in (self.numerator, self.denominator) if isinstance(part, EventCount))


def metric_findings(present: AbstractSet[str], experiments: Mapping[str, Experiment], root: str) -> Iterator[str]:
    """Find names of metrics that lead nowhere, or to two things.

    Args:
        present: names of the files under registry/metrics/, those that do not read among them.
        experiments: by name.
        root: what the registry's folder is called.

    Yields:
        Findings, each as `path: field: value: rule`.
    """
    for name in sorted(present):
        if built_in(name) is not None:
            yield f"{root}/metrics/{name}.yaml: name: built-in metrics have it: {BUILT_IN}: give it another"
    for name, experiment in experiments.items():
        metrics = experiment.metrics
        named = [("primary.name", metrics.primary.name)]
        named += [(f"guardrails.{number}.name", each.name) for number, each in enumerate(metrics.guardrails)]
        named += [(f"secondary.{number}", each) for number, each in enumerate(metrics.secondary)]
        for where, metric in named:
            if built_in(metric) is None and metric not in present:
                known = ", ".join(sorted(present)) or "none"
                yield (
                    f"{root}/experiments/{name}.yaml: metrics.{where}: {metric}: not declared under registry/metrics/;"
                    f" declared: {known}; built in: {BUILT_IN}"
                )
