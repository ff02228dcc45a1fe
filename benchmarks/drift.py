"""How often does `recsys drift` alert of a shop in which nothing moved, and how often does it find what did?

    python benchmarks/drift.py rows PROJECT UNITS [VERSION]   by the kept test rows of a version, basket/v2 by default
    python benchmarks/drift.py nights FOLDER                  by the command itself, over the weeks of a made-up shop

Everything at the default limits; no time is measured.

- *chance alone*: both sides are so many UNITS of the kept rows, drawn with replacement, each with 40 of its rows.
- *planted*: in the second of two such sides one column is changed by a known amount: numbers are shifted by a part of
  their spread, values become unknown, or some rows' values are exchanged for those of other rows, so that the column
  goes less with the label. Found is an alert of that column, adjusted for all the others, which are as they were.
- *time passes*: `recsys drift` five weeks after each of three trainings in a shop of `recsys simulate` (300 users over
  28 weeks; FOLDER keeps it). Nothing is planted; the shop has a season, grows, and its users' past gets longer.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import drift_shop
import numpy as np
from numpy.typing import NDArray

from recsys.decision.alerts import drift_alerts
from recsys.evaluation.correlation_drift import Correlated, correlations
from recsys.evaluation.drift import ColumnDrift, Sample, drift
from recsys.specs.monitor import DriftLimits
from recsys.statistics.multiplicity import adjusted_p_values

LIMITS = DriftLimits()
MOST = 1_000
"""Units of the kept rows are drawn from, the first by their names."""
ROWS = 40
"""Of a unit are looked at, drawn once."""
CLEAN, PLANTED = 40, 20
"""Comparisons of each kind."""
SHIFTED = ("item_price_91d", "user_value_91d", "pair_days_since")
GONE = ("item_gap_days_91d", "user_days_since")
EXCHANGED = ("pair_decay_28d", "line_days_since")
SIZES: Mapping[str, tuple[float, ...]] = {
    "shifted by standard deviations": (0.1, 0.2, 0.35, 0.5, 1.0),
    "unknown in a share more": (0.05, 0.15, 0.25),
    "exchanged in a share of the rows": (0.25, 0.5, 1.0),
}


@dataclass(frozen=True)
class Side:
    """Units that were drawn, with their rows."""

    sample: Sample
    label: NDArray[np.float64]


def by_rows(project: Path, units: str, version: str = "basket/v2") -> None:
    """Print what chance alone does, and what is found of planted changes."""
    sample, label = drift_shop.rows(project, version, MOST, ROWS)
    times = ", ".join(str(time)[:10] for time in np.unique(sample.weeks))
    size = f"{len(sample.columns)} columns, {len(np.unique(sample.units))} units, {len(label):,} rows"
    print(f"{version} of {times}: {size}", flush=True)
    chance(sample, label, int(units))
    planted(sample, label, int(units))


# ---------------------------------------------------------------- nothing moved


def chance(sample: Sample, label: NDArray[np.float64], units: int) -> None:
    """Count alerts of two sides that differ by chance alone."""
    counted: Counter[str] = Counter()
    for before, now in pairs(sample, label, units, CLEAN):
        columns, correlated = compared(before, now)
        alerts = drift_alerts(columns, correlated, LIMITS)
        counted["any alert"] += bool(alerts)
        counted["a column moved"] += any(each.moved(LIMITS.false_discovery_rate) for each in columns)
        counted["an index above the limit"] += any(each.psi > LIMITS.maximum_psi for each in columns)
        counted["a correlation beyond the limit"] += any(
            abs(each.change) > LIMITS.maximum_correlation_change for each in correlated if each.other == "label"
        )
    told = ", ".join(f"{name} {count}" for name, count in counted.items())
    print(f"chance alone, {units} units a side, {CLEAN} comparisons: {told}", flush=True)


def by_nights(folder: Path) -> None:
    """Run the command over weeks in which nothing is planted."""
    for trained, code, document in drift_shop.nights(drift_shop.made(folder)):
        alerts = [alert["message"] for alert in document["alerts"]]
        weeks = f"{trained:%Y-%m-%d}, looked at {trained + drift_shop.LATER:%Y-%m-%d}"
        print(f"time passes, trained {weeks}: exit {code}, {len(alerts)} alerts {alerts or ''}", flush=True)


# ---------------------------------------------------------------- something did


def planted(sample: Sample, label: NDArray[np.float64], units: int) -> None:
    """Count how often each change of each size is found."""
    found: Counter[tuple[str, str, float]] = Counter()
    for number, (before, now) in enumerate(pairs(sample, label, units, PLANTED)):
        columns, correlated = compared(before, now)
        random = np.random.default_rng(number)
        for kind, column, size in plants():
            changed = changed_column(kind, now.sample.columns[column], size, random)
            found[kind, column, size] += alerts_of(column, changed, before, now, columns, correlated)
    for kind, sizes in SIZES.items():
        for column in dict.fromkeys(column for of, column, _ in plants() if of == kind):
            told = ", ".join(f"{size:g}: {found[kind, column, size]}" for size in sizes)
            print(f"planted, {units} units a side, of {PLANTED}: {column} {kind}: {told}", flush=True)


def plants() -> Iterator[tuple[str, str, float]]:
    """Yield kind, column and size of every change."""
    for (kind, sizes), columns in zip(SIZES.items(), (SHIFTED, GONE, EXCHANGED), strict=True):
        for column in columns:
            for size in sizes:
                yield kind, column, size


def changed_column(
    kind: str, values: NDArray[np.float64], size: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return a column's values after a change."""
    some = random.random(len(values)) < size
    if kind.startswith("shifted"):
        return values + size * np.nanstd(values)
    return np.where(some, np.nan if kind.startswith("unknown") else random.permutation(values), values)


def alerts_of(
    column: str,
    changed: NDArray[np.float64],
    before: Side,
    now: Side,
    columns: tuple[ColumnDrift, ...],
    correlated: tuple[Correlated, ...],
) -> bool:
    """Say whether one changed column alerts among all the others."""
    one = Side(replace(before.sample, columns={column: before.sample.columns[column]}), before.label)
    other = Side(replace(now.sample, columns={column: changed}), now.label)
    (mine,), (pair, *_) = compared(one, other)
    others = [each.p_value for each in columns if each.column != column]
    adjusted = adjusted_p_values([mine.p_value, *others], "fdr")[0]
    beside = [each.p_value for each in correlated if each.other == "label" and each.column != column]
    told = adjusted_p_values([pair.p_value, *beside], "fdr")[0]
    return bool(
        drift_alerts([replace(mine, adjusted_p_value=adjusted)], [replace(pair, adjusted_p_value=told)], LIMITS)
    )


# ---------------------------------------------------------------- two sides of the same weeks


def pairs(sample: Sample, label: NDArray[np.float64], units: int, count: int) -> Iterator[tuple[Side, Side]]:
    """Yield two sides of units drawn with replacement, each drawn one a unit of its own."""
    _, codes = np.unique(sample.units, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    for seed in range(count):
        random = np.random.default_rng(seed)
        yield side(sample, label, rows, units, random), side(sample, label, rows, units, random)


def side(
    sample: Sample,
    label: NDArray[np.float64],
    rows: list[NDArray[np.int64]],
    units: int,
    random: np.random.Generator,
) -> Side:
    """Return the rows of units drawn anew."""
    drawn = random.integers(0, len(rows), units)
    taken = np.concatenate([rows[unit] for unit in drawn])
    names = np.repeat(np.arange(units).astype(str).astype(object), [len(rows[unit]) for unit in drawn])
    columns = {name: values[taken] for name, values in sample.columns.items()}
    return Side(Sample(columns, names, sample.weeks[taken]), label[taken])


def compared(before: Side, now: Side) -> tuple[tuple[ColumnDrift, ...], tuple[Correlated, ...]]:
    """Compare two sides as `recsys drift` does."""
    return drift(before.sample, now.sample), correlations(before.sample, before.label, now.sample, now.label)


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    {"rows": by_rows, "nights": by_nights}[what](Path(where), *rest)
