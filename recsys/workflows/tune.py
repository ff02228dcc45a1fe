"""Which settings of a model version's algorithm are best on its validation weeks? `recsys tune`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import yaml

from recsys.candidates.pool import to_numpy
from recsys.errors import ModelError
from recsys.modeling.decision_times import VALIDATION, Split
from recsys.modeling.offline_evaluation import Judged, metric_value
from recsys.modeling.training_set import LEARN
from recsys.ports import Range, Settings, Trial
from recsys.schema import EVENT_TIMESTAMP
from recsys.specs.catalog import digest, read_fields, validated
from recsys.specs.metric import parse_metric
from recsys.specs.model import CatBoostAlgorithm, ModelVersion
from recsys.workflows.dataset import built_dataset
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.fits import fit, taken_rows
from recsys.workflows.training_data import Building, Progress
from recsys.workflows.workspace import Workspace

_WHOLE: Final = frozenset({"depth", "min_data_in_leaf"})
_LOGARITHMIC: Final = frozenset({"learning_rate", "l2_leaf_reg", "min_data_in_leaf"})
_DIGITS: Final = 4


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    model_version: str
    metric: str
    declared: float
    """The metric on the validation weeks with the settings as declared."""
    best: Trial
    trials: Sequence[Trial]
    written: Path | None
    """The new version's file; None where nothing was better than what is declared."""
    named: str | None
    """The new version, such as basket/v4."""


def tune(
    workspace: Workspace,
    model_version: str,
    trials: int,
    named: str | None = None,
    known_at: datetime | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Search settings of an algorithm, and write the best ones as a new version for review.

    Every trial fits each split of the version and is judged on all candidates of that split's validation requests by
    the gate's metric; the value is the mean over splits. Test weeks are not read.

    Args:
        workspace: the project.
        model_version: such as basket/v2.
        trials: how many there are to be; those of an earlier search of the same logic and data count.
        named: the new version's name, such as v4; by default the next number that is free.
        known_at: nothing created after it is used; the environment's clock by default.
        progress: told how far the work is.

    Raises:
        ModelError: if the version has nothing to tune, or the new name is taken.
        FeatureError: if the feature tables are not up to date.
        StoreError: if another command works on this version or on the features for too long.
    """
    spec = workspace.catalog.model(model_version)
    if not isinstance(spec.algorithm, CatBoostAlgorithm):
        message = f"model version {model_version}: its algorithm orders by one feature: there is nothing to tune"
        raise ModelError(message)
    target = _free_name(workspace, model_version, named)
    command = f"recsys tune --model-version {model_version}"
    with (
        exclusive(workspace, f"train-{model_version}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        tell = progress or (lambda *_: None)
        return _tune(workspace, model_version, trials, target, known_at or workspace.clock.now(), tell)


def _tune(
    workspace: Workspace, model_version: str, trials: int, target: str, known_at: datetime, tell: Progress
) -> Tuned:
    spec = workspace.catalog.model(model_version)
    algorithm = _catboost(spec)
    dataset = built_dataset(workspace, model_version, known_at, tell).dataset
    space = _space(spec)
    objective = _Objective(workspace, spec, dataset.rows(LEARN), dataset.splits, known_at, model_version, tell)
    first = {name: _clipped(getattr(algorithm, name), values) for name, values in space.items()}
    search = workspace.adapters.search(workspace.state / "tuning" / f"{model_version.replace('/', '-')}.db")
    done = search.maximize(
        digest({"data": dataset.digest, "spec": spec.model_dump(mode="json")}),
        objective,
        space,
        first,
        trials,
        lambda trial, best: tell(f"trial {trial.number + 1}, best {best.value:.4f}", trial.number + 1, trials),
    )
    declared, best = done[0], max(done, key=lambda trial: (trial.value, -trial.number))
    written = None if best.number == declared.number else _write(workspace, model_version, target, declared, best)
    name = None if written is None else f"{model_version.partition('/')[0]}/{target}"
    return Tuned(model_version, spec.gate.metric, declared.value, best, done, written, name)


class _Objective:
    """Settings to the gate's metric on the validation weeks."""

    def __init__(
        self,
        workspace: Workspace,
        spec: ModelVersion,
        learn: pa.Table,
        splits: Sequence[Split],
        known_at: datetime,
        model_version: str,
        tell: Progress,
    ) -> None:
        self._workspace, self._spec, self._learn, self._splits, self._tell = workspace, spec, learn, splits, tell
        self._columns = workspace.features.feature_set(spec.feature_service).columns
        rows, judged = Building(workspace, model_version, known_at, tell).validation_set()
        self._judged: Judged = judged
        self._rows = {name: to_numpy(rows[name]) for name in self._columns}
        moments = to_numpy(rows[EVENT_TIMESTAMP])
        self._mine = [split.holds(VALIDATION, moments) for split in splits]

    def __call__(self, settings: Settings) -> float:
        """Fit each split with these settings."""
        algorithm = _catboost(self._spec).model_copy(update=dict(settings))
        spec = self._spec.model_copy(update={"algorithm": algorithm})
        scores = np.full(len(self._judged.rows), np.nan)
        for split, mine in zip(self._splits, self._mine, strict=True):
            ranker = fit(self._workspace, spec, self._columns, self._learn, split, lambda *_: None)
            scores[mine] = ranker.score(taken_rows(self._rows, mine))
        return metric_value(self._judged, scores, parse_metric(self._spec.gate.metric))


def _space(spec: ModelVersion) -> dict[str, Range]:
    space = {}
    for name in type(spec.search).model_fields:
        low, high = getattr(spec.search, name)
        if low < high:
            space[name] = Range(low, high, name in _WHOLE, name in _LOGARITHMIC)
    if not space:
        message = "search: every setting has one value: there is nothing to try; widen one of them"
        raise ModelError(message)
    return space


def _clipped(value: float, values: Range) -> float | int:
    inside = min(max(value, values.low), values.high)
    return int(inside) if values.whole else inside


def _catboost(spec: ModelVersion) -> CatBoostAlgorithm:
    if not isinstance(spec.algorithm, CatBoostAlgorithm):
        message = f"algorithm {spec.algorithm.type}: there is nothing to tune"
        raise ModelError(message)
    return spec.algorithm


# ---------------------------------------------------------------- the new version


def _free_name(workspace: Workspace, model_version: str, named: str | None) -> str:
    model = model_version.partition("/")[0]
    taken = {name.partition("/")[2] for name in workspace.catalog.models if name.partition("/")[0] == model}
    if named is None:
        numbers = [int(name[1:]) for name in taken if name[:1] == "v" and name[1:].isdigit()]
        return f"v{max(numbers, default=0) + 1}"
    if named in taken or "/" in named or not named:
        message = (
            f"--as {named!r}: a new version has a name of its own without /; {model} has {', '.join(sorted(taken))}"
        )
        raise ModelError(message)
    return named


def _write(workspace: Workspace, model_version: str, target: str, declared: Trial, best: Trial) -> Path:
    """Write the version's file with the best settings in place of its own."""
    model, _, version = model_version.partition("/")
    folder = workspace.root / "registry" / "models" / model
    shown = f"registry/models/{model}/{version}.yaml"
    fields = read_fields(folder / f"{version}.yaml", shown)
    fields["algorithm"] = dict(fields["algorithm"]) | {
        name: value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
        for name, value in best.settings.items()
    }
    spec = validated(fields, f"registry/models/{model}/{target}.yaml", ModelVersion)
    head = [
        f"# {model_version} with the settings of trial {best.number} of `recsys tune`: {spec.gate.metric} on its",
        f"# validation weeks is {best.value:.4f}, with those of {version} {declared.value:.4f}. Test weeks were not",
        "# read: train it and look at its gate.",
        "",
    ]
    path = folder / f"{target}.yaml"
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(head) + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True), encoding="utf-8")
    partial.rename(path)
    return path
