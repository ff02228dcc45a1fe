"""How does somebody come in and go out? By a form that asks for the read token, and a button."""

from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from recsys.web.console import rendering
from recsys.web.console.answers import Answers
from recsys.web.console.session import Sessions, local_path


class SignIn:
    """The addresses of the token."""

    def __init__(self, sessions: Sessions, answers: Answers) -> None:
        """Hold who may see the pages, and how they are answered."""
        self._sessions = sessions
        self._answers = answers

    def add_to(self, router: APIRouter) -> None:
        """Add the form, and what it and the button post to."""
        router.add_api_route("/login", self._form, methods=["GET"], response_model=None)
        router.add_api_route("/login", self._sign_in, methods=["POST"], response_model=None)
        router.add_api_route("/logout", self._sign_out, methods=["POST"], response_model=None)

    def demanded(self, request: Request) -> Response | None:
        """Return the way to the form for those who have not signed in, or None."""
        if self._sessions.open_to(request):
            return None
        wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        return RedirectResponse(f"/login?{urlencode({'next': wanted})}", 303, dict(rendering.HEADERS))

    async def _form(self, next: str = "/") -> Response:  # noqa: A002 - the name in the address
        return self._answers.page("login.html", {"next": local_path(next), "wrong": False})

    async def _sign_in(self, request: Request) -> Response:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        wanted = local_path(fields.get("next", ["/"])[0])
        if self._sessions.token is not None and not self._sessions.is_token(fields.get("token", [""])[0]):
            return self._answers.page("login.html", {"next": wanted, "wrong": True}, 401)
        response = RedirectResponse(wanted, 303, dict(rendering.HEADERS))
        self._sessions.begin(response, secure=request.url.scheme == "https")
        return response

    async def _sign_out(self) -> Response:
        response = RedirectResponse("/login", 303, dict(rendering.HEADERS))
        self._sessions.end(response)
        return response
