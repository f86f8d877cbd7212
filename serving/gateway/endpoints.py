"""The HTTP endpoints of the gateway: chat completions, feedback, models, health, readiness and metrics."""

import contextlib
import secrets
import sqlite3
import time

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from errors import FuellineError
from lake.contracts.registries import AGENTS
from serving.gateway.proxy import Exchange
from serving.gateway.records import feedback_row
from serving.gateway.requests import INTERACTION, Refused, authorize, headers_of, parse, read_request
from serving.gateway.responses import ResponseWriter, cancel_on_disconnect, error_body, read_body
from serving.gateway.state import Gateway
from serving.routing.routes import route_for_agent

RATINGS = {"up": 1, "down": 0}


class ChatCompletions:
    """``POST /v1/chat/completions``, directly on ASGI: no middleware between vLLM's bytes and the client."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        interaction = f"chatcmpl-{secrets.token_hex(16)}"
        writer = ResponseWriter(send, {"x-interaction-id": interaction})
        try:
            with self._gateway.slot():
                exchange = await self._prepare(scope, receive, interaction)
                await cancel_on_disconnect(receive, exchange.run(writer))
        except Refused as refused:
            self._gateway.metrics.refused.labels(refused.code).inc()
            refusal = ResponseWriter(send, refused.headers)
            refusal.prepare(refused.status, "application/json")
            await refusal.end(error_body(refused.status, refused.code, str(refused)))

    async def _prepare(self, scope: Scope, receive: Receive, interaction: str) -> Exchange:
        headers, route_cache = headers_of(scope), self._gateway.route_cache
        key_agent = authorize(headers, route_cache)  # before the body: without a valid key none is read
        data = await read_body(receive, headers)
        started = time.monotonic()  # the time a client takes to send its request is not the version's latency
        request = read_request(data, headers, route_cache, key_agent, interaction)
        at = self._gateway.clock.now()
        features = await self._gateway.features.read(request.user_id, request.agent, at)
        return Exchange(self._gateway, request, interaction=interaction, at=at, started=started, features=features)


class Endpoints:
    """All endpoints except chat completions."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def feedback(self, request: Request) -> Response:
        """``POST /v1/feedback``: ``{"interaction_id": "chatcmpl-...", "rating": "up"}``."""
        gateway, headers = self._gateway, headers_of(request.scope)
        with gateway.slot():
            authorize(headers, gateway.route_cache)
            body = parse(await read_body(request.receive, headers))
            interaction, rating = body.get("interaction_id"), body.get("rating")
            if not isinstance(interaction, str) or not INTERACTION.fullmatch(interaction):
                raise Refused(400, "invalid_interaction_id", "'interaction_id' is the id of an answer, chatcmpl-...")
            if not isinstance(rating, str) or rating not in RATINGS:
                raise Refused(400, "invalid_rating", "'rating' is 'up' or 'down'.")
            await gateway.spool.wait_for_sync()
            try:
                gateway.spool.put([feedback_row(interaction, RATINGS[rating], gateway.clock.now())])
            except sqlite3.Error:
                gateway.metrics.rows_lost.inc()
                raise Refused(503, "not_recorded", "The rating could not be recorded; try again in a second.") from None
        gateway.metrics.feedback.labels(rating).inc()
        return JSONResponse({"interaction_id": interaction, "rating": rating})

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``: the names that ``model`` may have."""
        route_cache = self._gateway.route_cache
        key_agent = authorize(headers_of(request.scope), route_cache)
        names: dict[str, None] = {}
        for agent in [key_agent] if key_agent else sorted(AGENTS):
            with contextlib.suppress(FuellineError):
                names |= {route_for_agent(route_cache.routes, agent).model: None, agent: None}
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "fuelline"} for name in sorted(names)]
        return JSONResponse({"object": "list", "data": listed})

    async def health(self, request: Request) -> Response:
        """``GET /health``: the process is alive."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """``GET /ready``: whether it can answer; the body also says whether it can record its answers."""
        routes, tried = self._gateway.route_cache.loaded, self._gateway.features.tried
        state = {"routes": routes, "features_tried": tried, "spool": self._gateway.spool.error or "ok"}
        # A full spool does not count: answers are still sent, and disks full everywhere would stop all gateways.
        return JSONResponse(state, status_code=200 if routes and tried else 503)

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``."""
        return Response(generate_latest(self._gateway.metrics.registry), media_type=CONTENT_TYPE_LATEST)
