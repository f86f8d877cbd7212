"""The inbox: small objects of rows that gateways put into the store, merged into one file a time and ingested.

A gateway writes every few seconds, and a table should not get a commit for each. Nothing here has to be atomic: an
object has one name and one content whoever writes it again, and rows that come twice fall out by uniqueness. So a
crash between the commit and the clearing up, or two collectors at once, cost work and never a row.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from errors import ObjectExists, ObjectMissing
from lake.contracts.base import Contract
from lake.ingest.pipeline import Ingested, Ingester
from lake.ingest.raw_zone import sha256_of
from lake.lake import Lake
from lake.store.objects import ObjectStore

MERGED_OBJECTS, MERGED_BYTES = 5_000, 64 << 20
"""What one merge takes at most, but for the rest of its last object."""
COLLECTED = "collected"
"""Kind of the entry that says of how many objects a landed file was merged."""


def put(store: ObjectStore, source: str, gateway: str, first: int, last: int, data: bytes) -> str:
    """Leave rows for the next collection; to put the same again changes nothing.

    Args:
        store: of the lake.
        source: ``agents``, ``predictions`` or ``feedback``.
        gateway: who puts them; its numbers are its own.
        first: number of the first row, which a gateway gives once.
        last: number of the last row.
        data: JSON lines, each with its newline.

    Returns:
        The object's key.

    Raises:
        PeerError: the store cannot be reached.
    """
    digest = hashlib.sha256(data).hexdigest()[:12]  # a spool that was put back gives its numbers to other rows
    key = f"{_folder(source)}{gateway}/{first:016d}-{last:016d}-{digest}.jsonl"
    with contextlib.suppress(ObjectExists):  # an earlier try put it, or this one, whose answer was lost
        store.create(key, data)
    return key


def collect_all(lake: Lake, contract: Contract, source: str) -> list[Ingested]:
    """Ingest what waits now; what comes meanwhile is for the next time, so that this ends under any traffic.

    Raises:
        PeerError: the store cannot be reached.
        CommitContended: other writers were first 40 times.
    """
    return Ingester(lake, contract, source).ingest_files(merged_files(lake, source))


def merged_files(lake: Lake, source: str) -> Iterator[Path]:
    """Merge the objects that wait now into files, one at a time, each as large as one merge may be.

    Asking for the next file says that the last one is ingested: its objects are then deleted.
    """
    waiting = list(lake.store.list(_folder(source)))
    while waiting:
        with tempfile.TemporaryDirectory(prefix="fuelline-") as folder:
            path = Path(folder, "merged.jsonl")
            with path.open("wb") as file:
                taken, merged = _merge(lake.store, waiting, file)
            waiting = waiting[taken:]
            if not merged:
                continue
            digest = sha256_of(path)
            yield path
        lake.ledger.append(f"sources/{source}", COLLECTED, f"collected:{digest}", {"objects": len(merged)})
        for key in merged:
            lake.store.delete(key)


def is_fed(lake: Lake, source: str) -> bool:
    """Whether gateways feed this source: something waits, or was collected before."""
    waits = next(iter(lake.store.list(_folder(source))), None)
    return waits is not None or bool(lake.ledger.entries(f"sources/{source}", kind=COLLECTED))


def _merge(store: ObjectStore, waiting: list[str], file: BinaryIO) -> tuple[int, list[str]]:
    """Write objects one behind the other: how many keys were gone through, and those that were written."""
    merged: list[str] = []
    for taken, key in enumerate(waiting):
        if len(merged) >= MERGED_OBJECTS or file.tell() >= MERGED_BYTES:
            return taken, merged
        with contextlib.suppress(ObjectMissing):  # another collector has ingested it since it was listed
            file.write(store.read(key))
            merged.append(key)
    return len(waiting), merged


def _folder(source: str) -> str:
    return f"inbox/{source}/"
