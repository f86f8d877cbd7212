"""The agents' gateway: an OpenAI-compatible endpoint before vLLM, by which every answer knows its version and its user.

It reads the online features, renders the prompt by the function that training uses, lets the ledger's route and a
sticky split choose the version, passes the answer through, and hands what happened to the lake.

    fuelline serve gateway --port 8080
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Endpoint
from starlette.types import Receive, Scope, Send

from errors import SettingsError
from lake.health import refuse_wrong
from serving.gateway.concurrency import Room
from serving.gateway.endpoints import Looks
from serving.gateway.features import Known
from serving.gateway.metrics import Metrics
from serving.gateway.proxy import Exchange, Parts
from serving.gateway.records import Clock, slot_of
from serving.gateway.requests import Refused, authorize, headers_of, read_request
from serving.gateway.responses import Reply, error_body, read_body, unless_gone
from serving.gateway.route_cache import Following
from serving.gateway.spool import Spool
from serving.gateway.uploader import Drain
from serving.gateway.upstream import Upstream
from serving.options import CONCURRENCY
from settings import Settings, example

log = logging.getLogger("fuelline.gateway")

SWITCH_S = 0.0005
"""Longest that a thread of features or of the spool may hold up the event loop; Python's own 5 ms is a whole budget."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """All parts of a running gateway."""

    settings: Settings
    metrics: Metrics
    spool: Spool
    following: Following
    known: Known
    clock: Clock
    room: Room

    @property
    def is_ready(self) -> bool:
        """Whether it knows who answers and has tried the features. A spool that cannot be written keeps nobody waiting:
        answers go out all the same, and a disk that is full everywhere would leave no gateway to give them.
        """
        return self.following.known and self.known.settled


def build(settings: Settings, spool: Path | None = None, concurrency: int = CONCURRENCY) -> Starlette:
    """The gateway as an ASGI application; its threads run from start-up to shutdown.

    Args:
        settings: where vLLM, the lake, the online features and the keys are.
        spool: the spool's file; the lake's folder has one for a single gateway.
        concurrency: requests under way at most.

    Raises:
        SettingsError: no replica is named, the keys cannot be read, or the spool cannot be used.
    """
    if not settings.vllm_replicas:
        raise SettingsError(f"FUELLINE_VLLM is not set. It names the vLLM replicas. Example: {example('vllm')}")
    metrics = Metrics()
    following = Following(settings, metrics)
    rows = Spool(spool or settings.folder / "gateway" / "spool.db")
    gateway = Gateway(
        settings=settings,
        metrics=metrics,
        spool=rows,
        following=following,
        known=Known(settings, metrics),
        clock=Clock(slot_of(rows.gateway, settings.cluster, socket.gethostname())),
        room=Room(concurrency),
    )
    metrics.in_flight.set_function(lambda: gateway.room.taken)
    metrics.spool_rows.set_function(lambda: rows.depth)
    completions, looks = Completions(gateway), Looks(gateway)
    return Application(
        completions,
        routes=[
            Endpoint("/v1/chat/completions", completions, methods=["POST"]),
            Endpoint("/v1/feedback", looks.feedback, methods=["POST"]),
            Endpoint("/v1/models", looks.models),
            Endpoint("/health", looks.health),
            Endpoint("/ready", looks.ready),
            Endpoint("/metrics", looks.metrics),
        ],
        exception_handlers={Refused: _refused, HTTPException: _not_served},
        lifespan=lambda _: _running(gateway, completions),
    )


class Application(Starlette):
    """Starlette, but for the one path that is asked all day: each piece of a stream would pass its four layers."""

    def __init__(self, completions: "Completions", **more: Any) -> None:
        super().__init__(**more)
        self.router.redirect_slashes = False  # a client of OpenAI's reads an error, and posts nothing twice
        self._completions = completions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == "/v1/chat/completions" and scope["method"] == "POST":
            await self._completions(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


@contextlib.asynccontextmanager
async def _running(gateway: Gateway, completions: "Completions") -> AsyncIterator[None]:
    """Threads and connections, for as long as the application lives."""
    drain = Drain(gateway.spool, gateway.settings, gateway.metrics)
    upstream = Upstream(gateway.settings.vllm_replicas, gateway.metrics)
    completions.parts = Parts(
        spool=gateway.spool, upstream=upstream, metrics=gateway.metrics, cluster=gateway.settings.cluster
    )
    gateway.following.start()
    drain.start()
    opening = asyncio.create_task(gateway.known.open())
    if gateway.following.keys is None:
        log.warning("FUELLINE_KEYS is not set: whoever reaches this port may ask as any agent")
    try:
        yield
    finally:
        opening.cancel()
        await upstream.close()
        await gateway.known.close()
        await asyncio.to_thread(gateway.following.stop)
        await asyncio.to_thread(drain.stop)
        await asyncio.to_thread(gateway.spool.close)


class Completions:
    """``POST /v1/chat/completions``, straight on ASGI: nothing stands between vLLM's bytes and the client."""

    parts: Parts
    """Set once the event loop runs."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        interaction = f"chatcmpl-{secrets.token_hex(16)}"
        reply = Reply(send, {"x-interaction-id": interaction})
        try:
            with self._gateway.room.place():
                exchange = await self._prepare(scope, receive, interaction)
                await unless_gone(receive, exchange.run(reply))
        except Refused as refused:
            self._gateway.metrics.refused.labels(refused.code).inc()
            told = Reply(send, refused.headers)
            told.prepare(refused.status, "application/json")
            await told.end(error_body(refused.status, refused.code, str(refused)))

    async def _prepare(self, scope: Scope, receive: Receive, interaction: str) -> Exchange:
        headers = headers_of(scope)
        following = self._gateway.following
        own = authorize(headers, following)  # before the body: a stranger's is not read
        data = await read_body(receive, headers)
        began = time.monotonic()  # how long a client takes to send its request is no version's latency
        asked = read_request(data, headers, following, own, interaction)
        at = self._gateway.clock.now()
        features = await self._gateway.known.read(asked.user_id, asked.agent, at)
        return Exchange(self.parts, asked, interaction=interaction, at=at, began=began, features=features)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    body = error_body(error.status, error.code, str(error))
    return Response(body, error.status, error.headers, media_type="application/json")


async def _not_served(request: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    body = error_body(status, status.name.lower(), f"{status.description}.")
    return Response(body, status, error.headers, media_type="application/json")


def serve(settings: Settings, *, host: str, port: int, spool: Path | None, concurrency: int) -> None:
    """Serve until told to stop.

    Raises:
        SettingsError: a setting is wrong; a service that is merely away costs a warning.
    """
    import uvicorn

    from serving.gateway.header_limit import BoundedHeads

    sys.setswitchinterval(SWITCH_S)
    refuse_wrong(settings, "store", "catalog", "online")
    uvicorn.run(
        build(settings, spool, concurrency),
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedHeads,
        proxy_headers=False,
        access_log=False,  # a path can hold what a user wrote
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=35,
        server_header=False,
    )
