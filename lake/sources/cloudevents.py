"""CloudEvents 1.0 in messages: each becomes one line of the envelope's contract and, where a data set exists for its
payload, one line of that data set.

Both modes of the protocol binding are read: structured (the body is the whole event, ``application/cloudevents+json``)
and binary (the attributes are headers, the body is the payload). Nothing is checked here. A message that is not an
event becomes a line as well, unchanged, so that the usual checks find the reason and quarantine it.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

SPECVERSION = "1.0"
"""The meaning of ``type`` in other versions is unknown, so the payload of such an event stays with its envelope."""
STRUCTURED = "application/cloudevents"
PREFIXES = ("cloudEvents:", "cloudEvents_", "ce-")
"""Prefixes of headers that are attributes: two of the AMQP binding, and that of Knative's broker on RabbitMQ."""
INTERACTION, FEEDBACK = "fuelline.agent.interaction.v1", "fuelline.agent.feedback.v1"
DATA_SETS: Mapping[str, str] = {INTERACTION: "processed.agent_interactions", FEEDBACK: "processed.agent_feedback"}
"""Event types whose payload is a row of a data set. Any other event keeps its payload beside its envelope."""
ATTRIBUTES = ("specversion", "id", "source", "type", "time", "subject", "datacontenttype")
MEMBERS = (*ATTRIBUTES, "data", "data_base64")


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message as the broker delivered it."""

    body: bytes
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    redelivered: bool = False
    """It was delivered before and not acknowledged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventLines:
    """A message as lines of JSON."""

    line: bytes
    """Its envelope, for ``processed.cloud_events``."""
    data_set: str = ""
    """The data set of the payload; empty where the payload is part of the envelope's line."""
    row: bytes = b""
    """The payload as a line of ``data_set``."""


def read_event(message: Message) -> EventLines:
    """A message as lines; one that is not an event unchanged, so that it is quarantined."""
    attributes = {
        name.removeprefix(prefix): value
        for name, value in message.headers.items()
        for prefix in PREFIXES
        if name.startswith(prefix)
    }
    if attributes and not message.content_type.startswith(STRUCTURED):
        media = {"datacontenttype": message.content_type} if message.content_type else {}
        return _event({**media, **attributes}, message.body)
    try:
        members = json.loads(message.body, object_pairs_hook=_distinct, parse_constant=_not_a_number)
        if not isinstance(members, dict):
            raise TypeError("not an object")
        if "data_base64" in members:
            payload = base64.b64decode(str(members["data_base64"]), validate=True)
        else:
            payload = _compact(members["data"]) if "data" in members else b""
        return _event(members, payload)
    except (ValueError, TypeError, RecursionError):  # RecursionError: JSON nested deeper than Python reads
        return EventLines(line=_one_line(message.body))


def _event(members: Mapping[str, object], data: bytes) -> EventLines:
    envelope: dict[str, object] = {name: members[name] for name in ATTRIBUTES if name in members}
    if extensions := {name: value for name, value in members.items() if name not in MEMBERS}:
        envelope["extensions"] = _compact(extensions).decode()
    data_set = DATA_SETS.get(str(members.get("type")), "") if members.get("specversion") == SPECVERSION else ""
    if data_set:
        return EventLines(line=_compact(envelope), data_set=data_set, row=_one_line(data))
    if data:
        try:
            envelope["data"] = data.decode()
        except UnicodeDecodeError:
            envelope["data_base64"] = base64.b64encode(data).decode()
    return EventLines(line=_compact(envelope))


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a repeated key")
    return members


def _not_a_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _compact(value: object) -> bytes:
    """JSON in one line; what is not text (half of a surrogate pair) stays escaped."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def _one_line(raw: bytes) -> bytes:
    """The bytes as one line: a newline can only be between the tokens of JSON. An empty message becomes ``""``, which
    the checks reject; an empty line would be skipped.
    """
    return raw.replace(b"\n", b" ").replace(b"\r", b" ").strip() or b'""'
