"""Does everybody get the arm that GrowthBook's SDK gives, at random, and for good? And how fast?

    .venv/bin/python benchmarks/routing.py [--ids 1000000] [--experiments 100]

Protocol. Everything is seeded, so a run on the same code prints the same figures but for times.

1. Equal to the SDK: the bucket of a million random strings of all of Unicode; the arm of 100,000 ids by the exported
   payload, of two experiments in one layer with overrides, evaluated by the SDK.
2. At random: 100 experiments × 1M ids. Chi-square of each experiment over all 10,000 buckets, and of every pair over a
   table of four groups each; of all ids, of those that are active (three in ten, younger accounts rather than
   older ones) and of every seventh. No p-value may lie below .05 divided by the number of tests of its kind
   (Bonferroni), and those of the experiments have to be uniform (Kolmogorov-Smirnov, .001).
3. For good: random sequences of edits that a running experiment may see (growth, new arms, overrides, earlier ends),
   half of the experiments in a layer. `check_change` allows each, and no id of 1M ever leaves the arm that it has.
4. Fast: ids a second of one core's time, vectorised over Arrow, and the SDK's own hash in a loop over the same ids:
   medians of runs in turns. At least 15 M a second and 50 times the loop, on each kind of id; routing by an experiment
   in a layer, which takes two hashes, and the arms' names, is reported beside it.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from growthbook import GrowthBook
from growthbook.core import gbhash
from numpy.typing import NDArray
from routing_world import active, allowed_edit, experiment, layered, strange_ids, usual_ids
from scipy.stats import chi2, kstest

from recsys.experiment.allocation import check_change, moved
from recsys.experiment.bucketing import BUCKETS, buckets
from recsys.experiment.growthbook import HASH_VERSION, growthbook_payload
from recsys.experiment.routing import Router, assign, routers_of
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer

AT = datetime(2026, 2, 2, tzinfo=UTC)
ERROR = 0.05
UNIFORM_ERROR = 0.001
GROUPS = 4
ENOUGH = 10
"""Ids that a bucket has to expect before its count is near enough to a normal one; buckets are joined for fewer."""
CHUNK = 50_000
SEQUENCES, EDITS = 100, 10
FASTEST_MILLIONS, FASTER = 15, 50
RUNS = 7


def main() -> int:
    """Print every figure; fail where one is beyond its bar."""
    parser = argparse.ArgumentParser(description="Routing beside GrowthBook's SDK.")
    parser.add_argument("--ids", type=int, default=1_000_000)
    parser.add_argument("--experiments", type=int, default=100)
    options = parser.parse_args()
    passed = True
    for text, good in checks(options.ids, options.experiments):
        print(f"{text}: {'passed' if good else 'FAILED'}", flush=True)
        passed &= good
    return 0 if passed else 1


def checks(count: int, number: int) -> Iterator[tuple[str, bool]]:
    """Yield each figure, and whether it is within its bar."""
    yield same_buckets(count)
    yield same_arms(count // 10)
    yield from at_random(count, number)
    yield for_good(count)
    yield from fast(count)


# ---------------------------------------------------------------- equal to the SDK


def same_buckets(count: int) -> tuple[str, bool]:
    """Compare the hash."""
    units = strange_ids(count, seed=1)
    theirs = np.fromiter((round(gbhash("żółć 😀:", unit, HASH_VERSION) * BUCKETS) for unit in units), np.int32, count)
    differ = np.count_nonzero(buckets("żółć 😀:", units) != theirs)
    return f"{count:,} strings of all of Unicode: {differ} buckets differ from the SDK's", not differ


def same_arms(count: int) -> tuple[str, bool]:
    """Compare the arms of an exported payload."""
    units = [*(f"household_{number}" for number in range(count // 2)), *strange_ids(count - count // 2, seed=2)]
    declared = {
        "first": experiment(1, layer={"name": "page", "range": [0.1, 0.5]}, overrides={units[3]: "treatment"}),
        "second": experiment(2, layer={"name": "page", "range": [0.5, 1.0]}, overrides={units[5]: "control"}),
    }
    routers = routers_of("home", declared, {"page": Layer(seed="page:", holdout=(0.0, 0.1))})
    client = GrowthBook(features=growthbook_payload(["home"], routers, AT)["features"])
    differ = 0
    for unit in units:
        client.set_attributes({"user_id": unit})
        given = client.eval_feature("home").value
        ours = assign(routers, unit, None, AT)
        differ += (given and (given["experiment"], given["arm"])) != (ours and (ours.experiment, ours.arm))
    return f"{count:,} ids by the exported payload: {differ} arms differ from the SDK's", not differ


# ---------------------------------------------------------------- at random


def at_random(count: int, number: int) -> Iterator[tuple[str, bool]]:
    """Test uniformity of each experiment and independence of each pair, in three populations."""
    ids = pa.array([f"household_{each}" for each in range(count)])
    placed = np.stack([buckets(experiment(each).seed, ids).astype(np.int16) for each in range(number)])
    every_seventh = np.arange(count) % 7 == 0
    for name, who in (("all", np.ones(count, bool)), ("active", active(count)), ("every 7th", every_seventh)):
        chosen = placed[:, who]
        cells = BUCKETS
        while chosen.shape[1] < ENOUGH * cells:
            cells //= 10
        uniform = np.array([_uniform(row, cells) for row in chosen])
        fit = kstest(uniform, "uniform").pvalue
        bound = ERROR / number
        yield (
            (
                f"{number} experiments × {chosen.shape[1]:,} ids ({name}), chi-square over {cells:,} buckets:"
                f" smallest p = {uniform.min():.2g} (bound {bound:.1g}), p-values uniform p = {fit:.2f}"
            ),
            uniform.min() >= bound and fit >= UNIFORM_ERROR,
        )
        pairs = _independent(chosen)
        bound = ERROR / len(pairs)
        yield (
            (
                f"{len(pairs):,} pairs of them, chi-square of independence: smallest p = {pairs.min():.2g}"
                f" (bound {bound:.1g}), {np.mean(pairs < ERROR):.1%} below {ERROR}"
            ),
            pairs.min() >= bound,
        )


def _uniform(placed: NDArray[np.int16], cells: int) -> float:
    counts = np.bincount(placed // np.int16(BUCKETS // cells), minlength=cells)
    expected = len(placed) / cells
    return float(chi2.sf(((counts - expected) ** 2).sum() / expected, cells - 1))


def _independent(placed: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return a p-value a pair: all tables of groups × groups at once, as one product of indicators."""
    number, count = placed.shape
    joint = np.zeros((number * GROUPS, number * GROUPS))
    for first in range(0, count, CHUNK):
        groups = placed[:, first : first + CHUNK] // np.int16(BUCKETS // GROUPS)
        indicators = (groups[:, None, :] == np.arange(GROUPS, dtype=np.int16)[None, :, None]).astype(np.float32)
        flat = indicators.reshape(number * GROUPS, -1)
        joint += flat @ flat.T  # whole numbers below 2**24: exact
    tables = joint.reshape(number, GROUPS, number, GROUPS)
    found = []
    for left, right in combinations(range(number), 2):
        table = tables[left, :, right, :]
        expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / count
        found.append(((table - expected) ** 2 / expected).sum())
    return np.asarray(chi2.sf(found, (GROUPS - 1) ** 2))


# ---------------------------------------------------------------- for good


def for_good(count: int) -> tuple[str, bool]:
    """Edit running experiments at random, and count who leaves an arm."""
    ids = pa.array([f"household_{each}" for each in range(count)])
    few = ids.slice(0, 10_000)
    rng = np.random.default_rng(13)
    left = refused = 0
    for number in range(SEQUENCES):
        declared, layer = layered(number)
        before = Experiment.model_validate(declared)
        positions = Router("e", before, layer).positions(ids)
        first = had = Router("e", before, layer).route_many(ids, positions=positions)
        for _ in range(EDITS):
            declared = allowed_edit(declared, rng)
            after = Experiment.model_validate(declared)
            refused += len(check_change(before, after))
            left += moved(before, after, few, (layer, layer))
            gets = Router("e", after, layer).route_many(ids, positions=positions)
            left += _left(had, gets)
            before, had = after, gets
        left += _left(first, had)
    text = (
        f"{SEQUENCES} sequences of {EDITS} allowed edits × {count:,} ids: {refused} refused, {left} ids left their arm"
    )
    return text, not left and not refused


def _left(had: pa.Array, gets: pa.Array) -> int:
    same = pc.fill_null(pc.equal(had, gets), fill_value=False)
    return pc.sum(pc.and_(pc.is_valid(had), pc.invert(same))).as_py() or 0


# ---------------------------------------------------------------- fast


def fast(count: int) -> Iterator[tuple[str, bool]]:
    """Measure ids a second of one core, ours and the SDK's."""
    declared, layer = layered(0)
    router = Router("e", Experiment.model_validate(declared), layer)
    for name, units in usual_ids(count).items():
        ids, some = pa.array(units), units[: count // 10]
        ours: list[float] = []
        theirs: list[float] = []
        routed: list[float] = []
        for _ in range(RUNS):
            ours.append(count / _seconds(lambda ids=ids: buckets("home_ranker:", ids)))
            theirs.append(
                len(some) / _seconds(lambda some=some: [gbhash("home_ranker:", unit, HASH_VERSION) for unit in some])
            )
            routed.append(count / _seconds(lambda ids=ids: router.route_many(ids)))
        speed, loop, whole = (statistics.median(each) / 1e6 for each in (ours, theirs, routed))
        yield (
            (
                f"ids like {name}: {speed:.1f} M ids/s per core, {speed / loop:.0f} × the SDK's loop ({loop:.2f});"
                f" arms by two hashes, in a layer: {whole:.1f} M ids/s"
            ),
            speed >= FASTEST_MILLIONS and speed >= FASTER * loop,
        )


def _seconds(work: Callable[[], object]) -> float:
    """Return the processor's seconds of one thread's work: what else the machine does is not counted."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    sys.exit(main())
