"""How do a shop's pages ask for a list? The resolver over HTTP, following the registry by itself."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

import recsys
from recsys.errors import FeatureError, RecsysError
from recsys.ports import Exposure
from recsys.serving.resolver import Resolver

LOGGER = logging.getLogger(__name__)


class RecommendRequest(BaseModel):
    """Who asks for which list."""

    placement: str
    """A placement declared under registry/placements/."""
    user_id: Annotated[str, Field(min_length=1)]
    session_id: str | None = None
    k: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Slots; the placement's by default."""
    candidates: Annotated[list[str], Field(max_length=10_000)] = []
    """Item ids for the placement's `given` source; ids that it does not know are left out."""


def create_app(
    resolvers: Mapping[str, Resolver], log: Callable[[Sequence[Exposure]], int], poll_seconds: float = 2.0
) -> FastAPI:
    """Make the HTTP application.

    Args:
        resolvers: by placement.
        log: writes exposures before their answer is given.
        poll_seconds: how often promotions and materializations are looked for.
    """
    ready = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(resolvers, poll_seconds, ready))
        yield
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    app = FastAPI(title="recsys", version=recsys.__version__, lifespan=lifespan)

    @app.post("/v1/recommend")
    async def recommend(request: RecommendRequest) -> dict[str, Any]:
        resolver = resolvers.get(request.placement)
        if resolver is None:
            known = ", ".join(sorted(resolvers))
            raise HTTPException(404, f"placement {request.placement!r} is not declared; declared: {known}")
        try:
            return await run_in_threadpool(_answer, resolver, request, log)
        except FeatureError as error:  # the one thing that is wrong with a request itself: candidates nobody takes
            raise HTTPException(422, str(error)) from error

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        if not ready.is_set():
            raise HTTPException(503, "models and items are still being loaded")
        return {"status": "ready", "placements": {name: _serving(resolver) for name, resolver in resolvers.items()}}

    return app


def _answer(resolver: Resolver, request: RecommendRequest, log: Callable[[Sequence[Exposure]], int]) -> dict[str, Any]:
    answer = resolver.recommend(
        request.user_id, session_id=request.session_id, k=request.k, candidates=request.candidates
    )
    try:
        log([answer.exposure])
    except RecsysError:
        LOGGER.exception(
            "exposure %s could not be logged; the list is answered all the same", answer.exposure.request_id
        )
    return answer.to_dict()


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
