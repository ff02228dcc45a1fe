"""Do intervals, tests and plans keep what they promise, on units as a shop has them?

    .venv/bin/python benchmarks/calibration.py [share]

Each cell simulates experiments whose truth is known, in two processes, and counts how often something happened that
has a nominal rate. Its bar is met where the exact binomial 99.9 % interval of the observed rate contains the nominal
one, or lies wholly on the right side of it. Seeds are fixed: a run gives the figures of the last one. `share` runs a
share of the simulations, to try something out; the bars are for all of them (some ten minutes on two quiet cores).
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import scipy.stats
from calibration_looks import daily_looks
from calibration_pipeline import whole
from calibration_ramps import ramp
from calibration_shops import shop

from recsys.evaluation.health import SAMPLE_RATIO_ALPHA
from recsys.statistics.effects import effect, moments, sample_ratio_p_value
from recsys.statistics.power import units_for_effect

PROCESSES: Final = 2
CONFIDENCE: Final = 0.999
ALPHA: Final = 0.05
POWER: Final = 0.8
SEED: Final = 8
CHUNK: Final = 250
"""Simulations that share a generator; how many processes there are changes no figure."""

Counts = Mapping[str, int]
Simulate = Callable[[np.random.Generator, int], Counts]


@dataclass(frozen=True)
class Bar:
    """What an observed rate has to be."""

    kind: Literal["is", "at most", "at least", "near"]
    rate: float
    tolerance: float = 0.0
    """Of `near`: how far the observed rate may be off."""

    def met(self, observed: float, lower: float, upper: float) -> bool:
        """Tell whether it is, by the observed rate and its interval."""
        return {
            "is": lower <= self.rate <= upper,
            "at most": upper <= self.rate,
            "at least": lower >= self.rate,
            "near": abs(observed - self.rate) <= self.tolerance,
        }[self.kind]

    def __str__(self) -> str:
        """Write it as a cell of the table."""
        return f"{self.kind} {self.rate:.2%}" + (f" ± {self.tolerance:.1%}" if self.tolerance else "")


@dataclass(frozen=True)
class Cell:
    """Simulations, and a bar for each thing that they count."""

    name: str
    simulations: int
    simulate: Simulate
    bars: Mapping[str, Bar]


def fixed(kind: str, lift: float, *, cuped: bool, control: int = 1_000, treatment: int = 1_000) -> Simulate:
    """Compare once: how often is a difference seen, and how often do the intervals hold the truth?"""

    def simulate(generator: np.random.Generator, count: int) -> Counts:
        shops = shop(kind, 0.0), shop(kind, lift)
        absolute, relative = shops[1].truth - shops[0].truth, shops[1].truth / shops[0].truth - 1
        counted: Counter[str] = Counter()
        for _ in range(count):
            arms = (shops[0].draw(generator, control, cuped=cuped), shops[1].draw(generator, treatment, cuped=cuped))
            found = effect(kind, *arms, confidence=1 - ALPHA)
            counted["test sees a difference"] += found.p_value < ALPHA
            counted["relative interval excludes 0"] += not found.relative.holds(0.0)
            counted["absolute interval holds the truth"] += found.absolute.holds(absolute)
            counted["relative interval holds the truth"] += found.relative.holds(relative)
        return counted

    return simulate


def planned(kind: str, lift: float, *, cuped: bool, ratio: float = 1.0) -> Simulate:
    """Compare once with as many units as the plan asks for to see what is there."""
    before, after = shop(kind, 0.0), shop(kind, lift)
    columns = before.rows.T if cuped else before.rows.T[:2]
    truth = after.truth / before.truth - 1
    units = units_for_effect(moments(*columns), truth, ratio=ratio, alpha=ALPHA, power=POWER)
    treatment = round(units * ratio / (1 + ratio))
    return fixed(kind, lift, cuped=cuped, control=units - treatment, treatment=treatment)


def split(units: int, served: tuple[float, ...], declared: tuple[float, ...]) -> Simulate:
    """Assign units by one ratio and test for another."""
    ratios = {f"arm {number}": share for number, share in enumerate(declared)}

    def simulate(generator: np.random.Generator, count: int) -> Counts:
        drawn = generator.multinomial(units, served, size=count)
        p_values = (sample_ratio_p_value(dict(zip(ratios, map(int, row), strict=True)), ratios) for row in drawn)
        return {"sample ratio alarm": sum(p_value < SAMPLE_RATIO_ALPHA for p_value in p_values)}

    return simulate


ERRORS: Final = {name: Bar("is", ALPHA) for name in ("test sees a difference", "relative interval excludes 0")}
COVERAGE: Final = {f"{scale} interval holds the truth": Bar("is", 1 - ALPHA) for scale in ("absolute", "relative")}
PLANNED: Final = {name: Bar("near", POWER, 0.02) for name in ERRORS}


def cells() -> list[Cell]:
    """Return all there is to simulate."""
    return [*_one_look(), *_splits(), *_many_looks(), *_ramps(), *_log_to_verdict(), *_small_strata()]


def _one_look() -> Iterator[Cell]:
    for kind, lift in {"precision@10": 0.08, "orders a unit": 0.2, "revenue a unit": 0.25}.items():
        for cuped in (False, True):
            name = f"{kind}{', CUPED' if cuped else ''}"
            yield Cell(f"no effect, {name}", 10_000, fixed(kind, 0.0, cuped=cuped), ERRORS)
            yield Cell(f"effect {lift:+.0%}, {name}", 10_000, fixed(kind, lift, cuped=cuped), COVERAGE)
            yield Cell(f"planned units for {lift:+.0%}, {name}", 10_000, planned(kind, lift, cuped=cuped), PLANNED)
    uneven = fixed("precision@10", 0.0, cuped=True, control=2_000, treatment=500)
    yield Cell("no effect, split 80/20, precision@10, CUPED", 10_000, uneven, ERRORS)
    fewer = planned("precision@10", 0.08, cuped=False, ratio=0.25)
    yield Cell("planned units for +8%, split 80/20, precision@10", 10_000, fewer, PLANNED)


def _splits() -> Iterator[Cell]:
    alarm = {"sample ratio alarm": Bar("is", SAMPLE_RATIO_ALPHA)}
    halves, thirds = (0.5, 0.5), (0.1, 0.1, 0.8)
    yield Cell("split as declared, 50/50, 100,000 units", 100_000, split(100_000, halves, halves), alarm)
    yield Cell("split as declared, 10/10/80, 20,000 units", 100_000, split(20_000, thirds, thirds), alarm)
    found = {"sample ratio alarm": Bar("at least", 0.99)}
    yield Cell("split 51/49 for 50/50, 100,000 units", 10_000, split(100_000, (0.51, 0.49), halves), found)


def _many_looks() -> Iterator[Cell]:
    stops = {"always-valid interval excludes 0": Bar("at most", ALPHA)}
    for cuped in (False, True):
        for arrival in ("units come every day", "units come in the first week"):
            name = f"28 daily looks, {arrival}{', CUPED' if cuped else ''}"
            yield Cell(name, 10_000, daily_looks(arrival, cuped=cuped), stops)


def _ramps() -> Iterator[Cell]:
    truth, alarm = "relative interval holds the truth", "sample ratio alarm, second epoch"
    unbiased = {truth: Bar("is", 1 - ALPHA), "estimate above the truth": Bar("is", 0.5)}
    unbiased[alarm] = Bar("is", SAMPLE_RATIO_ALPHA)
    yield Cell("ramp of one arm, strata of new units", 10_000, ramp("new units"), unbiased)
    # What must not be done, to see that this shop would tell.
    mixed = {truth: Bar("at most", 0.9), alarm: Bar("at least", 0.9)}
    yield Cell("ramp of one arm, strata of all units (biased)", 1_000, ramp("all units"), mixed)
    yield Cell("ramp of one arm, pooled (biased)", 1_000, ramp("pooled"), {truth: Bar("at most", 0.9)})


def _log_to_verdict() -> Iterator[Cell]:
    health = {"health fails": Bar("is", SAMPLE_RATIO_ALPHA)}
    null = {
        "test sees a difference": Bar("is", ALPHA),
        "verdict SHIP": Bar("is", ALPHA / 2),
        "verdict STOP in a weekly look": Bar("at most", ALPHA),
    }
    yield Cell("log to verdict, no effect", 800, whole(0.0), null | health)
    lifted = {"relative interval holds the truth": Bar("is", 1 - ALPHA)}
    yield Cell("log to verdict, effect +15%", 800, whole(0.15), lifted | health)


def _small_strata() -> Iterator[Cell]:
    # Intervals rest on sums of many units; few, of whom some come ten times as often as others, are no such sum.
    bar = {"relative interval holds the truth": Bar("at least", 0.9)}
    yield Cell("ramp of one arm, strata of 20 to 60 new units an arm", 10_000, ramp("new units", 1_000), bar)


def run_chunk(cell: int, chunk: int, count: int) -> tuple[int, Counts]:
    """Run some of a cell's simulations with their own generator."""
    generator = np.random.default_rng([SEED, cell, chunk])
    return count, cells_here()[cell].simulate(generator, count)


_CELLS: list[Cell] = []


def cells_here() -> list[Cell]:
    """Return the cells, made once in each process."""
    if not _CELLS:
        _CELLS.extend(cells())
    return _CELLS


def main() -> int:
    """Print each bar with what was observed; fail where one is not met."""
    share = float(sys.argv[1]) if sys.argv[1:] else 1.0
    started = time.perf_counter()
    failed = 0
    print(f"{'cell':58} {'counted':34} {'n':>7} {'rate':>8} {'99.9 % interval':>18}  bar")
    with ProcessPoolExecutor(PROCESSES) as pool:
        futures = []
        for number, cell in enumerate(cells_here()):
            total = max(1, round(cell.simulations * share))
            sizes = [min(CHUNK, total - first) for first in range(0, total, CHUNK)]
            futures.append([pool.submit(run_chunk, number, chunk, size) for chunk, size in enumerate(sizes)])
        for cell, chunks in zip(cells_here(), futures, strict=True):
            counted: Counter[str] = Counter()
            simulations = 0
            for chunk in chunks:
                count, found = chunk.result()
                simulations += count
                counted.update(found)
            for name, bar in cell.bars.items():
                rate = counted[name] / simulations
                lower, upper = scipy.stats.binomtest(counted[name], simulations).proportion_ci(CONFIDENCE, "exact")
                met = bar.met(rate, lower, upper)
                failed += not met
                print(
                    f"{cell.name:58} {name:34} {simulations:7,} {rate:8.3%} {lower:8.3%} {upper:8.3%}  {bar}:"
                    f" {'ok' if met else 'MISSED'}",
                    flush=True,
                )
    print(f"{time.perf_counter() - started:.0f} s, {failed} bars missed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
