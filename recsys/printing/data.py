"""How do the shop's data and its features read?"""

from typing import TYPE_CHECKING, Any

from recsys.printing.terminal import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recsys.workflows.features import BuiltTable
    from recsys.workflows.ingest import Ingestion
    from recsys.workflows.workspace import Workspace


def ingestion(done: "Ingestion", workspace: "Workspace") -> str:
    """Show what was read and dropped."""
    rows = [
        [count.rows, f"{count.read:,}", f"{count.dropped:,}", count.why if count.dropped else ""]
        for count in done.counts
    ]
    where = workspace.shown(workspace.tables)
    state = "up to date" if done.reused else "written"
    return (
        table(["rows", "read", "dropped", "why"], rows, right=(1, 2))
        + f"\n  {state}: {where}/ (events {done.events_digest})"
    )


def features(tables: "Sequence[BuiltTable]", until: Any, kept: bool, workspace: "Workspace") -> str:  # noqa: ANN401
    """Show the feature tables and up to when they are online."""
    online = f"online store {'already ' if kept else ''}at {until:%Y-%m-%d %H:%M} UTC"
    return feature_tables(tables, workspace) + f"\n  {online}"


def feature_tables(tables: "Sequence[BuiltTable]", workspace: "Workspace") -> str:
    """Show the feature tables."""
    rows = [[built.name, f"{built.rows:,}", "up to date" if built.reused else "built"] for built in tables]
    return table(["table", "rows", ""], rows, right=(1,)) + f"\n  in {workspace.shown(workspace.feature_tables)}/"
