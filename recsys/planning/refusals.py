"""Which of the differences must not be made, and why? Every finding at once, each one line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from recsys.experiment.allocation import check_change, moved
from recsys.experiment.routing import window
from recsys.planning.plan import Step
from recsys.planning.state import FEAST, Content, State
from recsys.specs.experiment import Experiment


@dataclass(frozen=True)
class TrainedLogic:
    """Weights that were registered for a logic."""

    weights: int
    """The registry's number."""
    logic_digest: str
    """What the logic was when they were trained."""


@dataclass(frozen=True)
class Facts:
    """What the stores know, as far as it can forbid a step."""

    now: datetime
    """By the environment's clock."""
    replayed: bool
    """Whether that clock is a replay's: starts then lie in a past that is yet to be lived through."""
    logic: Mapping[str, str] = field(default_factory=dict)
    """Declared model version to the digest of its logic now."""
    trained: Mapping[str, Sequence[TrainedLogic]] = field(default_factory=dict)
    """Model version to its registered weights, oldest first."""
    champions: Mapping[str, str] = field(default_factory=dict)
    """Model version to what it is champion of; by the alias or by the ledger."""
    units: Callable[[str], Sequence[str] | None] = lambda _: None
    """A unit's column (user_id, session_id) to all ids known at the clock; None before any event came in."""


def running(applied: State, now: datetime) -> dict[str, Experiment]:
    """Return the applied experiments whose window holds a moment."""
    found = {}
    for name, content in applied.get("experiments", {}).items():
        experiment = _read(content)
        if experiment is not None and window(experiment)[0] <= now < window(experiment)[1]:
            found[name] = experiment
    return found


def refusals(before: State, after: State, steps: Sequence[Step], facts: Facts) -> tuple[str, ...]:
    """Return every reason against the steps, each as `path: field: value: rule`.

    Args:
        before: what was applied.
        after: what is declared.
        steps: the differences.
        facts: what the stores know.
    """
    runs = running(before, facts.now)
    return (
        *_trained_logic(steps, facts),
        *_under_running(steps, runs),
        *_under_champion(steps, facts),
        *_experiments(before, after, steps, facts, runs),
    )


def _trained_logic(steps: Sequence[Step], facts: Facts) -> Iterator[str]:
    for version, now in sorted(facts.logic.items()):
        other = [weights for weights in facts.trained.get(version, ()) if weights.logic_digest != now]
        if not other:
            continue
        causes = [step.subject for step in steps if version in step.hits.model_versions and not step.harmless]
        edit = f"the edit of {', '.join(causes)}" if causes else "the edit of its spec, features or candidates"
        yield (
            f"registry/models/{version}.yaml: logic: {now} now, {other[-1].logic_digest} when weights"
            f" {other[-1].weights} were trained: trained logic does not change: undo {edit}, or declare a new version"
            " beside it"
        )


def _under_running(steps: Sequence[Step], runs: Mapping[str, Experiment]) -> Iterator[str]:
    for step in steps:
        if step.kind in {"experiments", "environments", FEAST} or step.change == "added" or step.harmless:
            continue
        for name in step.hits.running:
            until = window(runs[name])[1]
            fields = ", ".join(change.field for change in step.fields) or "(whole)"
            yield (
                f"{step.subject}: {fields}: {step.change}: experiment {name} stands on it and runs until"
                f" {until:%Y-%m-%d %H:%M}: nothing below a running experiment changes: undo it, wait for its end, or"
                " declare a new one beside it"
            )


def _under_champion(steps: Sequence[Step], facts: Facts) -> Iterator[str]:
    for step in steps:
        if step.change != "removed":
            continue
        for version in step.hits.model_versions:
            if version in facts.champions:
                yield (
                    f"{step.subject}: (whole): removed: {version} stands on it and is {facts.champions[version]}:"
                    " what serves is not removed: restore it, or promote another version first"
                )


def _experiments(
    before: State, after: State, steps: Sequence[Step], facts: Facts, runs: Mapping[str, Experiment]
) -> Iterator[str]:
    for step in steps:
        if step.kind != "experiments":
            continue
        shown = f"registry/experiments/{step.name}.yaml"
        old = _experiment(before, step.name)
        new = _experiment(after, step.name)
        if step.name in runs:
            yield from _of_running(shown, runs[step.name], new, facts)
        elif old is not None and facts.now >= window(old)[1]:
            if new is not None:
                yield (
                    f"{shown}: {', '.join(change.field for change in step.fields)}: changed: the experiment ended at"
                    f" {window(old)[1]:%Y-%m-%d %H:%M} and is evidence: undo the edit, or declare a new experiment"
                )
        elif new is not None and new.plan.start < facts.now and not facts.replayed:
            yield (
                f"{shown}: plan.start: {new.plan.start.isoformat()}: the clock stands at"
                f" {facts.now.isoformat(timespec='seconds')}: an experiment is applied before it starts, so that its"
                " plan is older than its results: declare a later start"
            )


def _of_running(shown: str, old: Experiment, new: Experiment | None, facts: Facts) -> Iterator[str]:
    units = facts.units(old.unit)
    if new is None:
        taken = sum(arm.bucket_range()[1] - arm.bucket_range()[0] for arm in old.arms.values())
        yield (
            f"{shown}: (whole): removed: it runs until {window(old)[1]:%Y-%m-%d %H:%M} on {taken / 100:g} % of the"
            " traffic, which would lose its arms: restore it, and end it earlier by plan.weeks"
        )
        return
    findings = check_change(old, new)
    if not findings:
        return
    if units is None:
        count = "an unknown number of units (no events yet; run `recsys ingest`)"
    else:
        count = f"{moved(old, new, units):,} of {len(units):,} known units"
    for finding in findings:
        yield f"{shown}: {finding} (the edit would move {count})"


def _experiment(state: State, name: str) -> Experiment | None:
    return _read(state.get("experiments", {}).get(name))


def _read(content: Content | None) -> Experiment | None:
    """Return an experiment, or None where there is none or it was applied by a recsys whose fields are no more."""
    try:
        return None if content is None else Experiment.model_validate(content)
    except ValidationError:
        return None
