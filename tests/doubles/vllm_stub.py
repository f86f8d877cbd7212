"""A server that answers like vLLM, at once and without a model, for tests and benchmarks of vLLM's clients.

    python -m tests.doubles.vllm_stub --port 8000

It streams in vLLM's form: a chunk with the role, one per word, one with the finish reason, one with the token counts,
``[DONE]``. A last message that begins with a colon selects another behaviour: ``:slow``, ``:stall``, ``:fail``,
``:refuse``, ``:missing``, ``:break``, ``:cut`` (after the end), ``:silent``, ``:tool``, ``:long`` (ten megabytes) and
``:other`` (another version answers).
"""

import argparse
import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

WORDS = tuple("The front desk opens at seven and closes at ten in the evening every day but Sunday .".split())  # noqa: SIM905
OTHER = "agents@00000000"


@dataclass
class VllmStub:
    """One replica."""

    pause_s: float = 0.0
    """Seconds before each word, also the first."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The bodies received, if ``keep`` is set."""
    keep: bool = False
    unavailable: bool = False
    """Whether to answer like the proxy of a pod whose vLLM accepts no connection."""

    def application(self) -> web.Application:
        """The server as an aiohttp application."""
        application = web.Application(client_max_size=8 << 20)
        application.router.add_post("/v1/chat/completions", self.answer)
        return application

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/chat/completions``."""
        if self.unavailable:
            return web.json_response({}, status=502, headers={"X-Not-Taken": "1"})
        body = json.loads(await request.read())
        if self.keep:
            self.requests.append(body)
        behaviour = str(body["messages"][-1].get("content"))
        if behaviour.startswith(":slow"):
            await asyncio.sleep(60)
        for prefix, status in ((":fail", 500), (":refuse", 400), (":missing", 404)):
            if behaviour.startswith(prefix):
                return web.json_response({"error": {"message": "no", "type": "invalid", "code": status}}, status=status)
        answer = StubAnswer(body, behaviour, f"chatcmpl-{request.headers.get('X-Request-Id', '0')}")
        if body.get("stream"):
            return await self._stream(request, answer)
        await asyncio.sleep(self.pause_s * (len(answer.words) or 1))
        return web.Response(body=answer.whole(), content_type="application/json")

    async def _stream(self, request: web.Request, answer: "StubAnswer") -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await response.write(answer.event({"role": "assistant", "content": ""}))
            for number, delta in enumerate(answer.deltas()):
                if answer.behaviour.startswith(":break") and number == 3 and request.transport:
                    request.transport.close()
                    return response
                if pause := 60.0 if answer.behaviour.startswith(":stall") and number == 2 else self.pause_s:
                    await asyncio.sleep(pause)
                await response.write(answer.event(delta))
            cut = answer.behaviour.startswith(":cut") and request.transport
            await response.write(answer.end())
            if cut:
                cut.close()
        return response


@dataclass(frozen=True)
class StubAnswer:
    """The answer to one request."""

    body: dict[str, Any]
    behaviour: str
    id: str

    @property
    def words(self) -> tuple[str, ...]:
        """The answer's words."""
        if self.behaviour.startswith(":long"):
            return WORDS * 3_000
        return () if self.behaviour.startswith((":silent", ":tool")) else WORDS

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The answer's tool calls."""
        call = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
        return [call] if self.behaviour.startswith(":tool") else []

    @property
    def common(self) -> dict[str, Any]:
        """The fields of every chunk."""
        model = OTHER if self.behaviour.startswith(":other") else self.body["model"]
        return {"id": self.id, "created": 0, "model": model}

    @property
    def usage(self) -> dict[str, int]:
        """The token counts."""
        count = len(self.words)
        return {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}

    def whole(self) -> bytes:
        """The answer without streaming."""
        message = {"role": "assistant", "content": " ".join(self.words) or None, "tool_calls": self.calls}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps(
            {**self.common, "object": "chat.completion", "choices": [choice], "usage": self.usage}
        ).encode()

    def deltas(self) -> list[dict[str, Any]]:
        """The contents of the streamed chunks."""
        return [{"content": word + " "} for word in self.words] + [{"tool_calls": [call]} for call in self.calls]

    def event(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        """One chunk of a stream."""
        return self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    def end(self) -> bytes:
        """The chunks at the end of a stream."""
        wants_usage = (self.body.get("stream_options") or {}).get("include_usage")
        usage = self._event({"choices": [], "usage": self.usage}) if wants_usage else b""
        return self.event({}, "stop") + usage + b"data: [DONE]\n\n"

    def _event(self, fields: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps({**self.common, "object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


def main(arguments: list[str] | None = None) -> int:
    """Serve on loopback until the process is stopped."""
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m tests.doubles.vllm_stub", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pause-ms", type=float, default=0.0, help="milliseconds before each word")
    options = parser.parse_args(arguments)
    uvloop.install()
    stub = VllmStub(pause_s=options.pause_ms / 1_000)
    web.run_app(stub.application(), host="127.0.0.1", port=options.port, print=None, access_log=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
