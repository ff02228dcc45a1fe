"""What did each unit do after its contacts, or after those it would have had?

Counted by the SQL that counts an experiment's requests (`attribution`): a contact is a request.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.evaluation.attribution import units_sql
from recsys.evaluation.metric_definition import DECLARED, MetricDefinition
from recsys.evaluation.terms import terms_of
from recsys.evaluation.winsorising import winsorise
from recsys.ports import Engine
from recsys.schema import EVENT_TIMESTAMP, IMPRESSIONS, SCORE, USER
from recsys.specs.online_metric import EventCount, OnlineMetric
from recsys.specs.problem import Target

_COUNTS: Final = {"event": "requests", "count": "quantity", "amount": "value"}
"""What is counted of a target, by what it measures."""
_NAMED: Final = "campaigns"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def contact_metrics(target: Target, declared: Mapping[str, OnlineMetric]) -> tuple[MetricDefinition, ...]:
    """Return the target, and the declared metrics that contacts can be judged by, each a contact.

    A declared metric is one of those if it counts outcomes of any item, by units or by requests, within the target's
    horizon. Each outcome counts in the latest contact before it.

    Args:
        target: of the audience's problem.
        declared: registry/metrics/, by name.
    """
    # The type of a target is free: no pattern holds it.
    act = EventCount.model_construct(event=target.event, of="any", count=_COUNTS[target.measure], within=None)
    found = [_of_contacts(target.event, OnlineMetric(description="", numerator="requests"), act)]
    for name, metric in sorted(declared.items()):
        count = metric.numerator
        if not isinstance(count, EventCount) or count.of != "any" or metric.denominator not in ("units", "requests"):
            continue
        if (count.within or target.horizon) <= target.horizon:
            found.append(_of_contacts(name, metric, count))
    return tuple(found)


def unit_sums(
    engine: Engine,
    contacts: pa.Table,
    outcomes: pa.Table,
    target: Target,
    definitions: Sequence[MetricDefinition],
    now: datetime,
) -> pa.Table:
    """Sum what followed contacts, by unit.

    Args:
        engine: runs the SQL.
        contacts: request_id, user_id, arm, event_timestamp and score, as `Groups.contacts`.
        outcomes: rows of `schema.EVENTS`.
        target: of the audience's problem.
        definitions: of `contact_metrics`.
        now: the environment's time; all windows are closed by then.

    Returns:
        One row a unit: unit, arm, and the four columns of every metric: what it sums up, contacts, the sum of the
        unit's scores, contacts. Numerators are winsorised where that is declared.
    """
    exposures = contacts.select(["request_id", USER, "arm", EVENT_TIMESTAMP])
    for name, value in (("experiment", _NAMED), ("model_version", None)):
        exposures = exposures.append_column(name, pa.array([value] * len(contacts), pa.string()))
    exposures = exposures.append_column("overridden", pa.array(np.zeros(len(contacts), dtype=np.bool_)))
    tables = {
        "exposures": exposures,
        "impressions": IMPRESSIONS.empty_table(),
        "outcomes": outcomes,
        "parameters": _parameters(contacts, target, now),
    }
    terms = tuple(dict.fromkeys(terms_of(metric)[0] for metric in definitions))
    rows = engine.query(units_sql(USER, terms), tables)
    rows = rows.filter(pc.equal(rows["of_days"], 0))
    scores = contacts.group_by(USER, use_threads=False).aggregate([(SCORE, "sum")])
    scores = scores.take(pc.index_in(rows["unit"], value_set=scores[USER].combine_chunks()))
    number = rows["requests"].cast(pa.float64())
    columns = {"unit": rows["unit"], "arm": rows["arm"]}
    for metric in definitions:
        summed = rows[f"term_{terms.index(terms_of(metric)[0])}:counts"]
        columns |= dict(zip(metric.columns, (summed, number, scores[f"{SCORE}_sum"], number), strict=True))
    return winsorise(pa.table(columns), definitions)[0]


def _parameters(contacts: pa.Table, target: Target, now: datetime) -> pa.Table:
    began = [_micros(moment) for moment in pc.unique(contacts[EVENT_TIMESTAMP]).to_pylist()] or [0]
    horizon = round(target.horizon / _MICROSECOND)
    return pa.table(
        {
            "experiment": [_NAMED],
            "event_type": [target.event],
            "default_model": pa.array([None], pa.string()),
            "pre_start": [min(began)],
            "starts": [min(began)],
            "first": [min(began)],
            "last": [max(began) + 1],
            "ends": [_micros(now)],
            "horizon": [horizon],
            "window_length": [horizon],
        }
    )


def _of_contacts(name: str, metric: OnlineMetric, count: EventCount) -> MetricDefinition:
    spec = metric.model_copy(update={"numerator": count, "denominator": "requests", "attribution": "last"})
    return MetricDefinition(name, DECLARED, None, spec)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
