"""How do a training, a search, a comparison and a batch of lists read?"""

from typing import TYPE_CHECKING, Any, Final

from recsys.printing.terminal import interval, narrow
from recsys.printing.width import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recsys.ports import Trial
    from recsys.workflows.batches.serve_batch import Batch
    from recsys.workflows.modeling.compare import Compared
    from recsys.workflows.modeling.train import Trained
    from recsys.workflows.modeling.tune import Tuned
    from recsys.workflows.workspace import Workspace


_TRIALS_SHOWN: Final = 8
"""The best ones; all stand in --json."""


def trained(done: "Trained", workspace: "Workspace") -> str:
    """Show a version's offline metrics beside its baselines, where it is good and where not, and its gate."""
    report = done.report
    metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]] = report["metrics"]
    gate = report["gate"]
    test = [time for split in report["splits"] for time in split["test"]]
    lists = report["kind"] == "lists"
    asked = f"{report['requests']:,} {'requests' if lists else 'lists'} of {report['units']:,} units"
    weeks = f"weeks from {test[0][:10]} to {test[-1][:10]}; known at {report['known_at'][:10]}"
    fits = f" in {len(report['splits'])} splits" if len(report["splits"]) > 1 else ""
    registered = " (already registered)" if done.reused else ""
    lines = [
        f"  {asked}, {weeks}{fits}; {report['train_rows']:,} training rows",
        _beside(done.weights.model_version, metrics),
        *_candidates(report["candidates"]),
        *_segments(report["segments"], gate["metric"]),
        *(f"  note: {remark}" for remark in report["remarks"]),
        f"  gate {'PASSED' if gate['passed'] else 'REFUSED'}: {gate['reason']}",
        f"  {done.weights.model} version {done.weights.number}{registered}: {_service(done)}",
        f"  report: {workspace.shown(done.page)}",
    ]
    return "\n".join(lines)


def _beside(model_version: str, metrics: "Mapping[str, Mapping[str, Mapping[str, float | None]]]") -> str:
    names = list(metrics["model"])
    rows = [
        [model_version if ranker == "model" else ranker, *[narrow(values[name]) for name in names]]
        for ranker, values in metrics.items()
    ]
    return table(["ranker", *names], rows)


def _candidates(sources: "Sequence[Mapping[str, Any]]") -> list[str]:
    """Say which share of what was taken the candidates hold."""
    if not sources:
        return []
    union, *each = sources
    parts = ", ".join(f"{source['source']} {source['recall']['estimate']:.3f}" for source in each)
    count = union["candidates"]["estimate"]
    return [f"  candidates: {count:.0f} a request, recall {union['recall']['estimate']:.3f} ({parts})"]


def _segments(segments: "Mapping[str, Sequence[Mapping[str, Any]]]", metric: str) -> list[str]:
    """Show the gate's metric by split and by how active units were."""
    lines = []
    for name in ("split", "activity"):
        shares = [
            f"{segment['name']} {narrow(segment['metrics']['model'][metric])}"
            for segment in segments.get(name, ())
            if metric in segment["metrics"]["model"]
        ]
        if shares:
            lines.append(f"  {metric} by {name}: {'; '.join(shares)}")
    return lines


def _service(done: "Trained") -> str:
    if done.in_service:
        return f"in service as logic-{done.weights.version}{', and champion' if done.refreshed else ''}"
    if done.report["gate"]["passed"]:
        return "passed its gate; newer weights of the same logic are in service"
    return "kept with its reason (tag recsys.gate=failed), not in service"


def tuned(done: "Tuned", workspace: "Workspace") -> str:
    """Show the trials of a search by their value, the best ones first."""
    names = list(done.best.settings)
    ordered = sorted(done.trials, key=lambda trial: (-trial.value, trial.number))
    shown = [*ordered[:_TRIALS_SHOWN], *(trial for trial in ordered[_TRIALS_SHOWN:] if trial.number == 0)]
    rows = [
        [
            "as declared" if trial.number == 0 else str(trial.number),
            f"{trial.value:.4f}",
            *[f"{trial.settings[name]:.4g}" for name in names],
        ]
        for trial in shown
    ]
    header = ["trial", done.metric, *names]
    times = ", ".join(f"{time:%Y-%m-%d}" for time in done.times)
    lines = [
        f"  {len(done.trials)} trials of {done.model_version}, judged on its validation requests of {times}",
        table(header, rows, right=tuple(range(1, len(header)))),
        f"  {_found(done, workspace)}",
    ]
    if done.file is not None and done.best.settings.get("min_data_in_leaf", 1) > 1 >= done.declared.settings.get(
        "min_data_in_leaf", 1
    ):
        lines.append("  note: with min_data_in_leaf above 1 trees grow leaf by leaf: they take longer to predict")
    return "\n".join(lines)


def _found(done: "Tuned", workspace: "Workspace") -> str:
    if done.file is None:
        return "nothing was better than what is declared: no file is written"
    if not done.written:
        return f"{done.named} has the best settings already: {workspace.shown(done.file)}"
    return f"written for review: {workspace.shown(done.file)}; then `recsys train --model-version {done.named}`"


def tuned_document(done: "Tuned", workspace: "Workspace") -> dict[str, Any]:
    """Return a search as JSON values."""
    return {
        "model_version": done.model_version,
        "metric": done.metric,
        "decision_times": [time.isoformat() for time in done.times],
        "declared": _trial(done.declared),
        "best": _trial(done.best),
        "trials": [_trial(trial) for trial in done.trials],
        "named": done.named,
        "file": None if done.file is None else workspace.shown(done.file),
        "written": done.written,
    }


def _trial(trial: "Trial") -> dict[str, Any]:
    return {"trial": trial.number, "value": trial.value, "settings": dict(trial.settings)}


def compared(done: "Compared") -> str:
    """Show two versions beside each other, and the paired ratio of each metric."""
    document = done.document
    first, second = done.first.model_version, done.second.model_version
    rows = [
        [
            metric,
            interval(document["metrics"][first][metric], 4),
            interval(document["metrics"][second][metric], 4),
            interval(ratio, 3),
        ]
        for metric, ratio in document["ratios"].items()
    ]
    weeks = [time[:10] for time in document["decision_times"]]
    named = " and ".join(f"{weights.model_version} (weights {weights.number})" for weights in (done.first, done.second))
    asked = f"{document['requests']:,} {'requests' if document['kind'] == 'lists' else 'lists'}"
    lines = [
        f"  {named} on {asked} of {document['units']:,} units",
        f"  decided from {weeks[0]} to {weeks[-1]}, which neither learned from",
        table(["metric", first, second, f"{second} over {first}"], rows),
        *(f"  note: {remark}" for remark in document["remarks"]),
    ]
    return "\n".join(lines)


def batch(done: "Batch", workspace: "Workspace") -> str:
    """Show what a batch wrote."""
    answered = ", ".join(f"{units:,} by {name}" for name, units in sorted(done.answered_by.items()))
    state = " (up to date)" if done.reused else f" ({done.resumed:,} units were done before)" if done.resumed else ""
    return f"  {done.units:,} units ({answered}), {done.rows:,} rows{state}\n  in {workspace.shown(done.folder)}/"
