"""How does the console answer: with a page, with the page of before where nothing has changed, or with what failed?"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi.responses import Response

from recsys.errors import RecsysError, SpecError, StoreError
from recsys.web.admission import BusyError
from recsys.web.console import rendering

LOGGER = logging.getLogger(__name__)

_MESSAGE: Final = "message.html"
_KEPT: Final = 64


@dataclass(frozen=True)
class Failure:
    """What a page says where there is none."""

    status: int
    title: str
    words: str
    command: str = ""
    """What helps."""


class Answers:
    """The answers of one process."""

    def __init__(self, site: Mapping[str, Any]) -> None:
        """Hold what every page says of the site.

        Args:
            site: environment, mlflow_ui, feast_ui, and guarded: whether there is a token.
        """
        self._site = site
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[object, bytes]] = OrderedDict()

    def page(self, template: str, context: Mapping[str, Any], status: int = 200) -> Response:
        """Return a page."""
        return rendering.page(template, status, {"site": self._site, **context})

    def outside(self, template: str, status: int, context: Mapping[str, Any]) -> Response:
        """Return a page for somebody who has not signed in: it tells no address and signs nobody out."""
        site = {**self._site, "guarded": False, "mlflow_ui": None, "feast_ui": None}
        return rendering.page(template, status, {"site": site, **context})

    def unchanged(self, address: str, made_from: object, make: Callable[[], Response]) -> Response:
        """Return the page of an address as it was, where it would be made from the same.

        Args:
            address: path and query.
            made_from: everything that the page is a function of; of equal values nothing is made again.
            make: makes it.
        """
        kept = self._kept.get(address)
        if kept is not None and kept[0] == made_from:
            return rendering.html(kept[1])
        page = make()
        with self._lock:
            self._kept[address] = made_from, bytes(page.body)
            self._kept.move_to_end(address)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return page

    def message(self, status: int, title: str, words: str, command: str = "") -> Response:
        """Return a page that says one thing."""
        return self.page(_MESSAGE, _said(title, words, command), status)

    def message_outside(self, status: int, title: str, words: str) -> Response:
        """Return a page that says one thing to somebody who has not signed in."""
        return self.outside(_MESSAGE, status, _said(title, words))

    def failed(self, error: Exception) -> Response:
        """Say why there is no page."""
        failure = failure_of(error)
        return self.message(failure.status, failure.title, failure.words, failure.command)


def _said(title: str, words: str, command: str = "") -> dict[str, str]:
    return {"title": title, "words": words, "command_to_run": command}


def failure_of(error: Exception) -> Failure:
    """Return what a page says of an error; what nothing foresaw is logged and not told."""
    if isinstance(error, BusyError):
        return Failure(503, "Busy", "As many pages are being made as may at once. Try again in a moment.")
    if isinstance(error, StoreError):
        LOGGER.warning("console: %s", error)
        return Failure(503, "A store does not answer", str(error), "recsys doctor")
    if isinstance(error, SpecError):
        return Failure(404, "Not found", str(error), "recsys validate")
    if isinstance(error, RecsysError):
        return Failure(404, "This cannot be shown", str(error))
    LOGGER.error("console: a page failed", exc_info=error)
    return Failure(500, "This page failed", "The service's log has the cause. Lists are answered all the same.")
