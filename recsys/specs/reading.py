"""What is wrong with the fields of one declaration? Each finding once, at its field, in plain words."""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from recsys.errors import SpecError
from recsys.specs.base import PlacedError

Model = TypeVar("Model", bound=BaseModel)

_LONGEST: Final = 60
"""Characters of a value that a finding quotes: a line's worth."""


def validated(content: Mapping[str, Any], shown: str, spec_type: type[Model]) -> Model:
    """Return a declaration made of its fields.

    Args:
        content: fields to values, as they stand in the file.
        shown: what errors call the file.
        spec_type: what it declares.

    Raises:
        SpecError: with every finding, each beginning with `shown`.
    """
    try:
        return spec_type.model_validate(content)
    except ValidationError as error:
        raise SpecError([f"{shown}: {each}" for each in _findings(error.errors(), spec_type)]) from error


def _findings(errors: Sequence[ErrorDetails], spec_type: type[BaseModel]) -> Iterator[str]:
    """Yield each finding; a field that is missed because its name is misspelt is told with the misspelling alone."""
    missing = {item["loc"] for item in errors if item["type"] == "missing"}
    meant: set[tuple[int | str, ...]] = set()
    told = []
    for item in errors:
        *parents, name = item["loc"] or ("",)
        if item["type"] == "extra_forbidden":
            fields = _fields(spec_type, parents)
            absent = [field for field in fields if (*parents, field) in missing]
            close = difflib.get_close_matches(str(name), absent, n=1) or difflib.get_close_matches(
                str(name), fields, n=1
            )
            meant |= {(*parents, field) for field in close}
            told.append(
                (item["loc"], f"{_at(item['loc'])}: not a field here{_meant(close)}; fields: {', '.join(fields)}")
            )
        else:
            told.append((item["loc"], _finding(item)))
    for loc, text in told:
        if not (loc in missing and loc in meant):
            yield text


def _finding(item: ErrorDetails) -> str:
    loc, context = item["loc"], item.get("ctx", {})
    fault = context.get("error")
    if isinstance(fault, PlacedError):
        return f"{_at((*loc, *fault.where))}: {_short(fault.value)}: {fault}"
    match item["type"]:
        case "missing":
            return f"{_at(loc)}: required, and not given"
        case "union_tag_not_found":
            return (
                f"{_at((*loc, _unquoted(context['discriminator'])))}: required, and not given: it says which kind it is"
            )
        case "union_tag_invalid":
            known = [_unquoted(tag) for tag in str(context["expected_tags"]).split(", ")]
            tag = str(context["tag"])
            close = _meant(difflib.get_close_matches(tag, known, n=1))
            where = _at((*loc, _unquoted(context["discriminator"])))
            return f"{where}: {tag!r}: there is no such{close}; there are: {', '.join(known)}"
        case "literal_error":
            rule = f"has to be {context['expected']}"
        case _:
            rule = item["msg"].removeprefix("Value error, ")
    value = item["input"]
    quoted = "" if isinstance(value, Mapping | BaseModel) else f" {_short(value)}:"
    return f"{_at(loc)}:{quoted} {rule}"


def _meant(close: Sequence[str]) -> str:
    return f": did you mean {close[0]}?" if close else ""


def _at(loc: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in loc) or "(whole file)"


def _unquoted(text: Any) -> str:  # noqa: ANN401 - pydantic quotes names in its contexts
    return str(text).strip("'")


def _short(value: Any) -> str:  # noqa: ANN401 - whatever stood in the YAML
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _fields(spec_type: type[BaseModel], parents: Sequence[int | str]) -> list[str]:
    """Return the fields of the declaration at a location, in their order."""
    kinds: list[Any] = [spec_type]
    for part in parents:
        kinds = [below for kind in kinds for below in _below(kind, part)]
    return list(dict.fromkeys(name for kind in kinds for each in _models(kind) for name in each.model_fields))


def _below(kind: Any, part: int | str) -> list[Any]:  # noqa: ANN401 - a type, as it stands in an annotation
    """Return what may stand below a type at a part of pydantic's location: a field, a key, a number, a union's tag."""
    plain = _plain(kind)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return [plain.model_fields[str(part)].annotation] if part in plain.model_fields else []
    if get_origin(plain) in {Union, types.UnionType}:
        tagged = [each for each in _models(plain) if part == each.__name__ or part in _tags(each)]
        return tagged or [below for each in get_args(plain) for below in _below(each, part)]
    arguments = [each for each in get_args(plain) if each is not Ellipsis]
    return arguments[-1:]


def _models(kind: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - a type, as it stands in an annotation
    plain = _plain(kind)
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return [plain]
    return [each for member in get_args(plain) for each in _models(member)]


def _plain(kind: Any) -> Any:  # noqa: ANN401 - a type, as it stands in an annotation
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _tags(model: type[BaseModel]) -> set[Any]:
    """Return the values by which a union may know a model: what a field of it can only be."""
    kinds = (field.annotation for field in model.model_fields.values())
    return {value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)}
