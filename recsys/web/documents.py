"""What does the service answer, for the readers of its OpenAPI document and the programs made from it?"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from recsys.web.problems import MEDIA_TYPE


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ListedItem(_Document):
    """One slot of a list."""

    item_id: str
    score: float | None
    """The model's; what it means depends on the model. Null where the item was never scored, such as a pinned one that
    no source gave."""


class Recommendation(_Document):
    """An answered list, best first."""

    request_id: str
    placement: str
    user_id: str
    items: list[ListedItem]
    experiment: str | None
    """The experiment that chose the model; null where none did."""
    arm: str | None
    model_version: str | None
    """The logic that answered, such as basket/v2; null where no model did."""
    weights: int | None
    """The registry's number of its weights."""
    fallback: str | None
    """What had to be given up; null where nothing had."""


class Receipt(_Document):
    """What became of a batch of events."""

    received: int
    new: int
    """Those whose id was not there before."""


class BrokenRule(_Document):
    """One field of a request that breaks a rule."""

    field: str
    """Its place in the body, such as events.0.event_id."""
    rule: str


class Problem(_Document):
    """An error, by RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None
    errors: list[BrokenRule] = []
    """The fields that were wrong, where a field was."""


_MEANINGS: Final = {
    400: "The body, or the header Host, could not be read",
    401: "A bearer token is needed",
    413: "The body is too large",
    415: "The body is not sent as JSON",
    421: "The service is not asked by this name",
    422: "A field breaks a rule",
    500: "The service failed",
    503: "Not available now; try again later",
}
_AT: Final = "#/components/schemas/{model}"


def described(*statuses: int, answer: type[BaseModel] | None = None) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a path as OpenAPI has them: the answer, and errors as problem documents.

    Any path may find that Host is none (400), that it is not answered by it (421), or fail (500).
    """
    shown = {"schema": {"$ref": _AT.format(model=Problem.__name__)}}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": _MEANINGS[status], "content": {MEDIA_TYPE: shown}}
        for status in sorted({400, 421, 500, *statuses})
    }
    return responses if answer is None else {200: {"model": answer}, **responses}


def describe(app: FastAPI) -> None:
    """Let an application's OpenAPI document hold the problem document that its responses name."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _, found = models_json_schema([(Problem, "serialization")], ref_template=_AT)
            document.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's own documentation does
