"""What does `batch.py` compare: the scoring core, CatBoost alone on a ready matrix, and the naive way in pandas?

    .venv/bin/python benchmarks/batch_core.py MODEL USERS    # the core alone, in a process of its own

Each user has 100 candidates of 10,007 items and 25 numbers as features, 15 of the item and 10 of the user. Batches of
1,000 users are made as they are taken, so that a million users need no more memory than a thousand.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from recsys.adapters.catboost_ranker import CatBoostRanker, load_catboost_ranker
from recsys.serving.scoring import ListScorer

ITEMS, CANDIDATES, K = 10_007, 100, 10
USERS_A_BATCH = 1_000
ITEM_FEATURES = tuple(f"item_{number:02d}" for number in range(15))
USER_FEATURES = tuple(f"user_{number:02d}" for number in range(10))
FEATURES = (*ITEM_FEATURES, *USER_FEATURES)
THREADS = os.cpu_count() or 1
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
"""Candidates, items and users."""
_STRIDE = 97
"""Items are a prime number, so that steps of this length meet no item twice."""


def fitted(trees: int, depth: int) -> CatBoostRanker:
    """Fit a ranker on made-up rows of all features."""
    import catboost

    random = np.random.default_rng(1)
    values = random.normal(size=(50_000, len(FEATURES))).astype(np.float32)
    label = (values[:, 0] + values[:, 3] * values[:, 20] + random.normal(size=len(values)) > 0).astype(int)
    model = catboost.CatBoost(
        {
            "loss_function": "Logloss",
            "iterations": trees,
            "depth": depth,
            "verbose": False,
            "allow_writing_files": False,
        }
    )
    model.fit(catboost.Pool(catboost.FeaturesData(values, num_feature_names=list(FEATURES)), label))
    return CatBoostRanker(model)


def model_of(ranker: CatBoostRanker) -> Any:  # noqa: ANN401 - catboost has no types
    """Return CatBoost's own model inside a ranker."""
    return ranker._model  # noqa: SLF001 - the bare prediction is what is compared with


def items() -> dict[str, NDArray[np.float64]]:
    """Return the item matrix."""
    random = np.random.default_rng(2)
    return {name: random.normal(size=ITEMS) for name in ITEM_FEATURES}


def scorer(ranker: CatBoostRanker) -> ListScorer:
    """Return the core over the item matrix."""
    return ListScorer(ranker, pa.array([f"item{number:06d}" for number in range(ITEMS)]), items(), K)


def candidates(first: int) -> NDArray[np.int32]:
    """Return the candidates of a batch: [1,000, 100] rows of the item matrix."""
    starts = np.random.default_rng([3, first]).integers(0, ITEMS, USERS_A_BATCH)
    return ((starts[:, None] + _STRIDE * np.arange(CANDIDATES)) % ITEMS).astype(np.int32)


def of_users(first: int) -> dict[str, NDArray[np.float64]]:
    """Return the features of a batch's users."""
    random = np.random.default_rng([4, first])
    return {name: random.normal(size=USERS_A_BATCH) for name in USER_FEATURES}


def batches(users: int) -> Iterator[pa.RecordBatch]:
    """Make batch after batch."""
    bounds = pa.array(np.arange(0, USERS_A_BATCH * CANDIDATES + 1, CANDIDATES, dtype=np.int32))
    for first in range(0, users, USERS_A_BATCH):
        yield pa.RecordBatch.from_pydict(
            {
                "user_id": pa.array([f"user{number:08d}" for number in range(first, first + USERS_A_BATCH)]),
                "candidates": pa.ListArray.from_arrays(bounds, pa.array(candidates(first).ravel())),
                **of_users(first),
            }
        )


def core(made: ListScorer, users: int) -> str:
    """Score all users by the core on all cores; returns a digest of the lists."""
    told = hashlib.blake2b(digest_size=8)
    for scored in made.score_all(batches(users), THREADS):
        told.update(scored.column("score").buffers()[1])
    return told.hexdigest()


def ready(users: int) -> NDArray[np.float32]:
    """Return the matrix of all rows, column by column in memory: what CatBoost reads fastest."""
    known = items()
    matrix = np.empty((users * CANDIDATES, len(FEATURES)), dtype=np.float32, order="F")
    for first in range(0, users, USERS_A_BATCH):
        rows, mine = candidates(first).ravel(), of_users(first)
        part = slice(first * CANDIDATES, (first + USERS_A_BATCH) * CANDIDATES)
        for place, name in enumerate(FEATURES):
            matrix[part, place] = known[name][rows] if name in known else np.repeat(mine[name], CANDIDATES)
    return matrix


def bare(model: Any, matrix: NDArray[np.float32]) -> NDArray[np.float64]:  # noqa: ANN401 - catboost has no types
    """Let CatBoost score a ready matrix, and nothing else."""
    scores: NDArray[np.float64] = model.predict(matrix, thread_count=THREADS)
    return scores


def frames(users: int) -> Tables:
    """Return candidates, items and users as tables, keyed by numbers: pandas joins them faster than texts."""
    starts = range(0, users, USERS_A_BATCH)
    pairs = pd.DataFrame(
        {
            "user": np.repeat(np.arange(users), CANDIDATES),
            "item": np.concatenate([candidates(first).ravel() for first in starts]),
        }
    )
    of_each = [of_users(first) for first in starts]
    people = {name: np.concatenate([mine[name] for mine in of_each]) for name in USER_FEATURES}
    return (
        pairs,
        pd.DataFrame({"item": np.arange(ITEMS), **items()}),
        pd.DataFrame({"user": np.arange(users), **people}),
    )


def naive(model: Any, tables: Tables) -> pd.DataFrame:  # noqa: ANN401
    """Merge, predict, sort, and take the head of each group."""
    pairs, known, people = tables
    rows = pairs.merge(known, on="item").merge(people, on="user")
    rows["score"] = model.predict(rows[list(FEATURES)], thread_count=THREADS)
    return rows.sort_values(["user", "score", "item"], ascending=[True, False, True]).groupby("user").head(K)


def main() -> None:
    """Score so many users in this process, and print seconds and peak memory."""
    folder, users = Path(sys.argv[1]), int(sys.argv[2])
    made = scorer(load_catboost_ranker(folder))
    core(made, 10 * USERS_A_BATCH)
    begun = time.perf_counter()
    core(made, users)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "rows": users * CANDIDATES, "peak": peak()}))


def peak() -> int:
    """Return the most that was resident, in bytes; `getrusage` would count the process that this one was made by."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


if __name__ == "__main__":
    main()
