"""By which name may the service be asked? Not by one that a foreign page has pointed at this machine.

A page of any site can let its own name resolve to 127.0.0.1 and then read whatever answers there (DNS rebinding). The
browser still says by which name it asks, in the header Host, so that a name nobody declared is refused.
"""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys.web.problems import problem

_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?")


@dataclass(frozen=True)
class Hosts:
    """The names and addresses that are answered, at any port; those of loopback always are."""

    declared: Collection[str] = ()
    """Names, `*.` and a name for all below it, and addresses; IPv6 ones in brackets."""
    guarded: bool = False
    """Whether tokens say who may ask; where no name is declared, any is then answered, and a request without one."""

    @property
    def any(self) -> bool:
        """Whether it does not matter by which name is asked."""
        return self.guarded and not self.declared

    def answer(self, host: str) -> bool:
        """Tell whether a host, as `named` returns it, is one of them."""
        if host in self.declared or loopback(host):
            return True
        return any(host.endswith(each[1:]) for each in self.declared if each.startswith("*."))


class AnsweredHosts:
    """ASGI middleware: a request by a name that is not answered is a problem before anything else of it is read."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        """Wrap an application.

        Args:
            app: the application.
            hosts: what is answered.
        """
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the header Host."""
        if scope["type"] == "lifespan" or self._hosts.any:
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"host"]
        host = named(given)
        if host is not None and self._hosts.answer(host):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif host is None:
            rule = "the header Host has to be there once, and to be a name or an address with or without a port"
            await problem(Request(scope), 400, rule)(scope, receive, send)
        else:
            rule = (
                f"this service is not asked as {host}: ask 127.0.0.1 or localhost on its own machine, or declare the"
                " name under serve.allowed_hosts of its environment"
            )
            await problem(Request(scope), 421, rule)(scope, receive, send)


def named(given: list[bytes]) -> str | None:
    """Return the one host of a request, in small letters and without its port and last dot; None of anything else."""
    found = _HOST.fullmatch(given[0].decode("latin-1")) if len(given) == 1 else None
    return None if found is None else found["host"].lower().removesuffix(".") or None


def loopback(host: str) -> bool:
    """Tell whether a name or an address, IPv6 in brackets or not, is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
