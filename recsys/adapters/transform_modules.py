"""Which functions does a feature repository's transforms.py have, what does each ask for, and what if one fails?"""

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.errors import DataError, FeatureError

if TYPE_CHECKING:
    from types import ModuleType


def transform_of(module: Path, table: str) -> Callable[..., Any]:
    """Return the transform of a table; given every source, it takes those that are its parameters.

    Raises:
        FeatureError: if the file or the transform is missing.
    """
    functions = getattr(load_module(module), "TABLES", {})
    if table not in functions:
        message = f"feature table {table!r}: {module.name} has no such transform; it has {', '.join(functions)}"
        raise FeatureError(message)
    return _asking_for_what_it_names(functions[table])


def load_module(path: Path) -> "ModuleType":
    """Import a Python file that is on no path.

    Raises:
        FeatureError: if it is missing.
    """
    spec = importlib.util.spec_from_file_location(f"recsys_declared_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        message = f"{path}: missing; a feature repository has a transforms.py with TABLES"
        raise FeatureError(message)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _asking_for_what_it_names(transform: Callable[..., Any]) -> Callable[..., Any]:
    """Let a transform be given every source, of which it takes those that are its parameters."""
    named = set(inspect.signature(transform).parameters)
    return lambda **given: transform(**{name: value for name, value in given.items() if name in named})


def transform_failed(module: Path, table: str, sources: str, error: Exception, said: str | None = None) -> FeatureError:
    """Return whatever a declared transform raises as one line; `said` is what it says, where that is not its text."""
    message = (
        f"feature table {table}: its transform in {module.name} does not run on {sources}:"
        f" {type(error).__name__}: {said or reason(error)}; {advice(error)}"
    )
    return FeatureError(message)


def reason(error: Exception) -> str:
    """Return the first line: engines repeat the statement below it."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def advice(error: Exception) -> str:
    """Return what to do about it."""
    text = str(error).lower()
    if "no space left" in text or "out of disk" in text:
        return "free disk space and run this again"
    if "permission denied" in text:
        return "check that this user may read and write the state folder"
    if "parquet" in text or "magic bytes" in text:
        return "where a file is damaged, delete it and run `recsys ingest` and `recsys features build` again"
    return "mend what it names"


def present(path: Path) -> Path:
    """Return the file or folder of a table.

    Raises:
        DataError: if it is not there.
    """
    if not path.exists():
        message = f"{path}: no such file or folder; run `recsys ingest` and `recsys features build` to make it"
        raise DataError(message)
    return path
