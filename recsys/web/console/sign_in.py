"""How does somebody sign in and out? By a form that leads back to the page that was asked for, and to no other site."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from recsys.web.console.session import Sessions, local_path

_TEMPLATE: Final = "login.html"
_LONGEST_FORM: Final = 8_192
"""Bytes, many times what the form sends."""
_MOST_FIELDS: Final = 8
_ELSEWHERE: Final = ("cross-site", "same-site")

Render = Callable[[str, int, Mapping[str, Any]], Response]
"""From a template, a status and what it lays out to a page."""


class SignIn:
    """The form and what it sends."""

    def __init__(self, sessions: Sessions, render: Render) -> None:
        """Take what begins and ends sessions, and what makes a page."""
        self._sessions = sessions
        self._render = render

    def add_to(self, router: APIRouter) -> None:
        """Give a router the addresses."""
        for path, method, answer in (
            ("/login", "GET", self._form),
            ("/login", "POST", self._sign_in),
            ("/logout", "POST", self._sign_out),
        ):
            router.add_api_route(path, answer, methods=[method], response_model=None)

    def demanded(self, request: Request) -> Response | None:
        """Return the way to the form for those who have not signed in, or None."""
        if self._sessions.open_to(request):
            return None
        wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        return RedirectResponse(f"/login?{urlencode({'next': wanted})}", 303)

    async def _form(self, next: str = "/") -> Response:  # noqa: A002 - the name in the address
        return self._render(_TEMPLATE, 200, {"next": local_path(next), "wrong": False})

    async def _sign_in(self, request: Request) -> Response:
        if _foreign(request):
            return self._refused()
        sent = await request.body()
        fields = _fields(sent)
        wanted = local_path(fields.get("next", "/"))
        if self._sessions.token is not None and not self._sessions.is_token(fields.get("token", "")):
            return self._render(_TEMPLATE, 401, {"next": wanted, "wrong": True})
        response = RedirectResponse(wanted, 303)
        self._sessions.begin(response, secure=request.url.scheme == "https")
        return response

    async def _sign_out(self, request: Request) -> Response:
        if _foreign(request):
            return self._refused()
        response = RedirectResponse("/login", 303)
        self._sessions.end(response)
        return response

    def _refused(self) -> Response:
        words = "The form was sent by another site. Use the one of this site."
        return self._render("message.html", 403, {"title": "Not from here", "words": words, "command_to_run": ""})


def _foreign(request: Request) -> bool:
    """Tell whether a browser says that another site sent a form; one that cannot say so is let through."""
    return request.headers.get("sec-fetch-site", "") in _ELSEWHERE


def _fields(sent: bytes) -> dict[str, str]:
    """Return a form's fields, the first of each name; none of one that this site's form does not send."""
    if len(sent) > _LONGEST_FORM:
        return {}
    try:
        found = parse_qs(sent.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}
