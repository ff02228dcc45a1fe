"""How do an experiment's assignments, its stage, a replay and an evaluation read?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys.printing.overrides import overridden, overrides_document
from recsys.printing.terminal import interval, percent
from recsys.printing.width import table

if TYPE_CHECKING:
    from pathlib import Path

    from recsys.workflows.experiments.assignments import Assigned, Exported
    from recsys.workflows.experiments.evaluate import Evaluated
    from recsys.workflows.experiments.replay import Replayed
    from recsys.workflows.experiments.status import Status


def replayed(done: "Replayed") -> str:
    """Show what a replay logged."""
    if done.reused:
        return f"  logged before: {done.exposures:,} exposures over {done.steps} weeks, {done.outcomes:,} outcomes"
    return (
        f"  {done.exposures:,} exposures over {done.steps} weeks ({done.fallbacks:,} by a fallback),"
        f" {done.outcomes:,} purchases"
        f" logged as outcomes\n  the clock stands at {done.until:%Y-%m-%d}"
    )


def _checks(analysis: "dict[str, Any]") -> list[str]:
    """Say what the role check is, where a metric has it."""
    checks = any(found["role"] == "check" for found in analysis["effects"])
    return ["  role check: looked at, and no decision rests on it"] if checks else []


def evaluation(done: "Evaluated", page: str) -> str:
    """Show health, arms, effects and the verdict."""
    analysis, verdict = done.document["analysis"], done.document["verdict"]
    arms = [[arm["arm"], arm["model_version"], f"{arm['units']:,}", f"{arm['requests']:,}"] for arm in analysis["arms"]]
    effects = [
        [
            found["effect"]["metric"],
            found["role"],
            _mean(found["effect"]["control"]),
            _mean(found["effect"]["treatment"]),
            percent(found["effect"]["relative"]),
            _p_value(found["effect"]["p_value"]),
            ", ".join(_remarks(found, analysis)),
        ]
        for found in analysis["effects"]
    ]
    lines = [
        f"  {analysis['hypothesis']}",
        table(["arm", "model version", "units", "requests"], arms, right=(2, 3)),
        table(["metric", "role", "control", "treatment", "relative effect", "p", ""], effects, right=(2, 3)),
        *_checks(analysis),
        f"  health: {_health(analysis['health'])}",
        *_decisions(analysis["health"]),
        *_held_out(analysis["health"]),
        f"  {_reached(analysis)}",
        *_by_epoch(analysis),
        *_off_policy(analysis),
        f"  verdict: {verdict['name']}. {verdict['reason']}",
    ]
    frozen = done.document["frozen"]
    if frozen:
        lines.append(
            f"  report frozen at {frozen[:10]}{' before' if done.reused else ''}, digest {done.document['digest']}"
        )
    lines += [f"  next: {step}" for step in done.document["next"]]
    lines.append(f"  report: {page}{_beside(done)}")
    return "\n".join(lines)


def _beside(done: "Evaluated") -> str:
    if done.report.failure is not None:
        undone = "not kept in the registry" if done.document["frozen"] else "not frozen, which the next evaluation does"
        return f"; {undone}: {done.report.failure}"
    return f"; kept in the registry with {', '.join(done.report.beside)}" if done.report.beside else ""


def _by_epoch(analysis: Mapping[str, Any]) -> Iterator[str]:
    if analysis.get("compared_by_epoch"):
        yield (
            "  arms did not grow in proportion: compared within the allocation epochs in which units came new;"
            f" {analysis['uncompared_units']:,} that had come before are in none"
        )


def _off_policy(analysis: Mapping[str, Any]) -> Iterator[str]:
    """Say what each arm's lists would have brought without their exploration slot."""
    for each in analysis.get("off_policy", ()):
        value = each["value"]
        if value is None:
            yield f"  off-policy: refused: {each['refused']}"
            continue
        yield (
            f"  off-policy: {each['arm']} without exploration (slot {', '.join(map(str, each['slots']))}):"
            f" {each['metric']} a request {interval(value['ips'], 4)} by IPS, {interval(value['snips'], 4)} by SNIPS,"
            f" effective sample {value['effective_sample_size']:,.0f} of {value['rounds']:,};"
            f" as logged {interval(value['logged'], 4)}, difference {interval(value['gain'], 4)}"
        )


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"


def _p_value(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _remarks(found: Mapping[str, Any], analysis: Mapping[str, Any]) -> Iterator[str]:
    """Say how a figure was made: with which covariate, which limit, and adjusted for how many."""
    if found["effect"]["cuped"]:
        yield "CUPED"
    for lowered in analysis.get("winsorised", ()):
        if lowered["metric"] == found["effect"]["metric"]:
            yield f"{lowered['units']:,} units winsorised to {lowered['limit']:g}"
    if found.get("adjusted_p_value") is not None:
        yield f"adjusted p {_p_value(found['adjusted_p_value'])}"


def _health(health: Mapping[str, Any]) -> str:
    return (
        f"{'; '.join(health['failures']) or 'sound'} (sample ratio p = {health['sample_ratio_p_value']:.2f}, units in"
        f" several arms {health['multiple_share']:.2%}, assignments recomputed: {health['mismatched_units']} differ)"
    )


def _decisions(health: Mapping[str, Any]) -> Iterator[str]:
    """Say what became of the router's decisions, where a service counted them."""
    found = health.get("receipts")
    if found is not None:
        told = (
            f"{arm} decided {count:,}, received {found['received'][arm]:,}, lost {found['lost'][arm]:,},"
            f" never decided {found['undecided'][arm]:,}, twice {health['duplicated_exposures'].get(arm, 0):,}"
            for arm, count in found["decided"].items()
        )
        yield f"  decisions over {found['hours']:,} hours: {'; '.join(told)}"


def _held_out(health: Mapping[str, Any]) -> Iterator[str]:
    """Say how many units of the default traffic the layer kept from every experiment."""
    found = health.get("default_units")
    if found:
        yield f"  default traffic: {found['holdout']:,} units in the layer's holdout, {found['other']:,} others"


def _reached(analysis: Mapping[str, Any]) -> str:
    part = analysis.get("part")
    state = f"part from {part[0][:16]} to {part[1][:16]}, known" if part else analysis["state"]
    return (
        f"{state} at {analysis['until'][:10]}: {analysis['exposed_units']:,} of"
        f" {analysis['planned_units']:,} planned units; {analysis['left_out_requests']:,} requests left out, their"
        " outcome window is open"
    )


def assigned(done: "Assigned") -> str:
    """Show how many ids got which arm."""
    arms = ", ".join(f"{rows:,} {arm}" for arm, rows in done.arms.items())
    lines = [f"  {done.rows:,} ids: {arms}, {done.default:,} the default model", f"  in {done.path}"]
    notes = {"by an override, which no analysis counts": done.overridden, "in the layer's holdout": done.holdout}
    lines[1:1] = [f"  {rows:,} of them {what}" for what, rows in notes.items() if rows]
    return "\n".join(lines)


def assigned_document(done: "Assigned") -> dict[str, Any]:
    """Return the same as JSON values."""
    return {
        "experiment": done.experiment,
        "path": str(done.path),
        "rows": done.rows,
        "arms": dict(done.arms),
        "default": done.default,
        "overridden": done.overridden,
        "holdout": done.holdout,
    }


def exported_growthbook(done: "Exported", path: "Path") -> str:
    """Show which experiments a payload holds."""
    lines = [f"  {', '.join(done.experiments) or 'no experiment'}: in {path}"]
    if done.left_out:
        lines.append(f"  left out: {', '.join(done.left_out)}")
    return "\n".join(lines)


def experiment_status(found: "Sequence[Status]") -> str:
    """Show stages; of a single experiment its epochs and history too."""
    if not found:
        return "  no experiment is declared"
    rows = [
        [
            status.name,
            str(status.stage),
            *(f"{moment:%Y-%m-%d %H:%M}" for moment in status.experiment.plan.window()),
            _part(status),
            {None: "not applied", True: "as declared", False: "declared otherwise"}[status.applied],
            status.verdict or "",
        ]
        for status in found
    ]
    lines = [table(["experiment", "stage", "from", "to", "traffic", "applied", "verdict"], rows)]
    if len(found) == 1:
        planned, end = found[0].planned_end, found[0].experiment.plan.window()[1]
        lines += [f"  ends before its planned end, {planned:%Y-%m-%d %H:%M}"] if end < planned else []
        lines += overridden(found[0].overrides)
        lines += [
            f"  epoch {number} from {epoch.start:%Y-%m-%d %H:%M}: "
            + ", ".join(f"{arm} {ratio / 100:g} %" for arm, ratio in epoch.ratios.items())
            for number, epoch in enumerate(found[0].epochs, 1)
        ]
        lines += [
            f"  {event.at:%Y-%m-%d %H:%M} {event.what} by {event.author} at {event.git_commit}"
            + (f": {', '.join(event.fields)}" if event.fields else "")
            for event in found[0].history
        ]
    return "\n".join(lines)


def experiment_status_document(found: "Sequence[Status]") -> list[dict[str, Any]]:
    """Return the same as JSON values, with epochs and history of each."""
    return [
        {
            "experiment": status.name,
            "stage": str(status.stage),
            "start": status.experiment.plan.window()[0].isoformat(),
            "end": status.experiment.plan.window()[1].isoformat(),
            "planned_end": status.planned_end.isoformat(),
            "placement": status.experiment.placement,
            "layer": None if status.experiment.layer is None else status.experiment.layer.model_dump(mode="json"),
            "applied": status.applied,
            "verdict": status.verdict,
            "testers": dict(status.experiment.overrides),
            "champion_overrides": overrides_document(status.overrides),
            "epochs": [
                {"start": epoch.start.isoformat(), "end": epoch.end.isoformat(), "ratios": dict(epoch.ratios)}
                for epoch in status.epochs
            ],
            "history": [event.to_dict() for event in status.history],
        }
        for status in found
    ]


def _part(status: "Status") -> str:
    layer = status.experiment.layer
    return "all" if layer is None else f"[{layer.range[0]:g}, {layer.range[1]:g}) of {layer.name}"
