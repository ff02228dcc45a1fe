"""What were the feature tables made from, and do they still say what events, catalogue and transforms say?"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from recsys.errors import DataError, FeatureError
from recsys.ports import FeatureTable, Finding
from recsys.specs.catalog import digest
from recsys.workflows.exclusive import read_written
from recsys.workflows.workspace import Workspace, file_digest

BUILD: Final = "recsys features build"


def require_events(workspace: Workspace) -> None:
    """Refuse to work without the tables of `recsys ingest`.

    Raises:
        DataError: if one is missing.
    """
    for path in sources(workspace).values():
        if not path.exists():
            message = f"{path.stem}: {workspace.shown(path)} is missing; run `recsys ingest` first"
            raise DataError(message)


def require_built(workspace: Workspace) -> None:
    """Refuse to read feature tables that are not what events, catalogue and transforms say now.

    Raises:
        DataError: if there are no events yet.
        FeatureError: naming the tables: missing, of an earlier state, or left half-built by a killed command.
    """
    require_events(workspace)
    known, present = manifest(workspace), input_digests(workspace)
    stale = [
        name
        for name, table in declared_tables(workspace).items()
        if name not in known or not is_current(workspace, known[name], table, present)
    ]
    if stale:
        message = (
            f"feature tables {', '.join(stale)}: not built from the present events, items and transforms.py;"
            f" run `{BUILD}` first"
        )
        raise FeatureError(message)


def manifest(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Return what the feature tables were built from: a name's digest, inputs, files and rows; empty before the first.

    `until` is the end of the last period in a table, `known` a fingerprint of the events it was made from, and `origin`
    what it was made from when it was last made from the beginning.
    """
    return dict(read_written(manifest_path(workspace)) or {})


def definitions(workspace: Workspace) -> dict[str, str]:
    """Return how each feature table is made, as digests of its transform, keys and periods."""
    return {name: definition(table) for name, table in declared_tables(workspace).items()}


def sources(workspace: Workspace) -> dict[str, Path]:
    """Return the tables that transforms read, by the names of their parameters."""
    return {"events": workspace.events, **{name: workspace.tables / f"{name}.parquet" for name in ("items", "users")}}


def declared_tables(workspace: Workspace) -> Mapping[str, FeatureTable]:
    """Return what transforms.py says of each table."""
    return workspace.adapters.feature_tables(transforms_module(workspace))


def input_digests(workspace: Workspace) -> dict[str, str]:
    """Digest the tables that transforms read."""
    return {name: file_digest(path) for name, path in sources(workspace).items()}


def definition(table: FeatureTable) -> str:
    """Digest how a table is made."""
    return digest([table.code, table.keys, table.period.days, table.active_periods])


def is_current(workspace: Workspace, entry: Mapping[str, Any], table: FeatureTable, inputs: Mapping[str, str]) -> bool:
    """Say whether a table is finished, and of the present inputs and transform."""
    same = entry["digest"] == definition(table) and entry["inputs"] == inputs
    return same and is_whole(workspace, table.name, entry)


def is_whole(workspace: Workspace, name: str, entry: Mapping[str, Any]) -> bool:
    """Say whether every file of a table is there."""
    return all((table_folder(workspace, name) / file).exists() for file in entry["files"])


def tables_finding(workspace: Workspace) -> Iterator[Finding]:
    """Say for `recsys doctor` whether every file is there that the tables were built into; none is opened."""
    name, built = "feature tables: files", manifest(workspace)
    gone = [table for table, entry in built.items() if not is_whole(workspace, table, entry)]
    if not built:
        yield Finding(name, "warning", "none was built yet", f"run `{BUILD}`")
    elif gone:
        folders = ", ".join(workspace.shown(table_folder(workspace, table)) for table in gone)
        yield Finding(name, "failed", f"files are missing in {folders}", f"restore them, or run `{BUILD}`")
    else:
        yield Finding(name, "ok", f"{len(built)} tables as they were built")


def transforms_module(workspace: Workspace) -> Path:
    """Return the feature repository's transforms.py."""
    return workspace.feature_repository / "transforms.py"


def table_folder(workspace: Workspace, name: str) -> Path:
    """Return the folder of a table's steps."""
    return workspace.feature_tables / name


def manifest_path(workspace: Workspace) -> Path:
    """Return where it is written what the tables were made from."""
    return workspace.feature_tables / "manifest.json"
