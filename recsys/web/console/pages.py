"""Which addresses does the console have? Each is one read in a thread of its own, one view and one template.

A read waits for its stores so long and no longer, and only so many are in work at once: what the console asks for keeps
no list waiting. What cannot be read is said on a page.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from recsys.errors import RecsysError, SpecError, StoreError
from recsys.ports import Clock
from recsys.serving.breaker import Breaker
from recsys.serving.fleet import Fleet, served
from recsys.serving.gate import Gate
from recsys.serving.preview import previews
from recsys.serving.resolver import Resolver
from recsys.web.admission import Admission, BusyError
from recsys.web.bodies import LONGEST_ID
from recsys.web.console import rendering, views
from recsys.web.console.api_view import Here, api_view
from recsys.web.console.drawing import Drawer
from recsys.web.console.reads import ConsoleReads, Document
from recsys.web.console.session import Sessions
from recsys.web.console.sign_in import SignIn

LOGGER = logging.getLogger(__name__)

_READS: Final = 2
_WAITING: Final = 16
_TEMPLATE: Final = "message.html"

T = TypeVar("T")
Show = Callable[[Document], tuple[str, views.Context]]
Asked = Annotated[str, Query(max_length=LONGEST_ID)]


@dataclass(frozen=True)
class Console:
    """What the pages come from, and how long they wait for it."""

    reads: ConsoleReads
    environment: str
    mlflow_ui: str | None = None
    """The address of MLflow's own UI, for links."""
    feast_ui: str | None = None
    """The address of the project in Feast's own UI."""
    token_variables: Mapping[str, str] = field(default_factory=dict)
    """The environment variables that read_token and write_token name, for commands that are shown."""
    seconds: float = 10.0
    """A page waits so long for its stores."""
    explaining_seconds: float = 60.0
    """And so long for an explanation."""


class Site:
    """The pages of one process."""

    def __init__(
        self, console: Console, fleet: Fleet, clock: Clock, sessions: Sessions, budget: timedelta | None
    ) -> None:
        """Start no thread yet.

        Args:
            console: what the pages come from.
            fleet: what this process answers from; its state is shown, and lists are tried on it.
            clock: the environment's time.
            sessions: who may see the pages.
            budget: the time of each list that is tried.
        """
        self._console = console
        self._fleet = fleet
        self._clock = clock
        self._sessions = sessions
        self._budget = budget
        self._drawer = Drawer()
        self._pages = _Lane("page", _READS, console.seconds)
        self._explanations = _Lane("explanation", 1, console.explaining_seconds)
        self._tries = _Lane("try", 1, console.seconds)

    def close(self) -> None:
        """Take no more work."""
        for lane in (self._pages, self._explanations, self._tries):
            lane.admission.close()

    # ------------------------------------------------------------ addresses

    def router(self) -> APIRouter:
        """Return the addresses; none is part of the OpenAPI document, which is of what programs ask for."""
        router = APIRouter(include_in_schema=False)
        for path, page in (
            ("/", self._overview),
            ("/problems/{name:path}", self._problem),
            ("/models/{name}", self._model),
            ("/experiments/{name:path}", self._experiment),
            ("/requests", self._request),
            ("/placements/{name:path}", self._placement),
            ("/charts/{kind}/{name:path}/{chart}.svg", self._chart),
            ("/docs", self._api),
            ("/static/console.css", rendering.stylesheet),
            ("/static/icon.svg", rendering.icon),
        ):
            router.add_api_route(path, page, methods=["GET"], response_model=None)
        SignIn(self._sessions, self._outside).add_to(router)
        return router

    async def _overview(self, request: Request) -> Response:
        return await self._page(
            request,
            self._console.reads.overview,
            lambda found: ("overview.html", views.overview_view(found, self._live())),
        )

    async def _problem(self, request: Request, name: str) -> Response:
        return await self._page(
            request,
            lambda: self._console.reads.problem(name),
            lambda found: ("problem.html", views.problem_view(found)),
        )

    async def _model(self, request: Request, name: str, version: str | None = None) -> Response:
        return await self._page(
            request,
            lambda: self._console.reads.model(name, version),
            lambda found: ("model.html", views.model_view(found)),
        )

    async def _experiment(self, request: Request, name: str) -> Response:
        return await self._page(
            request,
            lambda: self._console.reads.experiment(name),
            lambda found: ("experiment.html", views.experiment_view(found)),
        )

    async def _request(self, request: Request, id: Asked = "") -> Response:  # noqa: A002 - the name in the address
        if not id:
            return await self._page(request, dict, lambda _: ("ask.html", {}))
        return await self._page(
            request,
            lambda: self._console.reads.request(id),
            lambda found: ("request.html", views.request_view(found)),
            self._explanations,
        )

    async def _placement(self, request: Request, name: str, user_id: Asked = "") -> Response:
        resolver = self._fleet.get(name)

        def read() -> Document:
            found = dict(self._console.reads.placement(name))
            if user_id and resolver is not None:
                budget = resolver.placement.budget or self._budget
                found["tried"] = previews(resolver, user_id, self._clock.now(), budget).to_dict()
            return found

        live = None if resolver is None else served(resolver)
        return await self._page(
            request,
            read,
            lambda found: ("placement.html", views.placement_view(found, live, user_id, found.get("tried"))),
            self._tries if user_id else None,
        )

    async def _chart(self, request: Request, kind: str, name: str, chart: str) -> Response:
        if not self._sessions.open_to(request):
            words = {
                "title": "Sign in",
                "words": "Pictures are shown to those who have signed in.",
                "command_to_run": "",
            }
            return self._outside(_TEMPLATE, 401, words)
        try:
            document = await self._pages.ask(lambda: self._report(kind, name))
            drawn = {} if document is None else await self._drawer.drawn(_KINDS[kind], document)
        except Exception as error:  # noqa: BLE001 - it is said on a page
            return self._failed(error)
        if chart not in drawn:
            return self._message(404, "No such picture", "The report has no figures for it.")
        return rendering.picture(drawn[chart], keep=self._sessions.token is None)

    def _report(self, kind: str, name: str) -> Document | None:
        reads = self._console.reads
        model, _, version = name.partition("/")
        found: dict[str, Callable[[], Document | None]] = {
            "problems": lambda: reads.problem_report(name),
            "models": lambda: reads.model_report(model, version),
            "experiments": lambda: reads.experiment_report(name),
        }
        return found[kind]() if kind in found else None

    async def _api(self, request: Request) -> Response:
        placements = {name: _tester(resolver) for name, resolver in self._fleet.items()}
        here = Here(str(request.base_url).rstrip("/"), placements, self._console.token_variables)
        return await self._page(
            request, request.app.openapi, lambda found: ("api.html", {"page": api_view(found, here)})
        )

    # ------------------------------------------------------------ one page

    async def _page(
        self, request: Request, read: Callable[[], Document], show: Show, lane: "_Lane | None" = None
    ) -> Response:
        if not self._sessions.open_to(request):
            wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
            return RedirectResponse(f"/login?{urlencode({'next': wanted})}", 303)

        def made() -> Response:
            template, context = show(read())
            return self._rendered(template, 200, context)

        try:
            return await (lane or self._pages).ask(made)
        except Exception as error:  # noqa: BLE001 - it is said on a page
            return self._failed(error)

    def _failed(self, error: Exception) -> Response:
        """Say why there is no page; what nothing foresaw is logged and not told."""
        if isinstance(error, BusyError):
            return self._message(503, "Busy", "As many pages are being made as may at once. Try again in a moment.")
        if isinstance(error, StoreError):
            LOGGER.warning("console: %s", error)
            return self._message(503, "A store does not answer", str(error), "recsys doctor")
        if isinstance(error, SpecError):
            return self._message(404, "Not found", str(error), "recsys validate")
        if isinstance(error, RecsysError):
            return self._message(404, "This cannot be shown", str(error))
        LOGGER.error("console: a page failed", exc_info=error)
        return self._message(
            500, "This page failed", "The service's log has the cause. Lists are answered all the same."
        )

    def _message(self, status: int, title: str, words: str, command: str = "") -> Response:
        return self._rendered(_TEMPLATE, status, {"title": title, "words": words, "command_to_run": command})

    def _rendered(self, template: str, status: int, context: Mapping[str, Any]) -> Response:
        links = {"mlflow_ui": self._console.mlflow_ui, "feast_ui": self._console.feast_ui}
        site = {"environment": self._console.environment, "guarded": self._sessions.token is not None, **links}
        return rendering.page(template, status, {"site": site, **context})

    def _outside(self, template: str, status: int, context: Mapping[str, Any]) -> Response:
        """Return a page for somebody who has not signed in: it tells no address and signs nobody out."""
        site = {"environment": self._console.environment, "guarded": False, "mlflow_ui": None, "feast_ui": None}
        return rendering.page(template, status, {"site": site, **context})

    def _live(self) -> Document:
        return {
            "placements": {name: served(resolver) for name, resolver in self._fleet.items()},
            "breakers": {breaker.store: breaker.state for breaker in self._fleet.stores.breakers},
            "troubles": dict(self._fleet.troubles),
            "ready": self._fleet.ready,
        }


def _tester(resolver: Resolver) -> str | None:
    """Return a user whom an experiment on a placement names as a tester, if one does."""
    named = (router.experiment for router in resolver.state.routers if router.experiment.unit == "user_id")
    return min((unit for experiment in named for unit in experiment.overrides), default=None)


_KINDS: Final = {"problems": "funnel", "models": "offline", "experiments": "experiment"}
"""Part of an address to what `python -m recsys.reports` calls such a report."""


class _Lane:
    """Threads for one kind of page, which may hang in a store that does not answer without anybody else waiting."""

    def __init__(self, kind: str, threads: int, seconds: float) -> None:
        self.admission = Admission(f"console {kind}", threads, _WAITING)
        self._gate = Gate(Breaker(f"the stores of the console's {kind}s"), threads)
        self._seconds = seconds

    async def ask(self, read: Callable[[], T]) -> T:
        """Return what a read gives, in time.

        Raises:
            BusyError: if as many are waiting as may.
            StoreError: if there was no answer in time, or there was none for the last ones.
        """
        with self.admission.admitted():
            return await self.admission.run(lambda: self._gate.ask(read, self._seconds))
