"""How is the service asked? Pure functions from its OpenAPI document to routes, fields and commands to lay out."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from recsys.web.console.reads import Document

_TYPES: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}
_PATTERNS: Final = {r"^[^\x00]+$": "without the character 0"}
"""Those that words say better."""
_PROBLEM: Final = "Problem"
_JSON: Final = "application/json"


@dataclass(frozen=True)
class Here:
    """What the commands of the page say of this very service."""

    address: str
    """Where it was asked, such as http://127.0.0.1:8000."""
    placements: Mapping[str, str | None] = field(default_factory=dict)
    """Those that it answers, each with a tester of an experiment on it: what a tester is shown is not analysed."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The environment variable of each token (read_token, write_token) that is declared."""


def api_view(document: Document, here: Here) -> Mapping[str, Any]:
    """Show every route with its fields, its answers and a command that asks it.

    Args:
        document: OpenAPI 3.1, as the application makes it of itself.
        here: this service.
    """
    schemas = document["components"]["schemas"]
    routes = [
        _route(path, method, operation, schemas, here)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    order = {"post": 0, "get": 1}
    return {
        "version": document["info"]["version"],
        "routes": sorted(routes, key=lambda route: order[route["method"]]),
        "problem": list(_fields(schemas[_PROBLEM], schemas)),
        "guarded": any(route["token"] for route in routes),
    }


def _route(path: str, method: str, operation: Document, schemas: Document, here: Here) -> dict[str, Any]:
    tokens = [name for each in operation.get("security", []) for name in each]
    token = here.variables.get(tokens[0], tokens[0].upper()) if tokens else None
    asked = operation.get("requestBody", {}).get("content", {}).get(_JSON, {}).get("schema")
    ((kind, answer),) = operation["responses"]["200"]["content"].items()
    body = None if asked is None else _resolved(asked, schemas)
    answered = _resolved(answer["schema"], schemas)
    return {
        "method": method,
        "path": path,
        "anchor": f"{method}{path.replace('/', '-')}",
        "purpose": operation["description"],
        "token": token,
        "body": None if body is None else list(_fields(body, schemas)),
        "body_purpose": "" if body is None else body["description"],
        "kind": kind,
        "answer": list(_fields(answered, schemas)),
        "answer_purpose": answered.get("description", ""),
        "statuses": [
            {"status": status, "meaning": said["description"], "problem": status != "200"}
            for status, said in operation["responses"].items()
        ],
        "command": _command(f"{here.address}{path}", token, None if body is None else _example(body, here)),
    }


# ---------------------------------------------------------------- commands


def _example(body: Document, here: Here) -> Document:
    """Return a body's example, of a placement that this service answers, and of a tester where it has one."""
    example = body["examples"][0]
    found = {name: example[name] for name in body["properties"] if name in example}
    if "placement" in found and here.placements:
        found["placement"], tester = min(here.placements.items(), key=lambda each: (each[1] is None, each[0]))
        found["user_id"] = tester or found["user_id"]
    return found


def _command(address: str, token: str | None, body: Document | None) -> str:
    parts = [f"curl -sS {shlex.quote(address)}"]
    if token is not None:
        parts.append(f'-H "Authorization: Bearer ${token}"')
    if body is not None:
        parts += [f"-H {shlex.quote(f'Content-Type: {_JSON}')}", f"-d {shlex.quote(json.dumps(body))}"]
    return " \\\n  ".join(parts)


# ---------------------------------------------------------------- fields


def _resolved(schema: Document, schemas: Document) -> Document:
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _fields(schema: Document, schemas: Document, before: str = "") -> Iterator[dict[str, Any]]:
    """Yield a schema's fields by their path, each before those inside of it."""
    for name, shape in schema.get("properties", {}).items():
        yield {
            "name": f"{before}{name}",
            "type": _type(shape),
            "rule": ", ".join(_rules(shape)),
            "required": name in schema.get("required", ()),
            "default": json.dumps(shape["default"]) if shape.get("default") not in (None, [], {}) else "",
            "meaning": shape.get("description", ""),
        }
        for step, inner in _inside(shape):
            yield from _fields(_resolved(inner, schemas), schemas, f"{before}{name}{step}.")


def _inside(field: Document) -> Iterator[tuple[str, Document]]:
    """Yield the objects inside of a field, with the step to them."""
    if "$ref" in field:
        yield "", field
    if "$ref" in field.get("items", {}):
        yield "[]", field["items"]
    named = field.get("additionalProperties")
    if isinstance(named, Mapping) and "$ref" in named:
        yield ".*", named


def _type(field: Document) -> str:
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "anyOf" in field:
        return " or ".join(map(_type, field["anyOf"]))
    if field.get("type") == "array":
        return f"list of {_many(field['items'])}"
    named = [each for each in (field.get("additionalProperties"), *field.get("patternProperties", {}).values()) if each]
    if named:
        return f"object of {_many(named[0])}"
    if field.get("format") == "date-time":
        return "time as ISO text"
    return _TYPES[field.get("type", "object")]


def _many(field: Document) -> str:
    of = _type(field)
    return f"{of}s" if of in ("object", "text", "number", "whole number") else of


def _rules(field: Document) -> Iterator[str]:
    for part in field.get("anyOf", ()):
        yield from _rules(part)
    if (span := _span(field, "minLength", "maxLength")) is not None:
        yield f"{span} characters"
    if (span := _span(field, "minimum", "maximum")) is not None:
        yield span
    if (span := _span(field, "minItems", "maxItems")) is not None:
        yield f"{span} of them"
    if (span := _span(field, "minProperties", "maxProperties")) is not None:
        yield f"{span} fields"
    if "pattern" in field:
        yield _PATTERNS.get(field["pattern"], f"as `{field['pattern']}`")
    yield from (f"named as `{pattern}`" for pattern in field.get("patternProperties", {}))
    if "items" in field:
        yield from (f"each {rule}" for rule in _rules(field["items"]))


def _span(field: Document, least: str, most: str) -> str | None:
    """Return the bounds of a value, a length or a count in words; None where there are none."""
    low, high = field.get(least), field.get(most)
    if low is None:
        return None if high is None else f"at most {high:,.0f}"
    return f"at least {low:,.0f}" if high is None else f"{low:,.0f} to {high:,.0f}"
