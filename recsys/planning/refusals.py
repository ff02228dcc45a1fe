"""Which of the differences must not be made, and why? Every finding at once, each one line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from recsys.experiment.allocation import check_change, moved, moved_by_layer
from recsys.experiment.routing import Router, window
from recsys.planning.plan import Step
from recsys.planning.state import FEAST, Content, State
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer


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
        experiment = read_experiment(content)
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
        *_under_running(before, after, steps, facts, runs),
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


def _under_running(
    before: State, after: State, steps: Sequence[Step], facts: Facts, runs: Mapping[str, Experiment]
) -> Iterator[str]:
    for step in steps:
        if step.kind in {"experiments", "environments", FEAST} or step.change == "added" or step.harmless:
            continue
        for name in step.hits.running:
            until = window(runs[name])[1]
            fields = ", ".join(change.field for change in step.fields) or "(whole)"
            count = _by_layer(before, after, step.name, runs[name], facts) if step.kind == "layers" else ""
            yield (
                f"{step.subject}: {fields}: {step.change}: experiment {name} stands on it and runs until"
                f" {until:%Y-%m-%d %H:%M}: nothing below a running experiment changes: undo it, wait for its end, or"
                f" declare a new one beside it{count}"
            )


def _by_layer(before: State, after: State, layer: str, experiment: Experiment, facts: Facts) -> str:
    old, new = read_layer(before, layer), read_layer(after, layer)
    if old is None or new is None:
        return ""
    units = facts.units(experiment.unit)
    return _would_move(None if units is None else moved_by_layer(experiment, (old, new), units), units)


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
            layers = (layer_of(before, runs[step.name]), None if new is None else layer_of(after, new))
            yield from _of_running(shown, runs[step.name], new, facts, layers)
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


def _of_running(
    shown: str, old: Experiment, new: Experiment | None, facts: Facts, layers: tuple[Layer | None, Layer | None]
) -> Iterator[str]:
    units = facts.units(old.unit)
    if new is None:
        share = sum(arm.ratio for arm in old.arms.values())
        if old.layer is not None:
            share *= old.layer.range[1] - old.layer.range[0]
        in_arms = None if units is None else Router("removed", old, layers[0]).route_many(units, overrides=False)
        count = _would_move(None if in_arms is None else len(in_arms) - in_arms.null_count, units)
        yield (
            f"{shown}: (whole): removed: it runs until {window(old)[1]:%Y-%m-%d %H:%M} on {100 * share:.4g} % of the"
            f" traffic, which would lose its arms: restore it, and end it earlier by plan.end{count}"
        )
        return
    findings = check_change(old, new)
    if window(new)[1] < facts.now and new.plan.start == old.plan.start:
        findings.append(
            f"plan: {window(old)[1].isoformat()} -> {window(new)[1].isoformat()}: the clock stands at"
            f" {facts.now.isoformat(timespec='seconds')}: an earlier end is still to come, or it would be chosen by its"
            " results; set plan.end to a later moment"
        )
    if not findings:
        return
    count = _would_move(None if units is None else moved(old, new, units, layers), units)
    for finding in findings:
        yield f"{shown}: {finding}{count}"


def _would_move(number: int | None, units: Sequence[str] | None) -> str:
    if number is None or units is None:
        return " (the edit would move an unknown number of units (no events yet; run `recsys ingest`))"
    return f" (the edit would move {number:,} of {len(units):,} known units)"


def read_layer(state: State, name: str) -> Layer | None:
    """Return a layer of a state, or None where it has none of that name, or one that does not read any more."""
    content = state.get("layers", {}).get(name)
    try:
        return None if content is None else Layer.model_validate(content)
    except ValidationError:
        return None


def layer_of(state: State, experiment: Experiment) -> Layer | None:
    """Return the layer that an experiment names, as a state has it."""
    return None if experiment.layer is None else read_layer(state, experiment.layer.name)


def _experiment(state: State, name: str) -> Experiment | None:
    return read_experiment(state.get("experiments", {}).get(name))


def read_experiment(content: Content | None) -> Experiment | None:
    """Return an experiment, or None where there is none or it was applied by a recsys whose fields are no more."""
    try:
        return None if content is None else Experiment.model_validate(content)
    except ValidationError:
        return None
