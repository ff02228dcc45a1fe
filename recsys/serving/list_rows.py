"""What does a batch keep of each list? One row a slot, with all that an exposure of it would say."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.schema import ITEM, PROPENSITY, REQUEST_ID, SCORE, USER
from recsys.serving.feature_sample import slot_texts
from recsys.serving.ladder import BY_A_MODEL
from recsys.serving.lists import ranks
from recsys.serving.ranking import Listed
from recsys.serving.resolver import AnsweredUnits

MANIFEST: Final = "_manifest.json"
"""What a batch says of itself; a hidden file to readers of parquet."""
ELIGIBLE: Final = "_eligible.parquet"
"""All units that the campaign is about; by its name a hidden file to readers of parquet, for it is no list to send."""
DEFAULT_ARM: Final = "default"
"""Whom no experiment has an arm for."""
LIST_ROWS: Final = pa.schema(
    [
        (REQUEST_ID, pa.string()),
        (USER, pa.string()),
        ("rank", pa.int32()),
        (ITEM, pa.string()),
        (SCORE, pa.float64()),
        ("experiment", pa.string()),
        ("model_version", pa.string()),
        ("weights", pa.int64()),
        ("fallback", pa.string()),
        (PROPENSITY, pa.float64()),
        ("overridden", pa.bool_()),
        ("feature_digest", pa.string()),
        ("features", pa.string()),
    ]
)
"""One row a slot; `rank` counts from 1. `score` is NaN of a pinned item that no source gave; `model_version` and
`weights` are null where no model answered, `experiment` where none has an arm for the unit. `features` is a JSON object
of a sample of lists, column to the value that the model read of the slot's item; else null."""


def list_rows(answers: Sequence[AnsweredUnits]) -> Mapping[str, pa.Table]:
    """Return the lists of some units as rows of `LIST_ROWS`, by arm; within an arm the units keep their order."""
    by_arm: dict[str, list[tuple[NDArray[np.int64], pa.Table]]] = {}
    for group in answers:
        arm = DEFAULT_ARM if group.assignment is None else group.assignment.arm
        by_arm.setdefault(arm, []).append(_rows(group))
    return {arm: _in_order(parts) for arm, parts in sorted(by_arm.items())}


def answered_by(group: AnsweredUnits) -> list[str]:
    """Return who answered each unit: a model version, or the rung of the ladder."""
    by = _versions(group)
    return [rung if version is None else version for version, rung in zip(by, map(str, group.made.rungs), strict=True)]


def _rows(group: AnsweredUnits) -> tuple[NDArray[np.int64], pa.Table]:
    """Return the rows of one group, and the place of each row's unit among those who asked."""
    listed, matrix = group.made.listed, group.made.matrix
    counts = np.diff(listed.bounds)
    owner = np.repeat(np.arange(len(counts)), counts)
    versions = _versions(group)
    number = None if group.model is None else group.model.weights.number
    of_unit: dict[str, Sequence[Any]] = {
        REQUEST_ID: group.request_ids,
        USER: group.user_ids,
        "experiment": [None if group.assignment is None else group.assignment.experiment] * len(counts),
        "model_version": versions,
        "weights": [None if version is None else number for version in versions],
        "fallback": group.made.rungs,
        "overridden": [group.assignment is not None and group.assignment.overridden] * len(counts),
        "feature_digest": listed.digests,
    }
    items: Sequence[Any] = [] if matrix is None else matrix.pool.ids[listed.items.rows].tolist()
    of_slot = {
        "rank": ranks(listed.bounds),
        ITEM: items,
        SCORE: listed.items.scores,
        PROPENSITY: listed.items.propensities,
        "features": _features(listed),
    }
    places = pa.array(owner)
    columns = [
        pa.array(of_slot[field.name], field.type)
        if field.name in of_slot
        else pa.array(of_unit[field.name], field.type).take(places)
        for field in LIST_ROWS
    ]
    return np.asarray(group.places, dtype=np.int64)[owner], pa.Table.from_arrays(columns, schema=LIST_ROWS)


def _features(listed: Listed) -> list[str | None]:
    """Return the features of each slot that was scored, where those of its list are kept."""
    told: list[str | None] = [None] * len(listed.items)
    for place, features in listed.features.items():
        first, end = listed.bounds[place : place + 2].tolist()
        scored = first + np.flatnonzero(listed.items.ranks[first:end] > 0)
        for slot, text in zip(scored.tolist(), slot_texts(features), strict=True):
            told[slot] = text
    return told


def _versions(group: AnsweredUnits) -> list[str | None]:
    """Return the logic that answered each unit, None where no model did."""
    version = None if group.model is None else group.model.weights.model_version
    return [version if rung in BY_A_MODEL else None for rung in group.made.rungs]


def _in_order(parts: Sequence[tuple[NDArray[np.int64], pa.Table]]) -> pa.Table:
    if len(parts) == 1:
        return parts[0][1]
    places = np.concatenate([place for place, _ in parts])
    return pa.concat_tables([rows for _, rows in parts]).take(pa.array(np.argsort(places, kind="stable")))
