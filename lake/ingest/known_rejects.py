"""Which rejected lines were rejected before, in another object of a source: a log that grows lands whole each time.

Its good rows are known by their keys. A bad line may have none that can be read, so it is known by its bytes: by them
alone where it has a time of its own. Words such as ``{`` come again and again; they are known where they stand at the
same number under the same first line, which is that of the same log. Within one object nothing repeats: two equal bad
lines are two. A row of CSV that cannot be told from its neighbours has no bytes here and is known by its place alone.
"""

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lake.contracts.base import Contract
from lake.contracts.quarantine import quarantine_of
from lake.ingest.blocks import Block
from lake.tables.tables import Tables

DAYS_APART = 8
"""Objects that landed further apart are not compared, so that a look reads few files. A log that is begun anew each
week is within that; a bad line of one that grows for longer counts once in so many days."""
DIGITS = 32
"""Of the sha256, in hex."""


def lines_of(blocks: Sequence[Block], lines: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Those of these lines, given in order, that stand in the blocks: number and bytes."""
    for block in blocks:
        if within := lines[bisect_left(lines, block.first) : bisect_right(lines, block.last)]:
            yield from zip(within, block.texts(within), strict=True)


def digests(blocks: Sequence[Block], rejects: pa.Table, opening: bytes) -> pa.Array:
    """What each of the rejects (``REJECTS``) is known by; null where nothing of the object could be read.

    Args:
        blocks: hold the rejected lines.
        rejects: of one object.
        opening: the object's first line.
    """
    texts = dict(lines_of(blocks, sorted(rejects["line"].to_pylist())))
    timed, reasons = pc.is_valid(rejects["timestamp"]).to_pylist(), rejects["reason"].to_pylist()
    told = list[str | None]()
    for number, has_time, reason in zip(rejects["line"].to_pylist(), timed, reasons, strict=True):
        text, place = texts.get(number), b"%d:%b\n" % (number, opening)
        if text:
            told.append(_digest(b"" if has_time else place, text))
        else:  # under no first line it is a file of which nothing was read, and its place says nothing
            told.append(_digest(place, reason.encode()) if opening else None)
    return pa.array(told, pa.string())


def rejected_before(tables: Tables, contract: Contract, name: str, landed_at: datetime) -> pa.Array:
    """The digests in quarantine of what other objects of this one's source brought in the days around it."""
    first, last = (landed_at + timedelta(days=days) for days in (-DAYS_APART, DAYS_APART))
    # Without a snapshot id the scan has the table's columns, the digest too where no row has one yet.
    scan = tables._ensure(quarantine_of(contract)).scan(
        row_filter=f"landed_at >= '{first.isoformat()}' and landed_at <= '{last.isoformat()}' and digest is not null",
        selected_fields=("source_object", "digest"),
    )
    found = scan.to_arrow()
    beside = pc.match_substring_regex(found["source_object"], f"^{re.escape(_place(name))}/[^/]+/[^/]+$")
    others = pc.and_(beside, pc.not_equal(found["source_object"], name))
    return pc.unique(found["digest"].filter(others).cast(pa.string()))


def _digest(place: bytes, text: bytes) -> str:
    return hashlib.sha256(place + text).hexdigest()[:DIGITS]


def _place(name: str) -> str:
    """The raw zone's folder of a source, without the day."""
    return name.rsplit("/", 2)[0]
