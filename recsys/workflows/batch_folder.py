"""How does a batch get into its folder whole, whenever it may be killed?

It is written beside its place. The batch before it moves aside, the new one takes the place, and the old one goes.
"""

from pathlib import Path

from recsys.workflows.exclusive import sweep

MANIFEST = "_manifest.json"
"""What a batch says of itself; a hidden file to readers of parquet."""


def partial_folder(folder: Path) -> Path:
    """Return where a batch is written."""
    return folder.with_name(f".{folder.name}.partial")


def put_in_place(folder: Path) -> None:
    """Let the batch that was written take its place."""
    if folder.exists():
        folder.rename(_aside(folder))
    partial_folder(folder).rename(folder)
    settle(folder)


def settle(folder: Path) -> None:
    """Remove what a killed batch left: its part; and the batch before it, which is put back if it has no successor."""
    sweep(folder.parent, partial_folder(folder).name)
    if _aside(folder).exists() and not folder.exists():
        _aside(folder).rename(folder)
    sweep(folder.parent, _aside(folder).name)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")
