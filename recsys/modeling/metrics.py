"""How good is a ranked list, request by request?

Conventions: requests without a relevant item are left out; gain is binary; the ideal DCG is that of min(k, relevant)
hits; recall divides by all relevant items, candidates or not; equal scores fall to the item with the smaller id.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    keys = -np.nan_to_num(scores, nan=-np.inf)
    order = np.lexsort((item_row, keys, request))
    starts = np.searchsorted(request, np.arange(requests))
    slot = np.arange(len(request)) - starts[request]
    inside = slot < k
    rows = np.full((requests, k), -1, dtype=np.int64)
    rows[request[inside], slot[inside]] = order[inside]
    hits = np.zeros((requests, k), dtype=bool)
    hits[request[inside], slot[inside]] = labels[order[inside]] > 0
    return TopK(hits, rows)


def list_metrics(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return ndcg, precision, recall and mrr of each request at k = the width of `hits`.

    Args:
        hits: [requests, k] whether the slot's item was taken.
        relevant: [requests] how many items were taken, at least 1.

    Returns:
        Metric name to [requests] values in [0, 1].
    """
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, k)]
    found = hits.sum(axis=1)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    return {
        "ndcg": (hits @ discount) / ideal,
        "precision": found / k,
        "recall": found / relevant,
        "mrr": 1.0 / first,
    }
