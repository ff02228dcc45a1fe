"""Which set does the training benchmark learn from, and what does one fit of it take?

As a script it is one run in a process of its own: `training_run.py FOLDER WHO ITERATIONS COMBINED`.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from recsys.adapters.catboost_ranker import CatBoostEstimator
from recsys.modeling.decision_times import Split
from recsys.modeling.training_set import LEARN, TrainingSet, write_table
from recsys.ports import TrainingRows
from recsys.specs.model import CatBoostAlgorithm

NUMBERS = tuple(f"number_{index}" for index in range(20))
CATEGORIES = {"brand": 2, "age": 6, "income": 12, "department": 31, "commodity": 300}
"""To how many distinct texts each has, as of a grocer's products and households."""
COLUMNS = (*NUMBERS, *CATEGORIES)
THREADS = 2
ROWS_A_REQUEST = 50
TIMES = tuple(datetime(2024, 3, day, tzinfo=UTC) for day in (4, 11, 18))
SPLIT = Split(TIMES[:1], TIMES[1:2], TIMES[2:], timedelta(days=7))
"""Nine rows in ten are of the train time, the others of the validation time."""


def write_set(folder: Path, rows: int) -> int:
    """Write learn.parquet as a built training set has it; returns the bytes of its Arrow table."""
    random = np.random.default_rng(0)
    request = np.arange(rows) // ROWS_A_REQUEST
    numbers = [random.normal(size=rows) if at % 2 else random.exponential(size=rows) for at in range(len(NUMBERS))]
    codes = {name: random.integers(size, size=rows) for name, size in CATEGORIES.items()}
    signal = sum(values / (at + 2) for at, values in enumerate(numbers))
    signal += sum(random.normal(0, 0.5, CATEGORIES[name])[code] for name, code in codes.items())
    chance = 1 / (1 + np.exp(-2 * (signal - np.quantile(signal, 0.97))))
    later = (request > request[-1] * 0.9).astype(np.int64)
    times = pa.array(TIMES, pa.timestamp("us", tz="UTC")).take(pa.array(later))
    columns: dict[str, pa.Array] = {
        "request": pa.array(request),
        "user_id": _texts("household", request * 7919 % 20_000),
        "item_id": _texts("product", random.integers(40_000, size=rows)),
        "event_timestamp": times,
        "request_timestamp": times,
        "label": pa.array((random.random(rows) < chance).astype(np.float32)),
    }
    for at, (name, values) in enumerate(zip(NUMBERS, numbers, strict=True)):
        columns[name] = pa.array(values, mask=random.random(rows) < (0.1 if at % 4 == 0 else 0.0))
    columns |= {name: _texts(name, code) for name, code in codes.items()}
    table = pa.table(columns)
    write_table(folder, LEARN, table)
    return int(table.nbytes)


def _texts(name: str, codes: NDArray[np.int64]) -> pa.Array:
    texts = pa.array([f"{name} {code}" for code in range(int(codes.max()) + 1)], pa.string())
    return texts.take(pa.array(codes))


class Run:
    """What one run takes: seconds by step, and memory from its first step on."""

    def __init__(self) -> None:
        """Time CatBoost's own fit and its pools wherever they are called."""
        self.seconds: dict[str, float] = {}
        for owner, name, step in ((catboost.CatBoost, "fit", "fit"), (catboost.Pool, "__init__", "pool")):
            setattr(owner, name, self._watched(getattr(owner, name), step))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of what is inside to a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def _watched(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(call)
        def timed(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever CatBoost's function has
            if name == "fit":
                self.held = resident()
            with self.step(name):
                return call(*args, **named)

        return timed


def ours(folder: Path, estimator: CatBoostEstimator, run: Run) -> None:
    """Read, fit and save as `recsys train` does."""
    with run.step("total"):
        with run.step("read"):
            rows = TrainingSet(folder, {}).learning(COLUMNS, SPLIT)
        with run.step("estimator"):
            ranker = estimator.fit(*rows)
        with run.step("save"), tempfile.TemporaryDirectory() as name:
            ranker.save(Path(name) / "model")


def bare(folder: Path, estimator: CatBoostEstimator, run: Run) -> None:
    """Fit CatBoost on the smallest pools of these rows that it takes, with nothing beside them: its own memory."""
    with run.step("total"):
        early, late = (_pool(rows) for rows in TrainingSet(folder, {}).learning(COLUMNS, SPLIT))
        pa.default_memory_pool().release_unused()
        catboost.CatBoost(estimator._parameters()).fit(early, eval_set=late)  # noqa: SLF001 - the same ones


def _pool(rows: TrainingRows) -> catboost.Pool:
    frame = {name: rows.columns[name] for name in NUMBERS}
    frame |= {name: pd.Categorical(rows.columns[name]) for name in CATEGORIES}
    return catboost.Pool(pd.DataFrame(frame, copy=False), rows.label, cat_features=list(CATEGORIES))


def resident(field: str = "VmRSS:") -> float:
    """MiB of this process. Linux' own count: ru_maxrss would begin with that of the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(field)[2].split()[0]) / 1024


def main() -> None:
    """Run once, and print seconds and MiB as JSON."""
    folder, who, iterations, combined = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    fields = {
        "type": "catboost",
        "loss": "Logloss",
        "iterations": iterations,
        "depth": 6,
        "early_stopping_rounds": iterations,
        "categorical": tuple(CATEGORIES),
        "max_ctr_complexity": combined,
    }
    estimator = CatBoostEstimator(CatBoostAlgorithm.model_validate(fields), COLUMNS, THREADS)
    run = Run()
    before = resident()
    {"ours": ours, "bare": bare}[who](folder, estimator, run)
    memory = {"before": before, "held": run.held - before, "peak": resident("VmHWM:") - before}
    print(json.dumps({"seconds": run.seconds, "memory": memory}))


if __name__ == "__main__":
    main()
