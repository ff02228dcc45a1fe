"""How do the shop's data and its features read?"""

from typing import TYPE_CHECKING

from recsys.printing.width import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recsys.workflows.data.ingest import Ingestion
    from recsys.workflows.features.build import BuiltTable, Materialized
    from recsys.workflows.modeling.dataset import Built, Inspected
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


def features(tables: "Sequence[BuiltTable]", online: "Materialized", workspace: "Workspace") -> str:
    """Show the feature tables and what is online."""
    return f"{feature_tables(tables, workspace)}\n{online_store(online)}"


def online_store(online: "Materialized") -> str:
    """Show up to when the features are online, and the item-item models that were made."""
    lines = []
    if online.item_models:
        header = ["item-item model of", "items", "MB"]
        rows = [[", ".join(each.sources), f"{each.items:,}", f"{each.megabytes:,.1f}"] for each in online.item_models]
        lines.append(table(header, rows, right=(1, 2)))
    lines.append(f"  online store {'already ' if online.reused else ''}at {online.until:%Y-%m-%d %H:%M} UTC")
    return "\n".join(lines)


def feature_tables(tables: "Sequence[BuiltTable]", workspace: "Workspace") -> str:
    """Show the feature tables."""
    rows = [
        [
            built.name,
            f"{built.rows:,}",
            f"{built.until:%Y-%m-%d}",
            "up to date" if built.reused else f"{built.added:,} added",
        ]
        for built in tables
    ]
    header = ["table", "rows", "up to", ""]
    return table(header, rows, right=(1,)) + f"\n  in {workspace.shown(workspace.feature_tables)}/"


def dataset(built: "Built", workspace: "Workspace") -> str:
    """Show a training set by decision time, and what was left out."""
    from recsys.modeling.profile import by_week

    document = built.dataset.document
    lines = []
    for part, entries in document["profile"].items():
        if entries:
            header = ["decided", "rows", "positives", *(f"{view}: age" for view in entries[0]["views"])]
            lines += [f"  {part}", table(header, by_week(entries), right=(1, 2))]
    left = document["left_out"]
    if left["immature_decision_times"]:
        later = ", ".join(moment[:10] for moment in left["immature_decision_times"])
        lines.append(f"  left out: {later}: {left['immature_events']:,} target events so far, not all of them yet")
    if left["immature_slots"]:
        lines.append(f"  left out: {left['immature_slots']:,} shown slots whose outcome is not mature")
    lines += [f"  not checked: {line}" for line in document["unchecked"]]
    lines += [
        f"  erased: {sum(erased['rows'].values()):,} rows of users forgotten on {erased['at'][:10]}; it was"
        f" {erased['digest_before']} before"
        for erased in document.get("erased", ())
    ]
    state = "up to date" if built.reused else "checked: no row knows more than its decision time did"
    lines.append(f"  {state}\n  {workspace.shown(built.dataset.folder)}/ (rows {built.dataset.digest})")
    return "\n".join(lines)


def inspection(found: "Inspected") -> str:
    """Show what a check of a training set found."""
    lines = [f"  {violation}" for violation in found.violations]
    lines += [f"  not checked: {line}" for line in found.unchecked]
    if not found.intact:
        lines.append("  files: not those that were written: build the set again")
    return "\n".join(lines) or (
        f"  {found.rows:,} rows of {found.dataset.digest}: events, features and labels were known when they had to be"
    )
