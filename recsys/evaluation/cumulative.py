"""How did the effect on the primary metric settle, from day to day?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.evaluation.analysis import Analysis, with_bounds
from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.ramps import STRATUM, pair_moments
from recsys.evaluation.series import CumulativePoint, values
from recsys.evaluation.unit_metrics import UnitMetrics
from recsys.evaluation.winsorising import winsorised_arms
from recsys.specs.experiment import Experiment
from recsys.statistics.effects import effect

_MOST_DAYS: Final = 56
"""Beyond that, the effect is told at the end of each week."""
_DAYS_A_WEEK: Final = 7


@dataclass(frozen=True)
class _Growing:
    """What units add, as the days go by; one row a unit and day, by day."""

    unit: NDArray[np.int64]
    """The place of the row's unit among the units with a request that counts."""
    day: NDArray[np.int64]
    numerator: NDArray[np.float64]
    denominator: NDArray[np.float64]
    one_a_unit: bool
    """Whether the denominator of a unit is 1, however many days it comes."""


def with_cumulative(analysis: Analysis, experiment: Experiment, metrics: UnitMetrics) -> Analysis:
    """Add the effect on the primary metric by the requests up to the end of each day.

    Each is computed as the effect of the whole, so that the last one is that effect; the fixed interval of a day holds
    for a look at that day alone, the always-valid one for all days together.

    Args:
        analysis: of the same metrics.
        experiment: its declaration.
        metrics: with the primary metric's daily rows; without them nothing is added.
    """
    if metrics.by_day is None:
        return analysis
    units = metrics.units.filter(pc.greater(metrics.units["requests"], 0))
    growing = _growing(metrics.by_day, units["unit"], one_a_unit=metrics.denominates_units)
    points = tuple(_points(analysis, experiment, metrics.definitions[0], units, growing))
    return replace(analysis, cumulative=points)


def _points(
    analysis: Analysis, experiment: Experiment, metric: MetricDefinition, units: pa.Table, growing: _Growing
) -> Iterator[CumulativePoint]:
    numerator, denominator = np.zeros(units.num_rows), np.zeros(units.num_rows)
    before = [values(units, name) for name in (metric.covariate_numerator, metric.covariate_denominator)]
    stratum = {STRATUM: values(units, STRATUM)} if STRATUM in units.column_names else {}
    analysed = ~np.asarray(units["several_arms"].to_numpy())
    of_arm = {arm: np.asarray(pc.equal(units["arm"], arm)) & analysed for arm in experiment.arms}
    days = np.unique(growing.day)
    bounds = np.searchsorted(growing.day, [*days, np.iinfo(np.int64).max])
    by_week = len(days) > 0 and days[-1] >= _MOST_DAYS
    for day, start, end in zip(days, bounds[:-1], bounds[1:], strict=True):
        mine = growing.unit[start:end]
        numerator[mine] += growing.numerator[start:end]
        denominator[mine] = 1.0 if growing.one_a_unit else denominator[mine] + growing.denominator[start:end]
        if by_week and (day + 1) % _DAYS_A_WEEK and day != days[-1]:
            continue
        seen = denominator > 0
        columns = dict(zip(metric.columns, (numerator, denominator, *before), strict=True)) | stratum
        kept = {arm: {name: column[seen & mask] for name, column in columns.items()} for arm, mask in of_arm.items()}
        yield from _at(analysis, experiment, metric, kept, experiment.plan.start + timedelta(days=int(day) + 1))


def _at(
    analysis: Analysis,
    experiment: Experiment,
    metric: MetricDefinition,
    kept: Mapping[str, Mapping[str, NDArray[np.float64]]],
    end: datetime,
) -> Iterator[CumulativePoint]:
    """Yield every treatment's effect by what units had summed up to."""
    capped = winsorised_arms(kept, metric)
    for arm in experiment.arms:
        if arm == experiment.control:
            continue
        control, treatment = pair_moments(capped[experiment.control], capped[arm], metric)
        found = effect(metric.name, control, treatment, confidence=analysis.confidence)
        bounded = with_bounds(experiment, arm, "primary", found, 1 - analysis.confidence)
        yield CumulativePoint(
            treatment_arm=arm,
            end=end.isoformat(),
            units=found.control_units + found.treatment_units,
            relative=found.relative,
            always_relative=bounded.always_relative,
            absolute=found.absolute,
            always_absolute=bounded.always_absolute,
        )


def _growing(by_day: pa.Table, units: pa.ChunkedArray, *, one_a_unit: bool) -> _Growing:
    """Number the units of daily rows, and order them by day; a unit has one row a day, so that sums have one order."""
    place = np.asarray(pc.index_in(by_day["unit"], value_set=units.combine_chunks()), dtype=np.int64)
    day = np.asarray(by_day["day"].to_numpy(), dtype=np.int64)
    order = np.argsort(day, kind="stable")
    return _Growing(
        unit=place[order],
        day=day[order],
        numerator=values(by_day, "numerator")[order],
        denominator=values(by_day, "denominator")[order],
        one_a_unit=one_a_unit,
    )
