"""Which steps lead from what was applied to what is declared? One frozen plan, explained and applied by its steps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from recsys.planning.hits import NO_HITS, Hits, hits_of
from recsys.planning.state import FEAST, ORDER, Content, State
from recsys.ports import Definitions
from recsys.specs.catalog import digest

DESCRIPTIVE: Final = frozenset({"description", "tags", "owner", "owners", "business_issue"})
"""Fields that say something to people and change nothing that is served or measured."""


@dataclass(frozen=True)
class FieldChange:
    """One field that is not as it was applied."""

    field: str
    """Dotted, such as algorithm.depth."""
    before: Any
    """JSON value; None where the field was absent."""
    after: Any
    """JSON value; None where the field is gone."""


@dataclass(frozen=True)
class Step:
    """One difference, and what it hits."""

    kind: str
    """One of `ORDER`, or feast."""
    name: str
    change: str
    """added, changed or removed."""
    before: str | None
    """Digest of what was applied; None where it is added."""
    after: str | None
    """Digest of what is declared; None where it is removed."""
    content: Content | None
    """What is declared; None where it is removed."""
    fields: tuple[FieldChange, ...] = ()
    """What changed; empty unless `change` is changed."""
    hits: Hits = NO_HITS
    notes: tuple[str, ...] = ()
    """What else a reader should know, a line each."""

    @property
    def subject(self) -> str:
        """Return the ledger's name of it, such as experiments/home_ranker."""
        return f"{self.kind}/{self.name}"

    @property
    def harmless(self) -> bool:
        """Say whether only words for people changed."""
        return bool(self.fields) and all(one.field.partition(".")[0] in DESCRIPTIVE for one in self.fields)


@dataclass(frozen=True)
class Plan:
    """All that an apply would do, and why it may not."""

    environment: str
    at: datetime
    """By the environment's clock."""
    steps: tuple[Step, ...]
    refused: tuple[str, ...] = field(default=())
    """Findings that forbid the apply, each as `path: field: value: rule`."""

    @property
    def digest(self) -> str:
        """Return the digest of the steps: two plans with the same one do the same."""
        return digest([self.environment, [[step.subject, step.change, step.before, step.after] for step in self.steps]])


def steps_between(before: State, after: State, running: frozenset[str]) -> tuple[Step, ...]:
    """Compare two states.

    Args:
        before: what was applied.
        after: what is declared.
        running: names of the applied experiments that run now.

    Returns:
        A step a difference, by kind in `ORDER` and by name.
    """
    found = []
    for kind in ORDER:
        old, new = before.get(kind, {}), after.get(kind, {})
        for name in sorted(old.keys() | new.keys()):
            step = _step(kind, name, old.get(name), new.get(name))
            if step is not None:
                hits = NO_HITS if step.change == "added" else hits_of(step.subject, (before, after), running)
                found.append(Step(**{**vars(step), "hits": hits}))
    return tuple(found)


def feast_step(registered: Definitions, declared: Definitions) -> Step | None:
    """Return the step that brings Feast's registry up to the files, or None when they agree.

    Args:
        registered: what the registry holds; empty before its first apply.
        declared: what the files define.
    """
    differing = tuple(
        FieldChange(f"{kind}/{name}", _digest(old), _digest(new))
        for kind in sorted(registered.keys() | declared.keys())
        for name in sorted(registered.get(kind, {}).keys() | declared.get(kind, {}).keys())
        if _digest(old := registered.get(kind, {}).get(name)) != _digest(new := declared.get(kind, {}).get(name))
    )
    if not differing:
        return None
    before = digest(_plain(registered)) if any(registered.values()) else None
    after = digest(_plain(declared))
    change = "added" if before is None else "changed"
    return Step(FEAST, "registry", change, before, after, {"definitions": after}, differing)


def _step(kind: str, name: str, old: Content | None, new: Content | None) -> Step | None:
    before, after = _digest(old), _digest(new)
    if before == after:
        return None
    if old is None:
        return Step(kind, name, "added", before, after, new)
    if new is None:
        return Step(kind, name, "removed", before, after, None)
    return Step(kind, name, "changed", before, after, new, tuple(_fields(old, new)))


def _fields(old: Content, new: Content, prefix: str = "") -> Iterator[FieldChange]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if digest(before) == digest(after) and (name in old) == (name in new):  # in Python 1 == True, in JSON not
            continue
        left, right = _inside(before), _inside(after)
        if left is not None and right is not None and (isinstance(before, Mapping) or left.keys() == right.keys()):
            yield from _fields(left, right, f"{prefix}{name}.")
        else:
            yield FieldChange(f"{prefix}{name}", before, after)


def _inside(value: Any) -> Content | None:  # noqa: ANN401 - any JSON value
    """Return what can be compared by parts: a mapping, or a list of mappings by number."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        return {str(number): item for number, item in enumerate(value)}
    return None


def _digest(content: Content | None) -> str | None:
    return None if content is None else digest(content)


def _plain(definitions: Definitions) -> dict[str, Any]:
    return {kind: dict(named) for kind, named in definitions.items()}
