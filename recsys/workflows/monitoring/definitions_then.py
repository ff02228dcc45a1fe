"""How were features defined when a request was answered, and what was changed since?"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from recsys.decision.evidence import LOGIC_TAG
from recsys.planning.state import APPLY, TRANSFORMS, State, applied_events, applied_state, declared_state
from recsys.ports import FeatureSet, Weights
from recsys.workflows.declarations.plan import ledger_entries
from recsys.workflows.features.table_records import transforms_module
from recsys.workflows.workspace import Workspace

_WORDS: Final = frozenset({"description", "owner", "tags"})
NOT_ON_RECORD: Final = "the logic is not the one that was trained, and no apply on record says which part"


class DefinitionsThen:
    """Compares today's definitions with those of a moment, by the applies in the ledger."""

    def __init__(self, workspace: Workspace) -> None:
        """Read the ledger and what Feast and transforms.py say now."""
        self._workspace = workspace
        self._entries = [entry for entry in ledger_entries(workspace) if entry.action == APPLY]
        registered = workspace.adapters.feature_repository().registered()
        transforms = workspace.adapters.transforms(transforms_module(workspace))
        self._now = declared_state(workspace.catalog, registered, transforms)
        self._states: dict[datetime | None, State] = {}

    def changed(self, features: FeatureSet, weights: Weights | None, at: datetime) -> Mapping[str, Sequence[str]]:
        """Return the views of a feature set that were changed since a moment, and how.

        Args:
            features: as they are defined now.
            weights: those that answered; where no apply is on record, their digest tells that something was changed;
                None where the registry has them no more.
            at: when they answered. Before the first apply on record what it applied counts.

        Returns:
            View, stored or computed, to phrases such as `ttl 7d, now 1d`.
        """
        then = self._then(at)
        found: dict[str, Sequence[str]] = {}
        if then:
            for view in features.views:
                said = [
                    *self._fields(then, "feature_views", view.name),
                    *(["its table's code"] * bool(self._fields(then, TRANSFORMS, view.name))),
                ]
                if said:
                    found[view.name] = said
            for transform in features.transforms:
                said = self._fields(then, "request_transforms", transform.name)
                if said:
                    found[transform.name] = said
        if not found and weights is not None and weights.tags.get(LOGIC_TAG) != self._logic(weights, features):
            names = [*(view.name for view in features.views), *(each.name for each in features.transforms)]
            found = dict.fromkeys(names, (NOT_ON_RECORD,))
        return found

    def _logic(self, weights: Weights, features: FeatureSet) -> str:
        return self._workspace.catalog.logic_digest(weights.model_version, features.digest)

    def _then(self, at: datetime) -> State:
        """Return what was applied last by a moment, else what was applied first."""
        done = [entry for entry in self._entries if entry.state == "done"]
        earlier = [entry for entry in done if entry.event_timestamp <= at]
        last = (earlier or done[:1])[-1:]
        sequence = last[0].sequence if last else None
        key = None if sequence is None else last[0].event_timestamp
        if key not in self._states:
            entries = [entry for entry in self._entries if sequence is not None and entry.sequence <= sequence]
            self._states[key] = applied_state(entries) if applied_events(entries) else {}
        return self._states[key]

    def _fields(self, then: State, kind: str, name: str) -> list[str]:
        before: Mapping[str, Any] = then.get(kind, {}).get(name, {})
        after: Mapping[str, Any] = self._now.get(kind, {}).get(name, {})
        if not before:
            return []
        return [
            f"{field} {before.get(field)}, now {after.get(field)}" if field == "ttl" else field
            for field in sorted({*before, *after} - _WORDS)
            if before.get(field) != after.get(field)
        ]
