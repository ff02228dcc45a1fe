"""What did an experiment show, and what follows? `recsys evaluate`: health, effects, intervals, verdict.

Once the planned end is reached the report is frozen into the ledger; later runs return that report and `promote`
accepts no other.
"""

import json
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from recsys.decision.evidence import registered, report_digest
from recsys.decision.next_steps import next_steps
from recsys.decision.verdict import Verdict, VerdictName, decide
from recsys.errors import ExperimentError, StoreError
from recsys.evaluation.analysis import Analysis
from recsys.evaluation.part import Part, part_of
from recsys.experiment.routing import window
from recsys.planning.lifecycle import FREEZE, planned_end
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.experiments.analysis import about, counted_metrics, experiment_digest, read_analysis
from recsys.workflows.experiments.report import KeptReport, keep_report
from recsys.workflows.git import author, commit
from recsys.workflows.workspace import Workspace

NO_VERDICT: Final = "NONE"
"""What a look at a part says instead of a verdict."""


@dataclass(frozen=True)
class Evaluated:
    """An experiment's report."""

    document: dict[str, Any]
    """`about` (who owns it, and what it is about), `analysis`, `verdict`, `next` (what to look at, or do), `metrics`
    (what the declared ones count), `experiment_digest`, and `frozen` (when, or null while it runs, or where a part was
    looked at)."""
    reused: bool
    """Whether it was frozen before."""
    report: KeptReport
    """Where it can be read."""

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict: name, reason, treatment_arm, model_version."""
        return dict(self.document["verdict"])


def evaluate(
    workspace: Workspace,
    name: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    folder: Path | None = None,
) -> Evaluated:
    """Evaluate an experiment up to the environment's clock, or return its frozen report.

    Args:
        workspace: the project.
        name: the experiment.
        since: with `until`, a part to look at: requests from this moment on. Such a look is never frozen, has no
            verdict, and promotes nothing.
        until: and before this one.
        folder: where the page and its JSON are written; reports/experiments of the state by default.

    Raises:
        ExperimentError: if nothing was logged for it, its declaration changed after the report was frozen, or nothing
            of it lies in the part.
        StoreError: if the experiment is being replayed or evaluated for too long.
    """
    part = part_of(name, workspace.catalog.experiment(name), since, until)
    command = f"recsys evaluate {name}"
    with (
        exclusive(workspace, f"experiment-{name}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        if part is not None:
            looked = _look(workspace, name, part)
            return Evaluated(looked, False, keep_report(workspace, looked, folder))
        document, reused = _evaluate(workspace, name)
        try:
            document = document if reused else _frozen(workspace, name, document)
        except StoreError as error:
            return Evaluated(document, False, replace(keep_report(workspace, document, folder), failure=str(error)))
        return Evaluated(document, reused, keep_report(workspace, document, folder))


def _look(workspace: Workspace, name: str, part: Part) -> dict[str, Any]:
    """Describe a part of an experiment, whether it is over or not."""
    reason = (
        f"A look at {part.start.isoformat()} to {part.end.isoformat()} only describes it; `recsys evaluate {name}`"
        " judges the whole."
    )
    none = {"name": NO_VERDICT, "reason": reason, "treatment_arm": None, "model_version": None}
    return _document(workspace, name, read_analysis(workspace, name, part)) | {"verdict": none, "next": []}


def _evaluate(workspace: Workspace, name: str) -> tuple[dict[str, Any], bool]:
    """Return the report, and whether it was frozen before."""
    experiment = workspace.catalog.experiment(name)
    declared = experiment_digest(experiment, workspace.catalog.metrics)
    frozen = frozen_report(workspace, name)
    if frozen is not None:
        if frozen["experiment_digest"] != declared:
            message = (
                f"experiment {name}: its declaration, or that of one of its metrics, changed after its report was"
                f" frozen at {frozen['frozen']}; undo the edit, or declare a new experiment"
            )
            raise ExperimentError(message)
        return frozen, True
    now = workspace.clock.now()
    analysis = read_analysis(workspace, name)
    planned = planned_end(workspace.ledger.entries(), name)
    verdict = decide(analysis, experiment, now, planned_end=planned)
    document = _document(workspace, name, analysis)
    return document | {"verdict": _verdict(verdict), "next": list(next_steps(verdict, name))}, False


def _document(workspace: Workspace, name: str, analysis: Analysis) -> dict[str, Any]:
    experiment = workspace.catalog.experiment(name)
    return {
        "experiment": name,
        "about": about(workspace, experiment),
        "experiment_digest": experiment_digest(experiment, workspace.catalog.metrics),
        "metrics": counted_metrics(experiment, workspace.catalog.metrics),
        "frozen": None,
        "analysis": analysis.to_dict(),
    }


def frozen_report(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """Return an experiment's frozen report, or None before its decision was cut."""
    for entry in reversed(workspace.ledger.entries(name)):
        if entry.action == FREEZE and entry.state == "done":
            return dict(entry.payload)
    return None


def _frozen(workspace: Workspace, name: str, document: dict[str, Any]) -> dict[str, Any]:
    """Freeze a report whose planned end has come, with what the registry knows of the weights it judged.

    Raises:
        StoreError: if the registry or the ledger does not answer; nothing is frozen then, and the next evaluation is.
    """
    now = workspace.clock.now()
    if document["verdict"]["name"] == VerdictName.WAIT or now < window(workspace.catalog.experiment(name))[1]:
        return document
    content = document | {
        "frozen": now.isoformat(),
        "git_commit": commit(workspace.root),
        "registered": registered(workspace.registry, document["analysis"]),
    }
    content["digest"] = report_digest(json.loads(json.dumps(content)))
    workspace.ledger.append(
        transaction=str(uuid.uuid4()),
        state="done",
        action=FREEZE,
        subject=name,
        payload=content,
        author=author(),
        at=now,
    )
    return content


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | {"name": str(verdict.name)}
