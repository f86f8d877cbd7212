"""The agents' gateway: an OpenAI-compatible endpoint in front of vLLM that records the version and user of each answer.

It reads the online features, renders the prompt with the function that training uses, chooses the version by the
ledger's route and a sticky split, passes the answer through, and writes the interaction for the lake.

    fuelline serve gateway --port 8080
"""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as PathRoute
from starlette.types import Receive, Scope, Send

from errors import SettingsError
from lake.health import require_valid
from serving.gateway.endpoints import ChatCompletions, Endpoints
from serving.gateway.features import OnlineFeatureClient
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.records import SlottedClock, slot_of
from serving.gateway.requests import Refused
from serving.gateway.responses import error_body
from serving.gateway.route_cache import RouteCache
from serving.gateway.spool import Spool
from serving.gateway.state import Gateway
from serving.gateway.uploader import SpoolUploader
from serving.gateway.upstream import Upstream
from serving.options import CONCURRENCY
from settings import Settings, example

log = logging.getLogger("fuelline.gateway")

SWITCH_INTERVAL_S = 0.0005
"""Longest time that a thread of the features or of the spool may block the event loop. Python's default of 5 ms would
use up the whole latency budget of a request."""


def build(settings: Settings, spool: Path | None = None, concurrency: int = CONCURRENCY) -> Starlette:
    """The gateway as an ASGI application; its threads run from start-up to shutdown.

    The default file of the spool is in the lake's folder, for a single gateway. Raises ``SettingsError`` where no
    replica is named, the keys cannot be read, or the spool cannot be used.
    """
    if not settings.vllm_replicas:
        raise SettingsError(f"FUELLINE_VLLM is not set. It names the vLLM replicas. Example: {example('vllm')}")
    metrics = GatewayMetrics()
    route_cache = RouteCache(settings, metrics)
    opened = Spool(spool or settings.folder / "gateway" / "spool.db")
    gateway = Gateway(
        settings=settings,
        metrics=metrics,
        spool=opened,
        route_cache=route_cache,
        features=OnlineFeatureClient(settings, metrics),
        clock=SlottedClock(slot_of(opened.gateway, settings.cluster, socket.gethostname())),
        concurrency=concurrency,
    )
    metrics.in_flight.set_function(lambda: gateway.in_flight)
    metrics.spool_rows.set_function(lambda: opened.depth)
    chat, endpoints = ChatCompletions(gateway), Endpoints(gateway)
    return Application(
        chat,
        routes=[
            PathRoute("/v1/chat/completions", chat, methods=["POST"]),
            PathRoute("/v1/feedback", endpoints.feedback, methods=["POST"]),
            PathRoute("/v1/models", endpoints.models),
            PathRoute("/health", endpoints.health),
            PathRoute("/ready", endpoints.ready),
            PathRoute("/metrics", endpoints.metrics),
        ],
        exception_handlers={Refused: _error, HTTPException: _error},
        lifespan=lambda _: _running(gateway),
    )


class Application(Starlette):
    """Starlette, with chat completions called directly: otherwise each chunk of a stream passes four middlewares."""

    def __init__(self, chat: ChatCompletions, **options: Any) -> None:
        super().__init__(**options)
        self.router.redirect_slashes = False  # an OpenAI client gets an error, and does not post twice
        self._chat = chat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == "/v1/chat/completions" and scope["method"] == "POST":
            await self._chat(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


@contextlib.asynccontextmanager
async def _running(gateway: Gateway) -> AsyncIterator[None]:
    """Start the threads and connections, and stop them when the application ends."""
    uploader = SpoolUploader(gateway.spool, gateway.settings, gateway.metrics)
    gateway.upstream = Upstream(gateway.settings.vllm_replicas, gateway.metrics)
    gateway.route_cache.start()
    uploader.start()
    opening = asyncio.create_task(gateway.features.open())
    if gateway.route_cache.keys is None:
        log.warning("FUELLINE_KEYS is not set: every client that reaches this port may act as any agent")
    try:
        yield
    finally:
        opening.cancel()
        await gateway.upstream.close()
        await gateway.features.close()
        await asyncio.to_thread(gateway.route_cache.stop)
        await asyncio.to_thread(uploader.stop)
        await asyncio.to_thread(gateway.spool.close)


async def _error(request: Request, error: Exception) -> Response:
    """The answer to a refused request, an unknown path (404) or a wrong method (405)."""
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        refused = Refused(status, status.name.lower(), f"{status.description}.")
        headers = error.headers
    else:
        assert isinstance(error, Refused)
        refused, headers = error, error.headers
    body = error_body(refused.status, refused.code, str(refused))
    return Response(body, refused.status, headers, media_type="application/json")


def serve(settings: Settings, *, host: str, port: int, spool: Path | None, concurrency: int) -> None:
    """Serve until stopped. Raises ``SettingsError``; a service that is only unavailable costs a warning."""
    import uvicorn

    from serving.gateway.header_limit import HeaderLimitProtocol

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    require_valid(settings, "store", "catalog", "online")
    uvicorn.run(
        build(settings, spool, concurrency),
        host=host,
        port=port,
        loop="uvloop",
        http=HeaderLimitProtocol,
        proxy_headers=False,
        access_log=False,  # a path can hold what a user wrote
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=35,
        server_header=False,
    )
