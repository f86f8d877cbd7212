"""The broker as a source: batches of CloudEvents land as JSON lines and are ingested as every log file is.

``fuelline consume events`` keeps the lake up with the queue; with ``--until-empty`` it drains it and ends.

The broker is told only after the commit, so a kill between the two brings the messages again. Rows are in the table
under their id then and count as duplicates. A rejected line has no id; so when messages come again, first the objects
that had landed are finished, and then lines that stand in them are passed over. However the messages are cut into
batches the second time, nothing is lost and nothing is in twice.
"""

import contextlib
import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from errors import ObjectMissing
from lake.contracts import contract
from lake.contracts.cloud_events import CLOUD_EVENTS
from lake.ingest.pipeline import Ingested, Ingester
from lake.lake import Lake
from lake.sources.broker import COMMITS, Batching, Until, consume
from lake.sources.cloudevents import Message, read_event

log = logging.getLogger("fuelline.rabbitmq")

QUEUE = "fuelline.lake"
SOURCE = "rabbitmq"
OBJECTS_BACK = 32
"""How many of the newest landed objects may hold lines that come again: of that many unacknowledged batches."""


def source_of(data_set: str) -> str:
    """The chain and raw zone's folder of a data set's lines: ``rabbitmq`` the envelopes, ``rabbitmq-...`` the rows."""
    return SOURCE if data_set == CLOUD_EVENTS.name else f"{SOURCE}-{data_set.partition('.')[2].replace('_', '-')}"


def drain(lake: Lake, until: Until, batching: Batching = COMMITS) -> int:
    """Bring the queue's events into the lake; returns how many messages were acknowledged.

    Raises:
        SettingsError: ``FUELLINE_RABBITMQ`` is not set or wrong.
    """
    return consume(lake.settings, QUEUE, lambda messages: _told(land(lake, messages)), batching, until)


def land(lake: Lake, messages: Sequence[Message]) -> list[Ingested]:
    """Bring one batch into the lake: each data set's lines as one object."""
    lines = _lines(messages)
    if any(message.redelivered for message in messages):
        lines = {data_set: _unknown(lake, data_set, found) for data_set, found in lines.items()}
    return [_ingest(lake, data_set, b"".join(found)) for data_set, found in sorted(lines.items()) if found]


def _lines(messages: Iterable[Message]) -> Mapping[str, list[bytes]]:
    lines: dict[str, list[bytes]] = defaultdict(list)
    for event in map(read_event, messages):
        lines[CLOUD_EVENTS.name].append(event.line + b"\n")
        if event.data_set:
            lines[event.data_set].append(event.row + b"\n")
    return lines


def _unknown(lake: Lake, data_set: str, lines: list[bytes]) -> list[bytes]:
    """The lines that stand in no object that landed before, each of which is in by then, whatever became of whoever
    landed it.
    """
    with Ingester(lake, contract(data_set), source_of(data_set)).finishing_landed():
        known = {line for landed in _landed(lake, data_set) for line in landed.splitlines(keepends=True)}
    return [line for line in lines if line not in known]


def _landed(lake: Lake, data_set: str) -> Iterator[bytes]:
    """The newest objects of a data set."""
    for entry in lake.ledger.entries(f"sources/{source_of(data_set)}", kind="landed")[-OBJECTS_BACK:]:
        with contextlib.suppress(ObjectMissing):  # it was announced and never landed, or its retention is over
            yield lake.store.read(entry.payload["object"])


def _ingest(lake: Lake, data_set: str, data: bytes) -> Ingested:
    with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
        path = Path(folder, "events.jsonl")
        path.write_bytes(data)
        return Ingester(lake, contract(data_set), source_of(data_set)).ingest_file(path)


def _told(results: Iterable[Ingested]) -> None:
    for one in results:
        log.info("%s: %d in, %d rejected, %d known", one.object, one.committed, one.quarantined, one.duplicates)
