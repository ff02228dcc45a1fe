"""What does one list of units reach at each capacity, as it is and in every draw of the units?

Figures are means over decision times: precision (of measured labels: value, the mean label) over the units reached,
recall the share of all that came, from units outside the audience too. A unit that was drawn three times takes three
places of every list, so the cut moves with the draw. What units outside the audience did is known as a sum only and
stays as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.modeling.judged import JudgedUnits
from recsys.modeling.metrics import reached
from recsys.modeling.offline_evaluation.figures import SEED, Figure, Resampling, unit_codes
from recsys.modeling.offline_evaluation.request_groups import Group
from recsys.specs.metric import Metric
from recsys.statistics.bootstrap import unit_weights


@dataclass(frozen=True)
class Reached:
    """What each ranker's lists reached, as they are and in every draw."""

    of_list: NDArray[np.float64]
    """[1 + draws, times, rankers, capacities, 1 + 2 parts]: labels reached, then of each part labels and units."""
    in_all: NDArray[np.float64]
    """[1 + draws, times, 1 + parts]: labels of all units, also outside the audience, then of each part's."""
    rankers: tuple[str, ...]
    capacities: tuple[int, ...]
    units: int

    def precision(self, ranker: str, capacity: int, times: NDArray[np.int64] | slice = slice(None)) -> Figure:
        """Return the mean over decision times of labels reached a place."""
        hits = self._labels(ranker, capacity)[:, times]
        return self._figure(hits.mean(axis=1) / capacity)

    def recall(self, ranker: str, capacity: int, times: NDArray[np.int64] | slice = slice(None)) -> Figure:
        """Return the mean over decision times of labels reached by all labels; times without any are left out."""
        hits, everything = self._labels(ranker, capacity)[:, times], self.in_all[:, times, 0]
        some = everything[0] > 0
        if not some.any():
            return self._figure(np.full(len(hits), np.nan))
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._figure((hits[:, some] / everything[:, some]).mean(axis=1))

    def part_metrics(self, ranker: str, capacity: int, part: int, *, measured: bool) -> dict[str, Figure]:
        """Return the metrics of one part of the units, of all decision times together."""
        cells = self.of_list[:, :, self.rankers.index(ranker), self.capacities.index(capacity)].sum(axis=1)
        labels, reached_units = cells[:, 1 + 2 * part], cells[:, 2 + 2 * part]
        everything = self.in_all[:, :, 1 + part].sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                f"{'value' if measured else 'precision'}@{capacity}": self._figure(labels / reached_units),
                f"recall@{capacity}": self._figure(labels / everything),
                f"share_of_list@{capacity}": self._figure(reached_units / (capacity * self.of_list.shape[1])),
            }

    def hits(self, ranker: str, capacity: int) -> float:
        """Return the labels reached in all lists together."""
        return float(self._labels(ranker, capacity)[0].sum())

    def _labels(self, ranker: str, capacity: int) -> NDArray[np.float64]:
        return self.of_list[:, :, self.rankers.index(ranker), self.capacities.index(capacity), 0]

    def _figure(self, values: NDArray[np.float64]) -> Figure:
        return Figure(float(values[0]), values[1:], self.units)


def reach(
    judged: JudgedUnits,
    scores: Mapping[str, NDArray[np.float64]],
    metrics: Sequence[Metric],
    parts: Group,
    resampling: Resampling,
) -> Reached:
    """Cut every ranker's lists, as they are and in every draw of the units.

    Args:
        judged: the rows.
        scores: ranker to [rows]; NaN sinks to the bottom.
        metrics: their sizes are the capacities.
        parts: [rows] tells the units apart.
        resampling: how often the units are drawn.
    """
    codes, units = unit_codes(judged.users)
    capacities = tuple(sorted({metric.size for metric in metrics}))
    starts = np.searchsorted(judged.rows.request, np.arange(len(judged.moments) + 1))
    times = [slice(first, last) for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
    labels = judged.rows.label.astype(np.float64)
    inside = np.eye(len(parts.names))[parts.part]
    values = np.column_stack([labels, *(col for part in inside.T for col in (labels * part, part))])
    totals = np.column_stack([labels, labels[:, np.newaxis] * inside])
    outside = judged.relevant - np.bincount(judged.rows.request, weights=labels, minlength=len(times))
    keys = {name: -np.nan_to_num(each, nan=-np.inf) for name, each in scores.items()}
    orders = [
        [rows.start + np.lexsort((judged.rows.item_row[rows], key[rows])) for key in keys.values()] for rows in times
    ]
    of_list, in_all = [], []
    for weights in _with_one_as_is(units, resampling.resamples):
        lists = [[_reached(weights, codes[order], values[order], capacities) for order in mine] for mine in orders]
        everything = np.stack([weights[:, codes[rows]] @ totals[rows] for rows in times], axis=1)
        everything[:, :, 0] += np.maximum(outside, 0)
        of_list.append(np.stack([np.stack(mine, axis=1) for mine in lists], axis=1))
        in_all.append(everything)
    return Reached(np.concatenate(of_list), np.concatenate(in_all), tuple(scores), capacities, units)


def _with_one_as_is(units: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    yield np.ones((1, units))
    yield from unit_weights(units, resamples, SEED)


def _reached(
    weights: NDArray[np.float64], codes: NDArray[np.int64], values: NDArray[np.float64], capacities: tuple[int, ...]
) -> NDArray[np.float64]:
    """Reach down one list, only as far as every draw's largest capacity needs."""
    far = min(len(codes), capacities[-1] + 5 * int(np.sqrt(capacities[-1])) + 10)
    while True:
        drawn = weights[:, codes[:far]]
        if far == len(codes) or drawn.sum(axis=1).min() >= capacities[-1]:
            return reached(drawn, values[:far], capacities)
        far = min(len(codes), 2 * far)
