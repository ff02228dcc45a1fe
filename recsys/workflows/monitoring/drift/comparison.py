"""What does `recsys drift` do: both sides read, the model judged anew, what moved told, the result kept?"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys.candidates.pool import to_numpy
from recsys.decision.alerts import Alert, drift_alerts, quality_alerts, silence_alerts
from recsys.errors import ModelError
from recsys.evaluation.correlation_drift import Correlated, correlations
from recsys.evaluation.drift import ColumnDrift
from recsys.evaluation.drift import drift as compare
from recsys.modeling.decision_times import TEST
from recsys.modeling.judged import Judged
from recsys.modeling.profile import profile
from recsys.ports import Ranker, Weights
from recsys.schema import LABEL
from recsys.workflows.exclusive import FEATURES, exclusive, read_written, write_text
from recsys.workflows.features.table_records import require_built
from recsys.workflows.modeling.judging import source_names
from recsys.workflows.modeling.training_data import Building, Progress, with_baselines
from recsys.workflows.monitoring.drift.decisions import Decisions, decisions_since
from recsys.workflows.monitoring.drift.judging import judge_anew
from recsys.workflows.monitoring.drift.result import Drifted, TooYoung, document
from recsys.workflows.monitoring.drift.samples import drawn, reference_rows, sample_of, taken_before, taken_now
from recsys.workflows.monitoring.drift.weights import kept_dataset, weights_of
from recsys.workflows.workspace import Workspace


def drift(workspace: Workspace, name: str, progress: Progress | None = None) -> Drifted | TooYoung:
    """Compare the candidates of recent weeks with those of a model's training set, and judge the model on them.

    Args:
        workspace: the project.
        name: a model (basket: its champion) or a version (basket/v2: its weights in service).
        progress: told how far the work is.

    Raises:
        SpecError: if the version is not declared.
        ModelError: if there are no weights, their training set is not kept here, their logic was changed since, or no
            events came that any label since could be made of.
        DataError: if there are no events at all.
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


class _Comparison:
    """One model's weights, their training set, and what came since."""

    def __init__(self, workspace: Workspace, weights: Weights, tell: Progress) -> None:
        self._workspace = workspace
        self._weights = weights
        self._tell = tell
        self._spec = workspace.catalog.model(weights.model_version)
        self._target = workspace.catalog.problem(self._spec.problem).target
        self._limits = workspace.catalog.monitor(weights.model)
        self._dataset = kept_dataset(workspace, weights)

    def run(self) -> Drifted | TooYoung:
        workspace, weights, now = self._workspace, self._weights, self._workspace.clock.now()
        last, every = self._dataset.splits[-1].test[-1], self._spec.training.every
        decisions = decisions_since(workspace, self._target, last, every, self._limits.weeks, now)
        if not decisions.times and not decisions.left_out:
            return TooYoung(weights, last, last + every + self._target.horizon + self._target.settle_delay)
        silent = silence_alerts(decisions.left_out, decisions.silences)
        if not decisions.times:
            message = f"{weights.model_version} (weights {weights.number}): {silent[0].message}"
            raise ModelError(message)
        return self._compared(decisions, now, silent)

    def _compared(self, decisions: Decisions, now: datetime, silent: Sequence[Alert]) -> Drifted:
        workspace, weights, limits = self._workspace, self._weights, self._limits
        building = Building(workspace, weights.model_version, now, self._tell)
        rows, judged = building.judged_at(decisions.times, baselines=True)
        self._tell("check of the rows", 0, 1)
        checked = building.checked(rows, TEST, ())
        ranker = workspace.registry.load(weights)
        scores = ranker.score({name: to_numpy(rows[name]) for name in ranker.columns})
        self._tell("evaluation", 0, 1)
        report, quality = judge_anew(workspace, weights, rows, judged, scores)
        self._tell("distributions", 0, 1)
        columns, correlated = self._moves(ranker, reference_rows(self._dataset), rows, judged)
        before = self._dataset.splits[-1].test
        entries = self._dataset.document["profile"][TEST]
        return Drifted(
            weights=weights,
            before=tuple(before),
            now=decisions.times,
            left_out=decisions.left_out,
            columns=columns,
            correlated=correlated,
            profiles={
                "before": [each for each in entries if datetime.fromisoformat(each["decision_time"]) >= before[0]],
                "now": profile(rows, with_baselines(workspace, self._spec), checked.clocks, {}),
            },
            report=report,
            quality=quality,
            limits=limits,
            leaks=tuple(str(violation) for violation in checked.violations),
            alerts=(
                *silent,
                *drift_alerts(columns, correlated, limits.drift),
                *quality_alerts(quality, limits.quality),
            ),
        )

    def _moves(
        self, ranker: Ranker, before: pa.Table, now: pa.Table, judged: Judged
    ) -> tuple[tuple[ColumnDrift, ...], tuple[Correlated, ...]]:
        """Compare features, scores, labels and candidate sources of both sides, and how they go with the label."""
        workspace, spec = self._workspace, self._spec
        features = workspace.features.feature_set(spec.feature_service).columns
        names = source_names(workspace, spec)
        before, now = drawn(before), drawn(now)
        old, new = (sample_of(rows, features, ranker, names) for rows in (before, now))
        columns, taken = compare(old, new), taken_now(judged)
        if taken is not None:
            columns = (*columns, *compare(taken_before(self._dataset), taken))
        return columns, correlations(old, before[LABEL].to_numpy(), new, now[LABEL].to_numpy())
