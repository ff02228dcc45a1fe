"""How is a metric kept from being decided by a handful of units? By lowering what they add to a declared quantile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.series import values

Columns = Mapping[str, NDArray[np.float64]]
"""A metric's columns by name, one value a unit."""


@dataclass(frozen=True)
class Winsorised:
    """What was lowered of one metric."""

    metric: str
    quantile: float
    limit: float
    """The largest numerator a unit keeps."""
    units: int
    """Units that were lowered to it."""
    covariate_limit: float | None
    """The same before the start; None where no unit was there."""


def winsorise(units: pa.Table, definitions: Sequence[MetricDefinition]) -> tuple[pa.Table, tuple[Winsorised, ...]]:
    """Lower the numerators of those metrics that are declared so.

    The limit is a quantile over the analysed units of all arms pooled, so that it cannot favour one of them; it is one
    of the units' values, the next one above. The covariate has its own, over units that were there before the start.

    Args:
        units: rows that are analysed, as `UnitMetrics.units`.
        definitions: the metrics.

    Returns:
        The rows, and what was done; metrics without `winsorise` are left as they are.
    """
    done = []
    for metric in definitions:
        columns = {name: values(units, name) for name in metric.columns} if _quantile(metric) else {}
        limits = _limits(columns, metric)
        if limits is None:
            continue
        done.append(limits)
        for name, column in _lowered(columns, metric, limits).items():
            units = units.set_column(units.schema.get_field_index(name), name, pa.array(column))
    return units, tuple(done)


def winsorised_arms(arms: Mapping[str, Columns], metric: MetricDefinition) -> Mapping[str, Columns]:
    """Do the same to the columns of each arm's units, arms pooled."""
    if _quantile(metric) is None:
        return arms
    pooled = {name: np.concatenate([columns[name] for columns in arms.values()]) for name in metric.columns}
    limits = _limits(pooled, metric)
    return arms if limits is None else {arm: _lowered(columns, metric, limits) for arm, columns in arms.items()}


def _quantile(metric: MetricDefinition) -> float | None:
    return metric.declared.winsorise if metric.declared else None


def _limits(columns: Columns, metric: MetricDefinition) -> Winsorised | None:
    quantile = _quantile(metric)
    if quantile is None or not len(columns[metric.numerator]):
        return None
    numerator, present = columns[metric.numerator], columns[metric.covariate_denominator] > 0
    limit = float(np.quantile(numerator, quantile, method="higher"))
    before = columns[metric.covariate_numerator][present]
    covariate_limit = float(np.quantile(before, quantile, method="higher")) if len(before) else None
    return Winsorised(metric.name, quantile, limit, int(np.count_nonzero(numerator > limit)), covariate_limit)


def _lowered(columns: Columns, metric: MetricDefinition, limits: Winsorised) -> Columns:
    lowered = {**columns, metric.numerator: np.minimum(columns[metric.numerator], limits.limit)}
    if limits.covariate_limit is not None:
        before = columns[metric.covariate_numerator]
        lowered[metric.covariate_numerator] = np.minimum(before, limits.covariate_limit)
    return lowered
