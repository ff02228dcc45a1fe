"""How do a shop's pages ask for a list, and tell what came of it? The resolvers and the event log over HTTP."""

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa
from fastapi import FastAPI, HTTPException, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import Scope

import recsys
from recsys.errors import ContextError, FeatureError, RecsysError
from recsys.ports import Clock, Exposure
from recsys.serving.breaker import Breaker
from recsys.serving.deadline import Deadline
from recsys.serving.fleet import Fleet, served
from recsys.serving.freshness import SessionFeatures
from recsys.serving.group_commit import GroupCommit
from recsys.serving.resolver import Answer, Resolver
from recsys.web.admission import Admission
from recsys.web.bodies import Events, RecommendRequest, outcome_rows
from recsys.web.console.pages import Console, Site
from recsys.web.console.session import Sessions
from recsys.web.documents import Alive, Ready, Receipt, Recommendation, describe, described
from recsys.web.following import Poll
from recsys.web.guards import Accounted, LimitedBodies, NamedRequests, SafeHeaders, Tokens, guarded
from recsys.web.hosts import AnsweredHosts, Hosts
from recsys.web.metrics import Metrics
from recsys.web.problems import FieldProblem, answer_browsers, answer_problems

LOGGER = logging.getLogger(__name__)
ACCESS = logging.getLogger("recsys.access")

_LOADING: Final = "models and items are still being loaded"
_NO_VIEWER: Final[Mapping[str, Any]] = {"docs_url": None, "redoc_url": None, "swagger_ui_oauth2_redirect_url": None}
"""FastAPI's own pages load their scripts from elsewhere; the console has one of its own at /docs."""
_LOG_SECONDS: Final = 0.1
"""An answer is logged in what is left of its time, and in so much at least."""


@dataclass(frozen=True)
class Limits:
    """How much one process takes on at once."""

    budget: timedelta | None = None
    """The time of one list; a placement may have its own."""
    concurrent: int = 8
    """Lists at a time."""
    waiting: int = 64
    """Requests that may wait for that."""
    maximum_body: int = 1_000_000
    """Bytes of a request's body."""


@dataclass(frozen=True)
class Service:
    """What the application answers from."""

    resolvers: Mapping[str, Resolver]
    """By placement; a `Fleet` follows its declarations."""
    log: GroupCommit
    clock: Clock
    tokens: Tokens = field(default_factory=Tokens)
    limits: Limits = field(default_factory=Limits)
    poll_seconds: float = 2.0
    """How often declarations, promotions and materializations are looked for."""
    figures: str | None = None
    """The folder in which the workers of one server keep their figures; None of a process that is alone."""
    sessions: SessionFeatures | None = None
    """Keeps the features of sessions up to the events; None where there are none."""
    allowed_hosts: Sequence[str] = ()
    """Names by which it may be asked beside those of loopback; `Hosts` says when any other may."""
    console: Console | None = None
    """What the pages for people come from; None serves no pages."""
    on_stop: Callable[[], object] = lambda: None
    """Called when no request is in work any more: what waits for the log is written then."""


def create_app(service: Service) -> FastAPI:
    """Make the HTTP application."""
    fleet = service.resolvers if isinstance(service.resolvers, Fleet) else Fleet(service.resolvers)
    metrics = Metrics(fleet, service.log, service.figures)
    lists = Admission("list", service.limits.concurrent, service.limits.waiting)
    outcomes = Admission("events", service.limits.concurrent, service.limits.waiting)
    poll = Poll(fleet, service.poll_seconds, metrics.observe)

    closing = [lists.close, outcomes.close]
    app = FastAPI(
        title="recsys", version=recsys.__version__, **_NO_VIEWER, lifespan=_lifespan(poll, closing, service.on_stop)
    )
    answer_problems(app)
    describe(app)
    reader, writer = guarded(service.tokens.read, "read_token"), guarded(service.tokens.write, "write_token")
    breaker = fleet.stores.log.breaker

    @reader.post(
        "/v1/recommend",
        response_model=None,
        responses=described(401, 413, 415, 422, 503, answer=Recommendation),
    )
    async def recommend(request: RecommendRequest) -> JSONResponse:
        """Answer a list for a user, best first. It is logged as shown to that user."""
        resolver = fleet.get(request.placement)
        if resolver is None and not fleet.declared:
            raise HTTPException(503, _LOADING)
        if resolver is None:
            declared = ", ".join(sorted(fleet))
            raise FieldProblem(("placement",), f"not declared; declared: {declared}")
        deadline = Deadline.after(resolver.placement.budget or service.limits.budget)
        began = time.perf_counter()
        with lists.admitted():
            answer = await lists.run(lambda: _answer(resolver, request, deadline))
            service.log.decided(answer.exposure)
            logged = await _logged(answer.exposure, deadline, service.log, breaker)
        metrics.answered(answer.exposure, time.perf_counter() - began, logged=logged)
        return JSONResponse(answer.to_dict())

    @writer.post(
        "/v1/events",
        response_model=None,
        responses=described(401, 413, 415, 422, 503, answer=Receipt),
    )
    async def events(received: Events) -> dict[str, int]:
        """Take what users did. When it is answered it is on disk; an id that was there before is not written again."""
        table = outcome_rows(received.events, service.clock.now())
        with outcomes.admitted():
            new = await outcomes.run(lambda: _receive(service, fleet, table, metrics))
        return {"received": len(received.events), "new": new}

    @reader.get("/metrics", response_class=PlainTextResponse, responses=described(401))
    async def figures() -> Response:
        """Tell the figures of all workers, as Prometheus reads them."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    app.include_router(reader)
    app.include_router(writer)
    _add_health(app, fleet)
    _add_pages(app, service, fleet, closing)

    def accounted(scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "other")
        metrics.responded(path, status)
        said = {"method": scope["method"], "path": path, "status": status, "ms": round(1_000 * seconds, 3)}
        ACCESS.info("answered", extra={**said, "request_id": scope["state"]["request_id"]})

    app.add_middleware(LimitedBodies, limit=service.limits.maximum_body)
    app.add_middleware(AnsweredHosts, hosts=Hosts(service.allowed_hosts, guarded=service.tokens.complete))
    app.add_middleware(Accounted, tell=accounted)
    app.add_middleware(NamedRequests)
    app.add_middleware(SafeHeaders)
    return app


def _lifespan(
    poll: Poll, closing: Sequence[Callable[[], None]], on_stop: Callable[[], object]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return what begins with the application and ends after its last request."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        poll.start()
        yield
        await run_in_threadpool(poll.stop)
        for close in closing:
            close()
        await run_in_threadpool(on_stop)

    return lifespan


def _add_health(app: FastAPI, fleet: Fleet) -> None:
    """Let an application say of itself how it does."""

    @app.get("/healthz", response_model=None, responses=described(answer=Alive))
    async def healthz() -> dict[str, str]:
        """Say that the process runs; no store is asked."""
        return {"status": "alive"}

    @app.get("/readyz", response_model=None, responses=described(503, answer=Ready))
    async def readyz() -> dict[str, Any]:
        """Say whether lists can be answered, and what they are answered from."""
        if not fleet.ready:
            raise HTTPException(503, _LOADING)
        return {
            "status": "ready",
            "placements": {name: served(resolver) for name, resolver in fleet.items()},
            "breakers": {breaker.store: breaker.state for breaker in fleet.stores.breakers},
            "troubles": dict(fleet.troubles),
        }


def _add_pages(app: FastAPI, service: Service, fleet: Fleet, closing: list[Callable[[], None]]) -> None:
    """Let an application have the console's pages, if there are any."""
    if service.console is not None:
        site = Site(service.console, fleet, service.clock, Sessions(service.tokens.read), service.limits.budget)
        app.include_router(site.router())
        answer_browsers(app, site.nowhere)
        closing.append(site.close)


def _answer(resolver: Resolver, request: RecommendRequest, deadline: Deadline) -> Answer:
    try:
        return resolver.recommend(
            request.user_id,
            session_id=request.session_id,
            k=request.k,
            request_id=request.request_id,
            candidates=request.candidates,
            context=request.context,
            deadline=deadline,
        )
    except ContextError as error:
        raise FieldProblem(("context", error.name), error.rule) from error
    except FeatureError as error:
        # The other thing that is wrong with a request itself: candidates nobody takes.
        raise FieldProblem(("candidates",), str(error)) from error


async def _logged(exposure: Exposure, deadline: Deadline, log: GroupCommit, breaker: Breaker) -> bool:
    """Log an answer, and say whether it was in time."""
    left = deadline.left
    try:
        with breaker.asking():
            await log.write_soon([exposure], None if left is None else max(left, _LOG_SECONDS))
    except RecsysError as error:
        LOGGER.error(  # noqa: TRY400 - its breaker has said it, and there is one line an answer
            "exposure %s could not be logged; the list is answered all the same: %s", exposure.request_id, error
        )
        return False
    return True


def _receive(service: Service, fleet: Fleet, table: pa.Table, metrics: Metrics) -> int:
    """Write events down; then the features of their sessions follow, if they can: the events are kept either way."""
    with fleet.stores.log.breaker.asking():
        new = service.log.write_outcomes(table)
    metrics.received(new, len(table) - new)
    if service.sessions is not None:
        began = time.perf_counter()
        try:
            with fleet.stores.online.asking():
                sessions = service.sessions.follow(table)
        except Exception:
            LOGGER.exception("features of sessions could not be pushed; the next event of each session makes up for it")
            metrics.pushed(0, time.perf_counter() - began, failed=True)
        else:
            metrics.pushed(sessions, time.perf_counter() - began, failed=False)
    return new
