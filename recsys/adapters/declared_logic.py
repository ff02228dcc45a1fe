"""What does the logic of a feature consist of, so that an edit of it, and only of it, changes a digest?

A digest covers code as it runs: comments, docstrings and formatting do not count, and of transforms.py only the
table's function and the names it reaches count.
"""

import ast
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from recsys.errors import FeatureError
from recsys.ports import FeatureTable

_T = TypeVar("_T")


def normalized(source: str) -> str:
    """Return a piece of Python without comments, docstrings, decorators and formatting."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = []
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
        return dict(_declared(module, module.read_text(encoding="utf-8")))
    except (OSError, SyntaxError) as error:
        message = f"{module}: {error}; a feature repository has a transforms.py with TABLES"
        raise FeatureError(message) from error


def declared_tables(module: Path) -> dict[str, FeatureTable]:
    """Return the tables of a transforms.py with their keys and periods or types of events, in the order of TABLES.

    Raises:
        FeatureError: if the file is missing, or TABLES, KEYS, ACTIVE_PERIODS and PERIOD_DAYS do not fit together.
    """
    code = declared_transforms(module)
    tree = ast.parse(module.read_text(encoding="utf-8"))
    keys = _constant(module, tree, "KEYS", "the names of each table's key columns", dict)
    active = _constant(module, tree, "ACTIVE_PERIODS", "for how many periods an event changes each table", dict)
    days = _constant(module, tree, "PERIOD_DAYS", "the length of a period in days, 1 or more", int)
    streams = _streams(module, tree, code)
    tables = {}
    for name, source in code.items():
        wanted = [("KEYS", keys, _is_names, "a tuple of column names, ('user_id',) for one")]
        if name not in streams:
            wanted.append(("ACTIVE_PERIODS", active, _is_count, "a whole number, 1 or more"))
        for constant, values, fits, rule in wanted:
            if name not in values:
                message = f"{module.name}: {constant} says nothing of table {name!r}; add it beside TABLES"
                raise FeatureError(message)
            if not fits(values[name]):
                message = f"{module.name}: {constant}[{name!r}] is {values[name]!r}; it has to be {rule}"
                raise FeatureError(message)
        events = tuple(streams.get(name, ()))
        tables[name] = FeatureTable(name, source, tuple(keys[name]), timedelta(days=days), active.get(name, 1), events)
    return tables


def _streams(module: Path, tree: ast.Module, tables: Iterable[str]) -> dict[str, Sequence[str]]:
    """Return the types of events that each stream table is made of; a repository may have none."""
    if not any("STREAMS" in _names_bound(node) for node in tree.body):
        return {}
    streams = _constant(module, tree, "STREAMS", "the types of events that each stream table is made of", dict)
    for name, events in streams.items():
        if name not in tables:
            message = f"{module.name}: STREAMS names {name!r}, which is not in TABLES; add its transform there"
            raise FeatureError(message)
        if not _is_names(events):
            message = f"{module.name}: STREAMS[{name!r}] is {events!r}; it has to be a tuple of types of events"
            raise FeatureError(message)
    return streams


def _is_names(value: object) -> bool:
    return isinstance(value, tuple | list) and bool(value) and all(isinstance(name, str) for name in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _constant(module: Path, tree: ast.Module, name: str, what: str, kind: type[_T]) -> _T:
    """Return a module-level constant that is written out, without running the file."""
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if value is not None and name in _names_bound(node):
            try:
                found = ast.literal_eval(value)
            except ValueError:
                break
            if isinstance(found, kind) and found and (kind is not int or _is_count(found)):
                return found
            break
    message = f"{module.name}: {name} is missing or not written out: it says {what}, in plain values"
    raise FeatureError(message)


@lru_cache(maxsize=8)
def _declared(module: Path, text: str) -> dict[str, str]:
    """Read a file's code once: a training asks for it dozens of times."""
    tree = ast.parse(text)
    defined: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for name in _names_bound(node):
            defined.setdefault(name, []).append(node)
    tables = getattr(defined.get("TABLES", [None])[-1], "value", None)
    if not isinstance(tables, ast.Dict):
        message = f"{module.name}: no TABLES; it maps a table's name to the function that makes it"
        raise FeatureError(message)
    functions: dict[str, str] = {}
    for key, value in zip(tables.keys, tables.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str) and isinstance(value, ast.Name)):
            shown = ast.unparse(key) if key is not None else "**"
            message = (
                f"{module.name}: TABLES[{shown}] is {ast.unparse(value)}: a table is a name in quotes and the name of"
                " a function of this file"
            )
            raise FeatureError(message)
        functions[key.value] = value.id
    streams = _streams(module, tree, functions)
    reached = {table: _reached(function, defined) for table, function in functions.items()}
    # Which events come into a stream table is part of what its columns mean.
    return reached | {table: f"{reached[table]}\nevents = {tuple(events)!r}" for table, events in streams.items()}


def _reached(function: str, defined: dict[str, list[ast.stmt]]) -> str:
    reached: dict[str, list[ast.stmt]] = {}
    waiting = [function]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in defined:
            continue
        reached[name] = defined[name]
        for statement in defined[name]:
            waiting.extend(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
    statements = (statement for name in sorted(reached) for statement in reached[name])
    return "\n".join(normalized(ast.unparse(statement)) for statement in statements)


def _names_bound(statement: ast.stmt) -> set[str]:
    """Return the module-level names that a statement binds, whatever kind of statement it is."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names
