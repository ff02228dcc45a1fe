"""What does a batch cost beside CatBoost's own prediction, and where does the rest of its time go?

    .venv/bin/python benchmarks/batch.py                   # six minutes, and a shop is made first
    .venv/bin/python benchmarks/batch.py --shop PROJECT    # with a project that is there
    .venv/bin/python benchmarks/batch.py --no-shop         # the core alone

The core: 100,000 users with 100 candidates and 25 numbers each, 200 trees of depth 6. Three ways take turns in one
process: `core` makes batches, gathers, predicts and keeps the first ten of each list; `bare` is CatBoost's predict on a
matrix that is ready; `pandas` merges, predicts, sorts and takes the head of each group. Then processes of their own
score 100,000 and 1,000,000 users: time a row, and the peak of resident memory.

The shop: `recsys serve-batch` with three sources, reads of the user's own rows and two stages after the model, on real
data: lists a second, and what its stages take; beside it the same lists, asked for one by one.

Seen on two quiet cores, in one run: core 1.42 s, bare 1.18 s, pandas 18.0 s; 149 ns a row of 100,000 users and 142 of a
million, .25 GiB both; the shop .58 ms a list and 1.92 ms one by one, half of it candidates.

Held to: core / bare >= .55 in throughput, core / pandas >= 4; a million users in less than 2 GiB, a row of theirs
within 25 % of one of the smaller run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import batch_core
import batch_shop
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.adapters.catboost_ranker import CatBoostRanker
from recsys.serving.scoring import ListScorer

if TYPE_CHECKING:
    from collections.abc import Callable

USERS, MANY = 100_000, 1_000_000
TREES, DEPTH = 200, 6
OF_BARE, OF_PANDAS = 0.55, 4.0
MOST_MEMORY = 2 * 2**30
MOST_GROWTH = 1.25
GIB = 2**30


def main() -> int:
    """Print medians, ratios and the split; fail beyond a budget."""
    arguments = _arguments()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="batch-") as name:
        folder = Path(name)
        ranker = batch_core.fitted(TREES, DEPTH)
        ranker.save(folder / "ranker")
        missed = _contenders(ranker, arguments.users, arguments.repeats)
        missed |= _growth(folder / "ranker", arguments.users, arguments.many)
        if not arguments.no_shop:
            project = arguments.shop
            if project is None:
                project = batch_shop.made(folder, arguments.households)
            batch_shop.declare(project)
            _end_to_end(project, arguments.repeats)
    print(f"load {os.getloadavg()[0]:.1f}")
    return int(missed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A batch beside CatBoost's predict.")
    parser.add_argument("--users", type=int, default=USERS, help="of the comparison, in thousands")
    parser.add_argument("--many", type=int, default=MANY, help="of the larger run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--households", type=int, default=None, help="of the shop; all by default")
    parser.add_argument(
        "--shop", type=Path, help="a project with features online and a champion; it gets a placement `batch`"
    )
    parser.add_argument("--no-shop", action="store_true", help="measure the core alone")
    return parser.parse_args()


# ---------------------------------------------------------------- three ways


def _contenders(ranker: CatBoostRanker, users: int, repeats: int) -> bool:
    made, model = batch_core.scorer(ranker), batch_core.model_of(ranker)
    matrix, tables = batch_core.ready(users), batch_core.frames(users)
    _check_equal(made, model, matrix, tables)
    ways: dict[str, Callable[[], object]] = {
        "core": lambda: batch_core.core(made, users),
        "bare": lambda: batch_core.bare(model, matrix),
        "pandas": lambda: batch_core.naive(model, tables),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            if number == 0 and name == "pandas":
                continue  # it was warmed when its lists were compared
            begun = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    rows = users * batch_core.CANDIDATES
    print(
        f"\n{users:,} users x {batch_core.CANDIDATES} candidates x {len(batch_core.FEATURES)} features, {TREES} trees"
    )
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in medians.items():
        spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}"
        print(f"  {name:8} {each:7.2f} s ({spread})   {rows / each / 1e6:6.2f} million rows/s")
    return _held(
        ("core / bare, throughput", medians["bare"] / medians["core"], OF_BARE),
        ("core / pandas, throughput", medians["pandas"] / medians["core"], OF_PANDAS),
    )


def _check_equal(
    made: ListScorer,
    model: Any,  # noqa: ANN401 - catboost has no types
    matrix: NDArray[np.float32],
    tables: batch_core.Tables,
) -> None:
    """Let the first thousand users have the same lists and scores whichever way they are made."""
    some = batch_core.USERS_A_BATCH * batch_core.CANDIDATES
    mine = next(iter(made(batch_core.batches(batch_core.USERS_A_BATCH))))
    pairs, known, people = tables
    theirs = batch_core.naive(model, (pairs[:some], known, people[: batch_core.USERS_A_BATCH]))
    if mine.column("item_id").to_pylist() != [f"item{number:06d}" for number in theirs["item"]]:
        sys.exit("the core and pandas give other lists")
    if mine.column("score").to_pylist() != theirs["score"].tolist():
        sys.exit("the core and pandas give other scores")
    best = batch_core.bare(model, np.asfortranarray(matrix[:some])).reshape(-1, batch_core.CANDIDATES).max(axis=1)
    if mine.filter(pc.equal(mine.column("rank"), 1)).column("score").to_pylist() != best.tolist():
        sys.exit("the core and CatBoost alone give other scores")


# ---------------------------------------------------------------- more users


def _growth(folder: Path, users: int, many: int) -> bool:
    small = [_alone(folder, users) for _ in range(3)]
    large = _alone(folder, many)
    small += [_alone(folder, users) for _ in range(2)]
    a_row = statistics.median(each["seconds"] / each["rows"] for each in small)
    peak = statistics.median(each["peak"] for each in small)
    print("\nin a process of its own")
    print(f"  {users:9,} users: {1e9 * a_row:5.0f} ns a row, peak {peak / GIB:.2f} GiB")
    of_many = large["seconds"] / large["rows"]
    peak, seconds = large["peak"], large["seconds"]
    print(f"  {many:9,} users: {1e9 * of_many:5.0f} ns a row, peak {peak / GIB:.2f} GiB, {seconds:.1f} s")
    return _held(
        ("2 GiB / peak of the many", MOST_MEMORY / peak, 1.0),
        ("a row of the few / of the many", a_row / of_many, 1 / MOST_GROWTH),
    )


def _alone(folder: Path, users: int) -> dict[str, float]:
    command = [sys.executable, batch_core.__file__, str(folder), str(users)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{users:,} users: exit code {done.returncode}\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _held(*figures: tuple[str, float, float]) -> bool:
    beyond = False
    for name, figure, least in figures:
        short = figure < least
        beyond |= short
        print(f"  {name:34} {figure:6.2f}, at least {least:.2f}{'  <- missed' if short else ''}")
    return beyond


# ---------------------------------------------------------------- the shop


def _end_to_end(project: Path, repeats: int) -> None:
    runs = sorted((batch_shop.measured(project) for _ in range(repeats)), key=lambda run: run.seconds)
    run = runs[len(runs) // 2]
    units = run.batch.units
    print(f"\nthe shop: {units:,} users, {run.candidates / units:.0f} candidates each; the median of {repeats}")
    lists, rows = units / run.seconds, run.candidates / run.seconds / 1e3
    print(f"  {run.seconds:.1f} s, {lists:,.0f} lists/s, {rows:,.0f} thousand rows/s")
    print(f"  one by one {1e3 * run.alone:.2f} ms a list, in the batch {1e3 * run.seconds / units:.2f} ms")
    total = sum(run.stages.values())
    shares = "  ".join(f"{name} {seconds / total:.0%}" for name, seconds in run.stages.items())
    print(f"  of what its stages take: {shares}")
    print(
        "  " + "  ".join(f"{name} {1e6 * seconds / units:.0f} µs" for name, seconds in run.stages.items()) + " a list"
    )


if __name__ == "__main__":
    sys.exit(main())
