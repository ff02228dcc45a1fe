"""What is to be done first in a new project? One step after the other, until something is served."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.planning.state import APPLY
from recsys.workflows.declarations.plan import ledger_entries
from recsys.workflows.workspace import Workspace

Document = dict[str, Any]


def first_steps(
    workspace: Workspace, models: Mapping[str, Document], experiments: Sequence[Document]
) -> list[dict[str, Any]]:
    """Return the way to the first list: what each step gives, its command, and whether it was done.

    Args:
        workspace: the project.
        models: name to `model_summary`.
        experiments: of `experiment_summary`.

    Raises:
        StoreError: if the ledger cannot be read.

    Returns:
        Nothing once a model that fills a placement has a champion, or where nothing fills one.
    """
    filled = sorted({spec.model for spec in workspace.catalog.placements.values()} & models.keys())
    if not filled or any(models[name]["champion"] for name in filled):
        return []
    version = first_version(models[filled[0]], experiments)
    applied = any(entry.action == APPLY and entry.state == "done" for entry in ledger_entries(workspace))
    trained = any(each["in_service"] for name in filled for each in models[name]["versions"])
    return [
        {"what": what, "command": command, "done": done}
        for what, command, done in (
            ("The shop's events, items and users are there", "recsys ingest", workspace.events.exists()),
            ("What is declared is applied, and Feast knows it", "recsys apply", applied),
            (
                "Features are built, and online",
                "recsys features build",
                (workspace.state / "materialized.json").exists(),
            ),
            ("A version is trained and has passed its gate", f"recsys train --model-version {version}", trained),
            ("It is champion, and answers", f"recsys promote --model-version {version}", False),
        )
    ]


def first_version(model: Document, experiments: Sequence[Document]) -> str:
    """Return the version of a model to begin with: in service already, or an experiment's control, or the first."""
    names: list[str] = [each["model_version"] for each in model["versions"]]
    ready = [each["model_version"] for each in model["versions"] if each["in_service"]]
    controls = [each["arms"][each["control"]] for each in experiments]
    return next((version for version in (*ready, *controls) if version in names), names[0])
