"""How good is a ranked list, request by request, and one list of units, cut at a capacity?

Conventions: gain is binary; the ideal DCG is that of min(k, relevant) hits; recall and average precision divide by all
relevant items, candidates or not (average precision not by min(k, relevant)); precision divides by k, also where a
request has fewer candidates; equal scores fall to the item with the smaller id, and a score that is not a number stands
below all that are. Requests without a relevant item are left out of means.

A list of units is cut by weight: where a unit counts three times, as in a draw with replacement, it takes three places,
and the last one reached takes what is left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CELLS_AT_ONCE: Final = 2_000_000
"""Bounds memory: the padded scores of one block of requests take 16 MB, their order as much."""


@dataclass(frozen=True)
class TopK:
    """The first k candidates of every request, by score."""

    hits: NDArray[np.bool_]
    """[requests, k]: whether the item in this slot was taken; False where a request has fewer candidates."""
    rows: NDArray[np.int64]
    """[requests, k]: which candidate row stands in this slot, -1 where there is none."""


def top_k(
    scores: NDArray[np.float64],
    labels: NDArray[np.float32],
    request: NDArray[np.int64],
    item_row: NDArray[np.int64],
    requests: int,
    k: int,
) -> TopK:
    """Rank every request's candidates.

    Args:
        scores: [rows] larger is better; NaN sinks to the bottom.
        labels: [rows] above 0 where the item was taken.
        request: [rows] request numbers, contiguous and ascending.
        item_row: [rows] ascends with the item id within a request.
        requests: how many requests there are; numbers may be missing from `request`.
        k: slots.
    """
    order = _by_item(request, item_row)
    keys = -np.nan_to_num(scores, nan=-np.inf)  # NaN itself is left for the places without a candidate
    if order is not None:
        keys = keys[order]
    rows = np.full((requests, k), -1, dtype=np.int64)
    starts = np.searchsorted(request, np.arange(requests + 1))
    for block, width in _blocks(np.diff(starts)):
        first = starts[block, np.newaxis]
        places = first + np.arange(width)
        filled = places < starts[block + 1, np.newaxis]
        padded = np.where(filled, keys[np.minimum(places, len(keys) - 1)], np.nan)
        ranked = np.argsort(padded, axis=1, kind="stable")[:, :k]
        inside = np.arange(ranked.shape[1]) < filled.sum(axis=1, keepdims=True)
        rows[block, : ranked.shape[1]] = np.where(inside, first + ranked, -1)
    there = rows >= 0
    if order is not None:
        rows[there] = order[rows[there]]
    hits = np.zeros((requests, k), dtype=bool)
    hits[there] = labels[rows[there]] > 0
    return TopK(hits, rows)


def list_metrics(hits: NDArray[np.bool_], relevant: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return ndcg, precision, recall, mrr and map of each request at k = the width of `hits`.

    Args:
        hits: [requests, k] whether the slot's item was taken.
        relevant: [requests] how many items were taken, at least 1.

    Returns:
        Metric name to [requests] values in [0, 1]. `map` is each request's average precision: the precision at each
        hit's place, summed, by all relevant items.
    """
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, k).astype(np.int64)]
    found = hits.sum(axis=1)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    precision_at_hits = np.where(hits, np.cumsum(hits, axis=1) / np.arange(1, k + 1), 0.0)
    return {
        "ndcg": (hits @ discount) / ideal,
        "precision": found / k,
        "recall": found / relevant,
        "mrr": 1.0 / first,
        "map": precision_at_hits.sum(axis=1) / relevant,
    }


def reached(
    weights: NDArray[np.float64], values: NDArray[np.float64], capacities: tuple[int, ...]
) -> NDArray[np.float64]:
    """Sum values over the units that one list reaches at each capacity.

    Args:
        weights: [draws, units] how often each unit counts, best unit first.
        values: [units, columns] what is summed over the units reached, best unit first.
        capacities: places in all.

    Returns:
        [draws, capacities, columns].
    """
    passed = np.cumsum(weights, axis=1) - weights
    sums = [np.clip(capacity - passed, 0.0, weights) @ values for capacity in capacities]
    return np.stack(sums, axis=1)


def _by_item(request: NDArray[np.int64], item_row: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the order by item within each request, or None where the rows stand in it."""
    if np.all((request[1:] > request[:-1]) | (item_row[1:] >= item_row[:-1])):
        return None
    order: NDArray[np.int64] = np.lexsort((item_row, request))
    return order


def _blocks(counts: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield requests of about as many candidates, and how many at most; those without any are left out."""
    largest_first = np.argsort(-counts, kind="stable")
    largest_first = largest_first[: np.count_nonzero(counts)]
    start = 0
    while start < len(largest_first):
        width = int(counts[largest_first[start]])
        block = largest_first[start : start + max(1, _CELLS_AT_ONCE // width)]
        yield block, width
        start += len(block)
