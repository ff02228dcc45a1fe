"""How are a training set's rows made: requests, labels and features as known at one moment, then checked and saved?"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.candidates.pool import to_numpy
from recsys.data.knowledge import fingerprint
from recsys.errors import LeakageError, ModelError
from recsys.modeling.audience import audience_requests, check_units_alone
from recsys.modeling.clocks import reached
from recsys.modeling.decision_times import TEST, TRAIN, VALIDATION, rolling_splits, times_of
from recsys.modeling.judged import Judged, judged
from recsys.modeling.labels import attributed, count_after, positives, unit_labels
from recsys.modeling.leakage import Checked, Sources, check_rows
from recsys.modeling.profile import profile
from recsys.modeling.request_facts import (
    ITEM_FACTS,
    NO_ITEMS_TAKEN,
    count_units,
    histories,
    item_facts,
    taken_items,
)
from recsys.modeling.requests import REQUEST, Requests, Sampling, build_requests
from recsys.modeling.shown import shown_requests, shown_slots
from recsys.modeling.training_set import (
    DOCUMENT,
    ITEMS,
    LEARN,
    REQUESTS,
    TAKEN,
    TrainingSet,
    request_table,
    write_tables,
)
from recsys.ports import FeatureSet
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, REQUEST_ID, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.specs.catalog import digest
from recsys.specs.model import FeatureAlgorithm, ModelVersion
from recsys.workflows.table_records import declared_tables, definitions, sources, transforms_module
from recsys.workflows.workspace import Workspace

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SHOWN: Final = "shown"

_NOTHING: Final = pa.schema(
    [
        (REQUEST, pa.int64()),
        (USER, pa.string()),
        (ITEM, pa.string()),
        (EVENT_TIMESTAMP, TIMESTAMP),
        (REQUEST_TIMESTAMP, TIMESTAMP),
        (LABEL, pa.float32()),
    ]
)
"""What a ranker of one feature learns from."""


class Building:
    """One training set in the making."""

    def __init__(self, workspace: Workspace, model_version: str, known_at: datetime, tell: Progress) -> None:
        """Read what is declared; nothing is computed yet."""
        self._workspace = workspace
        self._name = model_version
        self.known_at = known_at
        self._tell = tell
        self._spec = workspace.catalog.model(model_version)
        self._problem = workspace.catalog.problem(self._spec.problem)
        self._features = workspace.features.feature_set(self._spec.feature_service)
        self._judged = with_baselines(workspace, self._spec)
        self._splits = rolling_splits(known_at, self._problem.target, self._spec.training, self._spec.testing)
        self._learns = not isinstance(self._spec.algorithm, FeatureAlgorithm)
        self.shown = self._spec.negatives.source == SHOWN
        if not self._problem.lists:
            check_units_alone(self._judged)

    @cached_property
    def inputs(self) -> str:
        """Digest what the set is made from: logic, what was known, and how tables are made."""
        known = {
            "logic": self._workspace.catalog.logic_digest(self._name, self._features.digest),
            "known_at": self.known_at.isoformat(),
            "events": fingerprint(self._workspace.engine, self._workspace.events, self.known_at),
            "tables": definitions(self._workspace),
        }
        if self.shown:
            slots = self._slots()[0]
            known["shown"] = digest({name: slots[name].to_pylist() for name in (REQUEST_ID, ITEM)})
        return digest(known)

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return self._workspace.datasets / self._name / f"{self.known_at:%Y%m%d}-{self.inputs}"

    def build(self) -> TrainingSet:
        """Make, check and save it.

        Raises:
            LeakageError: if a row knows more than its decision time did; nothing is saved.
            ModelError: if there is nothing to learn from.
        """
        newest = self._splits[-1]
        learn, requests = self._learn()
        self._tell("test candidates", 0, 1)
        test = self._requests(times_of(self._splits, TEST), Sampling())
        self._tell("test features", 0, 1)
        test_rows = self._workspace.features.historical(test.rows, self._judged)
        self._tell("check", 0, 1)
        checked = {
            LEARN: self.checked(learn, LEARN, () if self.shown else newest.validation),
            TEST: self.checked(test_rows, TEST, newest.test[:1]),
        }
        violations = [violation for found in checked.values() for violation in found.violations]
        if violations:
            what = f"training set of {self._name}"
            raise LeakageError(what, [str(violation) for violation in violations])
        tables = {LEARN: learn, TEST: test_rows, **self._facts(requests, test)}
        return self._save(tables, checked, len(test.eligible))

    def validation_set(self, times: Sequence[datetime]) -> tuple[pa.Table, Judged]:
        """Return all candidates of some decision times, with their features, and what came of them.

        What a search of settings is judged on; the caller names no test time.
        """
        self._tell("validation candidates", 0, 1)
        made = self._requests(times, Sampling())
        self._tell("validation features", 0, 1)
        rows = self._workspace.features.historical(made.rows, self._features)
        facts = self._facts({}, made)
        of_judged = judged(
            self._problem,
            rows,
            facts[REQUESTS],
            facts[TAKEN],
            facts[ITEMS],
            units=self._units(made.moments.min().item().replace(tzinfo=UTC)),
            pool_size=len(made.eligible),
        )
        return rows, of_judged

    def checked(self, rows: pa.Table, part: str, recomputed: Sequence[datetime]) -> Checked:
        """Check one part."""
        workspace = self._workspace
        declared = declared_tables(workspace)
        tables, inputs = workspace.feature_tables, sources(workspace)
        return check_rows(
            rows,
            self._features if part == LEARN else self._judged,
            self._problem.target,
            self.known_at,
            Sources(
                engine=workspace.engine,
                events=workspace.events,
                tables={name: tables / name for name in declared},
                recompute=lambda name, at, units: workspace.engine.recompute(
                    transforms_module(workspace), declared[name], at, inputs, units
                ),
                declared=declared,
            ),
            recomputed,
            labelled=part == TEST or not self.shown,
        )

    # -------------------------------------------------------- rows

    def _learn(self) -> tuple[pa.Table, dict[str, Requests]]:
        """Make what is learned from; a ranker of one feature learns from nothing."""
        if not self._learns:
            return _NOTHING.empty_table(), {}
        self._tell("training candidates", 0, 1)
        spec = self._spec
        if self.shown:
            made = self._shown()
        else:
            sampling = Sampling(spec.negatives.per_request, spec.negatives.seed)
            made = self._requests(times_of(self._splits, TRAIN, VALIDATION), sampling)
        self._tell("training features", 0, 1)
        return self._workspace.features.historical(made.rows, self._features), {LEARN: made}

    def _requests(self, times: Sequence[datetime], sampling: Sampling) -> Requests:
        """Make the requests of some decision times, with what was taken as known at the moment of training."""
        workspace, target = self._workspace, self._problem.target
        taken = self._taken(times)
        if not len(taken):
            message = (
                f"training data known at {self.known_at:%Y-%m-%d}: no {target.event} within the horizon of any decision"
                f" time from {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}; check the events and --known-at"
            )
            raise ModelError(message)
        if not self._problem.lists:
            audience = workspace.catalog.audience(self._spec.placement)
            return audience_requests(workspace.features, audience, taken, times, self._histories)
        placement = workspace.catalog.placement(self._spec.placement)
        return build_requests(workspace.moments, placement, taken, times, sampling, self._join_keys())

    def _taken(self, times: Sequence[datetime]) -> pa.Table:
        workspace, labels = self._workspace, positives if self._problem.lists else unit_labels
        return labels(workspace.engine, workspace.events, self._problem.target, times, self.known_at)

    def _histories(self, users: pa.ChunkedArray, moments: pa.ChunkedArray) -> pa.Array:
        workspace = self._workspace
        return histories(workspace.engine, workspace.events, self._problem.target.event, users, moments)

    def _shown(self) -> Requests:
        workspace, target = self._workspace, self._problem.target
        slots, left_out = self._slots()
        if not len(slots):
            message = (
                f"training data of {self._name}: negatives are what was shown, and placement"
                f" {self._spec.placement} has no logged exposures from {self._splits[0].train[0]:%Y-%m-%d} on that are"
                f" mature ({left_out:,} slots are not);"
                " serve or replay first, or learn from candidates"
            )
            raise ModelError(message)
        taken = attributed(workspace.engine, workspace.events, target, slots, self.known_at)
        placement = workspace.catalog.placement(self._spec.placement)
        every = self._spec.training.every
        return shown_requests(workspace.moments, placement, slots, taken, every, self._join_keys())

    def _slots(self) -> tuple[pa.Table, int]:
        """Return what was shown and is mature before the next part decides, and how many slots are not."""
        first, last = self._splits[0].train[0], self._splits[-1].test[0]
        slots = shown_slots(self._workspace.event_log, self._spec.placement, first, last)
        at = to_numpy(slots[EVENT_TIMESTAMP])
        held = np.zeros(len(slots), dtype=bool)
        for split in self._splits:
            held |= split.holds(TRAIN, at) | split.holds(VALIDATION, at)
        return slots.filter(pa.array(held)), int((~held).sum())

    def _join_keys(self) -> list[str]:
        views = (*self._features.views, *self._judged.views)
        return sorted({key for view in views for key in view.join_keys} - {USER, ITEM})

    # -------------------------------------------------------- what is written down

    def _facts(self, requests: Mapping[str, Requests], test: Requests) -> dict[str, pa.Table]:
        """Return who was asked for, what they took, and what is known of the items."""
        workspace, problem = self._workspace, self._problem
        engine, events, event = workspace.engine, workspace.events, problem.target.event
        times = tuple(moment.replace(tzinfo=UTC) for moment in sorted(set(test.moments.tolist())))
        users, moments = pa.array(test.users, pa.string()), pa.array(test.moments).cast(TIMESTAMP)
        seen = {TEST: self._histories(users, moments)} if problem.lists else {}
        asked = request_table({**requests, TEST: test}, seen)
        if not problem.lists:
            return {REQUESTS: asked, TAKEN: NO_ITEMS_TAKEN.empty_table(), ITEMS: ITEM_FACTS.empty_table()}
        taken = taken_items(engine, events, event, self._taken(times), users, moments, self.known_at)
        items = pc.unique(pa.chunked_array([*test.rows[ITEM].chunks, *taken[ITEM].chunks]))
        facts = item_facts(engine, workspace.tables, problem, items, times[0], self.known_at)
        return {REQUESTS: asked, TAKEN: taken, ITEMS: facts}

    def _units(self, before: datetime) -> int:
        workspace = self._workspace
        return count_units(workspace.engine, workspace.events, self._problem.target.event, before, self.known_at)

    def _save(self, tables: Mapping[str, pa.Table], checked: Mapping[str, Checked], pool_size: int) -> TrainingSet:
        """Write the folder under another name, and give it its own when it is whole."""
        folder = self.folder
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            document = self._document(tables, checked, pool_size, write_tables(partial, tables))
            (partial / DOCUMENT).write_text(json.dumps(document, indent=2), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return TrainingSet(folder, document)

    def _document(
        self, tables: Mapping[str, pa.Table], checked: Mapping[str, Checked], pool_size: int, rows_digest: str
    ) -> dict[str, Any]:
        learn, target = tables[LEARN], self._problem.target
        workspace, newest = self._workspace, self._splits[-1]
        engine, events = workspace.engine, workspace.events
        learned = to_numpy(learn[EVENT_TIMESTAMP])
        return {
            "model_version": self._name,
            "known_at": self.known_at.isoformat(),
            "digest": rows_digest,
            "feature_service": self._features.name,
            "negatives": self._spec.negatives.source,
            "splits": [split.to_dict() for split in self._splits],
            "rows": {
                TRAIN: int(newest.holds(TRAIN, learned).sum()),
                VALIDATION: int(newest.holds(VALIDATION, learned).sum()),
                TEST: len(tables[TEST]),
            },
            "pool_size": pool_size,
            "units": self._units(times_of(self._splits, TEST)[0]),
            "unchecked": list(dict.fromkeys(line for found in checked.values() for line in found.unchecked)),
            "left_out": {
                "immature_decision_times": [time.isoformat() for time in newest.immature],
                "immature_events": count_after(engine, events, target, newest.test[-1] + target.horizon, self.known_at),
                "immature_slots": self._slots()[1] if self.shown else 0,
            },
            "profile": {
                LEARN: self._profile(learn, checked[LEARN], self._features) if self._learns else [],
                TEST: self._profile(tables[TEST], checked[TEST], self._judged),
            },
        }

    def _profile(self, rows: pa.Table, checked: Checked, features: FeatureSet) -> list[dict[str, Any]]:
        target, funnel = self._problem.target, self._problem.funnel
        others = [stage for stage in (funnel.stages if funnel else ()) if stage != target.event]
        stages = {
            stage: reached(
                self._workspace.engine, rows, self._workspace.events, stage, target.horizon, self.known_at
            ).combine_chunks()
            for stage in others
        }
        return profile(rows, features, checked.clocks, stages)


def with_baselines(workspace: Workspace, spec: ModelVersion) -> FeatureSet:
    """Return the columns that a version's test rows have: its own and its baselines'."""
    features = workspace.features.feature_set(spec.feature_service)
    extra = [reference for reference in spec.baselines.values() if reference not in features.references]
    return workspace.features.feature_set([*features.references, *dict.fromkeys(extra)])
