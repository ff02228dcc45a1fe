"""Does the evidence still allow what a frozen report says? Every reason against it, each in one line.

`recsys promote` trusts no report: it derives again whatever can be derived, from the ledger, the declarations, the
frozen figures and the registry.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from recsys.decision.intervals import oriented, text
from recsys.decision.verdict import ended_before
from recsys.ports import NamedWeights, Weights
from recsys.specs.catalog import digest
from recsys.specs.experiment import Experiment
from recsys.statistics.bootstrap import Interval

Document = Mapping[str, Any]
"""A frozen report as JSON values."""

SHIP: Final = "SHIP"
LOGIC_TAG: Final = "recsys.logic_digest"
"""Tag of weights with the digest of what their logic was when they were trained."""
DATA_TAG: Final = "recsys.data_digest"
"""Tag of weights with the digest of the rows that they learned from."""
DIGEST_TAGS: Final[Mapping[str, str]] = {"logic_digest": LOGIC_TAG, "data_digest": DATA_TAG}
"""What identifies weights, and the tag of the registry that has it."""


@dataclass(frozen=True)
class Declared:
    """What was declared of an experiment, and when."""

    name: str
    experiment: Experiment
    """As the files have it now."""
    digest: str
    """Of that and of what its declared metrics count."""
    applied: Experiment | None
    """As it was applied last; None where it never was."""
    applied_digest: str | None
    """Of that and of what its declared metrics counted then."""
    first_applied: datetime | None
    """By the environment's clock."""
    planned_end: datetime | None
    """The end that the plan had when the experiment started."""


def report_digest(document: Document) -> str:
    """Return the digest of everything in a frozen report but its own digest."""
    return digest({key: value for key, value in document.items() if key != "digest"})


def registered(registry: NamedWeights, analysis: Document) -> list[dict[str, Any]]:
    """Return what the registry says of all weights that answered in an experiment, to be frozen with its report.

    Args:
        registry: where they are.
        analysis: with arms, and the weights that answered in each.

    Returns:
        model_version, weights, logic_digest, data_digest; digests of weights that are not registered are null.
    """
    found = []
    for model_version, number in sorted({key for arm in analysis["arms"] for key in _answered(arm)}):
        tags = _tags(registry.search(model_version.partition("/")[0]), model_version, number) or {}
        digests = {name: tags.get(tag) for name, tag in DIGEST_TAGS.items()}
        found.append({"model_version": model_version, "weights": number, **digests})
    return found


def against_plan(declared: Declared) -> Iterator[str]:
    """Yield what is wrong with the plan: it is older than the results, and nobody moved its end."""
    name = f"experiment {declared.name}"
    if declared.applied is None or declared.first_applied is None:
        yield (
            f"{name}: its plan was never applied: a plan is declared before the start, so that it is older than its"
            " results: run `recsys apply` before an experiment starts"
        )
        return
    start, end = declared.applied.plan.window()
    if declared.first_applied > start:
        yield (
            f"{name}: its plan was applied at {declared.first_applied.isoformat()}, after its start,"
            f" {start.isoformat()}: a plan is older than its results: declare a new experiment with a later start"
        )
    if declared.planned_end is not None and end < declared.planned_end:
        yield (
            f"{name}: {ended_before(declared.planned_end - end)}, {declared.planned_end.isoformat()}: only a planned"
            " end ships, as others may be chosen on a good day: run a new experiment to its end"
        )


def against_report(report: Document, declared: Declared) -> Iterator[str]:
    """Yield what is wrong with a frozen report: the document itself, what it was judged by, health and figures."""
    name = f"experiment {declared.name}"
    found = report_digest(report)
    if found != report.get("digest"):
        yield (
            f"{name}: its frozen report has digest {found} and was frozen as {report.get('digest')}: it was altered:"
            " restore the ledger from a backup, or run a new experiment"
        )
    judged_by = report.get("experiment_digest")
    if declared.digest != judged_by:
        yield (
            f"{name}: its declaration has digest {declared.digest} and had {judged_by} when its report was frozen: what"
            " was judged is what is promoted: undo the edit of it or of its metrics, or declare a new experiment"
        )
    if declared.applied_digest not in {None, judged_by}:
        yield (
            f"{name}: it was judged by a declaration of digest {judged_by}, and {declared.applied_digest} was applied:"
            " an edit is applied before it counts: run a new experiment by an applied plan"
        )
    analysis = report.get("analysis", {})
    failures = analysis.get("health", {}).get("failures")
    if failures is None or failures:
        yield f"{name}: health: {' '.join(failures or ['not in its report'])} Only a sound experiment promotes"
    if report.get("verdict", {}).get("name") == SHIP:
        yield from _against_figures(analysis, report["verdict"].get("treatment_arm"), declared)


def _against_figures(analysis: Document, arm: str | None, declared: Declared) -> Iterator[str]:
    metrics = declared.experiment.metrics
    name, primary = f"experiment {declared.name}", metrics.primary
    interval = _interval(analysis, arm, "primary", primary.name, primary.scale)
    if not oriented(interval, primary.direction).lower > 0:
        yield (
            f"{name}: primary {primary.name} of {arm} moved by {text(interval, primary.scale)} by the frozen figures:"
            f" its interval has to lie on the good side of 0 ({primary.direction}): evaluate a new experiment"
        )
    for guardrail in metrics.guardrails:
        interval = _interval(analysis, arm, "guardrail", guardrail.name, guardrail.scale)
        if not oriented(interval, guardrail.direction).lower > -guardrail.margin:
            yield (
                f"{name}: guardrail {guardrail.name} of {arm} moved by {text(interval, guardrail.scale)} by the frozen"
                f" figures: its interval has to keep within the margin {guardrail.margin:g}, {guardrail.scale}"
                f" ({guardrail.direction}): evaluate a new experiment"
            )


def against_weights(report: Document, arm: str, weights: Weights, known: Sequence[Weights]) -> Iterator[str]:
    """Yield how the weights that would be promoted differ from those that were measured.

    Args:
        report: frozen, with the weights that answered and their digests as they were registered then.
        arm: the one that would be promoted.
        weights: of its logic, in service now.
        known: all weights of the model in the registry.
    """
    version = weights.model_version
    arms = {found["arm"]: found for found in report.get("analysis", {}).get("arms", ())}
    numbers = sorted(number for model_version, number in _answered(arms.get(arm, {})) if model_version == version)
    if weights.number not in numbers:
        yield (
            f"model version {version}: weights {weights.number} are in service, and arm {arm} was answered by"
            f" {', '.join(map(str, numbers)) or 'none of its logic'}: only weights that were measured are promoted: run"
            " a new experiment"
        )
    frozen = {(row["model_version"], row["weights"]): row for row in report.get("registered", ())}
    for number in numbers:
        named = f"model version {version}: weights {number}"
        tags = _tags(known, version, number)
        if tags is None:
            yield (
                f"{named} answered in arm {arm} and are not in the registry any more: what was served is what is"
                " registered: restore the registry, or run a new experiment"
            )
            continue
        then = frozen.get((version, number), {})
        for field, tag in DIGEST_TAGS.items():
            if tags.get(tag) != then.get(field):
                yield (
                    f"{named}: tag {tag} is {tags.get(tag)} in the registry and was {then.get(field)} when the report"
                    " was frozen: what was served is what is registered: restore the registry, or run a new experiment"
                )
        if tags.get(LOGIC_TAG) != weights.tags.get(LOGIC_TAG):
            yield (
                f"{named} answered in arm {arm} and are of logic {tags.get(LOGIC_TAG)}; weights {weights.number}, in"
                f" service, are of {weights.tags.get(LOGIC_TAG)}: the logic that was measured is promoted: run a new"
                " experiment"
            )


def _answered(arm: Document) -> set[tuple[str, int]]:
    """Return the logics and weights that answered in an arm; a list without a model has none."""
    return {
        (str(row["model_version"]), int(row["weights"]))
        for row in arm.get("weights", ())
        if row["model_version"] is not None and row["weights"] is not None
    }


def _tags(known: Sequence[Weights], model_version: str, number: int) -> Mapping[str, str] | None:
    return next((each.tags for each in known if (each.model_version, each.number) == (model_version, number)), None)


def _interval(
    analysis: Document, arm: str | None, role: str, metric: str, scale: Literal["relative", "absolute"]
) -> Interval:
    """Return a frozen fixed interval; not-a-number where the report has none."""
    for found in analysis.get("effects", ()):
        if (found["treatment_arm"], found["role"], found["effect"]["metric"]) == (arm, role, metric):
            bounds = (found["effect"][scale][name] for name in ("estimate", "lower", "upper"))
            return Interval(*(math.nan if value is None else value for value in bounds))
    return Interval(math.nan, math.nan, math.nan)
