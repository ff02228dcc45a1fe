"""Have the rows that a model ranks come to differ from those that it was judged on when it was trained?

Each column is compared by its population stability index, which says how far it moved, and by a two-sample test, which
says whether that can be chance. Rows of one unit are alike, and tests take rows to be independent: they see one row a
unit of each side, drawn by a seed. p-values are adjusted for the number of columns by Benjamini and Hochberg.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from recsys.candidates.pool import UNKNOWN
from recsys.ports import Columns
from recsys.statistics.multiplicity import adjusted_p_values

BINS: Final = 10
"""Of known numbers, cut at the reference's quantiles; what is unknown is one more, and so is each value of many."""
_LEAST: Final = 5
"""Rows that a category is expected to have at least on both sides; rarer ones are taken together."""
_EXACT: Final = 10_000
"""Pairs of rows up to which a test of numbers is exact."""


@dataclass(frozen=True)
class Sample:
    """Rows of one side."""

    columns: Columns
    """Column to [rows]: numbers with NaN, texts with 'unknown'."""
    units: NDArray[np.object_]
    """[rows] whose row it is."""
    weeks: NDArray[np.datetime64]
    """[rows] the decision time."""


@dataclass(frozen=True)
class ColumnDrift:
    """How one column moved."""

    column: str
    psi: float
    """Population stability index of all recent weeks together."""
    by_week: Mapping[str, float]
    """Decision time (a date) to its index."""
    test: Literal["ks", "chi2", "none"]
    """As `two_sample` says; none where a side has no row."""
    p_value: float
    adjusted_p_value: float
    """For the number of columns; below the false discovery rate the column is said to have moved."""
    missing_before: float
    """Share of unknown values, from 0 to 1."""
    missing_now: float

    def moved(self, rate: float) -> bool:
        """Say whether chance is no explanation at a false discovery rate."""
        return self.adjusted_p_value <= rate


def drift(before: Sample, now: Sample, *, seed: int = 0) -> tuple[ColumnDrift, ...]:
    """Compare columns that both sides have.

    Args:
        before: the reference.
        now: recent rows.
        seed: draws the row of each unit.

    Returns:
        In the order of `before`.
    """
    mine, theirs = one_row_a_unit(before.units, seed), one_row_a_unit(now.units, seed)
    weeks = np.unique(now.weeks)
    found = []
    for name, values in before.columns.items():
        if name not in now.columns:
            continue
        recent = now.columns[name]
        edges = _edges(values)
        old = _counts(values, edges)
        test, p_value = two_sample(values[mine], recent[theirs])
        found.append(
            ColumnDrift(
                column=name,
                psi=_psi(old, _counts(recent, edges)),
                by_week={str(week)[:10]: _psi(old, _counts(recent[now.weeks == week], edges)) for week in weeks},
                test=test,
                p_value=p_value,
                adjusted_p_value=math.nan,
                missing_before=float(_unknown(values).mean()) if len(values) else math.nan,
                missing_now=float(_unknown(recent).mean()) if len(recent) else math.nan,
            )
        )
    adjusted = adjusted_p_values([each.p_value for each in found], "fdr")
    return tuple(replace(each, adjusted_p_value=value) for each, value in zip(found, adjusted, strict=True))


def psi(before: NDArray[Any], now: NDArray[Any]) -> float:
    """Return the population stability index: the sum over bins of (q - p) ln(q / p).

    Siddiqi, Credit Risk Scorecards, 2006. Numbers are cut at the deciles of `before`; a value at which two of them fall
    together is a bin of its own, so that a move to either side of it is seen. Texts are categories, and what is unknown
    is a bin. A share of 0 counts as half a row; a bin that is empty on both sides counts nothing.

    Args:
        before: [rows] p.
        now: [rows] q.
    """
    edges = _edges(before)
    return _psi(_counts(before, edges), _counts(now, edges))


def two_sample(before: NDArray[Any], now: NDArray[Any]) -> tuple[Literal["ks", "chi2", "none"], float]:
    """Test whether two samples of independent values are of one distribution.

    Of numbers the known ones are compared by Kolmogorov and Smirnov's test, and where some are unknown, how many by
    chi-square; of the two p-values the smaller one counts, doubled. Texts are compared by chi-square.

    Returns:
        The test and its p-value, NaN where there is nothing to compare.
    """
    if before.dtype.kind == "O":
        return _categories(before, now)
    if not len(before) or not len(now):
        return "none", math.nan
    gone = [_unknown(values) for values in (before, now)]
    old, new = (values[~lost].astype(np.float64) for values, lost in zip((before, now), gone, strict=True))
    known = _kolmogorov_smirnov(old, new) if len(old) and len(new) else math.nan
    if not any(lost.any() for lost in gone):
        return "ks", known
    _, unknown = _categories(*(np.where(lost, "unknown", "known").astype(object) for lost in gone))
    return "ks", min(1.0, 2 * float(np.nanmin([known, unknown])))


def one_row_a_unit(units: NDArray[np.object_], seed: int) -> NDArray[np.int64]:
    """Draw one row of each unit, ascending."""
    order = np.random.default_rng(seed).permutation(len(units))
    _, first = np.unique(units[order].astype(str), return_index=True)
    return np.sort(order[first])


def _kolmogorov_smirnov(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Return the p-value, exact where sides are so small that the limit does not hold for them."""
    method = "exact" if len(before) * len(now) <= _EXACT else "asymp"
    return float(scipy.stats.ks_2samp(before, now, method=method).pvalue)


def _categories(before: NDArray[Any], now: NDArray[Any]) -> tuple[Literal["ks", "chi2", "none"], float]:
    if not len(before) or not len(now):
        return "none", math.nan
    names, codes = np.unique(np.concatenate([before, now]).astype(str), return_inverse=True)
    counts = np.array(
        [np.bincount(part, minlength=len(names)) for part in (codes[: len(before)], codes[len(before) :])]
    )
    smaller = min(len(before), len(now)) / (len(before) + len(now))
    rare = counts.sum(axis=0) * smaller < _LEAST
    table = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:  # noqa: PLR2004 - one category is the same on both sides
        return "chi2", 1.0
    return "chi2", float(scipy.stats.chi2_contingency(table, correction=False).pvalue)


def _edges(values: NDArray[Any]) -> Sequence[Any]:
    """Return the inner edges of number bins, ascending, or the categories."""
    if values.dtype.kind == "O":
        return sorted({str(value) for value in values})
    known = values[~_unknown(values)].astype(np.float64)
    if not len(known):
        return []
    deciles = np.quantile(known, np.linspace(0, 1, BINS + 1))
    shared = deciles[1:][np.diff(deciles) == 0]
    # Bins are right-closed: the edge below a shared value leaves nothing but that value in its bin.
    return list(np.unique([*deciles[1:-1], *shared, *np.nextafter(shared, -np.inf)]))


def _counts(values: NDArray[Any], edges: Sequence[Any]) -> NDArray[np.float64]:
    """Return the rows of each bin, the last one what is unknown (of texts: what is no category of the reference)."""
    if values.dtype.kind == "O":
        place = {name: number for number, name in enumerate(edges)}
        codes = np.array([place.get(str(value), len(edges)) for value in values], dtype=np.int64)
        return np.bincount(codes, minlength=len(edges) + 1).astype(np.float64)
    codes = np.searchsorted(np.asarray(edges, dtype=np.float64), values.astype(np.float64), side="left")
    codes = np.where(_unknown(values), len(edges) + 1, codes)
    return np.bincount(codes, minlength=len(edges) + 2).astype(np.float64)


def _psi(before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Return the index of two sides' counts; NaN where a side has no row."""
    if not before.sum() or not now.sum():
        return math.nan
    filled = (before > 0) | (now > 0)
    p, q = (np.maximum(counts[filled], 0.5) / counts.sum() for counts in (before, now))
    return float(np.sum((q - p) * np.log(q / p)))


def _unknown(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "O":
        return np.asarray(values == UNKNOWN, dtype=np.bool_)
    return np.isnan(values.astype(np.float64))
