"""The inbox: small objects of rows that gateways put into the store, merged into files and ingested.

A gateway writes every few seconds, and a table should not get a commit for each. Nothing here has to be atomic: an
object has the same name and content if it is written again, and repeated rows are recognised as duplicates. So a crash
between the commit and the deletion, or two collectors at once, cost work and never a row.
"""

import contextlib
import hashlib
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from errors import ObjectExists, ObjectMissing
from lake.contracts.base import Contract
from lake.ingest.pipeline import Ingested, Ingester
from lake.ingest.raw_zone import sha256_of
from lake.lake import Lake
from lake.store.objects import ObjectStore

MERGED_OBJECTS, MERGED_BYTES = 5_000, 64 << 20
"""The size of one merge; its last object may exceed the bytes."""
COLLECTED = "collected"
"""Kind of the entry with the number of objects that a landed file was merged from."""


def put(store: ObjectStore, source: str, gateway: str, first: int, last: int, data: bytes) -> str:
    """Store JSON lines, each with its newline, for the next collection of a source, such as ``agents``; returns the
    object's key. Each gateway numbers its own rows, each number once: ``first`` and ``last`` are those of ``data``.
    Storing the same rows again changes nothing. Raises ``PeerError`` where the store cannot be reached.
    """
    digest = hashlib.sha256(data).hexdigest()[:12]  # a spool restored from a backup reuses its numbers for other rows
    key = f"{_folder(source)}{gateway}/{first:016d}-{last:016d}-{digest}.jsonl"
    with contextlib.suppress(ObjectExists):  # an earlier try stored it, or this one, and the response was lost
        store.create(key, data)
    return key


def collect_all(lake: Lake, contract: Contract, source: str) -> list[Ingested]:
    """Ingest the objects that are waiting now; later ones are left to the next call, so that this ends."""
    return Ingester(lake, contract, source).ingest_files(merged_files(lake, source))


def merged_files(lake: Lake, source: str) -> Iterator[Path]:
    """Merge the objects that wait now into files, one at a time, each as large as one merge may be.

    Request the next file only after the last one is ingested: its objects are then deleted.
    """
    waiting = deque(lake.store.list(_folder(source)))
    while waiting:
        with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
            path = Path(folder, "merged.jsonl")
            merged = list[str]()
            with path.open("wb") as file:
                while waiting and len(merged) < MERGED_OBJECTS and file.tell() < MERGED_BYTES:
                    key = waiting.popleft()
                    with contextlib.suppress(ObjectMissing):  # another collector has ingested and deleted it meanwhile
                        file.write(lake.store.read(key))
                        merged.append(key)
            if not merged:
                continue
            digest = sha256_of(path)
            yield path
        lake.ledger.append(f"sources/{source}", COLLECTED, f"collected:{digest}", {"objects": len(merged)})
        for key in merged:
            lake.store.delete(key)


def is_fed(lake: Lake, source: str) -> bool:
    """Whether gateways feed this source: objects are waiting, or were collected before."""
    waiting = next(iter(lake.store.list(_folder(source))), None)
    return waiting is not None or bool(lake.ledger.entries(f"sources/{source}", kind=COLLECTED))


def _folder(source: str) -> str:
    return f"inbox/{source}/"
