"""What is summed over requests for a metric, said in the SQL of `attribution`?

A metric is one term by another. A term is a whole number of parts of 1/scale, so that threads may add in any order with
one result.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from recsys.evaluation.metric_definition import MetricDefinition
from recsys.specs.online_metric import EventCount, OnlineMetric, Plain

_FRACTION: Final = 10**12
"""Parts of figures between 0 and 1."""
_AMOUNT: Final = 10**6
"""Parts of quantities and values."""


@dataclass(frozen=True)
class Term:
    """One sum."""

    source: str
    """requests, impressions, units, or outcomes."""
    condition: str = ""
    """Of outcomes: which pairs of a request and an outcome count, over the columns of `pairs`."""
    item: str = ""
    """What the pairs of one item of a request give; `{condition}` stands for the condition."""
    request: str = ""
    """What the items of a request give; `{item}` stands for the column of what each gave."""
    scale: int = 1
    """Parts of a whole."""
    slots: int | None = None
    """First slots that count; None for all."""
    by_event: bool = False
    """Whether each outcome has to stand alone: then pairs are of one request and one outcome."""
    last: bool = False
    """Whether an outcome counts in its latest request only."""
    shown: bool = False
    """Whether the item has to stand in the list."""


REQUESTS: Final = Term("requests")
UNITS: Final = Term("units")

_TARGET: Final = "is_target"
"""The pairs that built-in metrics are made of: outcomes of the target's type within the horizon."""
_ANY_TARGET: Final = Term("outcomes", _TARGET, "bool_or({condition})", "bool_or({item})::BIGINT")
_LISTS: Final[Mapping[str, str]] = {
    "precision": "count(*) FILTER ({item} AND slot <= {k}) / {k}.0",
    "recall": "count(*) FILTER ({item} AND slot <= {k}) / greatest(count(*) FILTER ({item} AND item_id <> ''), 1)",
    "hit_rate": "CAST(coalesce(min(slot) FILTER ({item}) <= {k}, false) AS DOUBLE)",
    "mrr": "coalesce(1.0 / min(slot) FILTER ({item} AND slot <= {k}), 0.0)",
}
"""What a request adds, over the distinct items bought in its window; `slot` is where an item was shown, or null."""
_COUNTS: Final[Mapping[str, tuple[str, str, int]]] = {
    "events": ("count(*) FILTER ({condition})", "sum({item})::BIGINT", 1),
    "items": ("bool_or({condition})", "count(*) FILTER ({item})", 1),
    "requests": ("bool_or({condition})", "bool_or({item})::BIGINT", 1),
    "moments": (
        "list(moment) FILTER ({condition})",
        "len(list_distinct(flatten(list({item}) FILTER ({item} IS NOT NULL))))",
        1,
    ),
    "quantity": ("sum(quantity) FILTER ({condition})", "sum({item})", _AMOUNT),
    "value": ("sum(value) FILTER ({condition})", "sum({item})", _AMOUNT),
}
_EACH: Final = frozenset({"events", "quantity", "value"})
"""Counts in which one outcome must not stand for two, should its item fill two slots."""


def terms_of(metric: MetricDefinition) -> tuple[Term, Term]:
    """Return a metric's numerator and denominator."""
    if metric.declared is not None:
        return _part(metric.declared, metric.declared.numerator), _part(metric.declared, metric.declared.denominator)
    if metric.kind not in _LISTS:
        return _ANY_TARGET, REQUESTS
    figure = _LISTS[metric.kind].replace("{k}", str(metric.k))
    request = f"round(({figure}) * {_FRACTION})::BIGINT"
    numerator = Term("outcomes", _TARGET, "bool_or({condition})", request, scale=_FRACTION, shown=True)
    # Recall leaves out requests without a purchase, as its offline namesake does; all others count such a request as 0.
    return numerator, _ANY_TARGET if metric.kind == "recall" else REQUESTS


def stage_terms(stages: Sequence[str]) -> tuple[Term, ...]:
    """Return what a funnel counts: impressions, and of the items shown those that an event of each stage followed.

    Nothing where there are no stages.
    """
    if not stages:
        return ()
    shown = OnlineMetric(description="", numerator="requests")
    # Names of stages are free: no pattern holds them.
    counts = (EventCount.model_construct(event=stage, of="shown", count="items", within=None) for stage in stages)
    return (Term("impressions"), *(_part(shown, count) for count in counts))


def window_of(horizon: timedelta, metrics: Iterable[MetricDefinition]) -> timedelta:
    """Return how long after a request any outcome may count: the problem's horizon, or the longest `within`."""
    declared = (count.within for metric in metrics if metric.declared for count in metric.declared.events)
    return max(horizon, *(within for within in declared if within is not None), timedelta(0))


def event_types(metrics: Iterable[MetricDefinition]) -> tuple[str, ...]:
    """Return the types of outcomes that declared metrics count, ascending."""
    declared = (count.event for metric in metrics if metric.declared for count in metric.declared.events)
    return tuple(sorted(set(declared)))


def _part(metric: OnlineMetric, part: EventCount | Plain) -> Term:
    if not isinstance(part, EventCount):
        return Term(part, slots=metric.slots if part == "impressions" else None)
    shown, last = part.of == "shown", metric.attribution == "last"
    slots = metric.slots if shown else None
    within = "horizon" if part.within is None else str(round(part.within / timedelta(microseconds=1)))
    name = part.event.replace("'", "''")
    conditions = [f"event_type = '{name}'", f"delay <= {within}"]
    if shown:
        conditions.append("slot IS NOT NULL" if slots is None else f"coalesce(slot <= {slots}, false)")
    if last:
        conditions.append(last_column(shown=shown, slots=slots))
    item, request, scale = _COUNTS[part.count]
    return Term(
        source="outcomes",
        condition=" AND ".join(conditions),
        item=item,
        request=request,
        scale=scale,
        slots=slots,
        by_event=part.count in _EACH or last,
        last=last,
        shown=shown,
    )


def last_column(*, shown: bool, slots: int | None) -> str:
    """Name the column that marks an outcome's latest request: of all, or of those that showed its item."""
    if not shown:
        return "is_last"
    return "is_last_shown" if slots is None else f"is_last_shown_{slots}"
