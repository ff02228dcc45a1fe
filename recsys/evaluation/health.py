"""Did the experiment run as declared, so that its figures may be read at all?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.evaluation.part import Part
from recsys.evaluation.receipts import Receipts, receipts
from recsys.evaluation.split import EpochSplit, epoch_splits
from recsys.experiment.epochs import Epoch
from recsys.experiment.routing import Router, window
from recsys.ports import Engine
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer
from recsys.statistics.effects import sample_ratio_p_value

SAMPLE_RATIO_ALPHA: Final = 0.001
"""Below this p-value the split is not the declared one; small, because it is asked at every look."""
MULTIPLE_EXPOSURE_LIMIT: Final = 0.01
"""From this share of units in more than one arm on, the arms are mixed."""
LOST_LISTS_LIMIT: Final = 0.01
"""From this share of an arm's lists without any slot on, what its units saw is not known."""


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
    epochs: tuple[EpochSplit, ...] = ()
    """The split of each allocation epoch, where there are several; then these are judged, not the whole."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """Distinct request ids of each arm: fewer than exposures where exposures stand twice."""
    duplicated_exposures: Mapping[str, int] = field(default_factory=dict)
    """Exposures of each arm beyond the first of their request id."""
    lost_lists: Mapping[str, int] = field(default_factory=dict)
    """Requests of each arm that a model answered and of whose list not even the first slot was received; empty where
    slots were not asked for."""
    other_logic: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of each arm the logics that answered without a fallback and are not the declared one, with their exposures."""
    receipts: Receipts | None = None
    """What became of the router's decisions; None where no service counted them."""
    default_units: Mapping[str, int] = field(default_factory=dict)
    """Units of the placement's default traffic in the same time: `holdout`, those that the layer's holdout keeps from
    every experiment, and `other`. Empty where the experiment's layer has no holdout."""

    @property
    def healthy(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.failures


_SQL: Final = """
SELECT e.{unit} AS unit, e.arm, count(*) AS exposures, count(e.fallback) AS fallbacks,
       min(epoch_us(e.event_timestamp)) AS first
FROM exposures e CROSS JOIN parameters p
WHERE e.experiment = p.experiment AND e.arm IS NOT NULL AND NOT e.overridden AND e.{unit} IS NOT NULL
  AND epoch_us(e.event_timestamp) >= epoch_us(p.starts) AND epoch_us(e.event_timestamp) < epoch_us(p.ends)
GROUP BY ALL ORDER BY ALL
"""
_REQUESTS_SQL: Final = """
WITH received AS (
    SELECT e.request_id, e.arm, e.model_version, e.fallback
    FROM exposures e CROSS JOIN parameters p
    WHERE e.experiment = p.experiment AND e.arm IS NOT NULL AND NOT e.overridden AND e.{unit} IS NOT NULL
      AND epoch_us(e.event_timestamp) >= epoch_us(p.starts) AND epoch_us(e.event_timestamp) < epoch_us(p.ends)
)
SELECT arm, CASE WHEN fallback IS NULL THEN model_version END AS answered, count(*) AS exposures,
       count(DISTINCT request_id) AS requests, {lost} AS lost
FROM received GROUP BY ALL ORDER BY ALL
"""
_LOST: Final = (
    "count(*) FILTER (fallback IS NULL AND request_id NOT IN (SELECT request_id FROM impressions WHERE position = 1))"
)


_DEFAULT_SQL: Final = """
SELECT DISTINCT e.{unit} AS unit
FROM exposures e CROSS JOIN parameters p
WHERE e.experiment IS NULL AND e.{unit} IS NOT NULL
  AND epoch_us(e.event_timestamp) >= epoch_us(p.starts) AND epoch_us(e.event_timestamp) < epoch_us(p.ends)
"""


def check_health(  # noqa: PLR0913 - all that a check rests on stands in one place
    engine: Engine,
    name: str,
    experiment: Experiment,
    exposures: pa.Table | Path,
    *,
    now: datetime,
    layer: Layer | None = None,
    part: Part | None = None,
    epochs: Sequence[Epoch] = (),
    impressions: pa.Table | Path | None = None,
    routed: pa.Table | None = None,
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
        epochs: the experiment's allocation epochs; with several of them the split is tested in each.
        impressions: slots of these exposures, to find lists that were lost.
        routed: the router's decisions, as `EventLog.routed` gives them, to find exposures that were lost.

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
    alone, multiple = _alone(pairs)
    router = Router(name, experiment, layer)
    mismatched = _mismatched(router, pairs)
    splits = epoch_splits(router, alone, epochs) if len(epochs) > 1 else ()
    judged = _judge(experiment, pairs, _counted(alone), multiple, mismatched, splits)
    lost = _LOST if impressions is not None else "NULL"
    tables = {"exposures": exposures, "parameters": parameters} | (
        {"impressions": impressions} if impressions is not None else {}
    )
    received = engine.query(_REQUESTS_SQL.format(unit=experiment.unit, lost=lost), tables)
    judged = _with_received(judged, experiment, received, asked=impressions is not None)
    if layer is not None and layer.holdout is not None:
        units = engine.query(_DEFAULT_SQL.format(unit=experiment.unit), tables)["unit"]
        held = int(router.held_out(router.positions(units)).sum())
        judged = replace(judged, default_units={"holdout": held, "other": len(units) - held})
    if routed is None:
        return judged
    found = receipts(engine, name, experiment, exposures, routed, now=now, part=part)
    return replace(judged, receipts=found, failures=(*judged.failures, *(found.failures() if found else ())))


def _judge(
    experiment: Experiment,
    pairs: pa.Table,
    units: Mapping[str, int],
    multiple: int,
    mismatched: int,
    splits: tuple[EpochSplit, ...],
) -> Health:
    ratios = {arm: declared.ratio for arm, declared in experiment.arms.items()}
    total = sum(ratios.values())
    shares = {arm: ratio / total for arm, ratio in ratios.items()}
    p_value = sample_ratio_p_value({arm: units.get(arm, 0) for arm in ratios}, ratios)
    if splits:
        p_value = min(split.p_value for split in splits)
    seen = sum(units.values()) + multiple
    multiple_share = multiple / seen if seen else 0.0
    exposures, fallbacks = _sums(pairs, "exposures"), _sums(pairs, "fallbacks")
    failures = []
    for number, split in enumerate(splits, 1):
        if split.p_value < SAMPLE_RATIO_ALPHA:
            counts = ", ".join(f"{arm} {split.units[arm]} (expected {split.expected[arm]:.0f})" for arm in ratios)
            failures.append(
                f"The split of allocation epoch {number}, from {split.start[:16]}, is not the declared one: {counts},"
                f" p = {split.p_value:.1e} < {SAMPLE_RATIO_ALPHA}; find what loses or adds units in one arm."
            )
    if p_value < SAMPLE_RATIO_ALPHA and not splits:
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
        epochs=splits,
    )


def _with_received(judged: Health, experiment: Experiment, received: pa.Table, *, asked: bool) -> Health:
    """Add what the exposures and lists received say of the router's decisions."""
    rows = received.to_pylist()
    by_arm = {arm: [row for row in rows if row["arm"] == arm] for arm in experiment.arms}
    requests = {arm: sum(row["requests"] for row in mine) for arm, mine in by_arm.items()}
    exposures = {arm: sum(row["exposures"] for row in mine) for arm, mine in by_arm.items()}
    duplicated = {arm: exposures[arm] - requests[arm] for arm in by_arm}
    lost = {arm: sum(row["lost"] for row in mine) for arm, mine in by_arm.items()} if asked else {}
    declared = {arm: spec.model_version for arm, spec in experiment.arms.items()}
    other = {
        arm: {row["answered"]: row["exposures"] for row in mine if row["answered"] not in {None, declared[arm]}}
        for arm, mine in by_arm.items()
    }
    failures = list(judged.failures)
    for arm, count in duplicated.items():
        if count:
            failures.append(
                f"{count} exposures of {arm} stand twice under one request id, of {exposures[arm]}; a decision is one"
                " exposure: remove the copies from what was imported."
            )
    for arm, count in lost.items():
        if count >= LOST_LISTS_LIMIT * max(1, requests[arm]):
            failures.append(
                f"Of {count} of {requests[arm]} lists of {arm} ({count / requests[arm]:.1%}) no slot was received, the"
                f" limit is {LOST_LISTS_LIMIT:.0%}; find what loses impressions."
            )
    for arm, versions in other.items():
        for version, count in versions.items():
            failures.append(
                f"{arm} declares {declared[arm]}, and {version} answered {count} of its {exposures[arm]} exposures;"
                " compare the declaration that was served with this one."
            )
    return replace(
        judged,
        requests=requests,
        duplicated_exposures=duplicated,
        lost_lists=lost,
        other_logic={arm: versions for arm, versions in other.items() if versions},
        failures=tuple(failures),
    )


def _alone(pairs: pa.Table) -> tuple[pa.Table, int]:
    """Return unit, arm and first exposure of units in one arm, and how many are in several."""
    per_unit = pairs.group_by("unit").aggregate([("arm", "count"), ("arm", "min"), ("first", "min")])
    alone = per_unit.filter(pc.equal(per_unit["arm_count"], 1))
    named = pa.table({"unit": alone["unit"], "arm": alone["arm_min"], "first": alone["first_min"]})
    return named, per_unit.num_rows - alone.num_rows


def _counted(alone: pa.Table) -> dict[str, int]:
    counted = alone.group_by("arm").aggregate([("unit", "count")]).to_pylist()
    return {row["arm"]: row["unit_count"] for row in counted}


def _mismatched(router: Router, pairs: pa.Table) -> int:
    recomputed = router.route_many(pairs["unit"], overrides=False)
    same = np.asarray(pc.fill_null(pc.equal(pairs["arm"], recomputed), fill_value=False))
    return int(pc.count_distinct(pairs["unit"].filter(pa.array(~same))).as_py())


def _sums(pairs: pa.Table, column: str) -> dict[str, int]:
    totals = pairs.group_by("arm").aggregate([(column, "sum")]).to_pylist()
    return {row["arm"]: row[f"{column}_sum"] for row in totals}
