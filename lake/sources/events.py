"""The broker as a source: batches of CloudEvents land as JSON lines and are ingested like log files.

``fuelline consume events`` ingests continuously; with ``--until-empty`` it drains the queue and ends.

Messages are acknowledged only after the commit, so they are redelivered if the process is killed between the two. Their
rows are then in the table by their ids and count as duplicates. A rejected line has no id; so on redelivery the objects
that had landed are ingested first, and lines that are in them are skipped. However the messages are split into batches
the second time, nothing is lost or duplicated.
"""

import contextlib
import logging
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from errors import ObjectMissing
from lake.contracts import contract
from lake.contracts.cloud_events import CLOUD_EVENTS
from lake.ingest.pipeline import Ingested, Ingester
from lake.lake import Lake
from lake.sources.broker import COMMITS, Batching, StopCondition, consume
from lake.sources.cloudevents import Message, read_event

log = logging.getLogger("fuelline.rabbitmq")

QUEUE = "fuelline.lake"
SOURCE = "rabbitmq"
OBJECTS_BACK = 32
"""How many of the newest landed objects are searched for redelivered lines: more than there are open batches."""


def source_of(data_set: str) -> str:
    """The source's name for a data set: ``rabbitmq`` for envelopes, ``rabbitmq-...`` for payloads."""
    return SOURCE if data_set == CLOUD_EVENTS.name else f"{SOURCE}-{data_set.partition('.')[2].replace('_', '-')}"


def drain(lake: Lake, stop: StopCondition, batching: Batching = COMMITS) -> int:
    """Ingest the queue's events until ``stop``; returns how many messages were acknowledged. Raises ``SettingsError``
    where ``FUELLINE_RABBITMQ`` is not set or wrong.
    """

    def handle(messages: Sequence[Message]) -> None:
        for done in ingest_batch(lake, messages):
            counts = (done.committed, done.quarantined, done.duplicates)
            log.info("%s: %d committed, %d quarantined, %d duplicates", done.object, *counts)

    return consume(lake.settings, QUEUE, handle, batching, stop)


def ingest_batch(lake: Lake, messages: Sequence[Message]) -> list[Ingested]:
    """Ingest one batch: the lines of each data set as one object."""
    lines: dict[str, list[bytes]] = defaultdict(list)
    for event in map(read_event, messages):
        lines[CLOUD_EVENTS.name].append(event.line + b"\n")
        if event.data_set:
            lines[event.data_set].append(event.row + b"\n")
    if any(message.redelivered for message in messages):
        lines.update({data_set: _unknown(lake, data_set, found) for data_set, found in lines.items()})
    return [_ingest(lake, data_set, b"".join(found)) for data_set, found in sorted(lines.items()) if found]


def _unknown(lake: Lake, data_set: str, lines: list[bytes]) -> list[bytes]:
    """The lines that are in no object that landed before; those objects are ingested first, even if their run died."""
    known: set[bytes] = set()
    with Ingester(lake, contract(data_set), source_of(data_set)).finishing_landed():
        for entry in lake.ledger.entries(f"sources/{source_of(data_set)}", kind="landed")[-OBJECTS_BACK:]:
            with contextlib.suppress(ObjectMissing):  # it never landed, or its retention is over
                known.update(lake.store.read(entry.payload["object"]).splitlines(keepends=True))
    return [line for line in lines if line not in known]


def _ingest(lake: Lake, data_set: str, data: bytes) -> Ingested:
    with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
        path = Path(folder, "events.jsonl")
        path.write_bytes(data)
        return Ingester(lake, contract(data_set), source_of(data_set)).ingest_file(path)
