"""How good are rankers on past requests, how sure is that, and does a new one earn its place?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.metrics import list_metrics, top_k
from recsys.ports import TrainingRows
from recsys.specs.model import Gate
from recsys.statistics.bootstrap import Interval, bootstrap_means

MODEL = "model"
"""The name of the ranker under evaluation, beside its baselines."""


@dataclass(frozen=True)
class GateResult:
    """Whether a version may be served, and why."""

    passed: bool
    reason: str
    """One sentence with the figures."""
    ratio: Interval
    """The paired ratio of the gate's metric, model over baseline."""


@dataclass(frozen=True)
class OfflineReport:
    """Every ranker's metrics on the same requests."""

    requests: int
    units: int
    metrics: Mapping[str, Mapping[str, Interval]]
    """Ranker to metric (`ndcg@10/user`) to its value with a unit-clustered interval."""
    ratios: Mapping[str, Interval]
    """Baseline to the paired ratio of the gate's metric, model over baseline."""
    coverage: Mapping[str, float]
    """Ranker to the share of the pool's items that stood in some list."""
    gate: GateResult

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Judged:
    """What rankers are judged on."""

    rows: TrainingRows
    """Candidate rows; `rows.columns` is not read here."""
    item_row: NDArray[np.int64]
    """[rows] ascends with the item id within a request."""
    item_code: NDArray[np.int64]
    """[rows] one number an item, the same in every request."""
    users: NDArray[np.object_]
    relevant: NDArray[np.int64]
    pool_size: int


def evaluate(
    judged: Judged,
    scores: Mapping[str, NDArray[np.float64]],
    list_sizes: tuple[int, ...],
    gate: Gate,
    resamples: int,
    confidence: float,
) -> OfflineReport:
    """Evaluate rankers side by side.

    Args:
        judged: the requests, their candidates and what was taken.
        scores: [rows] of each ranker by name; `MODEL` is the one the gate decides on.
        list_sizes: the k of the problem's channels.
        gate: what the model must prove.
        resamples: bootstrap resamples of units.
        confidence: two-sided, of all intervals but the gate's, which has the same.
    """
    codes, units = _unit_codes(judged.users)
    counts = np.bincount(codes, minlength=len(units)).astype(float)
    names: list[tuple[str, str]] = []
    sums: list[NDArray[np.float64]] = []
    coverage: dict[str, float] = {}
    for ranker, values in scores.items():
        for k in list_sizes:
            ranked = top_k(values, judged.rows.label, judged.rows.request, judged.item_row, len(judged.users), k)
            for metric, each in list_metrics(ranked.hits, judged.relevant).items():
                names.append((ranker, f"{metric}@{k}/user"))
                sums.append(np.bincount(codes, weights=each, minlength=len(units)).astype(np.float64))
            shown = np.unique(judged.item_code[ranked.rows[ranked.rows >= 0]])
            coverage[ranker] = len(shown) / max(judged.pool_size, 1)
    stacked = np.column_stack(sums)
    estimate = stacked.sum(axis=0) / counts.sum()
    resampled = bootstrap_means(stacked, counts, resamples=resamples, seed=0)
    tail = (1 - confidence) / 2
    metrics: dict[str, dict[str, Interval]] = {ranker: {} for ranker in scores}
    for column, (ranker, metric) in enumerate(names):
        low, high = np.quantile(resampled[:, column], [tail, 1 - tail])
        metrics[ranker][metric] = Interval(float(estimate[column]), float(low), float(high))
    column_of = {name: column for column, name in enumerate(names)}
    ratios = {
        ranker: _ratio(estimate, resampled, column_of, ranker, gate.metric, tail)
        for ranker in scores
        if ranker != MODEL
    }
    return OfflineReport(
        requests=len(judged.users),
        units=len(units),
        metrics=metrics,
        ratios=ratios,
        coverage=coverage,
        gate=decide_gate(gate, ratios[gate.against], metrics, confidence),
    )


def decide_gate(
    gate: Gate, ratio: Interval, metrics: Mapping[str, Mapping[str, Interval]], confidence: float
) -> GateResult:
    """Pass if the paired ratio's lower bound lies above the minimum."""
    model, baseline = metrics[MODEL][gate.metric].estimate, metrics[gate.against][gate.metric].estimate
    passed = ratio.lower > gate.minimum_ratio
    reason = (
        f"{gate.metric} {model:.4f} against {gate.against}'s {baseline:.4f}: ratio {ratio.estimate:.3f}"
        f" [{ratio.lower:.3f}, {ratio.upper:.3f}] at {confidence:.0%}; the lower bound"
        f" {'is' if passed else 'has to be'} above {gate.minimum_ratio:g}"
    )
    return GateResult(passed, reason, ratio)


def _ratio(
    estimate: NDArray[np.float64],
    resampled: NDArray[np.float64],
    column_of: Mapping[tuple[str, str], int],
    baseline: str,
    metric: str,
    tail: float,
) -> Interval:
    if (MODEL, metric) not in column_of:
        known = ", ".join(sorted({name for _, name in column_of}))
        message = f"gate.metric {metric!r}: the problem's channels give {known}"
        raise ModelError(message)
    top, bottom = column_of[MODEL, metric], column_of[baseline, metric]
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = resampled[:, top] / resampled[:, bottom]
        value = float(estimate[top] / estimate[bottom])
        low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _unit_codes(users: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    units, codes = np.unique(users.astype(str), return_inverse=True)
    return codes.astype(np.int64), units.astype(object)
