"""Who may ask, how much may a request carry, and by which name is it found again in the log?"""

import hmac
import re
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.web.problems import failed

REQUEST_ID: Final = "x-request-id"
_ID: Final = re.compile(r"[!-~]{1,128}")
JSON: Final = "application/json"
_SAFE: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""No other site may frame, embed or keep what is answered, and nothing in it is run or taken for another type."""


@dataclass(frozen=True)
class Tokens:
    """What callers have to show; None lets everybody in."""

    read: str | None = None
    """For lists, metrics and what is served."""
    write: str | None = None
    """For events."""

    @property
    def complete(self) -> bool:
        """Whether nothing is told or taken without a token."""
        return self.read is not None and self.write is not None


def guarded(wanted: str | None, name: str) -> APIRouter:
    """Return a router whose paths ask for a token, and then for a body of JSON, before anything of the body is read.

    The token is compared in a time that does not tell how near it was. A body of another type, or of none, is what a
    page of any site can send without being asked whether it may, so that it is refused whatever it holds.

    Args:
        wanted: the token; None lets everybody in.
        name: of the token, such as read_token.
    """
    expected = None if wanted is None else wanted.encode()

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def checked(request: Request) -> Response:
                if expected is not None:
                    _check_token(request, expected)
                if self.body_field is not None:
                    _check_type(request)
                return await handle(request)

            return checked

    # The dependency tells the OpenAPI document of the token, and checks nothing.
    scheme = HTTPBearer(auto_error=False, scheme_name=name, description=f"The token that `serve.{name}` names")
    return APIRouter(route_class=Guarded, dependencies=[] if wanted is None else [Security(scheme)])


def _check_token(request: Request, expected: bytes) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    shown = given.strip() if scheme.lower() == "bearer" else ""
    if not hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), expected):
        rule = "this needs a bearer token: send `Authorization: Bearer …`"
        raise HTTPException(401, rule, {"WWW-Authenticate": "Bearer"})


def _check_type(request: Request) -> None:
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != JSON:
        rule = "a body is taken as JSON and as nothing else: send `Content-Type: application/json`"
        raise HTTPException(415, rule, {"Accept": JSON})


class NamedRequests:
    """ASGI middleware: every request has an id, the caller's or a random one, and its answer tells it."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
        name = given if _ID.fullmatch(given) else str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = name

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (REQUEST_ID.encode(), name.encode())]
            await send(message)

        await self._app(scope, receive, named)


class SafeHeaders:
    """ASGI middleware: every answer has the headers that keep it from other sites, and its own where it has them."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Complete the headers of an answer."""

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])
                said = {name for name, _ in own}
                message["headers"] = [*own, *(each for each in _SAFE if each[0] not in said)]
            await send(message)

        await self._app(scope, receive, completed if scope["type"] == "http" else send)


class LimitedBodies:
    """ASGI middleware: of a body no more is read than the limit."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        """Wrap an application.

        Args:
            app: the application.
            limit: bytes.
        """
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a body's bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        known = int(declared) if declared.isdigit() else 0
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if max(known, read) > self._limit:
                rule = f"the body has more than {self._limit:,} bytes: send less at once"
                raise HTTPException(413, rule, {"Connection": "close"})
            return message

        await self._app(scope, counted, send)


class Accounted:
    """ASGI middleware: every response is told to somebody, with its path as declared and how long it took.

    A failure that nothing foresaw is logged here and answered as a problem, inside of what names requests.
    """

    def __init__(self, app: ASGIApp, tell: Callable[[Scope, int, float], None]) -> None:
        """Wrap an application.

        Args:
            app: the application.
            tell: called with the request's scope, the status and the seconds to the end of the response.
        """
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Time a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status: int | None = None

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if status is not None:
                raise  # half an answer is out
            await failed(Request(scope), error)(scope, receive, watched)
        finally:
            self._tell(scope, status or 500, time.perf_counter() - began)
