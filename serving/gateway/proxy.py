"""One request forwarded to vLLM, its answer forwarded to the client, and its record, however it ends.

The order at the end matters: the rows are committed to the spool first, and only then are the last bytes sent. So a
client that has a complete answer can rely on its record, even if this process is killed a moment later. This costs an
answer one commit, 0.1 to 0.3 ms.
"""

import asyncio
import json
import logging
import sqlite3
import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import aiohttp

from features.online.reader import OnlineFeatures
from models.prompt import render
from serving.gateway.records import LATENCY_MS, FinishedRequest, request_rows
from serving.gateway.requests import ChatRequest, Refused
from serving.gateway.responses import ResponseWriter, error_body
from serving.gateway.sse import EventStream, ParsedCompletion
from serving.gateway.state import Gateway
from serving.gateway.upstream import NOT_LOADED, UpstreamFailed
from serving.routing.routes import Choice

log = logging.getLogger("fuelline.gateway")

TIMEOUT_S = LATENCY_MS / 1_000
"""From the request to the last token."""
SLOW_CLIENT_S = 1.0
"""If the client kept its answer waiting longer than this in all, a time-out is not counted as the version's failure."""
UPSTREAM_ERROR = 502, "upstream_error", "The model server broke off its answer."
TIMED_OUT = 504, "timeout", f"The model server did not finish within {TIMEOUT_S:.0f} s."
CANCELLED = "cancelled"
"""Outcome of a request whose client left before the end."""


class Exchange:
    """One request and its answer; ``run`` it once. Raises ``Refused`` if the request cannot be forwarded."""

    def __init__(
        self,
        gateway: Gateway,
        request: ChatRequest,
        *,
        interaction: str,
        at: datetime,
        started: float,
        features: OnlineFeatures,
    ) -> None:
        self._gateway, self._request, self._features = gateway, request, features
        self._interaction, self._at, self._started = interaction, at, started
        self._choice: Choice = request.route.choose(request.assignment_key)
        self._completion = ParsedCompletion()
        self._ended: float | None = None
        try:
            self._body = self._render()
        except RecursionError:  # before any version is called, so it is no version's failure
            raise Refused(400, "invalid_json", "The body is nested too deeply.") from None

    async def run(self, writer: ResponseWriter) -> None:
        """Call vLLM, forward the answer, record it, and end it."""
        outcome, last = CANCELLED, b""
        try:
            async with asyncio.timeout(TIMEOUT_S - (time.monotonic() - self._started)):
                last = await self._forward(writer)
            outcome, self._ended = "empty" if self._completion.is_empty else "answered", time.monotonic()
            await self._gateway.spool.wait_for_sync()  # our disk counts neither in the latency nor in the time limit
        except Exception as error:  # whatever vLLM sends: the client gets an error in OpenAI's form, and it is recorded
            if isinstance(error, TimeoutError) and writer.client_wait_s > SLOW_CLIENT_S:
                raise asyncio.CancelledError from None  # as if the client had left: the version's share is unknown
            outcome, last = self._fail(error, writer)
        finally:
            self._record(outcome, writer.client_wait_s)  # also where the client left and this task is cancelled
        await writer.end(last)

    async def _forward(self, writer: ResponseWriter) -> bytes:
        """Forward the answer; returns its end, which has not been sent yet."""
        request_id = self._interaction.removeprefix("chatcmpl-")  # vLLM adds its own prefix
        async with await self._gateway.upstream.post(self._body, request_id) as response:
            if response.status != 200:
                raise await _upstream_error(response)
            if not self._request.stream:
                data = await response.read()
                self._completion.read_body(data)
                if self._completion.failed:
                    raise UpstreamFailed(*UPSTREAM_ERROR)
                writer.prepare(200, "application/json")
                return data
            return await self._forward_stream(response, writer)

    async def _forward_stream(self, response: aiohttp.ClientResponse, writer: ResponseWriter) -> bytes:
        stream = EventStream(self._completion, wants_usage=self._request.wants_usage)
        writer.prepare(200, "text/event-stream; charset=utf-8")
        last = b""  # events that arrived together with the end are sent with it: each piece wakes the client
        try:
            async for data in response.content.iter_any():
                forward = stream.feed(data)
                if self._completion.finished:
                    last += forward
                elif forward:
                    await writer.send(forward)
                if self._completion.failed:
                    raise UpstreamFailed(*UPSTREAM_ERROR)
        except aiohttp.ClientError:
            if not self._completion.finished:  # a connection that breaks after the end leaves a complete answer
                raise
        if not self._completion.finished:
            raise UpstreamFailed(*UPSTREAM_ERROR)
        return last + stream.ending

    def _render(self) -> bytes:
        """The request for the chosen version: the client's body with the system message in front."""
        system = render(self._request.agent, self._features, self._request.query)[0]
        messages = [system, *self._request.body["messages"]]
        body: dict[str, Any] = {**self._request.body, "model": self._choice.adapter, "messages": messages}
        body.pop("user", None)  # vLLM does not use it
        if self._request.stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return json.dumps(body, separators=(",", ":")).encode()

    def _fail(self, error: Exception, writer: ResponseWriter) -> tuple[str, bytes]:
        """The outcome, and the error for the client."""
        default = TIMED_OUT if isinstance(error, TimeoutError) else UPSTREAM_ERROR
        status, code, message = error.args if isinstance(error, UpstreamFailed) else default
        log.error("%s: %s of %s failed: %s", self._interaction, self._choice.adapter, self._request.agent, code)
        body = error_body(status, code, message) if isinstance(message, str) else message
        if writer.started:
            return code, b"data: " + body + b"\n\n"
        writer.prepare(status, "application/json")
        return code, body

    def _record(self, outcome: str, client_wait_s: float) -> None:
        """Write the rows to the spool, and count. Time that the client kept its answer waiting is not latency.

        An answer matters more than its record: it is sent even if the spool cannot be written.
        """
        seconds = (self._ended or time.monotonic()) - self._started - client_wait_s
        first, choice = self._completion.first_token_at, self._choice
        if outcome == NOT_LOADED[1]:  # no user met the version, so the call is no evidence for the rollout
            choice = replace(choice, rollout=None, arm=None, unit=None)
        done = FinishedRequest(
            interaction=self._interaction,
            at=self._at,
            request=self._request,
            choice=choice,
            features=self._features,
            completion=self._completion,
            failed=self._completion.is_empty or outcome not in ("answered", CANCELLED),
            cancelled=outcome == CANCELLED,
            error=outcome != "answered",
            latency_ms=min(int(seconds * 1_000), LATENCY_MS),
            first_token_ms=int((first - self._started) * 1_000) if first and self._request.stream else None,
        )
        self._count(done, outcome, seconds)
        try:
            self._gateway.spool.put(request_rows(done, self._gateway.settings.cluster))
        except sqlite3.Error:
            self._gateway.metrics.rows_lost.inc(2)
            log.error("%s is lost to the lake", self._interaction)

    def _count(self, done: FinishedRequest, outcome: str, seconds: float) -> None:
        metrics, chosen, version = self._gateway.metrics, self._choice.adapter, done.version
        metrics.requests.labels(self._request.agent, version, done.choice.arm or "", outcome).inc()
        metrics.latency.labels(version).observe(seconds)
        metrics.tokens.labels(version, "prompt").inc(self._completion.prompt_tokens)
        metrics.tokens.labels(version, "completion").inc(self._completion.completion_tokens)
        if done.first_token_ms is not None:
            metrics.first_token.labels(version).observe(done.first_token_ms / 1_000)
        if version != chosen:
            metrics.other_version.labels(chosen, version).inc()
            log.warning("%s: called %s, and %s answered", self._interaction, chosen, version)


async def _upstream_error(response: aiohttp.ClientResponse) -> UpstreamFailed:
    """The error of a status other than 200: vLLM's own body where the request is at fault, ours otherwise."""
    if response.status == 404:
        return UpstreamFailed(*NOT_LOADED)
    if 400 <= response.status < 500:
        return UpstreamFailed(response.status, f"upstream_{response.status}", await response.read())
    return UpstreamFailed(*UPSTREAM_ERROR)
