"""How are arms compared that did not grow in proportion? Within the allocation epochs in which units came new.

`recsys.statistics.strata` says why, and what a unit's stratum is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tea_tasting.aggr import Aggregates

from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.series import metric_moments
from recsys.evaluation.split import opened_by
from recsys.evaluation.unit_metrics import UnitMetrics
from recsys.experiment.epochs import Epoch, proportional
from recsys.experiment.routing import Router, window
from recsys.ports import Engine
from recsys.specs.experiment import Experiment
from recsys.statistics.strata import FEWEST_UNITS, NO_STRATUM, standardise, strata_of

STRATUM: Final = "stratum"
"""Column of units: the epoch they are compared in, or `NO_STRATUM`; only where arms are compared by epoch."""

_VISITS: Final = """
SELECT e.{unit} AS unit, min(epoch_us(e.event_timestamp)) AS first_visit,
       min(epoch_us(e.event_timestamp)) FILTER (e.experiment = p.experiment AND e.arm IS NOT NULL AND NOT e.overridden)
           AS first_exposure
FROM exposures e CROSS JOIN parameters p
WHERE e.{unit} IS NOT NULL AND epoch_us(e.event_timestamp) >= p.starts AND epoch_us(e.event_timestamp) < p.ends
GROUP BY unit HAVING first_exposure IS NOT NULL ORDER BY unit
"""


def with_strata(
    engine: Engine,
    router: Router,
    exposures: pa.Table | Path,
    metrics: UnitMetrics,
    epochs: Sequence[Epoch],
) -> UnitMetrics:
    """Add every unit's stratum, if the arms did not only grow in proportion.

    Args:
        engine: runs the SQL.
        router: of the experiment.
        exposures: all of its placement, default traffic among them: a visit is a request, whatever it got.
        metrics: unit rows; as they are where one comparison of all units is right.
        epochs: the allocation epochs.
    """
    if len(epochs) < 2 or proportional(epochs):  # noqa: PLR2004 - one epoch has no ramp
        return metrics
    first, last = (round(at.timestamp() * 1_000_000) for at in (window(router.experiment)[0], metrics.until))
    parameters = {"experiment": [router.name], "starts": [first], "ends": [last]}
    sql = _VISITS.format(unit=router.experiment.unit)
    visits = engine.query(sql, {"exposures": exposures, "parameters": pa.table(parameters)})
    found = visits.take(pc.index_in(metrics.units["unit"], value_set=visits["unit"].combine_chunks()))
    first_visit, first_exposure = (
        np.asarray(found[column].to_numpy(), dtype=np.int64) for column in ("first_visit", "first_exposure")
    )
    starts = [round(epoch.start.timestamp() * 1_000_000) for epoch in epochs]
    stratum = strata_of(first_visit, first_exposure, starts, opened_by(router, metrics.units, epochs))
    return replace(metrics, units=metrics.units.append_column(STRATUM, pa.array(stratum)))


def uncompared(units: pa.Table, experiment: Experiment) -> int:
    """Return how many units stand in no comparison: of no stratum, or of one that the other arm has too few units of.

    Args:
        units: those that are analysed.
        experiment: the declaration; units of the control count where one treatment at least is compared with them.
    """
    if STRATUM not in units.column_names:
        return 0
    stratum, arm = units[STRATUM].to_numpy(), np.asarray(units["arm"].to_pylist(), dtype=object)
    treatments = [name for name in experiment.arms if name != experiment.control]
    compared = 0
    for code in np.unique(stratum[stratum != NO_STRATUM]):
        counts = {name: int(np.count_nonzero((stratum == code) & (arm == name))) for name in experiment.arms}
        control = counts[experiment.control]
        paired = [counts[name] for name in treatments if min(control, counts[name]) >= FEWEST_UNITS]
        compared += control + sum(paired) if paired else 0
    return int(units.num_rows) - compared


def pair_moments(
    control: Mapping[str, NDArray[np.float64]], treatment: Mapping[str, NDArray[np.float64]], metric: MetricDefinition
) -> tuple[Aggregates, Aggregates]:
    """Reduce the units of two arms: all of an arm together, or by strata that have the same weights in both.

    Args:
        control: the metric's columns of the control's units, and their `stratum` where they have one.
        treatment: the same of the treatment's.
        metric: which metric.
    """
    if STRATUM not in control:
        return metric_moments(control, metric), metric_moments(treatment, metric)
    strata = sorted({*control[STRATUM].tolist(), *treatment[STRATUM].tolist()} - {NO_STRATUM}) or [NO_STRATUM - 1]
    pairs = [
        (metric_moments(_of(control, stratum), metric), metric_moments(_of(treatment, stratum), metric))
        for stratum in strata
    ]
    both = standardise(pairs, pooled=False)
    return both.control, both.treatment


def _of(columns: Mapping[str, NDArray[np.float64]], stratum: float) -> dict[str, NDArray[np.float64]]:
    return {name: column[columns[STRATUM] == stratum] for name, column in columns.items()}
