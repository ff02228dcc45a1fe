"""How long does an evaluation take, and how much memory, beside the same moments in hand-written DuckDB SQL?

    .venv/bin/python benchmarks/evaluate.py              # a million exposures, some seconds
    .venv/bin/python benchmarks/evaluate.py --full       # ten millions, some minutes: what the budget is stated for

A generated log in parquet: units with ten requests or so, half of them before the experiment, five slots a list, and
purchases of items that were shown or not. Both sides read the same files with the same threads, attribute outcomes in a
window of a week, and give count, means, variances and covariances of three metrics and their covariates (precision@5,
mrr@5 and order_rate), arm by arm; they have to agree. `ours` makes unit rows, daily sums, and effects with intervals of
both kinds, `whole` the check of health and the effect by day too, as `recsys evaluate` does. Every run is a process
of its own, so that its peak of memory is its own; the contenders take turns, and medians are compared.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.compute as pc

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.evaluation.analysis import analyse
from recsys.evaluation.cumulative import with_cumulative
from recsys.evaluation.health import Health, check_health
from recsys.evaluation.series import values
from recsys.evaluation.unit_metrics import LogTables, UnitMetrics, unit_metrics
from recsys.specs.environment import Limits
from recsys.specs.experiment import Experiment
from recsys.statistics.effects import moments

BUDGET = 2.0
START = datetime(2017, 12, 4, tzinfo=UTC)
WEEK = timedelta(weeks=1)
END = START + 5 * WEEK
THREADS = 2
EXPERIMENT = Experiment.model_validate(
    {
        "hypothesis": "better",
        "placement": "home",
        "seed": "evaluate:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.5},
            "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.5},
        },
        "metrics": {
            "primary": {"name": "precision@5", "minimum_effect": 0.02},
            "guardrails": [{"name": "mrr@5", "margin": 0.05}],
        },
        "plan": {"units": 1000, "start": "2017-12-04", "weeks": 5},
    }
)
METRICS = ("precision@5", "mrr@5", "order_rate")
HEALTHY = Health({}, {}, 1.0, 0, 0.0, 0, {}, {}, ())
_FILES = ("exposures", "impressions", "outcomes")

_EXPOSURES = """
SELECT 'r' || n AS request_id, 'u' || u AS user_id, NULL::VARCHAR AS session_id, if(before, NULL, 'e') AS experiment,
       CASE WHEN NOT before THEN if(hash(u) % 2 = 0, 'control', 'treatment') END AS arm, false AS overridden,
       'basket/v1' AS model_version, 1::BIGINT AS weights, NULL::VARCHAR AS fallback,
       if(before, TIMESTAMPTZ '2017-11-06', TIMESTAMPTZ '2017-12-04') + to_seconds((hash(n * 3) % 2419200)::INT)
           AS event_timestamp
FROM (SELECT n, hash(n) % {units} AS u, n % 2 = 0 AS before FROM range({exposures}) t(n))
"""
"""Half of them before the start; a unit has ten or so."""
_IMPRESSIONS = """
SELECT 'r' || n AS request_id, slot::BIGINT AS position,
       'i' || (hash(hash(n) % {units}) + (slot + hash(n * 5) % 4) * 37) % 20000 AS item_id, 1.0 / slot AS score,
       1.0 AS propensity
FROM range({exposures}) t(n), range(1, 6) s(slot)
"""
"""Five of a unit's usual items."""
_OUTCOMES = """
SELECT 'e' || n AS event_id, 'purchase' AS event_type, 'u' || u AS user_id,
       'i' || (hash(u) + hash(n * 11) % 12 * 37) % 20000 AS item_id, NULL::VARCHAR AS session_id,
       if(hash(n * 13) % 50 = 0, 0.0, 1.0) AS quantity, (hash(n) % 1000) / 100.0 AS value,
       TIMESTAMPTZ '2017-11-06' + to_seconds((hash(n * 7) % 5400000)::INT) AS event_timestamp,
       event_timestamp AS created_timestamp
FROM (SELECT n, floor({units} * pow((hash(n * 17) % 100000) / 100000.0, 1.5))::UBIGINT AS u FROM range({outcomes}) t(n))
"""
"""Some units buy much more than others; a purchase in fifty is cancelled."""

_RAW = """
WITH requests AS (
    SELECT request_id, user_id, arm, event_timestamp AS at, experiment IS NULL AS before
    FROM exposures
    WHERE (experiment = 'e' AND event_timestamp >= TIMESTAMPTZ '2017-12-04'
           AND event_timestamp + INTERVAL 7 DAY <= TIMESTAMPTZ '2018-01-08')
       OR (experiment IS NULL AND event_timestamp >= TIMESTAMPTZ '2017-11-06'
           AND event_timestamp + INTERVAL 7 DAY <= TIMESTAMPTZ '2017-12-04')
), bought AS (
    SELECT r.request_id, o.item_id, min(i.position) AS slot
    FROM requests r
    JOIN outcomes o ON r.user_id = o.user_id AND o.event_timestamp > r.at AND o.event_timestamp <= r.at + INTERVAL 7 DAY
    LEFT JOIN impressions i ON i.request_id = r.request_id AND i.item_id = o.item_id
    WHERE o.event_type = 'purchase' AND o.quantity > 0
    GROUP BY r.request_id, o.item_id
), scored AS (
    SELECT request_id, count(slot) / 5.0 AS precision, coalesce(1.0 / min(slot), 0.0) AS mrr, 1.0 AS ordered
    FROM bought GROUP BY request_id
), units AS (
    SELECT user_id, any_value(arm) AS arm, count(*) FILTER (NOT before) AS n, count(*) FILTER (before) AS cn,
           {sums}
    FROM requests LEFT JOIN scored USING (request_id) GROUP BY user_id HAVING n > 0
)
SELECT arm, count(*) AS units, {moments} FROM units GROUP BY arm ORDER BY arm
"""


def main() -> int:
    """Print both sides and their ratio; fail beyond the budget or where moments differ."""
    parser = argparse.ArgumentParser(description="An evaluation beside hand-written SQL.")
    parser.add_argument("--full", action="store_true", help="ten million exposures")
    parser.add_argument("--exposures", type=int, help="another number of exposures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", nargs=2, metavar=("CONTENDER", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(RUNS[arguments.run[0]](Path(arguments.run[1]))))
        return 0
    exposures = arguments.exposures or (10_000_000 if arguments.full else 1_000_000)
    with tempfile.TemporaryDirectory(prefix="evaluate-") as name:
        write_log(Path(name), exposures)
        runs: dict[str, list[dict[str, Any]]] = {contender: [] for contender in RUNS}
        for _ in range(arguments.repeats):
            for contender, found in runs.items():
                found.append(_run(contender, name))
    return _report(exposures, runs)


def write_log(folder: Path, exposures: int) -> None:
    """Write exposures, impressions and outcomes of a tenth as many units."""
    sizes = {"exposures": exposures, "units": exposures // 10, "outcomes": exposures // 2}
    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.execute("SET timezone = 'UTC'")
        for name, sql in zip(_FILES, (_EXPOSURES, _IMPRESSIONS, _OUTCOMES), strict=True):
            connection.execute(f"COPY ({sql.format(**sizes)}) TO '{folder}/{name}.parquet' (FORMAT parquet)")


def _run(contender: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--run", contender, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# ---------------------------------------------------------------- contenders


def ours(folder: Path) -> dict[str, Any]:
    """Attribute, sum by unit, and compare the arms."""
    engine, log = _opened(folder)
    began = time.perf_counter()
    measured = unit_metrics(engine, "e", EXPERIMENT, log, now=END, horizon=WEEK, default_model="basket")
    analyse("e", EXPERIMENT, measured, HEALTHY)
    return {"seconds": time.perf_counter() - began, "peak": _peak(), "moments": _moments_of(measured)}


def whole(folder: Path) -> dict[str, Any]:
    """Do all that `recsys evaluate` does with the log: health and the effect by day too."""
    engine, log = _opened(folder)
    began = time.perf_counter()
    health = check_health(engine, "e", EXPERIMENT, log.exposures, now=END, impressions=log.impressions)
    checked = time.perf_counter()
    measured = unit_metrics(engine, "e", EXPERIMENT, log, now=END, horizon=WEEK, default_model="basket", by_day=True)
    with_cumulative(analyse("e", EXPERIMENT, measured, health), EXPERIMENT, measured)
    ended = time.perf_counter()
    return {"seconds": ended - began, "health": checked - began, "peak": _peak(), "moments": _moments_of(measured)}


def _opened(folder: Path) -> tuple[DuckDBEngine, LogTables]:
    limits = Limits.model_validate({"threads": THREADS, "memory": "8GB"})
    return DuckDBEngine(limits, folder / "spill"), LogTables(*(folder / f"{name}.parquet" for name in _FILES))


def raw(folder: Path) -> dict[str, Any]:
    """Compute the same moments by one query."""
    sums, reduced = [], []
    for name in ("precision", "mrr", "ordered"):
        sums += [
            f"coalesce(sum({name}) FILTER (NOT before), 0) AS {name}_n",
            f"coalesce(sum({name}) FILTER (before), 0) AS {name}_c",
        ]
        columns = (f"{name}_n", "n", f"{name}_c", "cn")
        reduced += [f"avg({column})" for column in columns] + [f"var_samp({column})" for column in columns]
        reduced += [f"covar_samp({a}, {b})" for i, a in enumerate(columns) for b in columns[i + 1 :]]
    began = time.perf_counter()
    with duckdb.connect(
        config={"threads": THREADS, "memory_limit": "8GB", "preserve_insertion_order": False}
    ) as connection:
        connection.execute("SET timezone = 'UTC'")
        for name in _FILES:
            connection.execute(f"CREATE VIEW {name} AS FROM read_parquet('{folder}/{name}.parquet')")
        rows = connection.sql(_RAW.format(sums=", ".join(sums), moments=", ".join(reduced))).fetchall()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": _peak(), "moments": {row[0]: list(row[1:]) for row in rows}}


RUNS = {"ours": ours, "whole": whole, "raw": raw}


def _moments_of(measured: UnitMetrics) -> dict[str, list[float]]:
    """Return what the query of `raw` gives, from unit rows."""
    kept = measured.units.filter(pc.greater(measured.units["requests"], 0))
    found = {}
    for arm in EXPERIMENT.arms:
        rows = kept.filter(pc.equal(kept["arm"], arm))
        found[arm] = [float(rows.num_rows)]
        for metric in measured.definitions:
            reduced = moments(*(values(rows, column) for column in metric.columns))
            names = tuple(reduced.mean_)
            found[arm] += [reduced.mean_[name] for name in names] + [reduced.var_[name] for name in names]
            found[arm] += [reduced.cov(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---------------------------------------------------------------- what is printed


def _report(exposures: int, runs: dict[str, list[dict[str, Any]]]) -> int:
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in found[0] if key != "moments"}
        for name, found in runs.items()
    }
    theirs = runs["raw"][0]["moments"]
    worst = max(
        abs(one - other) / max(abs(other), 1e-9)
        for name in ("ours", "whole")
        for arm in theirs
        for one, other in zip(runs[name][0]["moments"][arm], theirs[arm], strict=True)
    )
    rows = f"{exposures:,} exposures, {5 * exposures:,} impressions, {exposures // 2:,} outcomes"
    print(f"{rows}; {', '.join(METRICS)}, CUPED")
    for name, found in medians.items():
        ratio = found["seconds"] / medians["raw"]["seconds"]
        print(f"  {name:6} {found['seconds']:7.2f} s, {ratio:5.2f} x raw, peak {found['peak']:7,.0f} MiB")
    ratio = medians["ours"]["seconds"] / medians["raw"]["seconds"]
    print(f"  of whole, {medians['whole']['health']:.2f} s are the check of health")
    print(f"  ours / raw {ratio:.2f} (budget {BUDGET}); largest relative difference of a moment {worst:.1e}")
    return int(ratio > BUDGET or worst > 1e-6)  # noqa: PLR2004 - sums of floats in another order


if __name__ == "__main__":
    sys.exit(main())
