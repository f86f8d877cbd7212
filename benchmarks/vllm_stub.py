"""A server that answers as vLLM does, at once and without a model: for what stands before vLLM.

    python -m benchmarks.vllm_stub --port 8000

It streams in vLLM's form: a chunk with the role, one a word, one with the reason for the end, one with the numbers of
tokens, ``[DONE]``. A last message that begins with a colon asks for trouble: ``:slow``, ``:fail``, ``:refuse``,
``:missing``, ``:break``, ``:cut`` (behind the end), ``:silent``, ``:tool``, ``:long`` (ten megabytes) and ``:other``
(another version answers).
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
class Stub:
    """One replica."""

    pause_s: float = 0.0
    """Before each word; the first one too."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The bodies that came, where ``keep`` is set."""
    keep: bool = False
    absent: bool = False
    """Whether the door of its pod finds no vLLM."""

    def application(self) -> web.Application:
        """The server."""
        application = web.Application(client_max_size=8 << 20)
        application.router.add_post("/v1/chat/completions", self.answer)
        return application

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/chat/completions``."""
        if self.absent:
            return web.json_response({}, status=502, headers={"X-Not-Taken": "1"})
        body = json.loads(await request.read())
        if self.keep:
            self.asked.append(body)
        wish = str(body["messages"][-1].get("content"))
        if wish.startswith(":slow"):
            await asyncio.sleep(60)
        for trouble, status in ((":fail", 500), (":refuse", 400), (":missing", 404)):
            if wish.startswith(trouble):
                return web.json_response({"error": {"message": "no", "type": "invalid", "code": status}}, status=status)
        said = Said(body, wish, f"chatcmpl-{request.headers.get('X-Request-Id', '0')}")
        if body.get("stream"):
            return await self._stream(request, said)
        await asyncio.sleep(self.pause_s * (len(said.words) or 1))
        return web.Response(body=said.whole(), content_type="application/json")

    async def _stream(self, request: web.Request, said: "Said") -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await response.write(said.event({"role": "assistant", "content": ""}))
            for number, delta in enumerate(said.deltas()):
                if said.wish.startswith(":break") and number == 3 and request.transport:
                    request.transport.close()
                    return response
                if pause := 60.0 if said.wish.startswith(":stall") and number == 2 else self.pause_s:
                    await asyncio.sleep(pause)
                await response.write(said.event(delta))
            cut = said.wish.startswith(":cut") and request.transport
            await response.write(said.end())
            if cut:
                cut.close()
        return response


@dataclass(frozen=True)
class Said:
    """What is answered to one request."""

    body: dict[str, Any]
    wish: str
    id: str

    @property
    def words(self) -> tuple[str, ...]:
        """The answer's words."""
        if self.wish.startswith(":long"):
            return WORDS * 3_000
        return () if self.wish.startswith((":silent", ":tool")) else WORDS

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The answer's tool calls."""
        call = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
        return [call] if self.wish.startswith(":tool") else []

    @property
    def common(self) -> dict[str, Any]:
        """What every part of the answer says."""
        model = OTHER if self.wish.startswith(":other") else self.body["model"]
        return {"id": self.id, "created": 0, "model": model}

    @property
    def usage(self) -> dict[str, int]:
        """The numbers of tokens."""
        count = len(self.words)
        return {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}

    def whole(self) -> bytes:
        """The answer in one piece."""
        message = {"role": "assistant", "content": " ".join(self.words) or None, "tool_calls": self.calls}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps(
            {**self.common, "object": "chat.completion", "choices": [choice], "usage": self.usage}
        ).encode()

    def deltas(self) -> list[dict[str, Any]]:
        """The answer in pieces."""
        return [{"content": word + " "} for word in self.words] + [{"tool_calls": [call]} for call in self.calls]

    def event(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        """One chunk of a stream."""
        return self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    def end(self) -> bytes:
        """The chunks at the end of a stream."""
        wanted = (self.body.get("stream_options") or {}).get("include_usage")
        usage = self._event({"choices": [], "usage": self.usage}) if wanted else b""
        return self.event({}, "stop") + usage + b"data: [DONE]\n\n"

    def _event(self, fields: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps({**self.common, "object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


def main(arguments: list[str] | None = None) -> int:
    """Serve on loopback until told to stop."""
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m benchmarks.vllm_stub", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pause-ms", type=float, default=0.0, help="before each word")
    asked = parser.parse_args(arguments)
    uvloop.install()
    stub = Stub(pause_s=asked.pause_ms / 1_000)
    web.run_app(stub.application(), host="127.0.0.1", port=asked.port, print=None, access_log=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
