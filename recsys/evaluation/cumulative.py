"""How did the effect on the primary metric settle, from day to day?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.evaluation.analysis import Analysis, with_bounds
from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.series import CumulativePoint, values
from recsys.evaluation.unit_metrics import UnitMetrics
from recsys.evaluation.winsorising import winsorise
from recsys.specs.experiment import Experiment
from recsys.statistics.effects import effect, moments

_MOST_DAYS: Final = 56
"""Beyond that, the effect is told at the end of each week."""
_DAYS_A_WEEK: Final = 7


@dataclass(frozen=True)
class _Growing:
    """What units had summed up to, as the days go by."""

    unit: NDArray[np.int64]
    """Of each row the place of its unit among the units with a request that counts."""
    day: NDArray[np.int64]
    numerator: NDArray[np.float64]
    """Summed up to the row's day."""
    denominator: NDArray[np.float64]


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
    definition = metrics.definitions[0]
    units = metrics.units.filter(pc.greater(metrics.units["requests"], 0))
    points = tuple(
        _points(analysis, experiment, definition, units, _growing(metrics.by_day, metrics.denominates_units))
    )
    return replace(analysis, cumulative=points)


def _points(
    analysis: Analysis, experiment: Experiment, definition: MetricDefinition, units: pa.Table, growing: _Growing
) -> Iterator[CumulativePoint]:
    numerator, denominator = np.zeros(units.num_rows), np.zeros(units.num_rows)
    analysed = ~np.asarray(units["several_arms"].to_numpy())
    days = np.unique(growing.day)
    last = int(days[-1]) if len(days) else 0
    by_week = last >= _MOST_DAYS
    for day in days:
        rows = growing.day == day
        numerator[growing.unit[rows]] = growing.numerator[rows]
        denominator[growing.unit[rows]] = growing.denominator[rows]
        if by_week and (day + 1) % _DAYS_A_WEEK and day != last:
            continue
        so_far = units.append_column("so_far", pa.array((denominator > 0) & analysed))
        for name, column in ((definition.numerator, numerator), (definition.denominator, denominator)):
            so_far = so_far.set_column(so_far.schema.get_field_index(name), name, pa.array(column))
        kept, _ = winsorise(so_far.filter(so_far["so_far"]), [definition])
        reduced = {
            arm: moments(*(values(kept.filter(pc.equal(kept["arm"], arm)), column) for column in definition.columns))
            for arm in experiment.arms
        }
        end = experiment.plan.start + timedelta(days=int(day) + 1)
        for arm in experiment.arms:
            if arm != experiment.control:
                found = effect(
                    definition.name, reduced[experiment.control], reduced[arm], confidence=analysis.confidence
                )
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


def _growing(by_day: pa.Table, denominates_units: bool) -> _Growing:
    names = by_day["unit"].combine_chunks()
    first = np.ones(len(names), dtype=bool)
    if len(names) > 1:
        first[1:] = np.asarray(pc.not_equal(names[1:], names[:-1]))
    unit = np.cumsum(first) - 1
    denominator = values(by_day, "term_1")
    return _Growing(
        unit=unit,
        day=np.asarray(by_day["day"].to_numpy(), dtype=np.int64),
        numerator=_summed(values(by_day, "term_0"), first, unit),
        denominator=np.ones(len(names)) if denominates_units else _summed(denominator, first, unit),
    )


def _summed(column: NDArray[np.float64], first: NDArray[np.bool_], unit: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return running sums inside each unit."""
    if not len(column):
        return column
    whole = np.cumsum(column)
    before = (whole - column)[first]
    return np.asarray(whole - before[unit], dtype=np.float64)
