"""How do a shop's pages ask for a list, and tell what came of it? The resolvers and the event log over HTTP."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from fastapi import FastAPI, HTTPException, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import Scope

import recsys
from recsys import schema
from recsys.errors import FeatureError, RecsysError
from recsys.ports import Clock, EventLog
from recsys.serving.freshness import SessionFeatures
from recsys.serving.resolver import Answer, Resolver
from recsys.web.bodies import Event, Events, RecommendRequest
from recsys.web.guards import Accounted, LimitedBodies, NamedRequests, Tokens, bearer
from recsys.web.metrics import Metrics
from recsys.web.problems import FieldProblem, answer_problems

LOGGER = logging.getLogger(__name__)
ACCESS = logging.getLogger("recsys.access")

_SKEW: Final = timedelta(minutes=5)
"""Clocks of two machines may differ by so much."""


@dataclass(frozen=True)
class Service:
    """What the application answers from."""

    resolvers: Mapping[str, Resolver]
    """By placement."""
    log: EventLog
    clock: Clock
    tokens: Tokens = field(default_factory=Tokens)
    maximum_body: int = 1_000_000
    """Bytes of a request's body."""
    poll_seconds: float = 2.0
    """How often promotions and materializations are looked for."""
    sessions: SessionFeatures | None = None
    """Keeps the features of sessions up to the events; None where there are none."""


def create_app(service: Service) -> FastAPI:
    """Make the HTTP application."""
    ready = asyncio.Event()
    metrics = Metrics(service.resolvers)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(service.resolvers, service.poll_seconds, ready))
        yield
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    app = FastAPI(title="recsys", version=recsys.__version__, lifespan=lifespan)
    answer_problems(app)
    reader, writer = bearer(service.tokens.read), bearer(service.tokens.write)

    @app.post("/v1/recommend", dependencies=reader)
    async def recommend(request: RecommendRequest) -> dict[str, Any]:
        resolver = service.resolvers.get(request.placement)
        if resolver is None:
            declared = ", ".join(sorted(service.resolvers))
            raise FieldProblem(("placement",), f"not declared; declared: {declared}")
        answer = await run_in_threadpool(_answer, resolver, request, service.log, metrics)
        return answer.to_dict()

    @app.post("/v1/events", dependencies=writer)
    async def events(received: Events) -> dict[str, int]:
        table = _outcomes(received.events, service.clock.now())
        new = await run_in_threadpool(_receive, service, table, metrics)
        return {"received": len(received.events), "new": new}

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        if not ready.is_set():
            raise HTTPException(503, "models and items are still being loaded")
        served = {name: _serving(resolver) for name, resolver in service.resolvers.items()}
        return {"status": "ready", "placements": served}

    @app.get("/metrics", dependencies=reader, response_class=Response)
    async def figures() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def accounted(scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "other")
        metrics.responded(path, status)
        said = {"method": scope["method"], "path": path, "status": status, "ms": round(1_000 * seconds, 3)}
        ACCESS.info("answered", extra={**said, "request_id": scope["state"]["request_id"]})

    app.add_middleware(LimitedBodies, limit=service.maximum_body)
    app.add_middleware(Accounted, tell=accounted)
    app.add_middleware(NamedRequests)
    return app


def _answer(resolver: Resolver, request: RecommendRequest, log: EventLog, metrics: Metrics) -> Answer:
    began = time.perf_counter()
    try:
        answer = resolver.recommend(
            request.user_id,
            session_id=request.session_id,
            k=request.k,
            request_id=request.request_id,
            candidates=request.candidates,
        )
    except FeatureError as error:
        # The one thing that is wrong with a request itself: candidates nobody takes.
        raise FieldProblem(("candidates",), str(error)) from error
    logged = True
    try:
        log.write_exposures([answer.exposure])
    except RecsysError:
        logged = False
        LOGGER.exception(
            "exposure %s could not be logged; the list is answered all the same", answer.exposure.request_id
        )
    metrics.answered(answer.exposure, time.perf_counter() - began, logged=logged)
    return answer


def _receive(service: Service, table: pa.Table, metrics: Metrics) -> int:
    """Write events down; then the features of their sessions follow, if they can: the events are kept either way."""
    new = service.log.write_outcomes(table)
    metrics.received(new, len(table) - new)
    if service.sessions is not None:
        began = time.perf_counter()
        try:
            sessions = service.sessions.follow(table)
        except Exception:
            LOGGER.exception("features of sessions could not be pushed; the next event of each session makes up for it")
            metrics.pushed(0, time.perf_counter() - began, failed=True)
        else:
            metrics.pushed(sessions, time.perf_counter() - began, failed=False)
    return new


def _outcomes(events: tuple[Event, ...], now: datetime) -> pa.Table:
    """Return events as rows of `schema.EVENTS`, each id once."""
    rows: dict[str, dict[str, Any]] = {}
    for number, event in enumerate(events):
        happened = event.event_timestamp or now
        if happened > now + _SKEW:
            rule = f"lies after the service's time, {now.isoformat()}"
            raise FieldProblem(("events", number, schema.EVENT_TIMESTAMP), rule)
        if event.event_id in rows and rows[event.event_id]["of"] != event:
            rule = "an earlier event of this batch has the same id and differs"
            raise FieldProblem(("events", number, schema.EVENT_ID), rule)
        happened = min(happened, now)
        rows[event.event_id] = {
            **event.model_dump(),
            schema.EVENT_TIMESTAMP: happened,
            schema.CREATED_TIMESTAMP: now,
            "of": event,
        }
    columns = {name: [row[name] for row in rows.values()] for name in schema.EVENTS.names}
    return pa.table(columns, schema=schema.EVENTS)


def _serving(resolver: Resolver) -> dict[str, Any]:
    champion = resolver.state.champion
    return {
        "champion": champion.weights.model_version if champion else None,
        "models": {name: model.weights.number for name, model in resolver.state.models.items()},
    }


async def _follow(resolvers: Mapping[str, Resolver], poll_seconds: float, ready: asyncio.Event) -> None:
    """Refresh every resolver, again and again; a failure is logged and the last good state goes on serving.

    `ready` is set once every resolver was refreshed without a failure.
    """
    while True:
        failed = False
        for name, resolver in resolvers.items():
            try:
                if await run_in_threadpool(resolver.refresh):
                    LOGGER.info("placement %s serves %s", name, _serving(resolver))
            except Exception:
                failed = True
                LOGGER.exception("placement %s could not be refreshed; its last good state goes on serving", name)
        if not failed:
            ready.set()
        await asyncio.sleep(poll_seconds)
