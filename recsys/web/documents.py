"""What does the service answer, for the readers of its OpenAPI document and the programs made from it?"""

from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from recsys.web.problems import MEDIA_TYPE


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ListedItem(_Document):
    """One slot of a list."""

    item_id: str
    """The item."""
    score: float | None
    """The model's; what it means depends on the model. Null where the item was never scored, such as a pinned one that
    no source gave."""


class Recommendation(_Document):
    """An answered list, best first."""

    request_id: str
    """The request's, or a random one; the list is logged and explained by it."""
    placement: str
    """As it was asked for."""
    user_id: str
    """As it was asked for."""
    items: list[ListedItem]
    """Its slots from the first; fewer than `k` where there are no more candidates."""
    experiment: str | None
    """The experiment that chose the model; null where none did."""
    arm: str | None
    """The arm of it that the unit has; null where no experiment chose."""
    model_version: str | None
    """The logic that answered, such as basket/v2; null where no model did."""
    weights: int | None
    """The registry's number of its weights."""
    fallback: str | None
    """What had to be given up; null where nothing had."""


class Receipt(_Document):
    """What became of a batch of events."""

    received: int
    """Events of the batch."""
    new: int
    """Those whose id was not there before."""


class Alive(_Document):
    """A process that runs."""

    status: Literal["alive"]
    """Whether it can answer lists too, `/readyz` says."""


class ServedPlacement(_Document):
    """What lists of one placement are answered from."""

    champion: str | None
    """The logic that answers by default; null where none is in service, and the list is the popular one."""
    models: dict[str, int]
    """Every logic in service, and the registry's number of its weights."""
    override: str | None = None
    """Why the champion was promoted although the evidence did not allow it."""
    copied: str | None = None
    """When the local copy was made from which it answers; not there where it answers from the stores."""
    troubles: dict[str, str] = {}
    """What cannot be followed now, and why."""
    refused: dict[str, str] = {}
    """Weights that failed their check, and how."""


class Ready(_Document):
    """What a process answers from."""

    status: Literal["ready"]
    """Before that the answer is 503."""
    placements: dict[str, ServedPlacement]
    """By name."""
    breakers: dict[str, str]
    """Each store, and whether it is asked: closed is yes; open is not for a while; half-open is a first try."""
    troubles: dict[str, str]
    """What of the declarations cannot be followed now, and why."""


class BrokenRule(_Document):
    """One field of a request that breaks a rule."""

    field: str
    """Its place in the body, such as events.0.event_id."""
    rule: str
    """What it has to be."""


class Problem(_Document):
    """An error, by RFC 9457."""

    type: str
    """`about:blank`: the status says which kind of error it is."""
    title: str
    """The status in words."""
    status: int
    """Of HTTP."""
    detail: str
    """One sentence: what is wrong, and what to do."""
    request_id: str | None
    """The request's, as in the header `X-Request-Id` and in the service's log."""
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
    answered: dict[str, Any] = {"description": "Answered"}
    return {200: answered if answer is None else {**answered, "model": answer}, **responses}


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
