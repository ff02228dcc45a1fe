"""Where is an experiment's report kept? As a page and as JSON, and beside the weights it judged."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys.decision.champion import overrides_among
from recsys.errors import ModelError, StoreError
from recsys.ports import Weights
from recsys.reports.experiment import experiment_page
from recsys.workflows.exclusive import write_text
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class KeptReport:
    """Where a report stands."""

    page: Path
    """One HTML file; the JSON document is beside it."""
    beside: tuple[str, ...]
    """Weights in the registry that have it too, such as basket/v2 (weights 3)."""
    failure: str | None = None
    """Why it is not beside the weights, or not frozen though the planned end has come."""


def keep_report(workspace: Workspace, document: Mapping[str, Any], folder: Path | None) -> KeptReport:
    """Write a report where a browser finds it, and a frozen one beside the weights it judged.

    A registry that does not answer keeps nobody from reading a report: it gets it with the next evaluation.

    Args:
        workspace: the project.
        document: of `recsys evaluate`.
        folder: where the files are written; reports/experiments of the state by default.

    Raises:
        OSError: if the files cannot be written.
    """
    name = document["experiment"] + ("-part" if document["analysis"]["part"] else "")
    path = kept_path(workspace, name, folder)
    versions = [arm["model_version"] for arm in document["analysis"]["arms"]]
    overridden = [asdict(override) for override in overrides_among(workspace.ledger, versions)]
    page = experiment_page(document, overridden)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    write_text(path, page)
    write_text(path.with_suffix(".json"), text)
    if not document["frozen"]:
        return KeptReport(path, ())
    files = {f"experiment_{name}.html": page, f"experiment_{name}.json": text}
    try:
        judged = list(_judged(workspace, document))
        for weights in judged:
            workspace.registry.add_reports(weights, files)
    except (StoreError, ModelError) as error:
        return KeptReport(path, (), str(error))
    return KeptReport(path, tuple(f"{weights.model_version} (weights {weights.number})" for weights in judged))


def kept_path(workspace: Workspace, name: str, folder: Path | None = None) -> Path:
    """Return where an experiment's page is kept; its JSON document is beside it."""
    return (folder or workspace.state / "reports" / "experiments") / f"{name}.html"


def _judged(workspace: Workspace, document: Mapping[str, Any]) -> Iterator[Weights]:
    """Yield the weights that answered for an arm's own logic."""
    for arm in document["analysis"]["arms"]:
        model = arm["model_version"].partition("/")[0]
        numbers = {each["weights"] for each in arm["weights"] if each["model_version"] == arm["model_version"]}
        for weights in workspace.registry.search(model) if numbers else ():
            if weights.number in numbers and weights.model_version == arm["model_version"]:
                yield weights
