"""How is an error told to a program? A problem document (RFC 9457) that names the field and the rule, and no values."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from recsys.errors import StoreError
from recsys.web.admission import RETRY_SECONDS, BusyError

LOGGER = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_TITLES: Final = {
    400: "Bad request",
    401: "Not authorised",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    415: "Not a type that is taken",
    421: "Not asked by a name that is answered",
    422: "Not acceptable as it is",
    500: "Internal error",
    503: "Not available now",
}


class FieldProblem(Exception):  # noqa: N818 - an answer, not a fault
    """A field of a request breaks a rule that only the running service knows."""

    def __init__(self, place: Sequence[int | str], rule: str) -> None:
        """Name the field by its place in the body, such as events, 0, event_timestamp, and the rule."""
        self.field = ".".join(map(str, place))
        self.rule = rule
        super().__init__(f"{self.field}: {rule}")


def problem(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem document.

    Args:
        request: its id is told.
        status: of HTTP.
        detail: one sentence.
        errors: fields and the rules that they break.
        headers: further ones.
    """
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "request_id": getattr(request.state, "request_id", None),
    }
    if errors:
        document["errors"] = [{"field": field, "rule": rule} for field, rule in errors]
    return JSONResponse(document, status, headers=headers, media_type=MEDIA_TYPE)


def answer_problems(app: FastAPI) -> None:
    """Let an application answer every error with a problem document."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = [(_field(one["loc"]), str(one["msg"])) for one in error.errors()]
        return _broken(request, found)

    @app.exception_handler(FieldProblem)
    async def broken(request: Request, error: FieldProblem) -> JSONResponse:
        return _broken(request, [(error.field, error.rule)])

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return problem(request, error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(StoreError)
    async def unavailable(request: Request, error: StoreError) -> JSONResponse:
        LOGGER.error("request %s: %s", getattr(request.state, "request_id", None), error)
        return problem(
            request, 503, "a store that this needs does not answer; try again later", headers={"Retry-After": "1"}
        )

    @app.exception_handler(BusyError)
    async def busy(request: Request, _: BusyError) -> JSONResponse:
        return problem(
            request,
            503,
            "as many requests are in work and waiting as this process takes on; try again later",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )


def answer_browsers(app: FastAPI, page: Callable[[Request], Response]) -> None:
    """Let an application show whoever asks for HTML a page where there is no such address; programs get the problem.

    Args:
        app: it answers problems already.
        page: makes the page.
    """

    @app.exception_handler(404)
    async def nowhere(request: Request, error: HTTPException) -> Response:
        if request.scope.get("route") is None and "text/html" in request.headers.get("accept", ""):
            return page(request)
        return problem(request, 404, str(error.detail), headers=error.headers)


def failed(request: Request, error: Exception) -> JSONResponse:
    """Log a failure that nothing foresaw, and return a problem that does not tell it."""
    LOGGER.error("request %s failed", getattr(request.state, "request_id", None), exc_info=error)
    return problem(request, 500, "the service failed; its log has the cause under this request's id")


def _broken(request: Request, found: Sequence[tuple[str, str]]) -> JSONResponse:
    first, rule = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return problem(request, 422, f"{first}: {rule}{more}", found)


def _field(location: Sequence[int | str]) -> str:
    path = [str(part) for part in location]
    return ".".join(path[1:] if path[0] == "body" and len(path) > 1 else path)
