"""What does the logic of a feature consist of, so that an edit of it, and only of it, changes a digest?

A digest covers code as it runs: comments, docstrings and formatting do not count, and of transforms.py only the
table's function and the names it reaches count.
"""

import ast
from pathlib import Path

from recsys.errors import FeatureError


def normalized(source: str) -> str:
    """Return a piece of Python without comments, docstrings and formatting."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def transform_source(module: Path, table: str) -> str:
    """Return the normalized code of a table's transform, with all module-level names it reaches.

    Raises:
        FeatureError: if the file is missing or TABLES has no such table.
    """
    transforms = declared_transforms(module)
    if table not in transforms:
        message = f"{module.name}: TABLES has no {table!r}; every feature view's source needs a transform of its name"
        raise FeatureError(message)
    return transforms[table]


def declared_transforms(module: Path) -> dict[str, str]:
    """Return the tables of a transforms.py and their normalized code, in the order of TABLES.

    Raises:
        FeatureError: if the file is missing or has no TABLES = {"name": function, ...}.
    """
    try:
        tree = ast.parse(module.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        message = f"{module}: {error}; a feature repository has a transforms.py with TABLES"
        raise FeatureError(message) from error
    defined = {name: node for node in tree.body for name in _names_defined(node)}
    tables = getattr(defined.get("TABLES"), "value", None)
    if not isinstance(tables, ast.Dict):
        message = f"{module.name}: no TABLES; it maps a table's name to the function that makes it"
        raise FeatureError(message)
    return {
        key.value: _reached(value.id, defined)
        for key, value in zip(tables.keys, tables.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and isinstance(value, ast.Name)
    }


def _reached(function: str, defined: dict[str, ast.stmt]) -> str:
    reached: dict[str, ast.stmt] = {}
    waiting = [function]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in defined:
            continue
        reached[name] = defined[name]
        waiting.extend(node.id for node in ast.walk(defined[name]) if isinstance(node, ast.Name))
    return "\n".join(normalized(ast.unparse(reached[name])) for name in sorted(reached))


def _names_defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []
