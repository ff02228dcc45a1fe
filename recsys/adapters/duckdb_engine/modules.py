"""Which functions does a feature repository's transforms.py have, and what does each ask for?"""

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.errors import FeatureError

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
