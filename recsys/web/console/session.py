"""How does a browser show the read token? Once, in a form; from then on by a cookie that no script can read.

The cookie holds no token: it is the time until which it counts, signed with the token. So nothing is kept on the
server, every worker can check it, and another token ends every session.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

COOKIE: Final = "recsys_console"
SECONDS: Final = 12 * 3600
"""A session ends after a working day."""


@dataclass(frozen=True)
class Sessions:
    """Who may see the pages; without a token everybody."""

    token: str | None
    now: Callable[[], float] = time.time

    def open_to(self, request: Request) -> bool:
        """Tell whether a request shows the token, by its cookie or as a bearer."""
        if self.token is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(given.strip())
        until, _, signature = request.cookies.get(COOKIE, "").partition(".")
        if not hmac.compare_digest(signature.encode(), self._signed(until).encode()):
            return False
        return int(until) > self.now()

    def is_token(self, given: str) -> bool:
        """Compare in a time that does not tell how near it was."""
        wanted = (self.token or "").encode()
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted)

    def begin(self, response: Response, *, secure: bool) -> None:
        """Let a response begin a session; `secure` keeps the cookie to HTTPS."""
        until = str(int(self.now()) + SECONDS)
        value = f"{until}.{self._signed(until)}"
        # Lax, not Strict: a link from a chat or a mail has to find the session; nothing here changes by a link.
        response.set_cookie(COOKIE, value, max_age=SECONDS, httponly=True, samesite="lax", secure=secure)

    def end(self, response: Response) -> None:
        """Let a response end the session of its browser."""
        response.delete_cookie(COOKIE, httponly=True, samesite="lax")

    def _signed(self, until: str) -> str:
        key = (self.token or "").encode()
        return hmac.new(key, f"{COOKIE} until {until}".encode(), hashlib.sha256).hexdigest()


def local_path(wanted: str) -> str:
    """Return where to go after the form: a path of this site, or the overview for anything else."""
    plain = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if plain else "/"
