"""What does a training set say of itself: dataset.json, which stays when its rows are no longer in memory?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from recsys.candidates.pool import to_numpy
from recsys.modeling.clocks import reached
from recsys.modeling.decision_times import TEST, TRAIN, VALIDATION, Split, times_of
from recsys.modeling.labels import count_after
from recsys.modeling.leakage import Checked, Violation
from recsys.modeling.profile import profile
from recsys.modeling.request_facts import count_units
from recsys.modeling.training_set import LEARN
from recsys.ports import FeatureSet
from recsys.schema import EVENT_TIMESTAMP
from recsys.specs.problem import Problem
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Described:
    """What is kept of learn or test beside its file."""

    rows: Mapping[str, int]
    """Train and validation of the newest split, or test, to how many rows."""
    violations: tuple[Violation, ...]
    unchecked: tuple[str, ...]
    profile: Sequence[Mapping[str, Any]]
    """An entry a decision time."""


def described(
    workspace: Workspace,
    problem: Problem,
    known_at: datetime,
    newest: Split,
    part: str,
    rows: pa.Table,
    checked: Checked,
    features: FeatureSet,
) -> Described:
    """Describe one part.

    Args:
        workspace: has the events.
        problem: its funnel's stages are counted.
        known_at: nothing created after it is used.
        newest: the newest split.
        part: learn or test.
        rows: of the part; none where nothing is learned.
        checked: what its check found.
        features: what was joined.
    """
    if part == TEST:
        counts = {TEST: len(rows)}
    else:
        learned = to_numpy(rows[EVENT_TIMESTAMP])
        counts = {name: int(newest.holds(name, learned).sum()) for name in (TRAIN, VALIDATION)}
    entries = _profile(workspace, problem, known_at, rows, checked, features) if len(rows) else []
    return Described(counts, checked.violations, checked.unchecked, entries)


def _profile(
    workspace: Workspace, problem: Problem, known_at: datetime, rows: pa.Table, checked: Checked, features: FeatureSet
) -> list[dict[str, Any]]:
    target, funnel = problem.target, problem.funnel
    others = [stage for stage in (funnel.stages if funnel else ()) if stage != target.event]
    stages = {
        stage: reached(workspace.engine, rows, workspace.events, stage, target.horizon, known_at).combine_chunks()
        for stage in others
    }
    return profile(rows, features, checked.clocks, stages)


def document(
    workspace: Workspace,
    model_version: str,
    known_at: datetime,
    splits: Sequence[Split],
    parts: Mapping[str, Described],
    *,
    rows_digest: str,
    pool_size: int,
    immature_slots: int,
) -> dict[str, Any]:
    """Return dataset.json as JSON values.

    Args:
        workspace: has the events.
        model_version: whose training set it is.
        known_at: nothing created after it was used.
        splits: oldest first.
        parts: learn and test.
        rows_digest: of the tables.
        pool_size: how many items were eligible at some decision time.
        immature_slots: exposures that were left out because their label was still to come.
    """
    spec = workspace.catalog.model(model_version)
    target = workspace.catalog.problem(spec.problem).target
    engine, events, newest = workspace.engine, workspace.events, splits[-1]
    first, last = times_of(splits, TEST)[0], newest.test[-1] + target.horizon
    return {
        "model_version": model_version,
        "known_at": known_at.isoformat(),
        "digest": rows_digest,
        "feature_service": spec.feature_service,
        "negatives": spec.negatives.source,
        "splits": [split.to_dict() for split in splits],
        "rows": {**parts[LEARN].rows, **parts[TEST].rows},
        "pool_size": pool_size,
        "units": count_units(engine, events, target.event, first, known_at),
        "unchecked": list(dict.fromkeys(line for part in parts.values() for line in part.unchecked)),
        "left_out": {
            "immature_decision_times": [time.isoformat() for time in newest.immature],
            "immature_events": count_after(engine, events, target, last, known_at),
            "immature_slots": immature_slots,
        },
        "profile": {name: list(parts[name].profile) for name in (LEARN, TEST)},
    }
