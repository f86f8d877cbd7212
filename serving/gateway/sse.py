"""vLLM's answer, parsed while it is forwarded: text, tool calls, token counts, and the version that it names.

Bytes are forwarded as received. Only the end of a stream is held back until the interaction is recorded: see
``serving.gateway.proxy``.
"""

import json
import time
from typing import Any

import orjson

from lake.contracts.base import TEXT_CHARACTERS

DATA, DONE = b"data:", b"[DONE]"
EVENT_BYTES = 4 << 20
"""Size limit of one event; longer than any that vLLM sends."""


class ParsedCompletion:
    """What has been received of one answer so far."""

    def __init__(self) -> None:
        self.model = ""
        """The version that the answer names; empty before the first chunk."""
        self.prompt_tokens = self.completion_tokens = 0
        self.first_token_at: float | None = None
        """Time of a stream's first token (``time.monotonic``)."""
        self.finished = self.failed = False
        """Whether the stream has ended; whether it contained an error."""
        self._texts: list[str] = []
        self._characters = 0
        self._calls: dict[int, dict[str, str]] = {}

    @property
    def text(self) -> str:
        """The text; of an answer without text, its tool calls as JSON."""
        if self.has_text or not self._calls:
            return "".join(self._texts)[:TEXT_CHARACTERS]
        calls = [self._calls[index] for index in sorted(self._calls)]
        return json.dumps(calls, ensure_ascii=False, separators=(",", ":"))[:TEXT_CHARACTERS]

    @property
    def has_text(self) -> bool:
        return any(text.strip() for text in self._texts)

    @property
    def is_empty(self) -> bool:
        return not self.has_text and not self._calls

    def read_body(self, data: bytes) -> None:
        """Parse an answer that is not streamed. Raises ``ValueError``."""
        self._read(_loads(data), "message")
        self.finished = True

    def read_event(self, event: bytes) -> bool:
        """Parse one event of a stream; True if it holds only token counts. Raises ``ValueError``."""
        data = event.removeprefix(DATA).strip()
        if not event.startswith(DATA) or not data:
            return False  # a comment that keeps the connection open
        if data == DONE:
            self.finished = True
            return False
        return self._read(_loads(data), "delta")

    def _read(self, chunk: Any, part: str) -> bool:
        if not isinstance(chunk, dict) or "error" in chunk:
            self.failed = True
            return False
        self.model = str(chunk.get("model") or self.model)
        if usage := chunk.get("usage"):
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.completion_tokens = int(usage.get("completion_tokens") or 0)
        for choice in chunk.get("choices") or ():
            self._read_message(choice.get(part) or {})
        return bool(usage) and not chunk.get("choices")

    def _read_message(self, message: dict[str, Any]) -> None:
        text, calls = message.get("content"), message.get("tool_calls")
        if not text and not calls:
            return
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        if text and self._characters < TEXT_CHARACTERS:
            self._texts.append(text)
            self._characters += len(text)
        for number, call in enumerate(calls or ()):
            parsed = self._calls.setdefault(call.get("index", number), {"name": "", "arguments": ""})
            for name, value in (call.get("function") or {}).items():
                if name in parsed and len(parsed[name]) < TEXT_CHARACTERS:
                    parsed[name] += value or ""


def _loads(data: bytes) -> Any:
    """Parse JSON: orjson is stricter than the standard library (``NaN``, lone surrogates), which then tries as well.

    Clients' requests are always read by the standard library, because orjson would round large integers.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


class EventStream:
    """Splits a stream into events and holds back its end."""

    def __init__(self, completion: ParsedCompletion, *, wants_usage: bool) -> None:
        self._completion, self._wants_usage = completion, wants_usage
        self._rest = b""
        self.ending = b""
        """The end of the stream, to be sent once the interaction is recorded."""

    def feed(self, data: bytes) -> bytes:
        """Parse the next bytes; returns those to forward at once. Raises ``ValueError``."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        if len(self._rest) > EVENT_BYTES:
            raise ValueError("an event without an end")
        forward = bytearray()
        for event in events:
            only_usage = self._completion.read_event(event)
            if self._completion.finished:
                self.ending += event + b"\n\n"
            elif self._wants_usage or not only_usage:
                forward += event + b"\n\n"
        return bytes(forward)
