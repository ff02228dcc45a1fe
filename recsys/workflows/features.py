"""How do events become features?

`recsys features build`: a table a view, then up to the clock into the online store.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recsys.errors import DataError
from recsys.specs.catalog import digest
from recsys.workflows.workspace import Workspace, file_digest


@dataclass(frozen=True)
class BuiltTable:
    """One feature table."""

    name: str
    rows: int
    reused: bool


def build_tables(workspace: Workspace, progress: Callable[[str], None] | None = None) -> list[BuiltTable]:
    """Build every feature table that is not up to date with its events, catalogue and transform.

    Raises:
        DataError: if there are no events yet.
    """
    if not workspace.events.exists():
        message = f"events: {workspace.shown(workspace.events)} is missing; run `recsys ingest` first"
        raise DataError(message)
    sources = {"events": workspace.events, "items": workspace.tables / "items.parquet"}
    module = workspace.feature_repository / "transforms.py"
    inputs = {name: file_digest(path) for name, path in sources.items()}
    known = manifest(workspace)
    built = []
    for name, source in workspace.adapters.transforms(module).items():
        wanted = digest({"inputs": inputs, "transform": source})
        output = workspace.feature_tables / name / "part-0.parquet"
        entry = known.get(name)
        if entry is not None and entry["digest"] == wanted and output.exists():
            built.append(BuiltTable(name, entry["rows"], reused=True))
            continue
        if progress is not None:
            progress(name)
        rows = workspace.engine.transform(module, name, sources, output)
        known[name] = {"digest": wanted, "rows": rows}
        _write(workspace, known)
        built.append(BuiltTable(name, rows, reused=False))
    return built


def materialize(workspace: Workspace) -> tuple[datetime, bool]:
    """Bring the online store up to the environment's clock.

    Returns:
        The clock's time, and whether the store was already there.
    """
    now = workspace.clock.now()
    marker = workspace.state / "materialized.json"
    wanted = {"until": now.isoformat(), "tables": digest(manifest(workspace))}
    known = json.loads(marker.read_text()) if marker.exists() else None
    if known == wanted:
        return now, True
    since = datetime.fromisoformat(known["until"]) if known and known["tables"] == wanted["tables"] else None
    workspace.features.materialize(now, since)
    marker.write_text(json.dumps(wanted))
    return now, False


def manifest(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Return what the feature tables were built from: name to digest and rows; empty before the first build."""
    path = workspace.feature_tables / "manifest.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _write(workspace: Workspace, known: dict[str, dict[str, Any]]) -> None:
    path = workspace.feature_tables / "manifest.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(known, indent=2))
    partial.rename(path)
