"""Which settings of a model version's algorithm are best on its validation weeks? `recsys tune`."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.candidates.pool import to_numpy
from recsys.errors import ModelError
from recsys.modeling.decision_times import VALIDATION, Split, times_of, tuning_splits
from recsys.modeling.judged import JudgedUnits
from recsys.modeling.offline_evaluation import Judged, metric_value, not_a_selection
from recsys.modeling.training_set import TrainingSet
from recsys.ports import Range, Settings, Trial
from recsys.schema import EVENT_TIMESTAMP
from recsys.specs.catalog import digest
from recsys.specs.metric import parse_metric
from recsys.specs.model import CatBoostAlgorithm, ModelVersion
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.modeling.dataset import built_dataset
from recsys.workflows.modeling.fits import fit, taken_rows
from recsys.workflows.modeling.training_data import Building, Progress
from recsys.workflows.modeling.tuned_file import with_settings
from recsys.workflows.workspace import Workspace

_WHOLE: Final = frozenset({"depth", "min_data_in_leaf"})
_LOGARITHMIC: Final = frozenset({"learning_rate", "l2_leaf_reg", "min_data_in_leaf"})
_DIGITS: Final = 4
"""Of a setting: what is written is what was tried."""

_VERSION: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    model_version: str
    metric: str
    times: tuple[datetime, ...]
    """The decision times that settings were tried on: validation times before every test week."""
    declared: Trial
    """The settings as declared; the first trial."""
    best: Trial
    trials: Sequence[Trial]
    """All of them, in their order."""
    named: str | None = None
    """The version with the best settings, such as basket/v4; None where nothing was better than what is declared."""
    file: Path | None = None
    """Its file."""
    written: bool = False
    """Whether this search wrote it; otherwise it was there with the same settings."""


def tune(
    workspace: Workspace,
    model_version: str,
    trials: int,
    named: str | None = None,
    known_at: datetime | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Search settings of an algorithm, and write the best ones as a new version for review.

    Every trial makes as many fits as the version has splits, each judged on all candidates of a validation time by the
    gate's metric; the value is that of all of them together. No validation time is a test time of any split.

    Args:
        workspace: the project.
        model_version: such as basket/v2.
        trials: how many there are to be; those of an earlier search of the same logic and data count.
        named: the new version's name, such as v4; by default the next number that is free.
        known_at: nothing created after it is used; the environment's clock by default.
        progress: told how far the work is.

    Raises:
        ModelError: if the version has nothing to tune, its ranges do not hold what is declared, the gate's metric
            cannot tell settings apart, or the new name is taken.
        FeatureError: if the feature tables are not up to date.
        StoreError: if another command works on this version or on the features for too long, or trials cannot be kept.
    """
    spec = workspace.catalog.model(model_version)
    space = _space(model_version, spec)
    _free_name(workspace, model_version, named)  # refused now rather than after hours
    command = f"recsys tune --model-version {model_version}"
    tell = progress or (lambda *_: None)
    with exclusive(workspace, f"train-{model_version}", command):
        with exclusive(workspace, FEATURES, command, shared=True):
            objective, data = _objective(workspace, model_version, known_at or workspace.clock.now(), tell)
        # The trials, which may take hours, read the training set only: features may be built meanwhile.
        done = _search(workspace, model_version, objective, data, space, trials, tell)
    declared, best = done[0], max(done, key=lambda trial: (trial.value, -trial.number))
    tuned = Tuned(model_version, spec.gate.metric, objective.times, declared, best, done)
    if best is declared:
        return tuned
    there = _same(workspace, model_version, best.settings)
    if there is not None:
        return replace(tuned, named=there, file=_file(workspace, there))
    target = _free_name(workspace, model_version, named)
    _write(workspace, model_version, target, declared, best)
    name = f"{model_version.partition('/')[0]}/{target}"
    return replace(tuned, named=name, file=_file(workspace, name), written=True)


# ---------------------------------------------------------------- what is tried


def _space(model_version: str, spec: ModelVersion) -> dict[str, Range]:
    """Return what is searched; what is declared lies inside, for it is tried first.

    Raises:
        ModelError: if there is nothing to try, or what is declared lies outside.
    """
    algorithm = spec.algorithm
    if not isinstance(algorithm, CatBoostAlgorithm):
        message = f"model version {model_version}: its algorithm orders by one feature: there is nothing to tune"
        raise ModelError(message)
    space = {}
    for name in type(spec.search).model_fields:
        low, high = getattr(spec.search, name)
        declared = getattr(algorithm, name)
        if not low <= declared <= high:
            message = (
                f"model version {model_version}: search.{name}: [{low:g}, {high:g}] does not hold the declared"
                f" {declared:g}, which is tried first; widen it in registry/models/{model_version}.yaml"
            )
            raise ModelError(message)
        if low < high:
            space[name] = Range(low, high, name in _WHOLE, name in _LOGARITHMIC)
    if not space:
        message = (
            f"model version {model_version}: search: every setting has one value: there is nothing to try; widen one of"
            " them"
        )
        raise ModelError(message)
    return space


def _search(
    workspace: Workspace,
    model_version: str,
    objective: Callable[[Settings], float],
    data: str,
    space: Mapping[str, Range],
    trials: int,
    tell: Progress,
) -> list[Trial]:
    spec = workspace.catalog.model(model_version)
    algorithm = _catboost(spec)
    declared = {name: getattr(algorithm, name) for name in space}
    tell("first fits", 0, 1)
    done = workspace.adapters.search(workspace.state / "tuning" / f"{model_version.replace('/', '-')}.db").maximize(
        digest({"data": data, "spec": spec.model_dump(mode="json")}),
        lambda settings: objective(_rounded(settings, declared)),
        space,
        declared,
        trials,
        lambda trial, best: tell(f"trials, best {best.value:.4f}", trial.number + 1, trials),
    )
    return [Trial(trial.number, _rounded(trial.settings, declared), trial.value) for trial in done]


def _rounded(settings: Settings, declared: Settings) -> Settings:
    """Return settings with few digits, but those that are declared as they are."""
    return {
        name: value if isinstance(value, int) or value == declared[name] else float(f"{value:.{_DIGITS}g}")
        for name, value in settings.items()
    }


def _catboost(spec: ModelVersion) -> CatBoostAlgorithm:
    if not isinstance(spec.algorithm, CatBoostAlgorithm):
        message = f"algorithm {spec.algorithm.type}: there is nothing to tune"
        raise ModelError(message)
    return spec.algorithm


# ---------------------------------------------------------------- what it is judged by


def _objective(
    workspace: Workspace, model_version: str, known_at: datetime, tell: Progress
) -> "tuple[_Objective, str]":
    """Return what judges settings, and the digest of what it learns from and judges on."""
    dataset = built_dataset(workspace, model_version, known_at, tell).dataset
    splits = tuning_splits(dataset.splits)
    rows, judged = Building(workspace, model_version, known_at, tell).judged_at(times_of(splits, VALIDATION))
    spec = workspace.catalog.model(model_version)
    metric = parse_metric(spec.gate.metric)
    if isinstance(judged, JudgedUnits):
        nothing = not_a_selection(metric, int(np.bincount(judged.rows.request).min()))
        if nothing:
            message = f"gate.metric {metric}: {nothing}; every setting gives the same list: gate on a smaller capacity"
            raise ModelError(message)
    return _Objective(workspace, spec, dataset, splits, rows, judged), dataset.digest


class _Objective:
    """Settings to the gate's metric on the validation times."""

    def __init__(
        self,
        workspace: Workspace,
        spec: ModelVersion,
        dataset: TrainingSet,
        splits: Sequence[Split],
        rows: pa.Table,
        judged: Judged,
    ) -> None:
        self._workspace, self._spec, self._dataset = workspace, spec, dataset
        self._splits, self._judged = splits, judged
        self._columns = workspace.features.feature_set(spec.feature_service).columns
        self._rows = {name: to_numpy(rows[name]) for name in self._columns}
        moments = to_numpy(rows[EVENT_TIMESTAMP])
        self._mine = [split.holds(VALIDATION, moments) for split in splits]
        self.times = times_of(splits, VALIDATION)

    def __call__(self, settings: Settings) -> float:
        """Fit each split with these settings."""
        algorithm = _catboost(self._spec).model_copy(update=dict(settings))
        spec = self._spec.model_copy(update={"algorithm": algorithm})
        scores = np.full(len(self._judged.rows), np.nan)
        for split, mine in zip(self._splits, self._mine, strict=True):
            ranker = fit(self._workspace, spec, self._columns, self._dataset, split, lambda *_: None)
            scores[mine] = ranker.score(taken_rows(self._rows, mine))
        value = metric_value(self._judged, scores, parse_metric(self._spec.gate.metric))
        if not math.isfinite(value):
            message = (
                f"{self._spec.gate.metric} on {', '.join(f'{time:%Y-%m-%d}' for time in self.times)}: not defined, for"
                f" nothing came of these validation requests; look at the target event of {self._spec.problem}"
            )
            raise ModelError(message)
        return value


# ---------------------------------------------------------------- the new version


def _free_name(workspace: Workspace, model_version: str, named: str | None) -> str:
    """Return the new version's name, which is neither declared nor was ever trained."""
    model = model_version.partition("/")[0]
    taken = {name.partition("/")[2] for name in workspace.catalog.models if name.partition("/")[0] == model}
    taken |= {path.stem for path in (workspace.root / "registry" / "models" / model).glob("*.yaml")}
    taken |= {weights.version for weights in workspace.registry.search(model)}
    if named is None:
        numbers = [int(name[1:]) for name in taken if re.fullmatch(r"v\d+", name)]
        return f"v{max(numbers, default=0) + 1}"
    if named in taken or not _VERSION.fullmatch(named):
        message = (
            f"--as {named!r}: a new version has a name of its own, of letters, digits, _ and -; {model} has"
            f" {', '.join(sorted(taken))}"
        )
        raise ModelError(message)
    return named


def _same(workspace: Workspace, model_version: str, settings: Settings) -> str | None:
    """Return a version of the model that is declared with these settings already."""
    spec = workspace.catalog.model(model_version)
    algorithm = spec.algorithm.model_copy(update=dict(settings))
    wanted = spec.model_copy(update={"algorithm": algorithm}).model_dump(exclude={"search"})
    model = model_version.partition("/")[0]
    for name, other in workspace.catalog.models.items():
        if name.partition("/")[0] == model and other.model_dump(exclude={"search"}) == wanted:
            return name
    return None


def _write(workspace: Workspace, model_version: str, target: str, declared: Trial, best: Trial) -> None:
    """Write a version's file with the best settings in place of its own, and never over another file."""
    model, _, version = model_version.partition("/")
    metric = workspace.catalog.model(model_version).gate.metric
    own = _file(workspace, model_version).read_text(encoding="utf-8")
    head = (
        f"# {model_version} with the settings of trial {best.number} of `recsys tune`: {metric} {best.value:.4f} on\n"
        f"# validation weeks, with those of {version} {declared.value:.4f}. No test week was read: train it and look at"
        " its gate.\n"
    )
    path = _file(workspace, f"{model}/{target}")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(head + with_settings(own, best.settings))
    except FileExistsError as error:
        message = f"{workspace.shown(path)}: was made meanwhile; run this again with another --as: the trials are kept"
        raise ModelError(message) from error


def _file(workspace: Workspace, model_version: str) -> Path:
    return workspace.root / "registry" / "models" / f"{model_version}.yaml"
