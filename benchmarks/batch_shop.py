"""Where does the time of `recsys serve-batch` go on the real shop? Its stages, timed as they run, for `batch.py`.

A stage is a function that all lists go through; what threads spend in it is added up. The rest is routing, digests,
rows of Arrow and Python between the stages.
"""

import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import serving_shop
import yaml

from recsys.adapters.catboost_ranker import CatBoostRanker
from recsys.candidates.retrieval import Candidates, Retrieval
from recsys.serving import ranking
from recsys.serving.unit_rows import UnitRows
from recsys.wiring import open_workspace
from recsys.workflows.batches.lists import request_id
from recsys.workflows.batches.parts import BatchParts
from recsys.workflows.batches.serve_batch import Batch, serve_batch
from recsys.workflows.serving.resolvers import FixedClock, known_units, resolver_for
from recsys.workflows.workspace import Workspace

Given = ParamSpec("Given")
Made = TypeVar("Made")

PLACEMENT = "batch"
ALONE = 200
"""Requests that are asked for one by one, beside the batch."""
_STAGES: tuple[tuple[str, Any, str], ...] = (
    ("read", UnitRows, "fetch"),
    ("candidates", Retrieval, "candidates"),
    ("features", ranking, "assemble"),
    ("predict", CatBoostRanker, "score"),
    ("re-rank", ranking, "rerank"),
    ("write", BatchParts, "write"),
)
_DECLARED = {
    "problem": "weekly_basket",
    "model": "basket",
    "k": 10,
    "pool": {"view": "item_weekly", "feature": "item_baskets_91d", "minimum": 1},
    "candidates": [
        {"source": "personal", "view": "user_item", "order_by": ["pair_weeks", "pair_decay_90d_at_last"], "limit": 150},
        {"source": "popular", "order_by": "item_baskets_28d", "limit": 100},
        {
            "source": "covisit",
            "view": "user_item",
            "strength": "pair_decay_90d_at_last",
            "minimum": 20,
            "own": False,
            "limit": 100,
        },
    ],
    "rerank": [
        {"stage": "cap", "by": "item_category", "most": 3},
        {"stage": "explore", "position": 10, "among": 20},
    ],
    "fallback": "popular",
}


@dataclass(frozen=True)
class EndToEnd:
    """One batch of the shop."""

    batch: Batch
    seconds: float
    """From the first unit to the last file."""
    stages: dict[str, float]
    """Seconds of all threads in each."""
    candidates: int
    alone: float
    """Seconds of a request that is asked for alone."""


def made(folder: Path, households: int | None) -> Path:
    """Make the shipped shop with a trained champion."""
    return serving_shop.made(folder / "project", households)


def declare(project: Path) -> None:
    """Declare a placement of three sources and two stages, and have what it needs made."""
    path = project / "registry" / "placements" / f"{PLACEMENT}.yaml"
    if not path.exists():
        path.write_text(yaml.safe_dump(_DECLARED), encoding="utf-8")
        serving_shop.recsys(project, "features", "build")


def measured(project: Path) -> EndToEnd:
    """Write the batch of all users, with its stages timed, and ask for some lists one by one."""
    workspace = open_workspace("local", project)
    with tempfile.TemporaryDirectory(prefix="batch-") as out:
        serve_batch(workspace, PLACEMENT, out=Path(out, "warm"))
        begun: list[float] = []
        with timed() as (stages, counted):
            batch = serve_batch(
                workspace,
                PLACEMENT,
                out=Path(out, "timed"),
                progress=lambda done, _, __: None if done else begun.append(time.perf_counter()),
            )
            seconds = time.perf_counter() - begun[0]
    return EndToEnd(batch, seconds, dict(stages), counted[0], alone(workspace))


def alone(workspace: Workspace) -> float:
    """Return the seconds of a request that is asked for alone, a median of rounds."""
    moment = workspace.clock.now()
    resolver = resolver_for(workspace, PLACEMENT, clock=FixedClock(moment))
    resolver.refresh()
    units = known_units(workspace, PLACEMENT, moment)[:ALONE]
    rounds = []
    for _ in range(4):
        begun = time.perf_counter()
        for unit in units:
            resolver.recommend(unit, request_id=request_id(PLACEMENT, moment, unit))
        rounds.append((time.perf_counter() - begun) / len(units))
    return sorted(rounds[1:])[1]


@contextmanager
def timed() -> Generator[tuple[dict[str, float], list[int]]]:
    """Add up what is spent in each stage, and count the candidates."""
    stages: dict[str, float] = defaultdict(float)
    counted = [0]
    lock = threading.Lock()
    originals = [(owner, name, getattr(owner, name)) for _, owner, name in _STAGES]

    def watching(stage: str, inner: Callable[Given, Made]) -> Callable[Given, Made]:
        def watched(*arguments: Given.args, **options: Given.kwargs) -> Made:
            begun = time.perf_counter()
            result = inner(*arguments, **options)
            spent = time.perf_counter() - begun
            with lock:
                stages[stage] += spent
                if isinstance(result, Candidates):
                    counted[0] += len(result.rows)
            return result

        return watched

    for (stage, owner, name), (_, _, inner) in zip(_STAGES, originals, strict=True):
        setattr(owner, name, watching(stage, inner))
    try:
        yield stages, counted
    finally:
        for owner, name, inner in originals:
            setattr(owner, name, inner)
