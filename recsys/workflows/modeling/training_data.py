"""How are a training set's rows made: requests, labels and features as known at one moment, then checked and saved?"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.data.knowledge import fingerprint
from recsys.errors import LeakageError, ModelError
from recsys.modeling.audience import audience_requests, check_units_alone
from recsys.modeling.context import learned_from, unknown_columns, with_unknown
from recsys.modeling.decision_times import TEST, TRAIN, VALIDATION, rolling_splits, times_of
from recsys.modeling.given import given_at
from recsys.modeling.judged import Judged, judged
from recsys.modeling.labels import attributed, positives, unit_labels
from recsys.modeling.leakage import Checked, Sources, check_rows
from recsys.modeling.moments import Moments
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
    replaced,
    request_table,
    tables_digest,
    write_table,
)
from recsys.ports import FeatureSet
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, REQUEST_ID, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.specs.catalog import digest
from recsys.specs.model import FeatureAlgorithm, ModelVersion
from recsys.workflows.features.table_records import declared_tables, definitions, sources, transforms_module
from recsys.workflows.modeling.training_document import Described, described, document
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
        declared = workspace.catalog.placement(self._spec.placement).context if self._problem.lists else {}
        self._context = learned_from(model_version, self._spec, declared, self._features, self._judged)
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
            if self._context:  # what a request said is known by its id
                known["context"] = digest(dict(self._context))
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
        with replaced(self.folder) as folder:
            learn, learned = self._written(folder, LEARN, () if self.shown else newest.validation)
            test, tested = self._written(folder, TEST, newest.test[:1])
            violations = [*learned.violations, *tested.violations]
            if violations:
                what = f"training set of {self._name}"
                raise LeakageError(what, [str(violation) for violation in violations])
            for name, table in self._facts(learn, test[TEST]).items():
                write_table(folder, name, table)
            told = self._documented(folder, {LEARN: learned, TEST: tested}, len(test[TEST].eligible))
        return TrainingSet(self.folder, told)

    def judged_at(self, times: Sequence[datetime], *, baselines: bool = False) -> tuple[pa.Table, Judged]:
        """Return all candidates of some decision times, with their features, and what came of them.

        What a search of settings is judged on, which names no test time, or a model in service on what came since.

        Args:
            times: ascending; their labels are mature at the moment of the set.
            baselines: whether the rows have the features of the version's baselines too.
        """
        self._tell("candidates", 0, 1)
        made = self._requests(times, Sampling())
        self._tell("features", 0, 1)
        rows = self._joined(made, self._judged if baselines else self._features)
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
                given=self._given_anew() if self._problem.lists else None,
            ),
            recomputed,
            labelled=part == TEST or not self.shown,
        )

    def _given_anew(self) -> Callable[[pa.Table, datetime], Mapping[str, NDArray[Any]]]:
        """Return what derives anew what requests bring along, from a past that nothing was read of yet."""
        moments = Moments(self._workspace.features, self._workspace.environment.limits.memory_bytes)
        placement = self._workspace.catalog.placement(self._spec.placement)
        return lambda rows, moment: {
            **given_at(moments, placement, rows, moment),
            **unknown_columns(self._context, len(rows)),
        }

    def _joined(self, made: Requests, features: FeatureSet) -> pa.Table:
        """Join features; what only a request says is unknown where rows are of none."""
        return self._workspace.features.historical(with_unknown(made.rows, self._context), features)

    # -------------------------------------------------------- rows

    def _written(
        self, folder: Path, part: str, recomputed: Sequence[datetime]
    ) -> tuple[Mapping[str, Requests], Described]:
        """Make, check, describe and write learn or test; only its requests stay in memory, without their rows."""
        rows, requests = self._learn() if part == LEARN else self._test()
        self._tell(f"check of {part}", 0, 1)
        checked = self.checked(rows, part, recomputed)
        features = self._features if part == LEARN else self._judged
        newest = self._splits[-1]
        found = described(self._workspace, self._problem, self.known_at, newest, part, rows, checked, features)
        write_table(folder, part, rows)
        needed = [ITEM] if self._problem.lists else []
        kept = {name: replace(made, rows=made.rows.select(needed)) for name, made in requests.items()}
        del rows, requests, checked
        pa.default_memory_pool().release_unused()
        return kept, found

    def _test(self) -> tuple[pa.Table, dict[str, Requests]]:
        """Make what is judged on."""
        self._tell("test candidates", 0, 1)
        made = self._requests(times_of(self._splits, TEST), Sampling())
        self._tell("test features", 0, 1)
        return self._joined(made, self._judged), {TEST: made}

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
        return self._joined(made, self._features), {LEARN: made}

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
        keys = self._join_keys()
        return shown_requests(workspace.moments, placement, slots, taken, every, keys, tuple(self._context))

    def _slots(self) -> tuple[pa.Table, int]:
        """Return what was shown and is mature before the next part decides, and how many slots are not."""
        first, last = self._splits[0].train[0], self._splits[-1].test[0]
        slots = shown_slots(self._workspace.event_log, self._spec.placement, first, last, self._context)
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
        taken = taken_items(engine, events, event, test.taken, users, moments, self.known_at)
        items = pc.unique(pa.chunked_array([*test.rows[ITEM].chunks, *taken[ITEM].chunks]))
        facts = item_facts(engine, workspace.tables, problem, items, times[0], self.known_at)
        return {REQUESTS: asked, TAKEN: taken, ITEMS: facts}

    def _units(self, before: datetime) -> int:
        workspace = self._workspace
        return count_units(workspace.engine, workspace.events, self._problem.target.event, before, self.known_at)

    def _documented(self, folder: Path, parts: Mapping[str, Described], pool_size: int) -> dict[str, Any]:
        """Write the document, last."""
        told = document(
            self._workspace,
            self._name,
            self.known_at,
            self._splits,
            parts,
            rows_digest=tables_digest(folder),
            pool_size=pool_size,
            immature_slots=self._slots()[1] if self.shown else 0,
        )
        (folder / DOCUMENT).write_text(json.dumps(told, indent=2), encoding="utf-8")
        return told


def with_baselines(workspace: Workspace, spec: ModelVersion) -> FeatureSet:
    """Return the columns that a version's test rows have: its own and its baselines'."""
    features = workspace.features.feature_set(spec.feature_service)
    extra = [reference for reference in spec.baselines.values() if reference not in features.references]
    return workspace.features.feature_set([*features.references, *dict.fromkeys(extra)])
