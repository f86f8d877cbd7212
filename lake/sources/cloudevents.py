"""CloudEvents 1.0 as they come in messages: each becomes one line of the envelope's contract, and, where a data set
holds its payload, one line of that.

Both modes of the protocol binding are read: structured (the body is the whole event, ``application/cloudevents+json``)
and binary (the attributes are headers, the body is the payload). Nothing is judged here. A message that is no event
becomes a line as well, as it came, so that the checks of every other source find its reason and quarantine holds it.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SPECVERSION = "1.0"
"""What ``type`` means in any other is not known, so the payload of such an event stays with its envelope."""
STRUCTURED = "application/cloudevents"
PREFIXES = ("cloudEvents:", "cloudEvents_", "ce-")
"""Of a header that is an attribute: the two of the AMQP binding, and that of Knative's broker on RabbitMQ."""
INTERACTION, FEEDBACK = "fuelline.agent.interaction.v1", "fuelline.agent.feedback.v1"
DATA_SETS: Mapping[str, str] = {
    INTERACTION: "processed.agent_interactions",
    FEEDBACK: "processed.agent_feedback",
}
"""Event types whose payload is a row of a data set. Any other event keeps its payload beside its envelope."""
ATTRIBUTES = ("specversion", "id", "source", "type", "time", "subject", "datacontenttype")
MEMBERS = (*ATTRIBUTES, "data", "data_base64")


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What a broker delivered."""

    body: bytes
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    redelivered: bool = False
    """It was delivered before, to whoever did not acknowledge it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A message as lines."""

    line: bytes
    """Its envelope, for ``processed.cloud_events``."""
    data_set: str = ""
    """Whose row the payload is; empty where the envelope's line keeps it."""
    row: bytes = b""
    """The payload as a line of ``data_set``."""


def read_event(message: Message) -> Event:
    """A message as lines; one that is no event as it came, for quarantine to take."""
    if not message.content_type.startswith(STRUCTURED) and (found := dict(_attributes(message.headers))):
        media = {"datacontenttype": message.content_type} if message.content_type else {}
        return _event({**media, **found}, message.body)
    try:
        members = json.loads(message.body, object_pairs_hook=_distinct, parse_constant=_no_number)
        if not isinstance(members, dict):
            raise TypeError("no object")
        return _event(members, _carried(members))
    except (ValueError, TypeError, RecursionError):  # the last of JSON nested deeper than Python reads
        return Event(line=_one_line(message.body))


def _carried(members: Mapping[str, object]) -> bytes:
    if "data_base64" in members:
        return base64.b64decode(str(members["data_base64"]), validate=True)
    return _compact(members["data"]) if "data" in members else b""


def _event(members: Mapping[str, object], data: bytes) -> Event:
    envelope: dict[str, object] = {name: members[name] for name in ATTRIBUTES if name in members}
    if extensions := {name: value for name, value in members.items() if name not in MEMBERS}:
        envelope["extensions"] = _compact(extensions).decode()
    data_set = DATA_SETS.get(str(members.get("type")), "") if members.get("specversion") == SPECVERSION else ""
    if not data_set:
        envelope |= _kept(data)
    return Event(line=_compact(envelope), data_set=data_set, row=_one_line(data) if data_set else b"")


def _kept(data: bytes) -> dict[str, str]:
    if not data:
        return {}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def _attributes(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        for prefix in PREFIXES:
            if name.startswith(prefix):
                yield name.removeprefix(prefix), value


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key stands twice")
    return members


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _compact(value: object) -> bytes:
    """JSON in one line; it keeps what was escaped because it is no text (half a surrogate pair) escaped."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def _one_line(raw: bytes) -> bytes:
    """The bytes as one line. A newline cannot stand in a JSON text, only between its parts; an empty one is a reject
    as well, where an empty line would be nothing.
    """
    return raw.replace(b"\n", b" ").replace(b"\r", b" ").strip() or b'""'
