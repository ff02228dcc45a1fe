"""How does a batch get into its folder whole, whenever it may be killed?

It is written beside its place. The batch before it moves aside, the new one takes the place, and the old one goes.
"""

from pathlib import Path

from recsys.errors import StoreError
from recsys.serving.list_rows import MANIFEST
from recsys.specs.catalog import digest
from recsys.workflows.exclusive import read_written, sweep
from recsys.workflows.workspace import Workspace

PARTS = ".parts"
"""The folder with a marker of each part that is written; it goes when the batch has taken its place."""


def batch_folder(workspace: Workspace, name: str, out: Path | None) -> Path:
    """Return below which folder the batches of a placement or an audience lie."""
    return out or workspace.state / "batch" / name


def lock_name(workspace: Workspace, name: str, folder: Path) -> str:
    """Return what is held while a batch is written: one folder, one lock, whoever writes into it.

    Args:
        workspace: the project.
        name: what the lock is called where the batch lies in the state folder.
        folder: of the batch.
    """
    if folder.resolve().is_relative_to((workspace.state / "batch").resolve()):
        return f"batch-{name}"
    return f"batch-{digest(str(folder.resolve()))}"


def require_own(folder: Path, kind: str, name: str) -> None:
    """Refuse a folder that holds something else: a batch takes its place as a whole.

    Args:
        folder: of the batch.
        kind: placement or audience; the field of the manifest that says whose a batch is.
        name: whose this batch is.

    Raises:
        StoreError: naming what the folder holds.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    rule = "a batch takes the place of what is there: give another --out, or move it away"
    manifest = folder / MANIFEST
    if not manifest.exists():
        message = f"batch folder {folder}: it holds files and no {MANIFEST}, so no batch: {rule}"
        raise StoreError(message)
    known = read_written(manifest)
    if known is None or (known.keys().isdisjoint(("placement", "audience")) and "identity" in known):
        return  # damaged, or of an earlier version, which did not say whose it is
    if known.get(kind) != name:
        other = next((f"{each} {known[each]}" for each in ("placement", "audience") if each in known), "something else")
        message = f"batch folder {folder}: it holds a batch of {other}, not of {kind} {name}: {rule}"
        raise StoreError(message)


def partial_folder(folder: Path) -> Path:
    """Return where a batch is written."""
    return folder.with_name(f".{folder.name}.partial")


def put_in_place(folder: Path) -> None:
    """Let the batch that was written take its place."""
    if folder.exists():
        folder.rename(_aside(folder))
    partial_folder(folder).rename(folder)
    settle(folder)


def settle(folder: Path, *, keep_parts: bool = False) -> None:
    """Remove what a killed batch left: its part; and the batch before it, which is put back if it has no successor.

    Args:
        folder: of the batch.
        keep_parts: leave what it has written: it is going to be completed.
    """
    if not keep_parts:
        sweep(folder.parent, partial_folder(folder).name)
    if _aside(folder).exists() and not folder.exists():
        _aside(folder).rename(folder)
    sweep(folder.parent, _aside(folder).name)
    sweep(folder, PARTS)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")
