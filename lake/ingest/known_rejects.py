"""Which rejected lines were rejected before, in another object of the same source: a log that grows lands whole each
time.

Good rows are recognised by their keys. A bad line may have no readable key, so its bytes identify it: alone where it
has a time of its own. Texts such as ``{`` repeat; they are recognised by their line number and the object's first
line, which is the same for the same log. Within one object nothing repeats: two equal bad lines are two. A row of CSV
that cannot be separated from its neighbours has no bytes here and is recognised by its place alone.
"""

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lake.contracts.base import Contract
from lake.ingest.blocks import Block
from lake.tables.tables import Tables

DAYS_APART = 8
"""Objects that landed further apart are not compared, so that a comparison reads few files. A log that starts anew each
week is within that; a bad line of one that grows for longer counts once per eight days."""


def lines_of(blocks: Sequence[Block], lines: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of those of these lines, given in order, that the blocks hold."""
    for block in blocks:
        if within := lines[bisect_left(lines, block.first) : bisect_right(lines, block.last)]:
            yield from zip(within, block.texts(within), strict=True)


def digests(blocks: Sequence[Block], rejects: pa.Table, first_line: bytes) -> pa.Array:
    """What identifies each of the rejects of one object; null where nothing of the object could be read.

    ``blocks`` hold the rejected lines, ``rejects`` has the columns ``REJECTS``, ``first_line`` is that of the object.
    """
    texts = dict(lines_of(blocks, sorted(rejects["line"].to_pylist())))
    timed, reasons = pc.is_valid(rejects["timestamp"]).to_pylist(), rejects["reason"].to_pylist()
    values = list[str | None]()
    for number, has_time, reason in zip(rejects["line"].to_pylist(), timed, reasons, strict=True):
        text, place = texts.get(number), b"%d:%b\n" % (number, first_line)
        if text:
            values.append(_digest(b"" if has_time else place, text))
        else:  # without a first line nothing of the file was read, and its place identifies nothing
            values.append(_digest(place, reason.encode()) if first_line else None)
    return pa.array(values, pa.string())


def rejected_before(tables: Tables, quarantine: Contract, name: str, landed_at: datetime) -> pa.Array:
    """The digests in quarantine that other objects of the same source brought in the days around this one, which has
    this name in the raw zone.
    """
    first, last = (landed_at + timedelta(days=days) for days in (-DAYS_APART, DAYS_APART))
    # Without a snapshot id the scan has the table's columns, the digest too where no row has one yet.
    scan = tables.ensure(quarantine).scan(
        row_filter=f"landed_at >= '{first.isoformat()}' and landed_at <= '{last.isoformat()}' and digest is not null",
        selected_fields=("source_object", "digest"),
    )
    found = scan.to_arrow()
    source_folder = re.escape(name.rsplit("/", 2)[0])  # without the day
    beside = pc.match_substring_regex(found["source_object"], f"^{source_folder}/[^/]+/[^/]+$")
    others = pc.and_(beside, pc.not_equal(found["source_object"], name))
    return pc.unique(found["digest"].filter(others).cast(pa.string()))


def _digest(place: bytes, text: bytes) -> str:
    return hashlib.sha256(place + text).hexdigest()[:32]
