"""Do the days that `recsys funnel` predicts agree with those of simulated experiments, and how long does it take?

    python benchmarks/funnel.py days [experiments [scenario]]   predicted days against those with the planned power
    python benchmarks/funnel.py coverage [pasts [scenario]]      how often a past's bounds hold the large past's days
    python benchmarks/funnel.py time FOLDER                     the funnel of `recsys simulate`'s events in FOLDER

Each scenario plans by the past of one shop without any experiment, `LARGER` times as large as those that have one, and
gives an experiment that share of its traffic: so the prediction is not blurred by its own sample. `PASTS` of the
experiments' own size say how far it is then. Shops of other seeds, so other users, have an experiment with the planned
effect; its power at a day is the share of them in which the stage's effect is significant, by
`recsys.statistics.effects` with CUPED, counted by SQL that shares nothing with the planner's.

Coverage plans by many pasts of the experiments' own size, and by the large one; no experiment is made up.
"""

import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
from funnel_shops import (
    STAGES,
    Scenario,
    bounded_days,
    bounded_past,
    day_looks,
    days_with_power,
    engine,
    expected_days,
    found,
    predicted,
)

from recsys import schema
from recsys.problem.chain import chained_sql
from recsys.problem.counts import count
from recsys.problem.figures import reading
from recsys.problem.redrawn import Pasts
from recsys.problem.rows import Stages, span_of
from recsys.specs.funnel import Planning

LARGER = 25
PASTS = 7
PROCESSES = 2
WITHIN = 0.15
"""Predicted days may differ by this share."""
COVERED = (0.90, 0.99)
"""Bounds of 95 % hold the days so often, up to the chance of some hundred pasts."""
SCENARIOS = (
    Scenario("visits, 10 %", 800, 150, 0.10, None, {}),
    Scenario(
        "visits, 20 %, a shop that grows",
        500,
        84,
        0.20,
        None,
        {
            "segments": {
                "new": {"share": 0.7, "sessions_per_week": 1.0, "joins": True},
                "old": {"share": 0.3, "sessions_per_week": 2.0},
            },
        },
    ),
    Scenario("users, 15 %", 800, 84, 0.15, timedelta(days=1), {}),
)


def days(experiments: int = 300, only: int | None = None) -> int:
    """Print predicted and simulated days; returns 1 if any differs by more than `WITHIN`."""
    run, wrong = engine(), 0
    for number, scenario in enumerate(SCENARIOS):
        if only not in {None, number + 1}:
            continue
        seeds = 1_000_000 * (number + 1)
        expected = expected_days(predicted(run, scenario, seeds - 1, larger=LARGER), scenario)
        pasts = [expected_days(predicted(run, scenario, seeds - 2 - past), scenario) for past in range(PASTS)]
        looks = day_looks(expected, scenario.days)
        with ProcessPoolExecutor(PROCESSES) as pool:
            seen = list(pool.map(partial(found, scenario, looks), range(seeds, seeds + experiments), chunksize=10))
        power = np.mean(seen, axis=0)
        for stage, name in enumerate(STAGES[1:]):
            real = days_with_power(looks, power[stage], scenario.planning.power)
            off = expected[stage] / real - 1
            wrong += abs(off) > WITHIN
            at = power[stage, int(np.argmin(np.abs(looks - expected[stage])))]
            blurred = sorted(past[stage] for past in pasts)
            print(
                f"{scenario.name:<32} {name:<9} predicted {expected[stage]:4.0f} days, simulated {real:5.1f}"
                f" ({off:+.1%}); power at the predicted {at:.3f}; by {scenario.users:,} users {blurred}",
                flush=True,
            )
    return int(wrong > 0)


def coverage(pasts: int = 200, only: int | None = None) -> int:
    """Print how often a past's bounds hold the large past's days; returns 1 if that is out of `COVERED`."""
    run, wrong = engine(), 0
    for number, scenario in enumerate(SCENARIOS):
        if only not in {None, number + 1}:
            continue
        seeds = 1_000_000 * (number + 1)
        large = bounded_days(predicted(run, scenario, seeds - 1, larger=LARGER))
        with ProcessPoolExecutor(PROCESSES) as pool:
            of_seeds = range(seeds - 1 - pasts, seeds - 1)
            found = np.array(list(pool.map(partial(bounded_past, scenario), of_seeds, chunksize=10)))
        for stage, name in enumerate(STAGES[1:]):
            true, few = large[stage][1], found[:, stage]
            low, high = (few[:, 0] > true).mean(), (few[:, 2] < true).mean()
            wrong += not COVERED[0] <= 1 - low - high <= COVERED[1]
            middle = np.quantile(few, 0.5, axis=0, method="inverted_cdf")
            most = np.quantile(few[:, 1], (0.025, 0.975), method="inverted_cdf")
            print(
                f"{scenario.name:<32} {name:<9} {true:4.0f} days; held by {1 - low - high:.1%} of {pasts} pasts"
                f" (it lies below {low:.1%}, above {high:.1%}); their middle {middle[1]:.0f}"
                f" [{middle[0]:.0f}, {middle[2]:.0f}], 95 % of their days {most[0]:.0f} to {most[1]:.0f}",
                flush=True,
            )
    return int(wrong > 0)


def timed(folder: Path) -> None:
    """Print the seconds that each step takes, and the memory."""
    run, stages, planning = engine(), Stages(STAGES, None), Planning()
    sql = f"select *, null::timestamptz as {schema.SUPERSEDED_TIMESTAMP} from delivered"
    events = folder / "funnel-events.parquet"
    rows = run.write(sql, {"delivered": folder / "events"}, events)
    (times,) = run.query(
        "select min(event_timestamp) as a, max(event_timestamp) as b from events", {"events": events}
    ).to_pylist()
    end = times["b"] + timedelta(microseconds=1)
    span = span_of(stages, times["a"] + timedelta(weeks=4), end, end, covariate_weeks=4, settle=timedelta(0))
    begun, processor = time.monotonic(), time.process_time()
    chained = folder / "funnel-chained.parquet"
    run.write(chained_sql(stages, span), {"events": events}, chained)
    linked = time.monotonic()
    (counted,) = count(run, chained, stages, span, measure="event", once=False)
    reading(counted, stages, span, planning)
    done, spent = time.monotonic(), time.process_time() - processor
    pasts = Pasts(counted.units)
    for stage in range(1, len(STAGES)):
        pasts.relative_variances(stage)
    bounds = time.process_time() - processor - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{rows:,} events, {len(counted.units.entry_day):,} units: chained {linked - begun:.1f} s, counted and planned"
        f" {done - linked:.1f} s; {spent:.1f} s of processor, of which the bounds' pasts take {bounds:.1f} s;"
        f" {peak:,.0f} MB"
    )
    for each in (events, chained):
        each.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["time"]:
        timed(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["coverage"]:
        sys.exit(coverage(*map(int, sys.argv[2:])))
    else:
        sys.exit(days(*map(int, sys.argv[2:])))
