"""How is a metric kept from being decided by a handful of units? By lowering what they add to a declared quantile."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.series import values


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
        quantile = metric.declared.winsorise if metric.declared else None
        if quantile is None or not units.num_rows:
            continue
        numerator = values(units, metric.numerator)
        limit = _limit(numerator, quantile)
        before, present = values(units, metric.covariate_numerator), values(units, metric.covariate_denominator) > 0
        covariate_limit = _limit(before[present], quantile) if present.any() else None
        units = _with(units, metric.numerator, np.minimum(numerator, limit))
        if covariate_limit is not None:
            units = _with(units, metric.covariate_numerator, np.minimum(before, covariate_limit))
        lowered = int(np.count_nonzero(numerator > limit))
        done.append(Winsorised(metric.name, quantile, limit, lowered, covariate_limit))
    return units, tuple(done)


def _limit(column: np.ndarray[tuple[int, ...], np.dtype[np.float64]], quantile: float) -> float:
    return float(np.quantile(column, quantile, method="higher"))


def _with(units: pa.Table, name: str, column: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> pa.Table:
    return units.set_column(units.schema.get_field_index(name), name, pa.array(column))
