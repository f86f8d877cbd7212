"""What is kept of a request: an interaction, a prediction, later a thumb, as lines that the lake's contracts admit."""

import re
import time
import zlib
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from features.online.reader import OnlineFeatures
from lake.contracts.agent_interactions import NAME_CHARACTERS, TEXT_CHARACTERS
from models.prompt import PROMPT_VERSION
from serving.gateway.encoding import dumps
from serving.gateway.requests import Asked
from serving.gateway.spool import Row
from serving.gateway.sse import Answer
from serving.routing.routes import Choice

LATENCY_MS = 30_000
"""The longest latency that the contracts admit; no request lives longer."""
ORDINALS, CLUSTERS = 64, 16
SLOTS = ORDINALS * CLUSTERS
"""Microseconds from one timestamp of a gateway to its next at least, and how many gateways have their own in them."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FEATURES = tuple(field.name for field in fields(OnlineFeatures))


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """One request that is over, however it ended."""

    interaction: str
    at: datetime
    asked: Asked
    choice: Choice
    features: OnlineFeatures
    answer: Answer
    failed: bool
    """Whether the call failed, or came back with neither words nor a tool call."""
    left: bool
    """Whether the client left before the end: how long the answer would have taken is not known."""
    error: bool
    """Whether the answer cannot be learnt from: the call failed, or the client left before its end."""
    latency_ms: int
    first_token_ms: int | None

    @property
    def version(self) -> str:
        """The version that says it answered, else the one that was asked."""
        return _text(self.answer.model or self.choice.adapter, NAME_CHARACTERS)


class Clock:
    """Timestamps that rise strictly, in a slot that other gateways leave free: a second row of an agent at one instant
    would be dropped as a duplicate.
    """

    def __init__(self, slot: int) -> None:
        """``slot`` is this gateway's own; see ``slot_of``."""
        self._slot, self._last = slot % SLOTS, 0

    def now(self) -> datetime:
        """The time, to the gateway's slot of about a millisecond."""
        self._last = max(time.time_ns() // 1_000 // SLOTS, self._last + 1)
        return EPOCH + timedelta(microseconds=self._last * SLOTS + self._slot)


def slot_of(gateway: str, cluster: str, host: str) -> int:
    """A gateway's slot: by the number of its pod (``gateway-1``), else by its id, within its cluster's.

    Two gateways share one only where their clusters do by chance (one pair in 16), or without numbers their ids.
    """
    numbered = re.search(r"-(\d+)$", host)
    ordinal = int(numbered[1]) if numbered else int(gateway, 16)
    return zlib.crc32(cluster.encode()) % CLUSTERS * ORDINALS + ordinal % ORDINALS


def rows(done: Finished, cluster: str) -> tuple[Row, Row]:
    """The interaction and the prediction of one request."""
    return _row("agents", _interaction(done, cluster)), _row("predictions", _prediction(done))


def thumb(interaction: str, value: int, at: datetime) -> Row:
    """A rating of an interaction: 1 up, 0 down."""
    return _row("feedback", {"interaction_id": interaction, "value": value, "timestamp": at.isoformat()})


def _interaction(done: Finished, cluster: str) -> dict[str, object]:
    return {
        "interaction_id": done.interaction,
        "timestamp": done.at.isoformat(),
        "agent_name": done.asked.agent,
        "user_id": done.asked.user_id,
        "user_query": _text(done.asked.query, TEXT_CHARACTERS),
        "response": _text(done.answer.text, TEXT_CHARACTERS),
        "latency_ms": done.latency_ms,
        "tokens_used": done.answer.prompt_tokens + done.answer.completion_tokens,
        "error": done.error,
        "model_version": done.version,
        "cluster": cluster,
    }


def _prediction(done: Finished) -> dict[str, object]:
    known = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name in _FEATURES
        if (value := getattr(done.features, name)) is not None
    }
    optional = {
        "time_to_first_token_ms": done.first_token_ms,
        "rollout": done.choice.rollout,
        "arm": done.choice.arm,
        "unit": done.choice.unit,
    }
    return (
        known
        | {name: value for name, value in optional.items() if value is not None}
        | {
            "interaction_id": done.interaction,
            "timestamp": done.at.isoformat(),
            "agent_name": done.asked.agent,
            "model_version": done.version,
            "prompt_version": PROMPT_VERSION,
            "latency_ms": LATENCY_MS if done.left else done.latency_ms,
            "failed": done.failed,
        }
    )


def _row(source: str, values: dict[str, object]) -> Row:
    return Row(source=source, line=dumps(values) + b"\n")


def _text(text: str, characters: int) -> str:
    """A text as the lake can hold it: not too long, and without what UTF-8 cannot spell."""
    return text[:characters].encode("utf-8", "replace").decode()
