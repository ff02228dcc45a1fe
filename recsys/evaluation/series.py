"""How did each arm go from day to day and from week to week?"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tea_tasting.aggr import Aggregates

from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.unit_metrics import UnitMetrics
from recsys.specs.experiment import Experiment
from recsys.statistics.bootstrap import Interval
from recsys.statistics.effects import moments


@dataclass(frozen=True)
class SeriesPoint:
    """One arm in one day or week."""

    arm: str
    start: str
    """The period's first moment, ISO, UTC."""
    requests: int
    means: Mapping[str, float]


@dataclass(frozen=True)
class CumulativePoint:
    """The effect on one metric up to a moment."""

    treatment_arm: str
    end: str
    """Requests before this moment count, ISO, UTC."""
    units: int
    relative: Interval
    always_relative: Interval
    absolute: Interval
    always_absolute: Interval


def series(experiment: Experiment, metrics: UnitMetrics, *, days: int) -> Iterator[SeriesPoint]:
    """Yield every arm's periods in order, from daily sums over requests whose window is closed.

    Args:
        experiment: the declaration; periods count from its start.
        metrics: with its daily sums.
        days: length of a period: 1 or 7.
    """
    rows = metrics.days
    periods = np.asarray(rows["day"].to_numpy() // days, dtype=np.int64)
    for arm in experiment.arms:
        of_arm = np.asarray(pc.equal(rows["arm"], arm))
        for period in np.unique(periods[of_arm]):
            points = rows.filter(pa.array(of_arm & (periods == period)))
            start = experiment.plan.start + timedelta(days=int(period) * days)
            yield SeriesPoint(arm, start.isoformat(), total(points, "requests"), means(points, metrics.definitions))


def means(rows: pa.Table, definitions: Sequence[MetricDefinition]) -> dict[str, float]:
    """Return every metric's sum of numerators over sum of denominators; NaN where nothing was counted."""
    found = {}
    for metric in definitions:
        denominator = float(values(rows, metric.denominator).sum())
        numerator = float(values(rows, metric.numerator).sum())
        found[metric.name] = numerator / denominator if denominator else math.nan
    return found


def values(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a column as float64, [rows]."""
    return np.asarray(rows[name].to_numpy(), dtype=np.float64)


def metric_moments(rows: pa.Table | Mapping[str, NDArray[np.float64]], metric: MetricDefinition) -> Aggregates:
    """Reduce the units of one sample to the moments that `recsys.statistics` compares."""
    columns = {name: values(rows, name) for name in metric.columns} if isinstance(rows, pa.Table) else rows
    return moments(*(columns[name] for name in metric.columns))


def total(rows: pa.Table, name: str) -> int:
    """Return the sum of a whole-number column."""
    return int(pc.sum(rows[name]).as_py() or 0)
