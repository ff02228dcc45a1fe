"""What do the references say? docs/cli.md from the command line, docs/specs.md from the declarations' models.

`make docs` writes both; with `--check` nothing is written, and a file that would change is named.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer.main
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recsys.cli import app
from recsys.specs.base import Spec, format_duration
from recsys.specs.catalog import KINDS
from recsys.specs.simulation import Simulation

FOLDER: Final = Path(__file__).parent
_DO_NOT_EDIT: Final = "<!-- Written by docs/generate.py (`make docs`); do not edit. -->"

_COMMANDS: Final = """\
Exit codes: 0 done, 1 refused or failed (one line on stderr says what, the rule and what to do), 2 wrong usage.
With `--json` a command prints one JSON document on stdout."""
_DECLARATIONS: Final = """\
One object a file under registry/; the name of a declaration is its file's path below the folder of its kind, without
`.yaml`. Unknown fields are errors. `recsys validate` reports every finding at once. Last comes what is no part of a
project: the shop that `recsys simulate` makes up."""
_DESCRIBED: Final[Mapping[str, type[BaseModel]]] = {**KINDS, "simulation": Simulation}
_WORDS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    timedelta: "duration (`7d`, `12h`)",
    datetime: "date or ISO time, UTC",
    NoneType: "null",
    Path: "path",
}


def documents() -> dict[str, str]:
    """Return every generated file's content by its name in docs/."""
    return {"cli.md": command_reference(), "specs.md": spec_reference()}


def drifted(folder: Path) -> list[str]:
    """Return the names of those generated files that are not as they would be written now."""
    return [
        name
        for name, text in documents().items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write the references, or check them; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/cli.md and docs/specs.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the folder of the files; docs/ by default")
    options = parser.parse_args(arguments)
    stale = drifted(options.folder)
    if options.check:
        for name in stale:
            print(f"docs/{name}: differs from what the code says; run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (options.folder / name).write_text(documents()[name], encoding="utf-8")
        print(f"docs/{name}: written")
    return 0


# ---------------------------------------------------------------- commands


def command_reference() -> str:
    """Describe every command, from the tree that typer makes."""
    root: Any = typer.main.get_command(app)
    parts = [
        "# Commands",
        _DO_NOT_EDIT,
        _COMMANDS,
        _table(
            ("command", "does"),
            [
                (f"[`{' '.join(path)}`](#{'-'.join(path)})", _cell(command.help))
                for path, command in _tree(root, ("recsys",))
                if not hasattr(command, "commands")
            ],
        ),
        *(_command(path, command) for path, command in _tree(root, ("recsys",))),
    ]
    return "\n\n".join(parts) + "\n"


def _tree(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - typer's own
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from _tree(child, (*path, name))


def _command(path: tuple[str, ...], command: Any) -> str:  # noqa: ANN401 - typer's own
    group = hasattr(command, "commands")
    parameters = [parameter for parameter in command.params if not parameter.hidden]
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    options = [parameter for parameter in parameters if parameter.param_type_name == "option"]
    needed = [f"{option.opts[0]} {_metavar(option)}" for option in options if option.required]
    usage = [*path, *map(_argument_usage, arguments), *needed, *(["COMMAND"] if group else ["[OPTIONS]"])]
    parts = [f"## {' '.join(path)}", _cell(command.help), f"```text\n{' '.join(usage)}\n```"]
    if arguments:
        rows = [(f"`{_metavar(each)}`", "yes" if each.required else "no", _cell(each.help)) for each in arguments]
        parts.append(_table(("argument", "required", "meaning"), rows))
    if options:
        needed_first = sorted(options, key=lambda option: not option.required)
        cells = [(_option_names(each), _value(each), _option_default(each), _cell(each.help)) for each in needed_first]
        parts.append(_table(("option", "value", "default", "meaning"), cells))
    return "\n\n".join(parts)


def _argument_usage(argument: Any) -> str:  # noqa: ANN401 - typer's own
    return _metavar(argument) if argument.required else f"[{_metavar(argument)}]"


def _metavar(parameter: Any) -> str:  # noqa: ANN401 - typer's own
    return str(parameter.metavar or parameter.name).upper()


def _option_names(option: Any) -> str:  # noqa: ANN401 - typer's own
    return ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])


def _value(option: Any) -> str:  # noqa: ANN401 - typer's own
    return "" if option.is_flag else _plain(option.type_descriptor.annotation)


def _option_default(option: Any) -> str:  # noqa: ANN401 - typer's own
    if option.required:
        return "required"
    default = "" if option.is_flag or option.default is None else f"`{option.default}`"
    return f"${option.envvar}, else {default}" if option.envvar else default


# ---------------------------------------------------------------- declarations


def spec_reference() -> str:
    """Describe every field of every kind of declaration, from the pydantic models."""
    parts = [
        "# Declarations",
        _DO_NOT_EDIT,
        _DECLARATIONS,
        _table(
            ("kind", "file", "is"),
            [(f"[{kind}](#{kind})", f"`{_pattern(model)}`", _about(model)) for kind, model in _DESCRIBED.items()],
        ),
        *_kinds(),
    ]
    return "\n\n".join(parts) + "\n"


def _kinds() -> Iterator[str]:
    described: set[type[BaseModel]] = set()
    for kind, model in _DESCRIBED.items():
        yield f"## {kind}\n\nFile: `{_pattern(model)}`\n\n{_sentence(_about(model))}\n\n{_fields(model)}"
        for nested in _nested(model):
            if nested not in described:
                described.add(nested)
                yield f"### {nested.__name__}\n\n{_cell(nested.__doc__)}\n\n{_fields(nested)}"


def _pattern(model: type[BaseModel]) -> str:
    return _docstring(model)[0]


def _about(model: type[BaseModel]) -> str:
    return _docstring(model)[1]


def _docstring(model: type[BaseModel]) -> tuple[str, str]:
    """Split a kind's docstring into the pattern of its files and what it is."""
    match = re.fullmatch(r"(registry/\S+\.yaml|FILE\.yaml)[:;] (.+)", " ".join((model.__doc__ or "").split()))
    if match is None:
        message = f"{model.__name__}: its docstring has to begin with the pattern of its files: registry/….yaml: …"
        raise ValueError(message)
    return match[1], _cell(match[2])


def _fields(model: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", _type(field), _default(field), _cell(field.description))
        for name, field in model.model_fields.items()
    ]
    return _table(("field", "type", "default", "meaning"), rows)


def _nested(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the declarations inside a declaration, each before its own ones."""
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            yield inner
            yield from _nested(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _models(argument)


def _type(field: FieldInfo) -> str:
    text = _plain(field.annotation)
    if isinstance(field.discriminator, str):
        text += f", told apart by `{field.discriminator}`"
    limits = [limit for constraint in field.metadata for limit in _limit(constraint)]
    return ", ".join([text, *limits])


def _plain(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    """Say an annotation in plain words."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return _compound(get_origin(annotation), get_args(annotation))


def _compound(origin: Any, arguments: tuple[Any, ...]) -> str:  # noqa: ANN401 - any annotation's parts
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        return _plain(arguments[0])
    words = [_plain(argument) for argument in arguments if argument is not Ellipsis]
    if origin in (Union, UnionType):
        return " or ".join(words)
    if origin is tuple:
        return f"list of {words[0]}" if Ellipsis in arguments else f"[{', '.join(words)}]"
    if origin is dict:
        return f"mapping of {words[0]} to {words[1]}"
    message = f"{origin}: no plain words for this type yet; add them to docs/generate.py"
    raise TypeError(message)


def _limit(constraint: Any) -> Iterator[str]:  # noqa: ANN401 - annotated_types and pydantic's own
    match constraint:
        case Ge(ge=bound):
            yield f"≥ {bound}"
        case Gt(gt=bound):
            yield f"&gt; {bound}"
        case Le(le=bound):
            yield f"≤ {bound}"
        case Lt(lt=bound):
            yield f"&lt; {bound}"
        case MinLen(min_length=bound):
            yield "not empty" if bound == 1 else f"at least {bound}"
        case MaxLen(max_length=bound):
            yield f"at most {bound}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return _written(field.get_default(call_default_factory=True, validated_data={}))


def _written(value: Any) -> str:  # noqa: ANN401 - any default
    """Say a value as it would stand in a declaration."""
    match value:
        case None:
            text = "`null`"
        case timedelta():
            text = f"`{format_duration(value)}`"
        case datetime():
            text = f"`{value:%Y-%m-%d}`"
        case BaseModel():
            text = "its defaults"
        case tuple() | dict() if not value:
            text = "empty"
        case tuple() if isinstance(value[0], timedelta):
            text = f"`[{', '.join(map(format_duration, value))}]`"
        case dict() if isinstance(next(iter(value.values())), BaseModel):
            fields = {name: each.model_dump(exclude_unset=True) for name, each in value.items()}
            text = f"`{fields}`"
        case _:
            text = f"`{value}`"
    return text


# ---------------------------------------------------------------- Markdown


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)


def _cell(text: str | None) -> str:
    """Return a text on one line, safe in a table: outside code spans Markdown reads <name> as HTML."""
    plain = " ".join((text or "").split()).replace("|", "\\|")
    return "`".join(
        piece if number % 2 else piece.replace("<", "&lt;").replace(">", "&gt;")
        for number, piece in enumerate(plain.split("`"))
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
