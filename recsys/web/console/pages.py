"""Which addresses does the console have? Each is one read in a thread of its own, one view and one template.

A read waits for its stores so long and no longer, and only so many are in work at once: what the console asks for keeps
no list waiting. What cannot be read is said on a page.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from recsys.errors import StoreError
from recsys.ports import Clock
from recsys.serving.fleet import Fleet, served
from recsys.serving.preview import previews
from recsys.serving.resolver import Resolver
from recsys.web.bodies import LONGEST_ID
from recsys.web.console import rendering, views
from recsys.web.console.answers import Answers, Failure, failure_of
from recsys.web.console.api_view import Here, api_view
from recsys.web.console.drawing import Drawer, Drawing
from recsys.web.console.lanes import Lane
from recsys.web.console.reads import ConsoleReads, Document
from recsys.web.console.session import Sessions
from recsys.web.console.sign_in import SignIn

_READS: Final = 2

T = TypeVar("T")
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
        self._reads = console.reads
        self._fleet = fleet
        self._clock = clock
        self._budget = budget
        self._answers = Answers(
            {
                "environment": console.environment,
                "mlflow_ui": console.mlflow_ui,
                "feast_ui": console.feast_ui,
                "guarded": sessions.token is not None,
            }
        )
        self._sign_in = SignIn(sessions, self._answers.outside)
        self._token_variables = console.token_variables
        self._guarded = sessions.token is not None
        self._drawer = Drawer()
        self._pages = Lane("page", _READS, console.seconds)
        self._explanations = Lane("explanation", 1, console.explaining_seconds)
        self._tries = Lane("try", 1, console.seconds)

    def close(self) -> None:
        """Take no more work."""
        for lane in (self._pages, self._explanations, self._tries):
            lane.close()

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
        self._sign_in.add_to(router)
        return router

    def nowhere(self, request: Request) -> Response:
        """Say that there is no such address; who has not signed in is told no more."""
        title, said = "Not found", "There is no page at this address."
        if self._sign_in.demanded(request) is None:
            return self._answers.message(404, title, said)
        return self._answers.message_outside(404, title, said)

    # ------------------------------------------------------------ what is declared, trained and decided

    async def _overview(self, request: Request) -> Response:
        def read() -> tuple[Document, Document]:
            return self._reads.overview(), self._live()

        return await self._kept(request, "overview.html", read, lambda read: views.overview_view(*read))

    async def _problem(self, request: Request, name: str) -> Response:
        return await self._kept(request, "problem.html", lambda: self._reads.problem(name), views.problem_view)

    async def _model(self, request: Request, name: str, version: str | None = None) -> Response:
        return await self._kept(request, "model.html", lambda: self._reads.model(name, version), views.model_view)

    async def _experiment(self, request: Request, name: str) -> Response:
        return await self._kept(request, "experiment.html", lambda: self._reads.experiment(name), views.experiment_view)

    # ------------------------------------------------------------ what was and would be answered

    async def _request(self, request: Request, id: Asked = "") -> Response:  # noqa: A002 - the name in the address
        if not id:
            return await self._kept(request, "ask.html", self._recent, views.ask_view)

        def explained() -> Response:
            return self._answers.page("request.html", views.request_view(self._reads.request(id)))

        def unexplained(failure: Failure) -> Response:
            return self._answers.page("ask.html", views.ask_view(self._recent(), id, failure), failure.status)

        if (demanded := self._sign_in.demanded(request)) is not None:
            return demanded
        try:
            return await self._explanations.ask(explained)
        except Exception as error:  # noqa: BLE001 - it is said on a page
            failure = failure_of(error)
        try:
            return await self._pages.ask(lambda: unexplained(failure))
        except Exception as error:  # noqa: BLE001 - likewise
            return self._answers.failed(error)

    async def _placement(self, request: Request, name: str, user_id: Asked = "") -> Response:
        resolver = self._fleet.get(name)

        def read() -> tuple[Document, Document | None, Sequence[Document], Document | None]:
            found = self._reads.placement(name)
            tried = self._tried(resolver, user_id) if user_id and resolver is not None else None
            return found, None if resolver is None else served(resolver), self._recent(name), tried

        return await self._kept(
            request,
            "placement.html",
            read,
            lambda read: views.placement_view(*read, user_id=user_id),
            lane=self._tries if user_id else self._pages,
        )

    def _tried(self, resolver: Resolver, user_id: str) -> Document:
        budget = resolver.placement.budget or self._budget
        found = previews(resolver, user_id, self._clock.now(), budget).to_dict()
        labels = self._reads.labels({item["item_id"] for each in found["lists"] for item in each["items"]})
        return found | {"labels": labels}

    def _recent(self, placement: str | None = None) -> Sequence[Document]:
        """Return what was answered of late, as suggestions: a page is none the worse without them."""
        try:
            return self._reads.recent(placement)
        except StoreError:
            return ()

    # ------------------------------------------------------------ pictures

    async def _chart(self, request: Request, kind: str, name: str, chart: str) -> Response:
        if self._sign_in.demanded(request) is not None:
            return self._answers.message_outside(401, "Sign in", "Pictures are shown to those who have signed in.")
        try:
            drawing = await self._pages.ask(lambda: self._drawing(kind, name))
            drawn = {} if drawing is None else await self._drawer.drawn(drawing)
        except Exception as error:  # noqa: BLE001 - it is said on a page
            return self._answers.failed(error)
        if chart not in drawn:
            return self._answers.message(404, "No such picture", "The report has no figures for it.")
        return rendering.picture(drawn[chart], keep=not self._guarded)

    def _drawing(self, kind: str, name: str) -> Drawing | None:
        model, _, version = name.partition("/")
        found: dict[str, Callable[[], Document | None]] = {
            "problems": lambda: self._reads.problem_report(name),
            "models": lambda: self._reads.model_report(model, version),
            "experiments": lambda: self._reads.experiment_report(name),
        }
        document = found[kind]() if kind in found else None
        return None if document is None else Drawing.of(_KINDS[kind], document)

    # ------------------------------------------------------------ what programs ask for

    async def _api(self, request: Request) -> Response:
        placements = {name: _tester(resolver) for name, resolver in self._fleet.items()}
        here = Here(str(request.base_url).rstrip("/"), placements, self._token_variables)

        def read() -> tuple[Document, Here]:
            return request.app.openapi(), here

        return await self._kept(request, "api.html", read, lambda read: {"page": api_view(*read)})

    # ------------------------------------------------------------ one page

    async def _kept(
        self,
        request: Request,
        template: str,
        read: Callable[[], T],
        view: Callable[[T], views.Context],
        lane: Lane | None = None,
    ) -> Response:
        """Answer with the page of what is read; it is written again only where that is not what it was."""
        if (demanded := self._sign_in.demanded(request)) is not None:
            return demanded
        address = f"{request.url.path}?{request.url.query}"

        def made() -> Response:
            found = read()
            return self._answers.unchanged(address, found, lambda: self._answers.page(template, view(found)))

        try:
            return await (lane or self._pages).ask(made)
        except Exception as error:  # noqa: BLE001 - it is said on a page
            return self._answers.failed(error)

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
