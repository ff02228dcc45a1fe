"""Has what a model ranks moved away from what it learned on, and is it still good? `recsys drift`.

The reference are the test rows of the kept training set of the weights in service: all candidates of the last weeks
before they were trained, as the recent rows are all candidates of the weeks since. (What was learned from is a sample
of negatives, which would differ from them by the sampling alone.)
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.data.steps import ANCHOR
from recsys.decision.alerts import Alert, drift_alerts, quality_alerts
from recsys.decision.evidence import DATA_TAG
from recsys.errors import ModelError
from recsys.evaluation.drift import ColumnDrift, Correlated, Sample, correlations
from recsys.evaluation.drift import drift as compare
from recsys.evaluation.quality import Quality, ratio_of_independent
from recsys.modeling.decision_times import TEST
from recsys.modeling.judged import JudgedLists
from recsys.modeling.offline_evaluation import (
    MODEL,
    Judged,
    OfflineReport,
    drawn_rows,
    evaluate,
    plain_values,
    read_interval,
)
from recsys.modeling.profile import profile
from recsys.modeling.training_set import REQUESTS, TrainingSet, read_training_set
from recsys.ports import FeatureSet, Weights
from recsys.schema import EVENT_TIMESTAMP, LABEL, USER
from recsys.specs.candidates import SOURCES
from recsys.specs.model import CatBoostAlgorithm
from recsys.specs.monitor import Monitor
from recsys.workflows.compare import trained_weights
from recsys.workflows.exclusive import FEATURES, exclusive, read_written, write_text
from recsys.workflows.judging import REPORT, as_probabilities, baseline_scores, source_names
from recsys.workflows.serving import recorded_champion
from recsys.workflows.table_records import require_built
from recsys.workflows.training_data import Building, Progress, with_baselines
from recsys.workflows.workspace import Workspace

SCORE: Final = "score"
TAKEN: Final = "taken items"
GIVEN: Final = "candidate sources"
NO_ORDER: Final = "no order"
"""What a version without a baseline is judged beside: candidates by their ids."""
ROWS: Final = 200_000
"""Rows of a side that distributions are made of at most, drawn by a seed."""


@dataclass(frozen=True)
class Drifted:
    """How recent rows differ from those of the training set, and how good the model is on them."""

    weights: Weights
    before: tuple[datetime, ...]
    """Decision times of the reference."""
    now: tuple[datetime, ...]
    """Matured decision times since."""
    columns: tuple[ColumnDrift, ...]
    """Features, then score, taken items a request, candidate sources."""
    correlated: tuple[Correlated, ...]
    """Largest change first."""
    profiles: Mapping[str, Sequence[Mapping[str, Any]]]
    """before and now: an entry a decision time, with shares of unknown values and ages by view."""
    report: OfflineReport
    """On the recent weeks."""
    quality: Quality
    limits: Monitor
    leaks: tuple[str, ...]
    """What the check of the recent rows found, which is nothing in a sound system."""
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class TooYoung:
    """Weights that nothing can be said of yet: no decision since their training has a mature label."""

    weights: Weights
    last: datetime
    """The newest decision time that they were judged on at their training."""
    first: datetime
    """When the label of the next one is mature."""
    alerts: tuple[Alert, ...] = ()
    """None: it is as it should be."""

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"{self.weights.model_version} (weights {self.weights.number}): judged on decisions up to"
            f" {self.last:%Y-%m-%d} when it was trained; the label of the next one is mature at {self.first:%Y-%m-%d}"
        )


def drift(workspace: Workspace, name: str, progress: Progress | None = None) -> Drifted | TooYoung:
    """Compare the candidates of recent weeks with those of a model's training set, and judge the model on them.

    Args:
        workspace: the project.
        name: a model (basket: its champion) or a version (basket/v2: its weights in service).
        progress: told how far the work is.

    Raises:
        SpecError: if the version is not declared.
        ModelError: if there are no weights, their training set is not kept here, or their logic was changed since.
        FeatureError: if the feature tables are not up to date.
    """
    with exclusive(workspace, FEATURES, f"recsys drift {name}", shared=True):
        require_built(workspace)
        done = _Comparison(workspace, weights_of(workspace, name), progress or (lambda *_: None)).run()
    write_text(_kept(workspace, done.weights.model_version), json.dumps(document(done), ensure_ascii=False))
    return done


def kept_drift(workspace: Workspace, model_version: str) -> dict[str, Any] | None:
    """Return the document of the last `recsys drift` of a version in this state folder, or None."""
    found: dict[str, Any] | None = read_written(_kept(workspace, model_version))
    return found


def _kept(workspace: Workspace, model_version: str) -> Path:
    return workspace.state / "reports" / f"{model_version}-drift.json"


def weights_of(workspace: Workspace, name: str) -> Weights:
    """Return the champion of a model, or the weights in service of a version.

    Raises:
        SpecError: if a version is not declared.
        ModelError: if there are none, or the logic was changed since.
    """
    if "/" in name:
        workspace.catalog.model(name)
        return trained_weights(workspace, name)
    champion = recorded_champion(workspace, name)
    if champion is None:
        known = ", ".join(sorted({version.partition("/")[0] for version in workspace.catalog.models}))
        message = f"model {name}: has no champion; promote one, or name a version ({name}/…); models: {known}"
        raise ModelError(message)
    trained_weights(workspace, champion.model_version)
    return champion


def document(done: Drifted | TooYoung) -> dict[str, Any]:
    """Return a comparison as JSON values; of weights that are too young only when the first label is mature."""
    named = {"model_version": done.weights.model_version, "weights": done.weights.number}
    if isinstance(done, TooYoung):
        return named | {"now": [], "first_label_at": done.first.isoformat(), "alerts": []}
    return named | {
        "before": [time.isoformat() for time in done.before],
        "now": [time.isoformat() for time in done.now],
        "columns": plain_values(done.columns),
        "correlations": [plain_values(each) | {"change": plain_values(each.change)} for each in done.correlated],
        "profiles": {name: list(entries) for name, entries in done.profiles.items()},
        "quality": plain_values(done.quality) | {"standing": done.quality.standing(done.limits.quality.minimum_ratio)},
        "evaluation": done.report.to_dict(),
        "leaks": list(done.leaks),
        "alerts": [asdict(alert) for alert in done.alerts],
    }


class _Comparison:
    """One model's weights, their training set, and what came since."""

    def __init__(self, workspace: Workspace, weights: Weights, tell: Progress) -> None:
        self._workspace = workspace
        self._weights = weights
        self._tell = tell
        self._spec = workspace.catalog.model(weights.model_version)
        self._problem = workspace.catalog.problem(self._spec.problem)
        self._limits = workspace.catalog.monitor(weights.model)
        self._dataset = kept_dataset(workspace, weights)
        self._ranker = workspace.registry.load(weights)
        self._features = with_baselines(workspace, self._spec)

    def run(self) -> Drifted | TooYoung:
        workspace, now = self._workspace, self._workspace.clock.now()
        times = self._since(now)
        if not times:
            last = self._dataset.splits[-1].test[-1]
            return TooYoung(self._weights, last, last + self._spec.training.every + self._wait)
        building = Building(workspace, self._weights.model_version, now, self._tell)
        rows, judged = building.judged_at(times, baselines=True)
        self._tell("check of the rows", 0, 1)
        checked = building.checked(rows, TEST, ())
        scores = self._ranker.score({name: to_numpy(rows[name]) for name in self._ranker.columns})
        self._tell("evaluation", 0, 1)
        report, quality = self._judge(rows, judged, scores)
        test = self._dataset.rows(TEST)
        self._tell("distributions", 0, 1)
        columns = self._columns(test, rows, judged)
        correlated = self._correlated(test, rows)
        return Drifted(
            weights=self._weights,
            before=tuple(self._dataset.splits[-1].test),
            now=times,
            columns=columns,
            correlated=correlated,
            profiles={
                "before": self._dataset.document["profile"][TEST],
                "now": profile(rows, self._features, checked.clocks, {}),
            },
            report=report,
            quality=quality,
            limits=self._limits,
            leaks=tuple(str(violation) for violation in checked.violations),
            alerts=(
                *drift_alerts(columns, correlated, self._limits.drift),
                *quality_alerts(quality, self._limits.quality),
            ),
        )

    def _since(self, now: datetime) -> tuple[datetime, ...]:
        """Return the newest matured decision times after the test weeks of the weights, ascending."""
        step, last = self._spec.training.every, self._dataset.splits[-1].test[-1]
        newest = ANCHOR + (now - self._wait - ANCHOR) // step * step
        times = [newest - step * back for back in reversed(range(self._limits.weeks))]
        return tuple(time for time in times if time > last)

    @property
    def _wait(self) -> timedelta:
        """Return how long a label takes to mature."""
        target = self._problem.target
        return target.horizon + target.settle_delay

    def _judge(self, rows: pa.Table, judged: Judged, scores: NDArray[np.float64]) -> tuple[OfflineReport, Quality]:
        spec, problem = self._spec, self._problem
        beside = baseline_scores(self._workspace, spec, rows) or {NO_ORDER: np.zeros(len(rows))}
        against = spec.gate.against if spec.gate.against in beside else next(iter(beside))
        confidence = spec.testing.confidence
        calibrated = isinstance(spec.algorithm, CatBoostAlgorithm) and spec.algorithm.calibration
        report = evaluate(
            judged,
            {MODEL: scores, **beside},
            problem.metrics(),
            spec.gate.model_copy(update={"against": against}),
            resamples=spec.testing.resamples,
            confidence=confidence,
            sources=source_names(self._workspace, spec),
            probabilities=[MODEL] if calibrated else [],
        )
        was = json.loads(self._workspace.registry.report(self._weights, REPORT))
        metric = spec.gate.metric
        then, current = read_interval(was["metrics"][MODEL][metric]), report.metrics[MODEL][metric]
        said = as_probabilities(spec, problem, scores, rows[LABEL].to_numpy()).get("reliability")
        quality = Quality(
            metric=metric,
            against=against,
            then=then,
            now=current,
            ratio=ratio_of_independent(current, then, confidence),
            over_baseline_then=read_interval(was["ratios"][against]) if against in was["ratios"] else None,
            over_baseline=report.ratios[against],
            calibration_error=said["error"] if said else None,
        )
        return report, quality

    def _columns(self, test: pa.Table, rows: pa.Table, judged: Judged) -> tuple[ColumnDrift, ...]:
        """Compare features, scores and candidate sources by row, taken items by request."""
        of_rows = compare(self._sample(test), self._sample(rows))
        if not isinstance(judged, JudgedLists):
            return of_rows
        requests = self._dataset.rows(REQUESTS)
        requests = requests.filter(pc.equal(requests["part"], TEST))
        before = Sample(
            {TAKEN: to_numpy(requests["relevant"])}, to_numpy(requests[USER]), to_numpy(requests[EVENT_TIMESTAMP])
        )
        return (*of_rows, *compare(before, Sample({TAKEN: judged.relevant}, judged.users, judged.moments)))

    def _sample(self, rows: pa.Table) -> Sample:
        drawn = rows.take(pa.array(drawn_rows(len(rows), ROWS)))
        columns = {name: _comparable(to_numpy(drawn[name]), drawn) for name in self._asked.columns}
        columns[SCORE] = self._ranker.score({name: to_numpy(drawn[name]) for name in self._ranker.columns})
        names = source_names(self._workspace, self._spec)
        if names and SOURCES in drawn.column_names:
            columns[GIVEN] = _given(drawn[SOURCES].to_numpy(), names)
        return Sample(columns, to_numpy(drawn[USER]), to_numpy(drawn[EVENT_TIMESTAMP]))

    def _correlated(self, test: pa.Table, rows: pa.Table) -> tuple[Correlated, ...]:
        sides = []
        for each in (test, rows):
            drawn = each.take(pa.array(drawn_rows(len(each), ROWS)))
            sides.append(({name: to_numpy(drawn[name]) for name in self._asked.columns}, drawn[LABEL].to_numpy()))
        (before, old), (now, new) = sides
        return correlations(before, old, now, new)

    @property
    def _asked(self) -> FeatureSet:
        return self._workspace.features.feature_set(self._spec.feature_service)


def kept_dataset(workspace: Workspace, weights: Weights) -> TrainingSet:
    """Return the training set that weights were made from.

    Raises:
        ModelError: if it is not kept here.
    """
    digest = weights.tags.get(DATA_TAG)
    for folder in sorted((workspace.datasets / weights.model_version).glob("*")):
        found = read_training_set(folder)
        if found is not None and found.digest == digest:
            return found
    known_at = weights.tags.get("recsys.known_at", "")[:10]
    message = (
        f"{weights.model_version} (weights {weights.number}): its training set {digest} is not kept in"
        f" {workspace.shown(workspace.datasets)}/; run `recsys dataset build --model-version {weights.model_version}"
        f" --known-at {known_at}`"
    )
    raise ModelError(message)


def _comparable(values: NDArray[Any], rows: pa.Table) -> NDArray[Any]:
    """Return a time as its age in days at the decision: a date would drift by itself."""
    if values.dtype.kind != "M":
        return values
    age = (to_numpy(rows[EVENT_TIMESTAMP]) - values) / np.timedelta64(1, "D")
    return np.where(np.isnat(values), math.nan, age)


def _given(bits: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.object_]:
    """Return which sources gave each row, in words."""
    words = {
        int(mask): "+".join(name for place, name in enumerate(names) if int(mask) >> place & 1) or "none"
        for mask in np.unique(bits)
    }
    return np.array([words[int(mask)] for mask in bits], dtype=object)
