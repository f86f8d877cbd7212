"""What vLLM answers, read while it passes through: words, tool calls, tokens, and the version that says it answered.

Bytes go on as they came. Only the end of a stream is kept back, until the interaction is recorded: see
``serving.gateway.proxy``.
"""

import json
import time
from typing import Any

from lake.contracts.agent_interactions import TEXT_CHARACTERS
from serving.gateway.encoding import loads

DATA, DONE = b"data:", b"[DONE]"
EVENT_BYTES = 4 << 20
"""Longer than any event that vLLM sends."""


class Answer:
    """One answer, as far as it has come."""

    def __init__(self) -> None:
        self.model = ""
        """The version that says it answered; empty until it has spoken."""
        self.prompt_tokens = self.completion_tokens = 0
        self.first_token: float | None = None
        """When a stream's first token came (``time.monotonic``)."""
        self.finished = self.broken = False
        """Whether the stream has come to its end; whether it told of an error."""
        self._words: list[str] = []
        self._characters = 0
        self._calls: dict[int, dict[str, str]] = {}

    @property
    def text(self) -> str:
        """What was said; of an answer without words, the tool calls as JSON."""
        if self.has_words or not self._calls:
            return "".join(self._words)[:TEXT_CHARACTERS]
        calls = [self._calls[index] for index in sorted(self._calls)]
        return json.dumps(calls, ensure_ascii=False, separators=(",", ":"))[:TEXT_CHARACTERS]

    @property
    def has_words(self) -> bool:
        """Whether anything but white space was said."""
        return any(word.strip() for word in self._words)

    @property
    def is_empty(self) -> bool:
        """Whether there are neither words nor a tool call."""
        return not self.has_words and not self._calls

    def read_body(self, data: bytes) -> None:
        """Read an answer that came in one piece. Raises ``ValueError``."""
        self._read(loads(data), "message")
        self.finished = True

    def read_event(self, event: bytes) -> bool:
        """Read one event of a stream; True where it holds nothing but the numbers of tokens. Raises ``ValueError``."""
        data = event.removeprefix(DATA).strip()
        if not event.startswith(DATA) or not data:
            return False  # a comment keeps the connection open
        if data == DONE:
            self.finished = True
            return False
        return self._read(loads(data), "delta")

    def _read(self, said: Any, part: str) -> bool:
        if not isinstance(said, dict) or "error" in said:
            self.broken = True
            return False
        self.model = str(said.get("model") or self.model)
        if usage := said.get("usage"):
            self.prompt_tokens = int(usage.get("prompt_tokens") or 0)
            self.completion_tokens = int(usage.get("completion_tokens") or 0)
        for choice in said.get("choices") or ():
            self._hear(choice.get(part) or {})
        return bool(usage) and not said.get("choices")

    def _hear(self, message: dict[str, Any]) -> None:
        words, calls = message.get("content"), message.get("tool_calls")
        if not words and not calls:
            return
        if self.first_token is None:
            self.first_token = time.monotonic()
        if words and self._characters < TEXT_CHARACTERS:
            self._words.append(words)
            self._characters += len(words)
        for number, call in enumerate(calls or ()):
            said = self._calls.setdefault(call.get("index", number), {"name": "", "arguments": ""})
            for name, value in (call.get("function") or {}).items():
                if name in said and len(said[name]) < TEXT_CHARACTERS:
                    said[name] += value or ""


class Stream:
    """Cuts a stream into events, and its end from the rest."""

    def __init__(self, answer: Answer, *, wants_usage: bool) -> None:
        self._answer, self._wants_usage = answer, wants_usage
        self._rest = b""
        self.last = b""
        """The end of the stream, which is sent when all is recorded."""

    def feed(self, data: bytes) -> bytes:
        """Take what came; what may go on at once. Raises ``ValueError``."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        if len(self._rest) > EVENT_BYTES:
            raise ValueError("an event without an end")
        forward = bytearray()
        for event in events:
            only_usage = self._answer.read_event(event)
            if self._answer.finished:
                self.last += event + b"\n\n"
            elif self._wants_usage or not only_usage:
                forward += event + b"\n\n"
        return bytes(forward)
