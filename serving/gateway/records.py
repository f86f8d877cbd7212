"""The rows recorded of a request, in the form of the lake's contracts: interaction, prediction, later its feedback."""

import json
import re
import time
import zlib
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

import orjson

from features.online.reader import OnlineFeatures
from lake.contracts.base import NAME_CHARACTERS, TEXT_CHARACTERS
from models.prompt import PROMPT_VERSION
from serving.gateway.requests import ChatRequest
from serving.gateway.spool import SpoolRow
from serving.gateway.sse import ParsedCompletion
from serving.routing.routes import Choice

LATENCY_MS = 30_000
"""The longest latency that the contracts allow; no request runs longer."""
ORDINALS, CLUSTERS = 64, 16
SLOTS = ORDINALS * CLUSTERS
"""Smallest distance between two timestamps of one gateway in microseconds, and how many gateways have slots in it."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FEATURES = tuple(field.name for field in fields(OnlineFeatures))


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRequest:
    """One request that has ended, in whatever way."""

    interaction: str
    at: datetime
    request: ChatRequest
    choice: Choice
    features: OnlineFeatures
    completion: ParsedCompletion
    failed: bool
    """Whether the call failed, or returned neither text nor a tool call."""
    cancelled: bool
    """Whether the client left before the end: the full latency of the answer is unknown."""
    error: bool
    """Whether the answer cannot be trained on: the call failed, or the client left before its end."""
    latency_ms: int
    first_token_ms: int | None

    @property
    def version(self) -> str:
        """The version that the answer names, else the one that was called."""
        return _limited(self.completion.model or self.choice.adapter, NAME_CHARACTERS)


class SlottedClock:
    """Strictly rising timestamps in a slot that no other gateway uses: of two rows of an agent with the same timestamp
    one would be dropped as a duplicate.
    """

    def __init__(self, slot: int) -> None:
        self._slot, self._last = slot % SLOTS, 0

    def now(self) -> datetime:
        """The time, rounded to the gateway's slot within about a millisecond (1,024 µs)."""
        self._last = max(time.time_ns() // 1_000 // SLOTS, self._last + 1)
        return EPOCH + timedelta(microseconds=self._last * SLOTS + self._slot)


def slot_of(gateway: str, cluster: str, host: str) -> int:
    """A gateway's slot: from the number of its pod (``gateway-1``), else from its id, in the range of its cluster.

    Two share a slot only if their clusters' hashes collide (one pair in 16), or, without pod numbers, their ids.
    """
    numbered = re.search(r"-(\d+)$", host)
    ordinal = int(numbered[1]) if numbered else int(gateway, 16)
    return zlib.crc32(cluster.encode()) % CLUSTERS * ORDINALS + ordinal % ORDINALS


def request_rows(done: FinishedRequest, cluster: str) -> tuple[SpoolRow, SpoolRow]:
    """The interaction and the prediction of one request."""
    return _row("agents", _interaction(done, cluster)), _row("predictions", _prediction(done))


def feedback_row(interaction: str, value: int, at: datetime) -> SpoolRow:
    """A rating of an interaction: 1 up, 0 down."""
    return _row("feedback", {"interaction_id": interaction, "value": value, "timestamp": at.isoformat()})


def _interaction(done: FinishedRequest, cluster: str) -> dict[str, object]:
    return {
        "interaction_id": done.interaction,
        "timestamp": done.at.isoformat(),
        "agent_name": done.request.agent,
        "user_id": done.request.user_id,
        "user_query": _limited(done.request.query, TEXT_CHARACTERS),
        "response": _limited(done.completion.text, TEXT_CHARACTERS),
        "latency_ms": done.latency_ms,
        "tokens_used": done.completion.prompt_tokens + done.completion.completion_tokens,
        "error": done.error,
        "model_version": done.version,
        "cluster": cluster,
    }


def _prediction(done: FinishedRequest) -> dict[str, object]:
    optional = {name: getattr(done.features, name) for name in _FEATURES} | {
        "time_to_first_token_ms": done.first_token_ms,
        "rollout": done.choice.rollout,
        "arm": done.choice.arm,
        "unit": done.choice.unit,
    }
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in optional.items()
        if value is not None
    } | {
        "interaction_id": done.interaction,
        "timestamp": done.at.isoformat(),
        "agent_name": done.request.agent,
        "model_version": done.version,
        "prompt_version": PROMPT_VERSION,
        "latency_ms": LATENCY_MS if done.cancelled else done.latency_ms,
        "failed": done.failed,
    }


def _row(source: str, values: dict[str, object]) -> SpoolRow:
    try:
        line = orjson.dumps(values)
    except orjson.JSONEncodeError:  # a number of tokens beyond 64 bits
        line = json.dumps(values, separators=(",", ":")).encode()
    return SpoolRow(source=source, line=line + b"\n")


def _limited(text: str, characters: int) -> str:
    """A text as the lake can store it: cut to a length, and without characters that UTF-8 cannot encode."""
    return text[:characters].encode("utf-8", "replace").decode()
