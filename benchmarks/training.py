"""How much does a training cost around CatBoost's own fit, and how much memory does it take?

    .venv/bin/python benchmarks/training.py                 # 100,000 rows, 60 iterations, about a minute
    .venv/bin/python benchmarks/training.py --full          # the size that the budgets are stated for

The set is the `learn` table of a built training set, as parquet: 20 numbers and 5 categories, requests of 50 rows, some
6 % positives, one decision time to learn from and one to stop by. A run is what `recsys train` does with it: read the
columns, number the categories, make CatBoost's pools, fit (Logloss, depth 6, 2 threads, no early stop), save. Seconds
are compared with those inside `catboost.CatBoost.fit` in the same run. Memory is that of a process of its own, VmHWM
less what was resident after its imports, and is compared with the Arrow size of the table.

CatBoost's own memory depends on how many categories may be combined (`max_ctr_complexity`): `bare` is CatBoost alone on
the smallest pools of the same rows. Where categories are not combined the whole training is held to the budget of
memory; where they are, CatBoost alone is beyond it, and ours is held to what `bare` takes. So they are not by default.

Seen on two cores that others used too, a million rows, 277 MiB in Arrow, one run each. Not combined, 300 iterations:
fit 195.1 s, around it 0.8 % of that; peak 643 MiB, 2.32 of the Arrow size; CatBoost alone 655 MiB. Up to 4 combined,
100 iterations: fit 103.4 s, around it 1.0 %; peak 1378 MiB, 4.98 of the Arrow size; CatBoost alone 1430 MiB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import training_run

AROUND = 0.15
"""Seconds of all but CatBoost's fit, as a share of the fit."""
MEMORY = 2.5
"""Peak over the Arrow size, where categories are not combined."""
BESIDE = 1.15
"""Peak over that of CatBoost alone, where they are."""
SMALL, FULL = (100_000, 60), (1_000_000, 300)
MIB = 2**20

Result = dict[str, dict[str, float]]


def main() -> int:
    """Print medians and ratios for each number of categories that may be combined; fail beyond a budget."""
    arguments = _arguments()
    rows, iterations = FULL if arguments.full else SMALL
    rows, iterations = arguments.rows or rows, arguments.iterations or iterations
    missed = False
    with tempfile.TemporaryDirectory(prefix="training-") as name:
        size = training_run.write_set(Path(name), rows) / MIB
        print(f"{rows:,} rows, {size:.0f} MiB in Arrow; {iterations} iterations; medians of {arguments.repeats}")
        for combined in arguments.combined:
            medians = _medians(Path(name), iterations, combined, arguments.repeats)
            print(f"\ncategories combined: {'none' if combined == 1 else f'up to {combined}'}")
            missed |= _print(medians, size, combined, budgeted=rows >= FULL[0])
    return int(missed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A training around CatBoost's fit.")
    parser.add_argument("--full", action="store_true", help="a million rows and 300 iterations")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--combined", type=int, nargs="+", default=[1, 4], help="max_ctr_complexity, each in turn")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _medians(folder: Path, iterations: int, combined: int, repeats: int) -> dict[str, Result]:
    """Let ours and CatBoost alone take turns; a first turn of few iterations fills the caches."""
    runs: dict[str, list[Result]] = {"ours": [], "bare": []}
    _run(folder, "ours", 1, combined)
    for _ in range(repeats):
        for who, results in runs.items():
            results.append(_run(folder, who, iterations, combined))
    return {
        who: {
            kind: {name: statistics.median(one[kind][name] for one in results) for name in results[0][kind]}
            for kind in results[0]
        }
        for who, results in runs.items()
    }


def _run(folder: Path, who: str, iterations: int, combined: int) -> Result:
    command = [sys.executable, training_run.__file__, str(folder), who, str(iterations), str(combined)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        message = f"{who}: exit code {done.returncode}\n{done.stderr}"
        raise SystemExit(message)
    result: Result = json.loads(done.stdout)
    fit, peak = result["seconds"]["fit"], result["memory"]["peak"]
    print(f"  {who}, {iterations} iterations: fit {fit:.1f} s, peak {peak:.0f} MiB", file=sys.stderr)
    return result


def _print(medians: dict[str, Result], size: float, combined: int, *, budgeted: bool) -> bool:
    seconds, memory, alone = medians["ours"]["seconds"], medians["ours"]["memory"], medians["bare"]["memory"]
    numbered = seconds["estimator"] - seconds["pool"] - seconds["fit"]
    print(
        f"  read and select {seconds['read']:.2f} s, number and check {numbered:.2f} s, pools {seconds['pool']:.2f} s,"
        f" fit {seconds['fit']:.2f} s, save {seconds['save']:.2f} s"
    )
    print(
        f"  MiB over {memory['before']:.0f} of imports: {memory['held']:.0f} when the fit begins,"
        f" {memory['peak']:.0f} at the peak; CatBoost alone {alone['held']:.0f} and {alone['peak']:.0f}"
    )
    around = (seconds["total"] - seconds["fit"]) / seconds["fit"]
    ratios = [
        ("around the fit / fit", around, AROUND),
        ("peak / Arrow size", memory["peak"] / size, MEMORY if combined == 1 else None),
        ("CatBoost alone / Arrow size", alone["peak"] / size, None),
        ("peak / CatBoost alone", memory["peak"] / alone["peak"], None if combined == 1 else BESIDE),
    ]
    beyond = False
    for name, ratio, most in ratios:
        limit = most if budgeted else None
        over = limit is not None and ratio > limit
        beyond |= over
        print(f"  {name:28} {ratio:6.3f}{'' if limit is None else f', at most {limit}'}{'  <- beyond' if over else ''}")
    return beyond


if __name__ == "__main__":
    sys.exit(main())
