"""How are the rankers of one training fitted: one a split, and without a block of features for the ablation?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.errors import ModelError
from recsys.modeling.decision_times import TEST, Split
from recsys.modeling.feature_ranker import FeatureRanker
from recsys.modeling.training_set import TrainingSet
from recsys.ports import Columns, FeatureSet, Ranker
from recsys.schema import EVENT_TIMESTAMP
from recsys.specs.metric import parse_metric
from recsys.specs.model import CatBoostAlgorithm, FeatureAlgorithm, ModelVersion
from recsys.workflows.modeling.training_data import Progress
from recsys.workflows.workspace import Workspace

_ROWS_AT_ONCE: Final = 100_000
"""Rows that are scored together: enough for a ranker's threads."""


@dataclass(frozen=True)
class Fitted:
    """What the splits of a training gave."""

    ranker: Ranker
    """The newest split's fit, which is registered."""
    scores: NDArray[np.float64]
    """[test rows] each by the fit of its own split."""


def fit_splits(
    workspace: Workspace, spec: ModelVersion, features: FeatureSet, dataset: TrainingSet, tell: Progress
) -> Fitted:
    """Fit one ranker a split, oldest first, and score each split's test rows by its own.

    Nothing but a fit's own rows is in memory during it; what it is judged on is read after it.

    Args:
        workspace: chooses the estimator.
        spec: the model version.
        features: its columns.
        dataset: what is learned from and judged on.
        tell: told how far the fits are.

    Raises:
        ModelError: if the algorithm does not fit the columns, or there is nothing to learn from.
    """
    moments = to_numpy(dataset.rows(TEST, [EVENT_TIMESTAMP])[EVENT_TIMESTAMP])
    scores = np.full(len(moments), np.nan)
    splits = dataset.splits
    for number, split in enumerate(splits):
        what = "fit" if len(splits) == 1 else f"fit of split {number + 1} of {len(splits)}"
        ranker = fit(workspace, spec, features.columns, dataset, split, _named(tell, what))
        mine = split.holds(TEST, moments)
        scores[mine] = scored(ranker, dataset.rows(TEST, features.columns), mine)
    return Fitted(ranker, scores)


def fit(
    workspace: Workspace,
    spec: ModelVersion,
    columns: tuple[str, ...],
    dataset: TrainingSet,
    split: Split,
    progress: Callable[[int, int], None],
) -> Ranker:
    """Fit a version's algorithm on one split, on some of its columns.

    Raises:
        ModelError: if the algorithm does not fit the columns, or there is nothing to learn from.
    """
    algorithm = spec.algorithm
    if isinstance(algorithm, FeatureAlgorithm):
        if algorithm.feature not in columns:
            message = (
                f"algorithm.feature {algorithm.feature!r}: not a column of feature service {spec.feature_service}"
                f" ({', '.join(columns)})"
            )
            raise ModelError(message)
        return FeatureRanker(algorithm.feature)
    estimator = workspace.adapters.estimator(algorithm, columns, parse_metric(spec.gate.metric))
    return estimator.fit(*dataset.learning(columns, split), progress)


def ablated(
    workspace: Workspace, spec: ModelVersion, features: FeatureSet, dataset: TrainingSet, test: pa.Table, tell: Progress
) -> dict[str, NDArray[np.float64]]:
    """Fit the newest split again without each block of features.

    Returns:
        Block to [test rows] scores; rows of older splits are NaN. Empty for a ranker of one feature.
    """
    algorithm = spec.algorithm
    if not isinstance(algorithm, CatBoostAlgorithm):
        return {}
    split = dataset.splits[-1]
    mine = split.holds(TEST, to_numpy(test[EVENT_TIMESTAMP]))
    scores = {}
    for block, without in feature_blocks(spec, features).items():
        kept = tuple(name for name in features.columns if name not in without)
        if not kept:
            continue
        smaller = algorithm.model_copy(
            update={"categorical": tuple(name for name in algorithm.categorical if name in kept)}
        )
        lesser = spec.model_copy(update={"algorithm": smaller})
        what = f"fit without {block}"
        ranker = fit(workspace, lesser, kept, dataset, split, _named(tell, what))
        scores[block] = np.full(len(test), np.nan)
        scores[block][mine] = scored(ranker, test.select(list(kept)), mine)
    return scores


def feature_blocks(spec: ModelVersion, features: FeatureSet) -> Mapping[str, tuple[str, ...]]:
    """Return the blocks of columns that an ablation leaves out: as declared, else the columns of each view.

    Raises:
        ModelError: if a declared block names a column that the feature service has not.
    """
    if spec.blocks:
        for block, columns in spec.blocks.items():
            unknown = [name for name in columns if name not in features.columns]
            if unknown:
                message = (
                    f"blocks.{block}: {unknown[0]} is no column of feature service {features.name}:"
                    f" {', '.join(features.columns)}"
                )
                raise ModelError(message)
        return spec.blocks
    blocks: dict[str, list[str]] = {}
    for reference, column in zip(features.references, features.columns, strict=True):
        blocks.setdefault(reference.partition(":")[0], []).append(column)
    return {view: tuple(columns) for view, columns in blocks.items()}


def _named(tell: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(what, done, total)


def scored(ranker: Ranker, rows: pa.Table, mine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Score some rows of a table, a piece of it at a time: as numpy all of it would stand beside itself.

    Args:
        ranker: scores each row by itself.
        rows: its columns, perhaps with others.
        mine: [rows] which.

    Returns:
        One score a chosen row.
    """
    parts = [np.empty(0)]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        piece, chosen = rows.slice(start, _ROWS_AT_ONCE), mine[start : start + _ROWS_AT_ONCE]
        if chosen.any():
            parts.append(ranker.score(taken_rows({name: to_numpy(piece[name]) for name in ranker.columns}, chosen)))
    return np.concatenate(parts)


def taken_rows(columns: Columns, rows: NDArray[np.bool_]) -> Columns:
    """Return some rows of columns."""
    return columns if rows.all() else {name: values[rows] for name, values in columns.items()}
