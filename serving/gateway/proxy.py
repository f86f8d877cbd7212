"""One request on its way to vLLM and back, and what is recorded of it, however it ends.

The order at the end is the point: the rows are committed to the spool first, and only then do the last bytes go to the
client. So whoever has a whole answer can be sure that it is on record, even if this process is killed the next moment.
It costs an answer one commit, 0.1 to 0.3 ms.
"""

import asyncio
import json
import logging
import sqlite3
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import aiohttp

from features.online.reader import OnlineFeatures
from models.prompt import render
from serving.gateway.metrics import Metrics
from serving.gateway.records import LATENCY_MS, Finished, rows
from serving.gateway.requests import Asked, Refused
from serving.gateway.responses import Reply, error_body
from serving.gateway.spool import Spool
from serving.gateway.sse import Answer, Stream
from serving.gateway.upstream import NotLoaded, Unreachable, Upstream
from serving.routing.routes import Choice

log = logging.getLogger("fuelline.gateway")

TIMEOUT_S = LATENCY_MS / 1_000
"""From the request to the last token."""
PATIENT_S = 1.0
"""An answer that waited longer for its client, in all, and did not end in time is nobody's failure."""
BROKEN = 502, "upstream_error", "The model server broke off its answer."
TOO_SLOW = 504, "timeout", f"The model server did not finish within {TIMEOUT_S:.0f} s."
NOBODY = 503, "unreachable", "No model server takes connections."
LEFT = "cancelled"
"""How a request ended whose client did not wait for the end."""
NOT_LOADED = 502, "version_not_loaded", "The model server does not know the version that should answer."


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What every request needs of the gateway."""

    spool: Spool
    upstream: Upstream
    metrics: Metrics
    cluster: str


class Failed(Exception):
    """The call failed: status, code and message for the client. Nobody else ever sees it."""


class Exchange:
    """One request. ``run`` it once. Raises ``Refused`` where it cannot be passed on."""

    def __init__(
        self,
        parts: Parts,
        asked: Asked,
        *,
        interaction: str,
        at: datetime,
        began: float,
        features: OnlineFeatures,
    ) -> None:
        self._parts, self._asked, self._features = parts, asked, features
        self._interaction, self._at, self._began = interaction, at, began
        self._choice: Choice = asked.route.choose(asked.who)
        self._answer = Answer()
        self._ended: float | None = None
        try:
            self._request = self._render()
        except RecursionError:  # before any version is asked: no failure of one
            raise Refused(400, "invalid_json", "The body is nested too deeply.") from None

    async def run(self, reply: Reply) -> None:
        """Ask, pass the answer through, record it, and end it."""
        outcome, last = LEFT, b""
        try:
            async with asyncio.timeout(TIMEOUT_S - (time.monotonic() - self._began)):
                last = await self._converse(reply)
            outcome, self._ended = "empty" if self._answer.is_empty else "answered", time.monotonic()
            await self._parts.spool.quiet()  # our disk's time is neither the version's latency nor its time-out
        except Exception as error:  # whatever vLLM sends: the client is told in OpenAI's form, and it is on record
            if isinstance(error, TimeoutError) and reply.waited > PATIENT_S:
                raise asyncio.CancelledError from None  # as if it had left: nobody knows what was the version's part
            outcome, last = self._fail(error, reply)
        finally:
            self._record(outcome, reply.waited)  # also where the client has left and this is cancelled
        await reply.end(last)

    async def _converse(self, reply: Reply) -> bytes:
        """The answer; all but its end has been sent."""
        request_id = self._interaction.removeprefix("chatcmpl-")  # vLLM puts its own prefix before it
        async with await self._parts.upstream.ask(self._request, request_id) as response:
            if response.status != 200:
                raise await _refusal(response)
            if not self._asked.stream:
                data = await response.read()
                self._answer.read_body(data)
                if self._answer.broken:
                    raise Failed(*BROKEN)
                reply.prepare(200, "application/json")
                return data
            return await self._pass_through(response, reply)

    async def _pass_through(self, response: aiohttp.ClientResponse, reply: Reply) -> bytes:
        stream = Stream(self._answer, wants_usage=self._asked.wants_usage)
        reply.prepare(200, "text/event-stream; charset=utf-8")
        end = b""  # what came together with the end goes with it: each piece wakes the client
        try:
            async for data in response.content.iter_any():
                forward = stream.feed(data)
                if self._answer.finished:
                    end += forward
                elif forward:
                    await reply.send(forward)
                if self._answer.broken:
                    raise Failed(*BROKEN)
        except aiohttp.ClientError:
            if not self._answer.finished:  # broken off behind its end, an answer is whole
                raise
        if not self._answer.finished:
            raise Failed(*BROKEN)
        return end + stream.last

    def _render(self) -> bytes:
        """The client's request with the system's message in front, for the version that was chosen."""
        system = render(self._asked.agent, self._features, self._asked.query)[0]
        body: dict[str, Any] = {
            **self._asked.body,
            "model": self._choice.adapter,
            "messages": [system, *self._asked.body["messages"]],
        }
        body.pop("user", None)  # vLLM has no use for it
        if self._asked.stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return json.dumps(body, separators=(",", ":")).encode()

    def _fail(self, error: Exception, reply: Reply) -> tuple[str, bytes]:
        """How it ended, and what the client is told."""
        match error:
            case TimeoutError():
                told = TOO_SLOW
            case Unreachable():
                told = NOBODY
            case NotLoaded():
                told = NOT_LOADED
            case Failed():
                told = error.args
            case _:
                told = BROKEN
        status, code, message = told
        log.error("%s: %s of %s failed: %s", self._interaction, self._choice.adapter, self._asked.agent, code)
        body = error_body(status, code, message) if isinstance(message, str) else message
        if reply.started:
            return code, b"data: " + body + b"\n\n"
        reply.prepare(status, "application/json")
        return code, body

    def _record(self, outcome: str, waited: float) -> None:
        """Hand the rows to the spool, and count. What the client let the answer wait is no latency of the version.

        An answer is worth more than its record: it goes out also where the spool cannot be written.
        """
        seconds = (self._ended or time.monotonic()) - self._began - waited
        first = self._answer.first_token
        done = Finished(
            interaction=self._interaction,
            at=self._at,
            asked=self._asked,
            choice=self._counted(outcome),
            features=self._features,
            answer=self._answer,
            failed=self._answer.is_empty or outcome not in ("answered", LEFT),
            left=outcome == LEFT,
            error=outcome != "answered",
            latency_ms=min(int(seconds * 1_000), LATENCY_MS),
            first_token_ms=int((first - self._began) * 1_000) if first and self._asked.stream else None,
        )
        self._count(done, outcome, seconds)
        try:
            self._parts.spool.put(rows(done, self._parts.cluster))
        except sqlite3.Error:
            self._parts.metrics.rows_lost.inc(2)
            log.error("%s is lost to the lake", self._interaction)

    def _counted(self, outcome: str) -> Choice:
        """The choice as evidence: a version that no replica had loaded was not met, so the rollout learns nothing."""
        unmet = outcome == NOT_LOADED[1]
        return replace(self._choice, rollout=None, arm=None, unit=None) if unmet else self._choice

    def _count(self, done: Finished, outcome: str, seconds: float) -> None:
        metrics, asked, version = self._parts.metrics, self._choice.adapter, done.version
        metrics.requests.labels(self._asked.agent, version, done.choice.arm or "", outcome).inc()
        metrics.latency.labels(version).observe(seconds)
        metrics.tokens.labels(version, "prompt").inc(self._answer.prompt_tokens)
        metrics.tokens.labels(version, "completion").inc(self._answer.completion_tokens)
        if done.first_token_ms is not None:
            metrics.first_token.labels(version).observe(done.first_token_ms / 1_000)
        if version != asked:
            metrics.other_version.labels(asked, version).inc()
            log.warning("%s: %s was asked and %s answered", self._interaction, asked, version)


async def _refusal(response: aiohttp.ClientResponse) -> Failed:
    """What a client is told where vLLM refuses: its own words where the request is at fault, ours otherwise."""
    if response.status == 404:
        return Failed(*NOT_LOADED)
    if 400 <= response.status < 500:
        return Failed(response.status, f"upstream_{response.status}", await response.read())
    return Failed(*BROKEN)
