"""Who may ask, how much may a request carry, and by which name is it found again in the log?"""

import hmac
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys.web.problems import failed, problem

REQUEST_ID: Final = "x-request-id"
_ID: Final = re.compile(r"[!-~]{1,128}")
_SCHEME: Final = HTTPBearer(auto_error=False)


@dataclass(frozen=True)
class Tokens:
    """What callers have to show; None lets everybody in."""

    read: str | None = None
    """For lists, metrics and what is served."""
    write: str | None = None
    """For events."""


def bearer(wanted: str | None) -> list[Any]:
    """Return the dependencies of a path: a token, compared in a time that does not tell how near it was; or nothing."""
    if wanted is None:
        return []

    def check(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)]) -> None:
        given = "" if shown is None else shown.credentials
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode()):
            raise HTTPException(
                401, "this needs a bearer token: send `Authorization: Bearer …`", {"WWW-Authenticate": "Bearer"}
            )

    return [Depends(check)]


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


class LimitedBodies:
    """ASGI middleware: a body beyond the limit is refused before it is read whole."""

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
        if declared.isdigit() and int(declared) > self._limit:
            await self._refuse(scope, receive, send)
            return
        received: list[Message] = []
        read = 0
        while True:
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                await self._refuse(scope, receive, send)
                return
            received.append(message)
            if not message.get("more_body", False):
                break
        waiting = iter(received)

        async def again() -> Message:
            return next(waiting, None) or await receive()

        await self._app(scope, again, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = f"the body has more than {self._limit:,} bytes: send less at once"
        await problem(Request(scope), 413, rule, headers={"Connection": "close"})(scope, receive, send)


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
