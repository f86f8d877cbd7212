"""What a gateway answers beside chat completions: thumbs, models, and how it is."""

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from errors import FuellineError
from serving.gateway.records import thumb
from serving.gateway.requests import INTERACTION, Refused, authorize, headers_of, parse
from serving.gateway.responses import read_body
from serving.routing.routes import for_agent

if TYPE_CHECKING:
    from serving.gateway.app import Gateway

THUMBS = {"up": 1, "down": 0}


class Looks:
    """Everything that is no chat completion."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    async def feedback(self, request: Request) -> Response:
        """``POST /v1/feedback``: ``{"interaction_id": "chatcmpl-...", "rating": "up"}``."""
        with self._gateway.room.place():
            return await self._take(request)

    async def _take(self, request: Request) -> Response:
        headers = headers_of(request.scope)
        authorize(headers, self._gateway.following)
        body = parse(await read_body(request.receive, headers))
        interaction, rating = body.get("interaction_id"), body.get("rating")
        if not isinstance(interaction, str) or not INTERACTION.fullmatch(interaction):
            raise Refused(400, "invalid_interaction_id", "'interaction_id' is the id of an answer, chatcmpl-...")
        if not isinstance(rating, str) or rating not in THUMBS:
            raise Refused(400, "invalid_rating", "'rating' is 'up' or 'down'.")
        await self._gateway.spool.quiet()
        try:
            self._gateway.spool.put([thumb(interaction, THUMBS[rating], self._gateway.clock.now())])
        except sqlite3.Error:
            self._gateway.metrics.rows_lost.inc()
            raise Refused(503, "not_recorded", "The rating could not be recorded; try again in a second.") from None
        self._gateway.metrics.feedback.labels(rating).inc()
        return JSONResponse({"interaction_id": interaction, "rating": rating})

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``: what may stand in ``model``."""
        from lake.contracts.registries import AGENTS

        own, routes = authorize(headers_of(request.scope), self._gateway.following), self._gateway.following.routes
        names: dict[str, None] = {}
        for agent in [own] if own else sorted(AGENTS):
            with contextlib.suppress(FuellineError):
                names |= {for_agent(routes, agent).model: None, agent: None}
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "fuelline"} for name in sorted(names)]
        return JSONResponse({"object": "list", "data": listed})

    async def health(self, request: Request) -> Response:
        """``GET /health``: the process lives."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """``GET /ready``: it can answer; also whether it can record that it did."""
        gateway = self._gateway
        state = {
            "routes": gateway.following.known,
            "features_tried": gateway.known.settled,
            "spool": gateway.spool.fault or "ok",
        }
        return JSONResponse(state, status_code=200 if gateway.is_ready else 503)

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``."""
        return Response(generate_latest(self._gateway.metrics.registry), media_type=CONTENT_TYPE_LATEST)
