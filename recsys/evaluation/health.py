"""Did the experiment run as declared, so that its figures may be read at all?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.evaluation.part import Part
from recsys.experiment.routing import Router, window
from recsys.ports import Engine
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer
from recsys.statistics.effects import sample_ratio_p_value

SAMPLE_RATIO_ALPHA: Final = 0.001
"""Below this p-value the split is not the declared one; small, because it is asked at every look."""
MULTIPLE_EXPOSURE_LIMIT: Final = 0.01
"""From this share of units in more than one arm on, the arms are mixed."""


@dataclass(frozen=True)
class Health:
    """What the exposures say about the experiment's own machinery; testers with an override are left out."""

    units: Mapping[str, int]
    """Units of each declared arm, those in several arms left out."""
    expected_shares: Mapping[str, float]
    """Each arm's declared share of the experiment's traffic."""
    sample_ratio_p_value: float
    multiple_units: int
    """Units seen in more than one arm."""
    multiple_share: float
    mismatched_units: int
    """Units whose logged arm is not the one their id gives."""
    exposures: Mapping[str, int]
    fallback_share: Mapping[str, float]
    """Share of each arm's exposures that some step of the fallback ladder answered; reported, not judged."""
    failures: tuple[str, ...]
    """What is wrong, in plain sentences."""

    @property
    def healthy(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.failures


_SQL: Final = """
SELECT e.{unit} AS unit, e.arm, count(*) AS exposures, count(e.fallback) AS fallbacks
FROM exposures e CROSS JOIN parameters p
WHERE e.experiment = p.experiment AND e.arm IS NOT NULL AND NOT e.overridden AND e.{unit} IS NOT NULL
  AND epoch_us(e.event_timestamp) >= epoch_us(p.starts) AND epoch_us(e.event_timestamp) < epoch_us(p.ends)
GROUP BY ALL ORDER BY ALL
"""


def check_health(
    engine: Engine,
    name: str,
    experiment: Experiment,
    exposures: pa.Table | Path,
    *,
    now: datetime,
    layer: Layer | None = None,
    part: Part | None = None,
) -> Health:
    """Check split, separation and assignment of an experiment's exposures.

    Args:
        engine: runs the SQL.
        name: the experiment's name.
        experiment: its declaration; its present ratios are what the split is tested against.
        exposures: as `EventLog.exposures` gives them, or parquet of the same columns.
        now: the environment's time; later exposures do not count.
        layer: the one that the experiment is in, if it is in one.
        part: the requests that are looked at; all of the experiment by default.

    Returns:
        The checks and what failed.
    """
    start, end = window(experiment) if part is None else (part.start, part.end)
    parameters = pa.table(
        {
            "experiment": [name],
            "starts": pa.array([start], pa.timestamp("us", tz="UTC")),
            "ends": pa.array([min(now, end)], pa.timestamp("us", tz="UTC")),
        }
    )
    sql = _SQL.format(unit=experiment.unit)
    pairs = engine.query(sql, {"exposures": exposures, "parameters": parameters})
    units, multiple = _units_by_arm(pairs)
    mismatched = _mismatched(Router(name, experiment, layer), pairs)
    return _judge(experiment, pairs, units, multiple, mismatched)


def _judge(experiment: Experiment, pairs: pa.Table, units: Mapping[str, int], multiple: int, mismatched: int) -> Health:
    ratios = {arm: declared.ratio for arm, declared in experiment.arms.items()}
    total = sum(ratios.values())
    shares = {arm: ratio / total for arm, ratio in ratios.items()}
    p_value = sample_ratio_p_value({arm: units.get(arm, 0) for arm in ratios}, ratios)
    seen = sum(units.values()) + multiple
    multiple_share = multiple / seen if seen else 0.0
    exposures, fallbacks = _sums(pairs, "exposures"), _sums(pairs, "fallbacks")
    failures = []
    if p_value < SAMPLE_RATIO_ALPHA:
        counts = ", ".join(f"{arm} {units.get(arm, 0)} (declared {shares[arm]:.1%})" for arm in ratios)
        failures.append(
            f"The split is not the declared one: {counts}, p = {p_value:.1e} < {SAMPLE_RATIO_ALPHA};"
            " find what loses or adds units in one arm."
        )
    if multiple_share >= MULTIPLE_EXPOSURE_LIMIT:
        failures.append(
            f"{multiple} of {seen} units ({multiple_share:.1%}) were seen in more than one arm, the limit is"
            f" {MULTIPLE_EXPOSURE_LIMIT:.0%}; a unit keeps its arm."
        )
    if mismatched:
        failures.append(
            f"{mismatched} of {seen} units were served another arm than their id gives under seed {experiment.seed!r};"
            " compare the declaration that was served with this one."
        )
    return Health(
        units={arm: units.get(arm, 0) for arm in ratios},
        expected_shares=shares,
        sample_ratio_p_value=p_value,
        multiple_units=multiple,
        multiple_share=multiple_share,
        mismatched_units=mismatched,
        exposures={arm: exposures.get(arm, 0) for arm in ratios},
        fallback_share={arm: fallbacks.get(arm, 0) / exposures[arm] if arm in exposures else 0.0 for arm in ratios},
        failures=tuple(failures),
    )


def _units_by_arm(pairs: pa.Table) -> tuple[dict[str, int], int]:
    """Return how many units each arm has to itself, and how many are in several."""
    per_unit = pairs.group_by("unit").aggregate([("arm", "count"), ("arm", "min")])
    alone = per_unit.filter(pc.equal(per_unit["arm_count"], 1))
    counted = alone.group_by("arm_min").aggregate([("unit", "count")]).to_pylist()
    return {row["arm_min"]: row["unit_count"] for row in counted}, per_unit.num_rows - alone.num_rows


def _mismatched(router: Router, pairs: pa.Table) -> int:
    recomputed = router.route_many(pairs["unit"], overrides=False)
    same = np.asarray(pc.fill_null(pc.equal(pairs["arm"], recomputed), fill_value=False))
    return int(pc.count_distinct(pairs["unit"].filter(pa.array(~same))).as_py())


def _sums(pairs: pa.Table, column: str) -> dict[str, int]:
    totals = pairs.group_by("arm").aggregate([(column, "sum")]).to_pylist()
    return {row["arm"]: row[f"{column}_sum"] for row in totals}
