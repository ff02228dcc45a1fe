"""How do events become features?

`recsys features build`: a table a view, then up to the clock into the online store.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from recsys.errors import DataError, FeatureError
from recsys.specs.catalog import digest
from recsys.workflows.exclusive import FEATURES, exclusive, read_written, sweep, write_by_rename
from recsys.workflows.workspace import Workspace, file_digest

_COMMAND: Final = "recsys features build"


@dataclass(frozen=True)
class BuiltTable:
    """One feature table."""

    name: str
    rows: int
    reused: bool


def build_tables(workspace: Workspace, progress: Callable[[str], None] | None = None) -> list[BuiltTable]:
    """Build every feature table that is not up to date with its events, catalogue and transform.

    A table leaves the manifest before it is built and comes back after: a killed build never passes for a finished one.

    Raises:
        DataError: if there are no events yet.
        StoreError: if another command works on the tables for too long.
    """
    with exclusive(workspace, FEATURES, _COMMAND):
        sweep(workspace.feature_tables, "**/*.partial")
        sweep(workspace.state, "spill-*")
        known = manifest(workspace)
        built = []
        for name, wanted in _wanted(workspace).items():
            if _current(workspace, known, name, wanted):
                built.append(BuiltTable(name, known[name]["rows"], reused=True))
                continue
            if progress is not None:
                progress(name)
            if known.pop(name, None) is not None:
                write_by_rename(_manifest_path(workspace), known)
            rows = workspace.engine.transform(_module(workspace), name, _sources(workspace), _table(workspace, name))
            known[name] = {"digest": wanted, "rows": rows}
            write_by_rename(_manifest_path(workspace), known)
            built.append(BuiltTable(name, rows, reused=False))
        return built


def materialize(workspace: Workspace) -> tuple[datetime, bool]:
    """Bring the online store up to the environment's clock.

    The marker that says so leaves before the first row is written and comes back after the last one: a run after a kill
    writes everything again.

    Returns:
        The clock's time, and whether the store was already there.

    Raises:
        StoreError: if another command works on the features for too long.
    """
    with exclusive(workspace, FEATURES, _COMMAND):
        return _materialize(workspace)


def _materialize(workspace: Workspace) -> tuple[datetime, bool]:
    now = workspace.clock.now()
    marker = _marker(workspace)
    wanted = {"until": now.isoformat(), "tables": digest(manifest(workspace))}
    known = read_written(marker)
    if known == wanted:
        return now, True
    since = datetime.fromisoformat(known["until"]) if known and known["tables"] == wanted["tables"] else None
    sweep(workspace.state, "materialized.*.partial")
    marker.unlink(missing_ok=True)
    workspace.features.materialize(now, since)
    write_by_rename(marker, wanted)
    return now, False


def require_events(workspace: Workspace) -> None:
    """Refuse to work without the tables of `recsys ingest`.

    Raises:
        DataError: if one is missing.
    """
    for path in _sources(workspace).values():
        if not path.exists():
            message = f"{path.stem}: {workspace.shown(path)} is missing; run `recsys ingest` first"
            raise DataError(message)


def require_built(workspace: Workspace) -> None:
    """Refuse to read feature tables that are not what events, catalogue and transforms say now.

    Raises:
        DataError: if there are no events yet.
        FeatureError: naming the tables: missing, of an earlier state, or left half-built by a killed command.
    """
    known = manifest(workspace)
    stale = [name for name, wanted in _wanted(workspace).items() if not _current(workspace, known, name, wanted)]
    if stale:
        message = (
            f"feature tables {', '.join(stale)}: not built from the present events, items and transforms.py;"
            f" run `{_COMMAND}` first"
        )
        raise FeatureError(message)


def require_materialized(workspace: Workspace) -> None:
    """Refuse to read lists from an online store whose filling was killed half-way.

    Raises:
        FeatureError: if it was never filled to the end.
    """
    if not _marker(workspace).exists():
        message = (
            f"online store: no materialization came to its end ({workspace.shown(_marker(workspace))} is missing):"
            f" its views may be of different moments; run `{_COMMAND}`"
        )
        raise FeatureError(message)


def manifest(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Return what the feature tables were built from: name to digest and rows; empty before the first build."""
    return dict(read_written(_manifest_path(workspace)) or {})


def _wanted(workspace: Workspace) -> dict[str, str]:
    """Digest what each declared table has to be made from."""
    require_events(workspace)
    inputs = {name: file_digest(path) for name, path in _sources(workspace).items()}
    transforms = workspace.adapters.transforms(_module(workspace))
    return {name: digest({"inputs": inputs, "transform": source}) for name, source in transforms.items()}


def _current(workspace: Workspace, known: Mapping[str, dict[str, Any]], name: str, wanted: str) -> bool:
    return name in known and known[name]["digest"] == wanted and _table(workspace, name).exists()


def _sources(workspace: Workspace) -> dict[str, Path]:
    return {"events": workspace.events, "items": workspace.tables / "items.parquet"}


def _module(workspace: Workspace) -> Path:
    return workspace.feature_repository / "transforms.py"


def _table(workspace: Workspace, name: str) -> Path:
    return workspace.feature_tables / name / "part-0.parquet"


def _manifest_path(workspace: Workspace) -> Path:
    return workspace.feature_tables / "manifest.json"


def _marker(workspace: Workspace) -> Path:
    return workspace.state / "materialized.json"
