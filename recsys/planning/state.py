"""What is declared now, and what was applied last? Both as plain JSON values, so that they can be compared and kept."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from recsys.ports import Definitions, LedgerEntry
from recsys.specs.catalog import KINDS, Catalog

Content = Mapping[str, Any]
"""One declaration as JSON values."""
State = Mapping[str, Mapping[str, Content]]
"""Kind to name to content."""

APPLY: Final = "apply"
"""The ledger's action of everything written here."""
FEAST: Final = "feast"
"""The kind of the one step that brings Feast's registry up to the files; it is derived, and no part of a state."""
TRANSFORMS: Final = "transforms"
"""Tables of transforms.py; a stored feature view is filled by the table of its name."""

ORDER: Final = (
    "environments",
    TRANSFORMS,
    "feature_views",
    "request_transforms",
    "feature_services",
    "problems",
    "placements",
    "models",
    "metrics",
    "layers",
    "experiments",
)
"""Every kind; what others refer to comes first."""

_PASSWORD: Final = re.compile(r"(://[^:/@]+):[^@/]+@")


def declared_state(catalog: Catalog, definitions: Definitions, transforms: Mapping[str, str]) -> State:
    """Return what the files declare.

    Args:
        catalog: registry/.
        definitions: of the feature repository.
        transforms: table to its normalized code.

    Returns:
        Every kind of `ORDER`; passwords in the URLs of environments are masked.
    """
    state: dict[str, Mapping[str, Content]] = {
        kind: {name: _dumped(spec) for name, spec in getattr(catalog, kind).items()} for kind in KINDS
    }
    state["environments"] = {name: _masked(content) for name, content in state["environments"].items()}
    state |= {kind: dict(named) for kind, named in definitions.items()}
    state[TRANSFORMS] = {name: {"code": code} for name, code in transforms.items()}
    return {kind: state.get(kind, {}) for kind in ORDER}


def applied_events(entries: Sequence[LedgerEntry]) -> tuple[LedgerEntry, ...]:
    """Return the apply events that count, in the order in which they were done.

    An apply is one transaction: an intent a subject (`kind/name`), and one done for all of them. Intents
    of a transaction that was reverted, or that a killed process left open, do not count.

    Args:
        entries: of the whole ledger, in order.
    """
    intents: dict[str, list[LedgerEntry]] = {}
    counted: list[LedgerEntry] = []
    for entry in entries:
        if entry.action != APPLY:
            continue
        if entry.state == "intent":
            intents.setdefault(entry.transaction, []).append(entry)
        elif entry.state == "done":
            counted.extend(intents.get(entry.transaction, ()))
    return tuple(counted)


def open_transactions(entries: Sequence[LedgerEntry]) -> tuple[str, ...]:
    """Return the apply transactions without an end, in the order in which they began."""
    applying = [entry for entry in entries if entry.action == APPLY]
    ended = {entry.transaction for entry in applying if entry.state != "intent"}
    return tuple(dict.fromkeys(entry.transaction for entry in applying if entry.transaction not in ended))


def applied_state(entries: Sequence[LedgerEntry]) -> State:
    """Return what was applied last, read back from the ledger; empty before the first apply."""
    state: dict[str, dict[str, Content]] = {kind: {} for kind in ORDER}
    for event in applied_events(entries):
        kind, _, name = event.subject.partition("/")
        if kind not in state:
            continue
        content = event.payload["content"]
        if content is None:
            state[kind].pop(name, None)
        else:
            state[kind][name] = _as_now(kind, content)
    return state


def _as_now(kind: str, content: Content) -> Content:
    """Read an older content by today's spec, so that a new field with a default is no difference."""
    spec_type = KINDS.get(kind)
    if spec_type is None:
        return content
    try:
        spec = spec_type.model_validate(content)
    except ValidationError:  # a field was dropped since: shown as a change
        return content
    return _masked(_dumped(spec)) if kind == "environments" else _dumped(spec)


def _dumped(spec: BaseModel) -> dict[str, Any]:
    return spec.model_dump(mode="json")


def _masked(content: Content) -> dict[str, Any]:
    return {
        field: _PASSWORD.sub(r"\1:***@", value) if isinstance(value, str) else value for field, value in content.items()
    }
