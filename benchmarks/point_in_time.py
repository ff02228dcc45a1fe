"""How long does a point-in-time join take, and how much memory, beside raw DuckDB, Feast's duckdb store and polars?

    .venv/bin/python benchmarks/point_in_time.py                 # small sizes, about a minute
    .venv/bin/python benchmarks/point_in_time.py --full          # the sizes that the budgets are stated for

All contenders join the same generated files: entity rows to a view of users (TTL of 30 days) and one of items (no
TTL), both with late and restated rows that count only once they were known. `raw` is the shortest DuckDB SQL with the
same rows in the same order. Then the same of a view of user × item pairs, for which no budget is set. Every run is a
process of its own, so that its peak of memory is its own; the contenders take turns, and medians are compared, CPU
seconds beside wall seconds. Outputs are compared by digest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import point_in_time_contenders as contenders
import point_in_time_data as data

ROWS = (100_000,)
FULL_ROWS = (100_000, 1_000_000, 5_000_000)
SMALL = data.Sizes(users=150_000, items=100_000, pairs=150_000)
FULL = data.Sizes(users=1_500_000, items=1_000_000, pairs=1_500_000)
BUDGETED = 1_000_000
"""From this many entity rows on, ours is held to raw's time and memory."""


@dataclass(frozen=True)
class Medians:
    """Of the runs of one contender."""

    wall: float
    cpu: float
    peak: float
    """MiB."""
    digest: str


def main() -> int:
    """Print a table for each size and the ratios; fail beyond a budget or where outputs differ."""
    arguments = _arguments()
    sizes = FULL if arguments.full else SMALL
    rows = arguments.rows or (FULL_ROWS if arguments.full else ROWS)
    failed = False
    with tempfile.TemporaryDirectory(prefix="point_in_time-") as name:
        folder = Path(name)
        data.write_views(folder, sizes)
        contenders.write_repository(folder)
        for count in rows:
            data.write_entity_rows(folder, count, sizes, arguments.slate)
            for task in ("two-views", "pair-view"):
                print(f"\n{count:,} entity rows in slates of {arguments.slate}, {task} of {sizes.of(task)} rows")
                medians = _medians(folder, task, arguments.contenders, arguments.repeats)
                failed |= _print(medians, count, task)
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Point-in-time joins compared.")
    parser.add_argument("--full", action="store_true", help="views of 1.5M and 1M rows; 100k, 1M and 5M entity rows")
    parser.add_argument("--rows", type=int, nargs="+", help="numbers of entity rows")
    parser.add_argument("--slate", type=int, default=1, help="entity rows of one user and time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contenders", nargs="+", default=list(contenders.CONTENDERS), choices=contenders.CONTENDERS)
    return parser.parse_args()


def _medians(folder: Path, task: str, names: list[str], repeats: int) -> dict[str, Medians]:
    script = Path(contenders.__file__)
    command = [sys.executable, str(script), str(folder), task]
    environment = {**os.environ, "PYTHONPATH": str(script.parent)}
    runs: dict[str, list[dict[str, object]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            done = subprocess.run([*command, name], check=False, capture_output=True, text=True, env=environment)
            if done.returncode:
                message = f"{name} on {task}: exit code {done.returncode}\n{done.stderr}"
                raise SystemExit(message)
            runs[name].append(json.loads(done.stdout))
    return {name: _median(results) for name, results in runs.items()}


def _median(results: list[dict[str, object]]) -> Medians:
    digests = {str(result["digest"]) for result in results}
    if len(digests) > 1:
        message = f"one contender, two outputs: {digests}"
        raise RuntimeError(message)
    wall, cpu, peak = (
        statistics.median(float(str(result[name])) for result in results) for name in ("wall", "cpu", "peak")
    )
    return Medians(wall, cpu, peak, digests.pop())


def _print(medians: dict[str, Medians], count: int, task: str) -> bool:
    for name, median in medians.items():
        print(f"  {name:8} {median.wall:7.2f} s wall {median.cpu:7.2f} s CPU {median.peak:7.0f} MiB peak")
    different = len({median.digest for median in medians.values()}) > 1
    print("  outputs differ: " + str(medians) if different else "  outputs are equal, row for row")
    failed = different
    for line, within in _ratios(medians, count, task):
        print(f"  {line}{'' if within else '  <- beyond'}")
        failed |= not within
    return failed


def _ratios(medians: dict[str, Medians], count: int, task: str) -> list[tuple[str, bool]]:
    """Ours against the others, with the budgets that hold for this size; of the pair view none is set."""
    result: list[tuple[str, bool]] = []
    ours, raw, feast = (medians.get(name) for name in ("ours", "raw", "feast"))
    budgeted = task == "two-views"
    if ours and raw:
        for unit in ("wall", "cpu", "peak"):
            ratio = getattr(ours, unit) / getattr(raw, unit)
            limit = {"wall": 1.25, "cpu": None, "peak": 1.5}[unit] if budgeted and count >= BUDGETED else None
            result.append(_line(f"ours / raw, {unit}", ratio, at_most=limit))
    if ours and feast:
        for unit in ("wall", "cpu"):
            ratio = getattr(feast, unit) / getattr(ours, unit)
            result.append(
                _line(f"feast / ours, {unit}", ratio, at_least=_least(count) if budgeted and unit == "wall" else None)
            )
    return result


def _least(count: int) -> float | None:
    """How many times faster than Feast's duckdb store ours has to be."""
    if count >= 5 * BUDGETED:
        return 4.0
    if count >= BUDGETED:
        return 2.5
    return 1 / 1.1 if count >= BUDGETED // 10 else None


def _line(name: str, ratio: float, *, at_most: float | None = None, at_least: float | None = None) -> tuple[str, bool]:
    if at_most is not None:
        return f"{name:20} {ratio:5.2f}, at most {at_most:.2f}", ratio <= at_most
    if at_least is not None:
        return f"{name:20} {ratio:5.2f}, at least {at_least:.2f}", ratio >= at_least
    return f"{name:20} {ratio:5.2f}", True


if __name__ == "__main__":
    sys.exit(main())
